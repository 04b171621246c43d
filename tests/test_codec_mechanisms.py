"""Models with every mechanism go through the codec: what the encoder saw is what is decoded."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relive.codec import Replay, encode
from relive.codec.bundle import load_bundle
from relive.session import Session
from small_model import WHOLE_SMALL, write_small_model
from test_codec import record

VARIANTS: dict[str, dict[str, Any]] = {
    "whole": {},
    "learned warp": {"warp": "learned"},
    "rotation": {"warp": "rotation"},
    "copy": {"warp": "copy"},
    "by importance": {"decoding": "importance"},
    "adapters": {"adapter_rank": 2},
    "no state": {"state": False, "modulation": False},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_encode_and_decode_agree(tmp_path: Path, variant: str) -> None:
    mechanisms = replace(WHOLE_SMALL.mechanisms, **VARIANTS[variant])
    config = replace(WHOLE_SMALL, mechanisms=mechanisms)
    bundle = load_bundle(write_small_model(tmp_path / "m.safetensors", config=config))
    session = record(tmp_path / "s.mcap", frames=13)
    file = tmp_path / "s.relive"
    report = encode(session, file, model=bundle, keyframe_interval=8)
    with Replay.open(file, bundle) as replay:
        full = replay.frames(0, 13)
    with Session.open(session) as original:
        squares = np.square(original.frames(0, 13).astype(float) - full).mean()
    assert report.psnr_db == pytest.approx(10 * np.log10(255**2 / squares), abs=1e-6)
    for start, stop in ((11, 13), (3, 4), (7, 9), (0, 2)):
        with Replay.open(file, bundle) as replay:
            assert np.array_equal(replay.frames(start, stop), full[start:stop]), (start, stop)
