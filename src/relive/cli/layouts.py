"""The layouts of others: `relive export --layout`, and what `relive import` finds them to be."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from relive.cli.console import Console, human_bytes
from relive.errors import InputError

_LEROBOT_INFO = Path("meta") / "info.json"


class Layout(StrEnum):
    """Layouts of datasets of episodes."""

    LEROBOT = "lerobot"
    NPZ = "npz"


def write_layout(
    console: Console,
    layout: Layout,
    paths: tuple[Path, Path],
    *,
    actions: Sequence[str] | None,
    task: str | None,
    fps: float | None,
    crf: int | None,
    tier: int | None,
    model: Path | None,
    force: bool,
) -> None:
    """Write the episodes of a replay, or of those in a folder, as a dataset."""
    source, out = paths
    replays = sorted(source.glob("*.relive")) if source.is_dir() else [source]
    if not replays:
        raise InputError(f"{source}: there is no .relive file in it")
    if out.suffix.lower() in (".mp4", ".gif", ".relive", ".rrd", ".parquet", ".safetensors"):
        raise InputError(f"--layout {layout} makes a folder; {out} is named like a file")
    given: dict[str, Any] = {"actions": actions, "model": model, "tiers": tier, "force": force}
    if layout is Layout.NPZ:
        refuse({"--task": task, "--fps": fps, "--crf": crf}, "with --layout lerobot")
    elif crf is not None:
        given["crf"] = crf
    with console.progress("export") as given["progress"]:
        if layout is Layout.LEROBOT:
            from relive.datasets import to_lerobot

            count, what = to_lerobot(replays, out, task=task, fps=fps, **given), "rows"
        else:
            from relive.datasets import to_npz

            count, what = to_npz(replays, out, **given), "episodes"
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    values = {what: count, "bytes": size, "out": out}
    console.result(values, f"exported {count} {what} into {out}, {human_bytes(size)}")


def importer_of(source: Path) -> Layout | None:
    """Which layout a file or a folder has; None for what should be a video."""
    if source.is_dir():
        if (source / _LEROBOT_INFO).is_file():
            return Layout.LEROBOT
        if next(source.glob("*.npz"), None) is not None:
            return Layout.NPZ
        raise InputError(
            f"{source} is a folder with neither {_LEROBOT_INFO} (LeRobot) nor .npz files"
        )
    return Layout.NPZ if source.suffix.lower() == ".npz" else None


def import_layout(
    layout: Layout,
    source: Path,
    out: Path,
    *,
    frame: str | None,
    after: Sequence[str],
    fps: float | None,
    game: str | None,
    force: bool,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Make a session of a dataset."""
    given: dict[str, Any] = {"frame": frame, "game": game, "force": force, "progress": progress}
    if layout is Layout.NPZ:
        from relive.datasets import from_npz

        from_npz(source, out, after=after, fps=fps, **given)
        return
    from relive.datasets import from_lerobot

    refuse({"--after": list(after) or None, "--fps": fps}, "with NPZ files")
    from_lerobot(source, out, **given)


def refuse(options: dict[str, object], where: str) -> None:
    """Refuse options that were given where they have no meaning."""
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name} goes {where} only")
