"""`relive info`, `relive verify`, `relive repair`: what is in a file, and is it whole."""

import struct
from pathlib import Path
from typing import Annotated, Any

import typer

from relive.cli.console import Console, Json, Quiet, Verbose, human_bytes, table
from relive.errors import FormatError, InputError

File = Annotated[Path, typer.Argument(help="A session (.mcap) or a replay (.relive).")]

_MAGIC = b"\x89MCAP0\r\n"
_HEADER = 0x01


def info(file: File, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Say what is in a session or a replay."""
    console = Console(as_json, quiet, verbose)
    values = describe(file)
    console.result(values, description_text(file, values))


def describe(path: Path) -> dict[str, Any]:
    """Describe a session or a replay without loading torch.

    Returns:
        The keys of design section 2, the same for both kinds.
    """
    values = _describe_session(path)
    size, pixels = path.stat().st_size, values["frames"] * values["width"] * values["height"]
    values["bytes"] = size
    values["bits_per_pixel"] = 8 * size / pixels if pixels else None
    seconds = values["duration_s"]
    values["bits_per_second"] = 8 * size / seconds if seconds else None
    return values


def description_text(path: Path, values: dict[str, Any]) -> str:
    """Write a description for people."""
    rate = values["bits_per_second"]
    frames = f"{values['frames']} of {values['width']}x{values['height']}"
    rows: dict[str, object] = {
        values["kind"]: path,
        "game": values["game"] or "not said",
        "frames": f"{frames}, {values['fps']:.4g} frames/s",
        "length": f"{values['duration_s']:.2f} s",
        "size": human_bytes(values["bytes"]),
        "rate": f"{values['bits_per_pixel']:.4f} bits per pixel, {rate / 1e3:.0f} kbit/s"
        if rate
        else "no frames",
        "state": ", ".join(values["state_fields"]) or "none",
        "model": values["model_id"],
        "damaged": "yes, the whole part is readable" if values["damaged"] else "no",
    }
    return table({name: value for name, value in rows.items() if value is not None})


def is_replay(path: Path) -> bool:
    """Tell a replay from a session by its MCAP profile, whatever its name.

    Raises:
        InputError: there is no such file.
        FormatError: it is not MCAP, or MCAP of something else.
    """
    profile = _mcap_profile(path)
    if profile == "relive-replay":
        return True
    if profile == "relive-session":
        return False
    raise FormatError(
        f"{path}: MCAP file, but neither a session nor a replay (profile {profile!r})"
    )


def _mcap_profile(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC) + 13 + 64)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if not start.startswith(_MAGIC) or len(start) < len(_MAGIC) + 13:
        raise FormatError(
            f"{path}: not a session or a replay (no MCAP file); videos: relive import"
        )
    opcode, _, length = struct.unpack_from("<BQI", start, len(_MAGIC))
    if opcode != _HEADER or length > 64:
        raise FormatError(f"{path}: the MCAP header is damaged")
    return start[len(_MAGIC) + 13 :][:length].decode("utf-8", "replace")


def _describe_session(path: Path) -> dict[str, Any]:
    from relive.session import Session

    with Session.open(path) as session:
        return {
            "kind": "session",
            "game": session.game,
            "frames": session.num_frames,
            "width": session.width,
            "height": session.height,
            "fps": session.fps,
            "duration_s": session.duration_s,
            "model_id": None,
            "state_fields": [field.name for field in session.schema.fields],
            "damaged": session.damaged,
        }
