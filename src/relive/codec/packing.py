"""Integers of a GOP → packets, decoded again before anybody writes them."""

from __future__ import annotations

import numpy as np

from relive.bitstream import (
    GopCodes,
    GopDetail,
    decode_codes,
    decode_detail,
    encode_codes,
    encode_detail,
)
from relive.codec.bundle import Bundle
from relive.errors import FormatError, ReliveError


def pack_gop(
    index: int, codes: GopCodes, detail: GopDetail | None, bundle: Bundle
) -> tuple[bytes, bytes | None]:
    """Encode the packets of a GOP and check that they decode to the same integers.

    A fault of memory or of the coder is seen here, while the session is still at hand, rather than
    by whoever opens the replay.

    Args:
        index: number of the GOP, for the error.
        codes: of the base tier.
        detail: of the enhancement layer, where there is one.
        bundle: holds the tables.

    Returns:
        The codes packet, and the enhancement packet where there is a layer.

    Raises:
        ReliveError: a packet does not decode to what went into it.
    """
    codes_packet = encode_codes(codes, bundle.tables)
    detail_packet = None if detail is None else encode_detail(detail, codes, bundle.detail)
    try:
        again = decode_codes(codes_packet, bundle.tables, *codes.depths.shape)
        _compare(index, "codes", codes, again)
        if detail is not None and detail_packet is not None:
            _compare(
                index, "enhancement", detail, decode_detail(detail_packet, again, bundle.detail)
            )
    except FormatError as error:
        raise ReliveError(f"GOP {index}: a packet does not decode again: {error}") from error
    return codes_packet, detail_packet


def _compare(
    index: int, packet: str, given: GopCodes | GopDetail, decoded: GopCodes | GopDetail
) -> None:
    for name, array in vars(given).items():
        if not np.array_equal(array, getattr(decoded, name)):
            raise ReliveError(
                f"GOP {index}: the {name} of its {packet} packet do not decode to what was encoded"
            )
