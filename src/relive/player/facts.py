"""What the page must know of a replay before the first picture: plain values."""

from __future__ import annotations

from typing import Any

from relive.codec import Replay
from relive.player.catalogue import Watched
from relive.player.looking import facts_of_view

NS = 1e9
MAX_PAYLOAD = 500
_POSES = ("x", "y", "z", "yaw", "pitch", "fov")


def facts(watched: Watched) -> dict[str, Any]:
    """Describe an open replay."""
    replay, entry, original = watched.replay, watched.entry, watched.original
    header = replay.header
    return {
        "id": entry.id,
        "name": entry.name,
        "game": header.game,
        "width": replay.width,
        "height": replay.height,
        "frames": replay.num_frames,
        "fps": replay.fps,
        "duration_s": seconds(replay, int(replay.times_ns[-1])) + frame_seconds(replay),
        "bytes": entry.path.stat().st_size,
        "quality": header.quality,
        "model_id": header.model_id,
        "tiers": replay.tiers,
        "damaged": replay.damaged,
        "gops": gops(watched),
        "events": events(replay),
        "fields": [field_of(replay, i) for i in range(replay.schema.width)],
        "camera": camera(replay),
        "view": facts_of_view(watched),
        "absent": absent(watched),
        "original": original is not None,
        "regions": original.regions_schema if original and original.labelled else [],
    }


def frame_seconds(replay: Replay) -> float:
    """Seconds of one frame."""
    return 1 / replay.fps if replay.fps else 0.0


def seconds(replay: Replay, time_ns: int) -> float:
    """Seconds since the first frame."""
    return (time_ns - int(replay.times_ns[0])) / NS


def gops(watched: Watched) -> list[dict[str, Any]]:
    """Place, quality, size and condition of every GOP."""
    replay = watched.replay
    entries = {gop.first_frame: gop for gop in replay.gops}
    out = []
    for number, span in enumerate(watched.spans):
        entry = entries.get(span.start)
        out.append(
            {
                "start": span.start,
                "stop": span.stop,
                "psnr_db": entry.psnr_db or None if entry else None,
                "bytes": entry.codes_bytes + entry.detail_bytes + entry.track_bytes if entry else 0,
                "condition": replay.condition(number),
            }
        )
    return out


def events(replay: Replay) -> list[dict[str, Any]]:
    """What happened, with its time in seconds; long payloads are cut."""
    return [
        {
            "t": seconds(replay, event.time_ns),
            "name": event.name,
            "payload": event.payload[:MAX_PAYLOAD],
        }
        for event in sorted(replay.events, key=lambda event: event.time_ns)
    ]


def field_of(replay: Replay, column: int) -> dict[str, Any]:
    """One field of the state."""
    field = replay.schema.fields[column]
    return {"name": field.name, "unit": field.unit, "kind": field.kind, "role": field.role}


def camera(replay: Replay) -> dict[str, Any] | None:
    """Columns of the pose of the camera, where the schema declares it; else None."""
    schema = replay.schema
    columns = {axis: schema.index(f"camera.{axis}") for axis in _POSES}
    if schema.camera is None or columns["x"] is None or columns["y"] is None:
        return None
    yaw = columns["yaw"]
    return {
        **columns,
        "fov_deg": schema.camera.fov_deg,
        "yaw_positive": schema.camera.yaw_positive,
        "yaw_unit": "" if yaw is None else schema.fields[yaw].unit,
    }


def absent(watched: Watched) -> list[list[int]]:
    """Runs of frames `[start, stop)` that the session does not have."""
    replay, runs = watched.replay, list[list[int]]()
    for span_number, span in enumerate(watched.spans):
        if replay.condition(span_number) in ("lost", "damaged"):
            continue
        for frame in (f for f in span if not replay.present[f]):
            if runs and runs[-1][1] == frame:
                runs[-1][1] = frame + 1
            else:
                runs.append([frame, frame + 1])
    return runs
