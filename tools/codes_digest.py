"""Digests of the integers in a replay, which must be the same on every machine."""

import hashlib
from collections.abc import Iterable

import numpy as np

from relive.bitstream import GopCodes, GopDetail, decode_codes, decode_detail
from relive.codec import Bundle
from relive.codec.step import Geometry
from relive.container import ReplayReader

PARTS = ("depths", "motion", "codes", "steps", "modes", "vectors", "levels")
Integers = tuple[GopCodes, GopDetail | None]


def digest_codes(gops: Iterable[Integers]) -> dict[str, str]:
    """Return a SHA-256 for each kind of integer over all GOPs."""
    hashes = {part: hashlib.sha256() for part in PARTS}
    for codes, detail in gops:
        arrays = vars(codes) | (vars(detail) if detail else {})
        for part, array in arrays.items():
            hashes[part].update(np.ascontiguousarray(array).tobytes())
    return {part: value.hexdigest() for part, value in hashes.items()}


def read_codes(reader: ReplayReader, bundle: Bundle, i: int) -> Integers:
    """Decode the integers of one GOP of the index.

    Raises:
        FormatError: One of its packets is damaged.
    """
    h, w = Geometry(reader.header.width, reader.header.height).grid
    record = reader.read_gop(i)
    codes = decode_codes(record.codes, bundle.tables, -(-record.num_frames // 2), h, w)
    if record.detail is None:
        return codes, None
    return codes, decode_detail(record.detail, codes, bundle.detail)
