"""What the regions of a session are worth to the encoder: finer steps where they matter more.

The bytes say of every cube how fine its step is, so a decoder needs no regions. A cube is worth the
mean importance of its pixels, 0 for the least and 1 for the most important region of the schema.

Shapes: n frames, h w cube grid.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from relive.bitstream.detail import MAX_OFFSET, OFFSET_UNIT
from relive.config import CUBE_PX
from relive.enhancement.look_ahead import Plan
from relive.errors import InputError
from relive.session import Session

MAX_FAVOUR = float(OFFSET_UNIT * MAX_OFFSET)


def check_favour(session: Session, favour: float) -> None:
    """Refuse what cannot be favoured.

    Raises:
        InputError: It is out of range, or the session has no regions with a meaning.
    """
    if not 0 <= favour <= MAX_FAVOUR:
        raise InputError(f"favour {favour} is not between 0 and {MAX_FAVOUR:g}")
    if favour and (session.region_schema is None or session.regions(0, 1) is None):
        raise InputError(f"{session.path} has no regions to favour; find them: relive regions")


def cube_importance(session: Session, start: int, stop: int) -> NDArray[np.float32] | None:
    """Importance of the cubes of frames start to stop, 0..1.

    Returns:
        float32 `[n, h, w]`; None without regions, or where all are alike.
    """
    maps, schema = session.regions(start, stop), session.region_schema
    if maps is None or schema is None:
        return None
    known = {region.id: region.importance for region in schema.regions}
    if len(set(known.values())) < 2:
        return None
    least, most = min(known.values()), max(known.values())
    table = np.zeros(256, np.float32)
    for number, importance in known.items():
        table[number] = (importance - least) / (most - least)
    n, height, width = maps.shape
    edges = ((0, 0), (0, -height % CUBE_PX), (0, -width % CUBE_PX))
    padded = np.pad(table[maps], edges, mode="edge")
    h, w = padded.shape[1] // CUBE_PX, padded.shape[2] // CUBE_PX
    cubes = padded.reshape(n, h, CUBE_PX, w, CUBE_PX).mean((2, 4))
    return np.asarray(cubes, np.float32)


def favouring(plan: Plan, worth: NDArray[np.float32] | None, favour: float) -> Plan:
    """Make the steps of important cubes finer and of others coarser; their mean stays.

    Args:
        plan: of a GOP.
        worth: `cube_importance` of its frames.
        favour: numbers of steps between the least and the most important.
    """
    if worth is None or not favour:
        return plan
    rows = np.arange(len(plan.offsets)).clip(max=len(worth) - 1)
    finer = favour / OFFSET_UNIT * (worth - worth.mean((1, 2), keepdims=True))[rows]
    offsets = (plan.offsets - finer).round().clip(-MAX_OFFSET, MAX_OFFSET)
    return replace(plan, offsets=offsets.astype(np.int8))
