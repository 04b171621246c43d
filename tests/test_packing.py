"""Packets of a GOP are decoded again before they are written."""

from dataclasses import replace

import numpy as np
import pytest

from relive.bitstream import GopCodes, GopDetail
from relive.codec import Bundle, load_bundle, packing
from relive.errors import InputError, ReliveError
from test_bitstream_codes import make_gop
from test_bitstream_detail import make_detail

CODES, DETAIL = make_gop(1, 2, 3, 4), make_detail(1, 2, 3, 4)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle()


def test_whole_packets_pass(bundle: Bundle) -> None:
    assert packing.pack_gop(0, CODES, None, bundle)[1] is None
    codes, detail = packing.pack_gop(0, CODES, DETAIL, bundle)
    assert codes
    assert detail


def test_other_codes_are_refused_by_gop(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(CODES, motion=np.zeros_like(CODES.motion))

    def decode(*_: object) -> GopCodes:
        return wrong

    monkeypatch.setattr(packing, "decode_codes", decode)
    with pytest.raises(ReliveError, match="GOP 7: the motion of its codes packet"):
        packing.pack_gop(7, CODES, None, bundle)


def test_other_levels_are_refused_by_gop(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(DETAIL, levels=DETAIL.levels + np.int16(1))

    def decode(*_: object) -> GopDetail:
        return wrong

    monkeypatch.setattr(packing, "decode_detail", decode)
    with pytest.raises(ReliveError, match="GOP 7: the levels of its enhancement packet"):
        packing.pack_gop(7, CODES, DETAIL, bundle)


def test_a_packet_that_cannot_be_decoded_is_no_fault_of_the_input(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "encode_codes", lambda *_: b"cut")
    with pytest.raises(ReliveError, match="GOP 7: a packet does not decode again") as caught:
        packing.pack_gop(7, CODES, None, bundle)
    assert not isinstance(caught.value, InputError)
