"""`relive encode --batch`: every session of a folder."""

from pathlib import Path
from typing import Any

from relive.cli.console import Console, human_bytes
from relive.errors import DamagedError, InputError


def encode_folder(
    console: Console,
    folder: Path,
    out: Path,
    settings: dict[str, Any],
    workers: int | None,
    ray: str | None,
    force: bool,
) -> None:
    """Encode the sessions of a folder; exit code 3 where one failed or is damaged."""
    from relive.batch import Settings, encode_batch
    from relive.batch.run import REPORT

    if out.is_file():
        raise InputError(f"{out} is a file; --batch writes a folder")
    with console.progress("encode") as progress:

        def report(done: int, total: int, line: str) -> None:
            if progress is not None:
                progress(done, total, line)
            else:
                console.note(f"{done}/{total} {line}")

        result = encode_batch(
            folder,
            out,
            Settings(**settings),
            workers=workers,
            ray=ray,
            force=force,
            report=report,
        )
    problems = [
        {key: row[key] for key in ("file", "status", "reason")}
        for row in result["files"]
        if row["status"] != "ok"
    ]
    values = {key: value for key, value in result.items() if key not in ("files", "settings")}
    console.result(values | {"problems": problems}, _text(out, result, problems))
    if problems:
        raise DamagedError(
            f"{len(problems)} of {result['sessions']} sessions failed or are damaged, "
            f"see {out / REPORT}; the same command tries again those that failed"
        )


def _text(out: Path, result: dict[str, Any], problems: list[dict[str, str]]) -> str:
    lines = [f"{row['status']}: {row['file']}: {_reason(row)}" for row in problems]
    missed = [row["file"] for row in result["files"] if not row["reached"]]
    lines += [f"misses its target: {file}" for file in missed]
    return "\n".join(
        [
            *lines,
            f"{out}: {result['encoded']} encoded, {result['skipped']} there already, "
            f"{result['failed']} failed; {human_bytes(result['bytes'])}, "
            f"{result['encode_fps']:.1f} frames/s",
        ]
    )


def _reason(row: dict[str, str]) -> str:
    return row["reason"] or "what could be read was written"
