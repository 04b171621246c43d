"""Checking a replay, and saving what is whole of a damaged one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

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


def cut(path: Path | str, out: Path | str, tiers: int, force: bool = False) -> RepairReport:
    """Write a replay anew with its lowest tiers alone; nothing is decoded.

    The qualities of the GOPs are those of all tiers, so the new file says that none was measured
    where a tier is missing. What is damaged is left out, as by `repair`.

    Args:
        path: of the replay.
        out: of the new one.
        tiers: how many to keep, at least 1.
        force: overwrite `out`.

    Raises:
        InputError: the input is missing, the output exists, or both are one file.
        FormatError: the input is not a replay, or its header is damaged.
    """
    return _rewrite(path, out, tiers, force)


def _rewrite(path: Path | str, out: Path | str, tiers: int | None, force: bool) -> RepairReport:
    """Copy what is whole, with at most so many tiers."""
    if Path(out).exists() and Path(out).samefile(path):
        raise InputError(f"{out}: is the input itself; give another output")
    with ReplayReader.open(path) as reader:
        header = reader.header
        lower = tiers is not None and tiers < header.tiers
        if tiers is not None and lower:
            header = replace(header, tiers=tiers, version="")
        with ReplayWriter(out, header, force=force) as writer:
            for number, gop in enumerate(reader.iter_gops()):
                kept = replace(gop, detail=None, psnr_db=0.0) if lower else gop
                writer.add_gop(replace(kept, index=number))
            for event in reader.events:
                writer.add_event(event.time_ns, event.name, event.payload)
        frames = sum(gop.num_frames for gop in reader.gops)
        return RepairReport(len(reader.gops), frames, list(reader.problems))
