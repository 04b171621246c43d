"""Digests of the integers in a replay, which must be the same on every machine."""

import hashlib
from collections.abc import Iterable

import numpy as np

from relive.bitstream import GopCodes, decode_codes
from relive.codec import Bundle
from relive.codec.step import Geometry
from relive.container import ReplayReader

PARTS = ("depths", "motion", "codes")


def digest_codes(gops: Iterable[GopCodes]) -> dict[str, str]:
    """Return a SHA-256 for each kind of integer over all GOPs."""
    hashes = {part: hashlib.sha256() for part in PARTS}
    for gop in gops:
        for part in PARTS:
            hashes[part].update(np.ascontiguousarray(getattr(gop, part)).tobytes())
    return {part: value.hexdigest() for part, value in hashes.items()}


def read_codes(reader: ReplayReader, bundle: Bundle, i: int) -> GopCodes:
    """Decode the codes of one GOP of the index."""
    h, w = Geometry(reader.header.width, reader.header.height).grid
    record = reader.read_gop(i)
    return decode_codes(record.codes, bundle.tables, -(-record.num_frames // 2), h, w)
