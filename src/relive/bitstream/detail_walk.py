"""The order in which the enhancement layer of a GOP is coded: one class for both directions.

    frame ─► palettes ─► weights ─► modes, sources, splits ─► vectors ─► ends of blocks, by colour
          ─► offsets ─► by colour: levels, by band, signs       (of frame 0: copies ─► vectors …)

Modes, vectors, ends and offsets go in groups A ► B ► C (`grid.py`), levels of a band all at once.
The codes of the base tier are known before. All but palettes is one call of `detail_kernel.py`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from relive.bitstream.array_kernel import BAD_VECTOR, BAD_WEIGHT, DAMAGED
from relive.bitstream.coder import NOT_WRITTEN
from relive.bitstream.detail import BLOCK, COLOURS, MAX_GAIN, MAX_SHIFT, MAX_VECTOR, GopDetail
from relive.bitstream.detail_frame import Frame, Grids, Places
from relive.bitstream.detail_kernel import code_frame
from relive.bitstream.detail_layout import DEPTHS, MOTIONS
from relive.bitstream.detail_model import DetailModel, Room
from relive.bitstream.gop_codes import GopCodes
from relive.bitstream.grid import cube_groups, direct_neighbours
from relive.bitstream.layout import PLACES
from relive.bitstream.level_kernel import MOST_MEMBERS
from relive.bitstream.palettes import PaletteCoder
from relive.errors import FormatError

SETTINGS = ("steps", "strengths", "unfiltered", "pulls", "tints")
"""What a packet says of frames before its symbols."""
CELLS = BLOCK * BLOCK
_CODED, _PLAIN_SYMBOLS = 8, 40
"""Symbols of a block, at most, under nets and in all, but for those of its levels."""
_WRONG = {
    DAMAGED: NOT_WRITTEN,
    BAD_WEIGHT: f"enhancement packet: a gain exceeds {MAX_GAIN}, or a shift {MAX_SHIFT}",
    BAD_VECTOR: f"enhancement packet: a vector exceeds {MAX_VECTOR}",
}


def walk_detail(
    model: DetailModel,
    detail: GopDetail,
    codes: GopCodes,
    palettes: PaletteCoder | None = None,
) -> GopDetail:
    """Code the layer of a GOP through a model and return what was coded.

    Args:
        model: encodes, decodes or collects.
        detail: what is to be coded; for a decoder its `SETTINGS` and shapes alone.
        codes: of the base tier.
        palettes: codes those of the GOP; None where no cube has one.
    """
    frames, h, w = detail.modes.shape
    walk = DetailWalk(model, h, w, palettes=palettes)
    coded = GopDetail.empty(frames, h, w)
    for step in range(frames // 2):
        walk.step(detail.part(step), codes.part(step), coded.part(step))
    return coded


def _places(h: int, w: int) -> Places:
    groups = cube_groups(h, w)
    order = np.concatenate([group.cubes for group in groups])
    y, x = np.divmod(order, w)
    counts = [len(group.cubes) for group in groups]
    number = np.repeat(np.arange(len(groups)), counts)
    return Places(
        order,
        np.cumsum([0, *counts]),
        np.concatenate([group.around for group in groups], axis=1),
        np.stack([y * PLACES // h, x * PLACES // w, number]),
    )


@lru_cache(maxsize=16)
def _grids(h: int, w: int) -> Grids:
    y, x = np.divmod(np.arange(4 * h * w), 2 * w)
    cube_of = (y // 2) * w + x // 2
    parts = np.argsort(cube_of, kind="stable").reshape(-1, 4).T
    return Grids(
        _places(h, w),
        _places(2 * h, 2 * w),
        direct_neighbours(2 * h, 2 * w),
        cube_of,
        np.ascontiguousarray(parts),
    )


def _wide(values: npt.NDArray[np.uint8], highest: int) -> npt.NDArray[np.int64]:
    return values.reshape(-1).astype(np.int64).clip(0, highest)


def _blank(cubes: int) -> Frame:
    """A frame of zeros."""
    blocks = 4 * cubes
    grid = [np.zeros(cubes, np.int64) for _ in range(6)]
    return Frame(
        0,
        0,
        grid[0],
        grid[1],
        np.ones(cubes, np.bool_),
        np.zeros((COLOURS, 2), np.int64),
        grid[2],
        grid[3],
        grid[4],
        np.zeros((blocks, 2), np.int64),
        grid[5],
        np.zeros((COLOURS, blocks, CELLS), np.int16),
        np.zeros((COLOURS, blocks), np.int64),
        np.zeros((COLOURS, blocks), np.int64),
        np.zeros((COLOURS, blocks, CELLS), np.uint8),
    )


class DetailWalk:
    """Codes the layer of one GOP, a step at a time, and remembers the frame before.

    With `delta` it begins as after a keyframe of zeros; with `palettes` cubes may have some.
    """

    def __init__(
        self,
        model: DetailModel,
        h: int,
        w: int,
        *,
        delta: bool = False,
        palettes: PaletteCoder | None = None,
    ) -> None:
        self._model = model
        self._palettes = palettes
        self._grid, self._grids = (h, w), _grids(h, w)
        self._number = 2 if delta else 0
        self._before = _blank(h * w)
        blocks, levels = 4 * h * w, COLOURS * CELLS
        coded = blocks * (_CODED + levels)
        self._room = Room(blocks * MOST_MEMBERS, blocks * (_PLAIN_SYMBOLS + 4 * levels), coded)

    def step(self, detail: GopDetail, codes: GopCodes, coded: GopDetail) -> None:
        """Code the two frames of the next step.

        Args:
            detail: of this step alone; for a decoder its `SETTINGS` and shapes alone.
            codes: of this step alone.
            coded: takes what was coded.

        Raises:
            FormatError: no encoder wrote this, or the grids differ.
        """
        if not self._grid == codes.depths.shape[1:] == detail.modes.shape[1:]:
            grids = codes.depths.shape[1:], detail.modes.shape[1:]
            raise FormatError(f"codes of {grids[0]} cubes, their layer of {grids[1]}")
        for name in SETTINGS:
            getattr(coded, name)[:] = getattr(detail, name)
        coded.levels[:] = detail.levels
        for row in range(len(detail.steps)):
            flat = [getattr(coded, name)[row] for name in ("palettes", "colours", "indices")]
            if self._palettes is not None:
                for name, part in zip(("palettes", "colours", "indices"), flat, strict=True):
                    part[:] = getattr(detail, name)[row]
                self._palettes.code(self._model, *flat)
            levels = coded.levels[row].reshape(COLOURS, -1, CELLS)
            frame = Frame(
                self._number,
                int(detail.steps[row]),
                _wide(codes.depths[0], DEPTHS - 1),
                _wide(codes.motion[0, 0], MOTIONS - 1),
                flat[0].reshape(-1) == 0,
                detail.weights[row].astype(np.int64),
                detail.modes[row].reshape(-1).astype(np.int64),
                detail.sources[row].reshape(-1).astype(np.int64),
                detail.split[row].reshape(-1).astype(np.int64),
                detail.vectors[row].reshape(-1, 2).astype(np.int64),
                detail.offsets[row].reshape(-1).astype(np.int64),
                levels,
                np.zeros(levels.shape[:2], np.int64),
                np.zeros(levels.shape[:2], np.int64),
                np.ones(levels.shape, np.uint8),
            )
            self._frame(frame)
            coded.weights[row] = frame.weights
            for name in ("offsets", "modes", "sources", "split", "vectors"):
                whole = getattr(coded, name)[row]
                whole[:] = getattr(frame, name).reshape(whole.shape)
            self._number += 1

    def _frame(self, frame: Frame) -> None:
        """Code all of a frame but its palettes."""
        sink = self._model.sink(self._room)
        wrong = code_frame(sink, self._model.live, self._grids, frame, self._before)
        if wrong:
            raise FormatError(_WRONG[wrong])
        self._model.took(sink)
        kept = frame.vectors if frame.number else np.zeros_like(frame.vectors)
        self._before = frame._replace(vectors=kept)
