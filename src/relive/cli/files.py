"""`relive info`: what is in a session or a replay."""

import struct
from pathlib import Path
from typing import Annotated, Any

import typer

from relive.cli import completing
from relive.cli.console import Console, Json, Quiet, Verbose, human_bytes, table
from relive.errors import FormatError, InputError

File = Annotated[
    Path,
    typer.Argument(help="A session (.mcap) or a replay (.relive).", autocompletion=completing.BOTH),
]

_MAGIC = b"\x89MCAP0\r\n"
_PROFILE_AT = len(_MAGIC) + 9  # behind the opcode and the length of the first record
_START_BYTES = 64
_SESSION, _REPLAY = b"relive-session", b"relive"


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
    values = _describe_replay(path) if is_replay(path) else _describe_session(path)
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
        "preset": values["preset"],
        "tiers": _tiers(values),
        "damaged": _damage(values),
        "missing": _frames(values["missing_frames"]),
        "unstated": _frames(values["unstated_frames"], ": their state is not known"),
        "generated": values["generated"] or None,
    }
    return table({name: value for name, value in rows.items() if value is not None})


def _frames(count: int, what: str = "") -> str | None:
    """Say how many frames; None of none."""
    return f"{count} frames{what}" if count else None


def _tiers(values: dict[str, Any]) -> str | None:
    """Say what tiers a replay has; None for a session."""
    if values["tiers"] is None:
        return None
    if values["tiers"] == 1:
        return "codes"
    lost = values["degraded_gops"]
    return "codes, enhancement" + (f"; {lost} GOPs have lost it" if lost else "")


def _damage(values: dict[str, Any]) -> str:
    """Say whether a file is damaged, and how many frames of a replay that has cost."""
    damaged, lost = values["damaged_frames"], values["lost_frames"]
    said = [f"{damaged} frames cannot be decoded"] if damaged else []
    said += [f"{lost} frames are not in the file"] if lost else []
    whole = "yes, the whole part is readable" if values["damaged"] else "no"
    return "; ".join([whole, *said])


def is_replay(path: Path) -> bool:
    """Tell a replay from a session by its MCAP profile; by its name where that is damaged.

    Raises:
        InputError: there is no such file.
        FormatError: it is not MCAP.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_START_BYTES)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if not start:
        raise FormatError(f"{path}: not a session or a replay: the file is empty")
    if not start.startswith(_MAGIC):
        raise FormatError(f"{path}: not a session or a replay; of a video make one: relive import")
    for profile in (_SESSION, _REPLAY):
        if start[_PROFILE_AT:].startswith(struct.pack("<I", len(profile)) + profile):
            return profile == _REPLAY
    return path.suffix == ".relive"


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
            "preset": None,
            "tiers": None,
            "degraded_gops": None,
            "damaged_frames": None,
            "lost_frames": None,
            "state_fields": [field.name for field in session.schema.fields],
            "missing_frames": int((~session.present).sum()),
            "unstated_frames": int((~session.stated).sum()),
            "generated": int(session.generated.sum()),
            "damaged": session.damaged,
        }


def _describe_replay(path: Path) -> dict[str, Any]:
    import numpy as np

    from relive.bitstream import Clock, decode_track
    from relive.container import ReplayReader
    from relive.session import StateSchema
    from relive.session.marks import GENERATED, UNSTATED, marked_frames

    with ReplayReader.open(path) as replay:
        header = replay.header
        fields = StateSchema.from_dict(header.state_schema).fields
        schema = [field.step for field in fields], [field.kind for field in fields]
        gops = replay.iter_gops()
        tracks = [decode_track(gop.track, *schema, Clock(*gop.clock)) for gop in gops]
        times_ns = np.concatenate([np.zeros(0, np.int64), *(track[0] for track in tracks)])
        interval_ns = int(np.median(np.diff(times_ns))) if len(times_ns) > 1 else 0
        holes = replay.holes
        span_ns = int(times_ns[-1] - times_ns[0]) if len(times_ns) else 0
        return {
            "kind": "replay",
            "game": header.game,
            "frames": replay.num_frames,
            "width": header.width,
            "height": header.height,
            "fps": 1e9 / interval_ns if interval_ns else 0.0,
            "duration_s": (span_ns + interval_ns) / 1e9,
            "model_id": header.model_id,
            "preset": header.extra.get("preset"),
            "tiers": header.tiers,
            "degraded_gops": sum(gop.detail_at is None for gop in replay.gops)
            if header.tiers > 1
            else 0,
            "damaged_frames": sum(stop - start for start, stop, broken in holes if broken),
            "lost_frames": sum(stop - start for start, stop, broken in holes if not broken),
            "state_fields": [field.name for field in fields],
            "missing_frames": sum(int((~track[1]).sum()) for track in tracks),
            "unstated_frames": int(marked_frames(UNSTATED, times_ns, replay.events).sum()),
            "generated": int(marked_frames(GENERATED, times_ns, replay.events).sum()),
            "damaged": replay.damaged,
        }
