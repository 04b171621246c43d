"""What the verbs print: results on stdout, progress and log on stderr."""

import json
import logging
import math
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from relive.errors import InputError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more; show tracebacks.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the output.")]


def finite(value: float | None) -> float | None:
    """Refuse what only looks like a number: NaN passes every limit."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


Start = Annotated[
    float | None,
    typer.Option(help="First second, from the first frame.", min=0.0, callback=finite),
]
End = Annotated[
    float | None,
    typer.Option(help="Second to end at, not included.", min=0.0, callback=finite),
]

FOREIGN_SUFFIXES = (".avi", ".csv", ".gif", ".jpg", ".mkv", ".mov", ".mp4", ".png", ".webm")


class Progress(Protocol):
    """Moves a bar: how much is done of how much, and what else to say beside it."""

    def __call__(self, done: int, total: int, text: str = "") -> None:
        """Show that `done` of `total` is done; a total of 0 is not known yet."""


class Staged:
    """A bar that begins anew with every stage of the work, whose name stands beside it."""

    def __init__(self, bar: Progress) -> None:
        self._bar, self._stage = bar, ""

    def begin(self, stage: str) -> None:
        """Name what begins; how long it takes is not known yet."""
        self._stage = stage
        self._bar(0, 0, stage)

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` of this stage is done."""
        self._bar(done, total, self._stage)


def regular_output(out: Path | None) -> Path | None:
    """Refuse to write over a device or a pipe: files are renamed onto their name."""
    if out is not None and out.name == "":
        raise InputError(f"{out} names no file; give a name with -o")
    if out is not None and out.exists() and not (out.is_file() or out.is_dir()):
        raise InputError(f"{out} is not a regular file; give another output")
    return out


def mcap_output(out: Path | None) -> Path | None:
    """Refuse a name under which everybody would expect something else than a session or a replay.

    Raises:
        InputError: It ends like a video or a picture, or is no regular file.
    """
    if out == Path("-"):
        raise InputError("-: sessions and replays go into files, not to standard output")
    if out is not None and out.suffix.lower() in FOREIGN_SUFFIXES:
        raise InputError(f"{out}: a session is .mcap, a replay .relive, not {out.suffix}")
    return regular_output(out)


@dataclass(frozen=True)
class Console:
    """How one verb talks: as JSON or text, with or without progress."""

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False

    def __post_init__(self) -> None:
        """Send the log and the warnings of the parts where `-v` wants them."""
        level = logging.INFO if self.verbose else logging.ERROR
        logging.basicConfig(level=level, stream=sys.stderr, format="%(name)s: %(message)s")
        if not self.quiet:
            logging.getLogger("relive.compiled").setLevel(min(level, logging.WARNING))
        if not self.verbose:
            warnings.simplefilter("ignore")

    def result(self, values: Mapping[str, Any], text: str) -> None:
        """Print a result: `values` as one JSON object, or `text` for people."""
        if self.as_json:
            text = json.dumps(_plain(values), allow_nan=False)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Say something on stderr, unless `-q`."""
        if not self.quiet:
            sys.stderr.write(text + "\n")

    @contextmanager
    def progress(self, label: str) -> Iterator[Progress | None]:
        """Show a bar on stderr while the block runs.

        Yields:
            A function of (done, total, text), or None where no bar is wanted. The text, such as
            loss and rate, stands beside the bar and is cut where the terminal ends.
        """
        if self.quiet or not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        cut = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", markup=False, table_column=cut),
        )
        console = RichConsole(stderr=True)
        # steps of a training run may be minutes apart
        with Bar(
            *columns, console=console, transient=True, expand=True, speed_estimate_period=3600
        ) as bar:
            task = bar.add_task(label, total=None, text="")

            def move(done: int, total: int, text: str = "") -> None:
                if not total:
                    bar.reset(task)
                    bar.tasks[0].total = None
                bar.update(task, completed=done, total=total or None, text=text)

            yield move


def table(rows: Mapping[str, object]) -> str:
    """Lay out names and values in two columns."""
    width = max((len(name) for name in rows), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def human_bytes(count: int) -> str:
    """Write a size for people: 1.2 MB, 345 kB, 12 bytes."""
    if count >= 1_000_000:
        return f"{count / 1e6:.2f} MB"
    return f"{count / 1e3:.1f} kB" if count >= 1000 else f"{count} bytes"


def _plain(value: Any) -> Any:
    """Turn what the parts return into what JSON knows; a figure that is not finite is null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)
