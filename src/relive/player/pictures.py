"""Pictures as a browser reads them, and how far two of them are apart."""

from __future__ import annotations

import io
import struct
from enum import IntFlag
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Kind = Literal["jpeg", "png"]
MEDIA_TYPES = {"jpeg": "image/jpeg", "png": "image/png"}
JPEG_QUALITY = 92
DIFFERENCE_GAIN = 4
RECORD = struct.Struct("<IIBBHI")
"""Frame, bytes that follow, kind, marks, zero, zero: 16 bytes before every picture."""
_KINDS = {"jpeg": 0, "png": 1}


class Mark(IntFlag):
    """What is wrong with a picture, or special."""

    MISSING = 1  # the session has no frame here
    DEGRADED = 2  # the enhancement is damaged or missing: the codes alone
    DAMAGED = 4  # fails its checksum or cannot be decoded
    LOST = 8  # not in the file
    FIRST_TIER = 16  # asked for: the codes alone
    GENERATED = 64  # made by restore or interpolate, in whole or in part
    PREVIEW = 32  # of another frame near by, until the right one is decoded


def encode_picture(picture: NDArray[np.uint8], kind: Kind) -> bytes:
    """Encode `[H, W, 3]` or, for labels, `[H, W]`; PNG keeps every value."""
    out = io.BytesIO()
    image = Image.fromarray(picture)
    if kind == "jpeg":
        image.save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        image.save(out, "PNG", compress_level=3)
    return out.getvalue()


def shrink(picture: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Scale a picture down to a width, keeping its shape; a smaller one is left as it is."""
    height, old, _ = picture.shape
    if old <= width:
        return picture
    size = (width, max(1, round(height * width / old)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


def record(frame: int, picture: bytes, kind: Kind, marks: int) -> bytes:
    """One picture of a stream, with what the page must know of it."""
    return RECORD.pack(frame, len(picture), _KINDS[kind], marks, 0, 0) + picture


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Absolute difference, made visible: times `DIFFERENCE_GAIN`."""
    apart = np.abs(one.astype(np.int16) - other)
    visible: NDArray[np.uint8] = np.minimum(apart * DIFFERENCE_GAIN, 255).astype(np.uint8)
    return visible


def psnr_db(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float | None:
    """PSNR over RGB in dB; None where both are equal."""
    squares = float(np.square(one.astype(np.float64) - other).mean())
    return None if squares == 0 else float(10 * np.log10(255**2 / squares))
