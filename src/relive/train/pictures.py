"""The picture sheet of a run: what the model was given, what it made of it, where, how deep.

    original | reconstruction | error, 4 times | hidden cubes | depth        one row a session

Legend: H W pixels · h w cube grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from relive.errors import MissingExtraError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Picture = NDArray[np.uint8]  # [H, W, 3]
_Cell = TypeVar("_Cell", bound=np.generic)

COLUMNS = ("original", "reconstruction", "error, 4 times", "hidden cubes", "depth, near is red")
ERROR_GAIN = 4
_PAPER, _INK, _MUTED = (20, 23, 27), (232, 235, 238), (160, 168, 178)
_GAP_PX, _LINE_PX, _FONT_PX = 8, 30, 20
_PANEL_PX = 320  # narrower pictures are enlarged by whole numbers, at most to this
# Turbo as polynomials of degree 5, constant first (A. Mikhailov, "Turbo, An Improved Rainbow
# Colormap for Visualization", 2019; the approximation that its author published).
_TURBO = np.array(
    [
        [0.13572138, 4.61539260, -42.66032258, 132.13108234, -152.94239396, 59.28637943],
        [0.09140261, 2.19418839, 4.84296658, -14.18503333, 4.27729857, 2.82956604],
        [0.10667330, 12.64194608, -60.58204836, 110.36276771, -89.90310912, 27.34824973],
    ]
)


@dataclass(frozen=True)
class PictureRow:
    """One frame of one session, as shown in one row of the sheet.

    Args:
        name: Name of the session.
        original: uint8 [H, W, 3].
        reconstruction: uint8 [H, W, 3].
        masked: bool [h, w], True = hidden from the encoder; None without a mask.
        inverse_depth: float32 [h, w], larger is nearer; None without a camera.
        psnr_db: Of the reconstruction, RGB.
    """

    name: str
    original: Picture
    reconstruction: Picture
    masked: NDArray[np.bool_] | None
    inverse_depth: NDArray[np.float32] | None
    psnr_db: float


def draw_sheet(rows: Sequence[PictureRow], title: str) -> Image:
    """Draw the sheet.

    Args:
        rows: At least one; their pictures may differ in size.
        title: Written above the columns.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise MissingExtraError("pillow", "train") from error
    panels = [[_enlarge(panel) for panel in _panels(row)] for row in rows]
    column = _GAP_PX + max(row[0].shape[1] for row in panels)
    heights = [_LINE_PX + row[0].shape[0] + _GAP_PX for row in panels]
    size = (_GAP_PX + len(COLUMNS) * column, 2 * _LINE_PX + _GAP_PX + sum(heights))
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_GAP_PX, 4), title, _INK)
    for i, name in enumerate(COLUMNS):
        _write(draw, (_GAP_PX + i * column, _LINE_PX + 4), name, _MUTED)
    y = 2 * _LINE_PX
    for row, images, height in zip(rows, panels, heights, strict=True):
        _write(draw, (_GAP_PX, y + 4), _caption(row), _INK)
        for i, panel in enumerate(images):
            sheet.paste(Image.fromarray(panel), (_GAP_PX + i * column, y + _LINE_PX))
        for i, missing in _missing(row):
            _write(draw, (2 * _GAP_PX + i * column, y + _LINE_PX + _GAP_PX), missing, _MUTED)
        y += height
    return sheet


def _caption(row: PictureRow) -> str:
    parts = [row.name, f"{row.psnr_db:.2f} dB"]
    if row.masked is not None:
        parts.append(f"{row.masked.mean():.0%} hidden")
    if row.inverse_depth is not None:
        low, high = _range(row.inverse_depth)
        parts.append(f"inverse depth {low:.3g} to {high:.3g}")
    return "  ·  ".join(parts)


def _missing(row: PictureRow) -> list[tuple[int, str]]:
    """Say in which columns there is nothing to see, and why."""
    missing = [(3, "nothing hidden")] if row.masked is None else []
    return missing + ([(4, "no camera")] if row.inverse_depth is None else [])


def _panels(row: PictureRow) -> list[Picture]:
    """Make the five pictures of a row, all of the size of the original."""
    empty = np.full_like(row.original, 40)
    error = np.abs(row.original.astype(np.int16) - row.reconstruction) * ERROR_GAIN
    return [
        row.original,
        row.reconstruction,
        np.minimum(error, 255).astype(np.uint8),
        empty if row.masked is None else hide(row.original, row.masked),
        empty if row.inverse_depth is None else _depth(row.inverse_depth, row.original.shape[:2]),
    ]


def hide(original: Picture, masked: NDArray[np.bool_]) -> Picture:
    """Grey and hatch the hidden cubes of a picture.

    Args:
        original: uint8 [H, W, 3].
        masked: bool [h, w], True = hidden.

    Returns:
        uint8 [H, W, 3].
    """
    height, width = original.shape[:2]
    hidden = _spread(masked, (height, width))
    stripes = (np.add.outer(np.arange(height), np.arange(width)) % 8 < 2)[..., None]
    grey = np.where(stripes, 176, 104) * 0.7 + original * 0.3
    return np.where(hidden[..., None], grey, original).astype(np.uint8)


def turbo(values: NDArray[np.floating]) -> Picture:
    """Colour values from 0 (dark blue) to 1 (dark red).

    Args:
        values: Float [H, W]; beyond 0…1 they are clipped.

    Returns:
        uint8 [H, W, 3].
    """
    powers = np.clip(values, 0, 1)[..., None] ** np.arange(6)  # [H, W, 6]
    return (np.clip(powers @ _TURBO.T, 0, 1) * 255).round().astype(np.uint8)


def _depth(inverse_depth: NDArray[np.float32], shape: tuple[int, ...]) -> Picture:
    low, high = _range(inverse_depth)
    known = np.isfinite(inverse_depth)
    scaled = (np.where(known, inverse_depth, low) - low) / max(high - low, 1e-6)
    colors = np.where(known[..., None], turbo(scaled), 0).astype(np.uint8)
    return _spread(colors, shape)


def _range(inverse_depth: NDArray[np.float32]) -> tuple[float, float]:
    """Return lowest and highest of what is known; a few extreme cubes do not decide."""
    known = inverse_depth[np.isfinite(inverse_depth)]
    if not known.size:
        return 0.0, 0.0
    low, high = np.percentile(known, (1, 99))
    return float(low), float(high)


def _spread(grid: NDArray[_Cell], shape: tuple[int, ...]) -> NDArray[_Cell]:
    """Repeat a grid [h, w, …] to pixels [H, W, …], whether or not the sides divide."""
    rows, columns = (
        np.arange(side) * cells // side for side, cells in zip(shape, grid.shape[:2], strict=True)
    )
    return grid[rows[:, None], columns]


def _enlarge(picture: Picture) -> Picture:
    times = max(1, _PANEL_PX // picture.shape[1])
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def _write(draw: ImageDraw, at: tuple[int, int], text: str, color: tuple[int, int, int]) -> None:
    from PIL import ImageFont

    draw.text(at, text, fill=color, font=ImageFont.load_default(_FONT_PX))
