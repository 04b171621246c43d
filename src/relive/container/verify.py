"""Checking a replay, and saving what is whole of a damaged one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from relive.container.gop import MAX_TIME_NS, ReplayEvent
from relive.container.reader import ReplayReader
from relive.container.writer import ReplayWriter
from relive.errors import InputError


@dataclass(frozen=True)
class RepairReport:
    """What a repair saved: GOPs and frames, and one line for everything that was wrong."""

    gops: int
    frames: int
    problems: list[str]


def verify(path: Path | str) -> list[str]:
    """Check every checksum and the index of a replay; return one line for each problem.

    Raises:
        InputError: there is no such file.
        FormatError: it is not a replay, or its header is damaged.
    """
    with ReplayReader.open(path) as reader:
        return list(reader.problems)


def repair(path: Path | str, out: Path | str, force: bool = False) -> RepairReport:
    """Write the whole GOPs and all readable events of a replay to a clean file.

    GOPs are numbered anew; frames keep their numbers, so frames of a lost GOP stay missing.

    Raises:
        InputError: the input is missing, the output exists, or both are one file.
        FormatError: the input is not a replay, or its header is damaged.
    """
    return _rewrite(path, out, None, force)


def cut(
    path: Path | str,
    out: Path | str,
    tiers: int | None = None,
    force: bool = False,
    start_s: float | None = None,
    end_s: float | None = None,
) -> RepairReport:
    """Write a replay anew with its lowest tiers alone, or a range of it; nothing is decoded.

    A range is widened to whole GOPs, because a GOP decodes alone and nothing less does. Frames of
    the new file count from 0, so that it has no lost frames in front; times are those of the
    session, and so are states and events, which go along with their GOPs.

    The qualities of the GOPs are those of all tiers, so the new file says that none was measured
    where a tier is missing. What is damaged is left out, as by `repair`.

    Args:
        path: of the replay.
        out: of the new one.
        tiers: how many to keep, at least 1; None for all.
        force: overwrite `out`.
        start_s: seconds from the first frame; None for the beginning.
        end_s: seconds from the first frame, not included; None for the end.

    Raises:
        InputError: the input is missing, the output exists, both are one file, or no GOP lies in
            the range.
        FormatError: the input is not a replay, or its header is damaged.
    """
    return _rewrite(path, out, tiers, force, start_s, end_s)


def _rewrite(
    path: Path | str,
    out: Path | str,
    tiers: int | None,
    force: bool,
    start_s: float | None = None,
    end_s: float | None = None,
) -> RepairReport:
    """Copy what is whole, with at most so many tiers."""
    if Path(out).exists() and Path(out).samefile(path):
        raise InputError(f"{out}: is the input itself; give another output")
    with ReplayReader.open(path) as reader:
        header = reader.header
        lower = tiers is not None and tiers < header.tiers
        if tiers is not None and lower:
            memory = header.memory if tiers > 1 else b""  # cubes of the enhancement layer
            header = replace(header, tiers=tiers, memory=memory, version="")
        places = range(len(reader.gops))
        ranged = (start_s, end_s) != (None, None)
        if ranged:
            places = _within(reader, start_s, end_s)
        base = reader.gops[places.start].first_frame if ranged else 0
        with ReplayWriter(out, header, force=force) as writer:
            for number, place in enumerate(places):
                gop = reader.read_gop(place)
                kept = replace(gop, detail=None, psnr_db=0.0) if lower else gop
                writer.add_gop(replace(kept, index=number, first_frame=gop.first_frame - base))
            for event in _events(reader, places) if ranged else reader.events:
                writer.add_event(event.time_ns, event.name, event.payload)
        frames = sum(reader.gops[place].num_frames for place in places)
        return RepairReport(len(places), frames, list(reader.problems))


def _within(reader: ReplayReader, start_s: float | None, end_s: float | None) -> range:
    """Places of the GOPs that have a part in [start, end) seconds from the first frame."""
    origin = reader.gops[0].start_ns if reader.gops else 0
    first, last = start_s or 0.0, math.inf if end_s is None else end_s
    found = [
        place
        for place, gop in enumerate(reader.gops)
        if (gop.start_ns - origin) / 1e9 < last and (gop.end_ns - origin) / 1e9 >= first
    ]
    if not found or first >= last:
        length = (reader.gops[-1].end_ns - origin) / 1e9 if reader.gops else 0.0
        raise InputError(
            f"{reader.path}: no frame lies between {first:g} s and "
            f"{'the end' if end_s is None else f'{end_s:g} s'}; the last is at {length:.3f} s"
        )
    return range(found[0], found[-1] + 1)


def _events(reader: ReplayReader, places: range) -> list[ReplayEvent]:
    """Events from the first of some GOPs to the next one that is left out."""
    since = reader.gops[places.start].start_ns if places.start else 0
    after = len(reader.gops) > places.stop
    until = reader.gops[places.stop].start_ns if after else MAX_TIME_NS + 1
    return [event for event in reader.events if since <= event.time_ns < until]
