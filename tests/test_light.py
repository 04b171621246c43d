"""Deltas without codes: left to the enhancement layer, and light ones, which run no network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from relive.codec import Bundle, Replay, encode
from relive.codec.effort import PRESETS, Effort
from relive.codec.gop import encode_gop
from relive.codec.rate import Setting
from relive.codec.step import Geometry, StepCoder
from relive.codec.track import gop_track
from relive.enhancement.vectors import VectorSearch
from relive.session import Session
from test_codec import _bundle, record  # noqa: F401  a fixture


def test_a_settled_delta_gets_no_codes_where_the_layer_can_take_over(
    tmp_path: Path, bundle: Bundle
) -> None:
    with Session.open(record(tmp_path / "s.mcap")) as session:
        coder = StepCoder(bundle, session.schema, Geometry(56, 40))
        frames, track = session.frames(0, 8), gop_track(session, 0, 8)

    def depths(skip_error: float, step: int | None) -> NDArray[np.uint8]:
        effort = Effort(VectorSearch(), skip_error=skip_error)
        with torch.inference_mode():
            return encode_gop(coder, frames, track, Setting(1e-3, step), effort=effort).codes.depths

    assert depths(0.0, 30)[1:].any()
    assert depths(1e9, 30)[0].any()
    assert not depths(1e9, 30)[1:].any()
    assert np.array_equal(depths(1e9, None), depths(0.0, None))


def test_light_deltas_run_no_network_and_show_what_the_encoder_saw(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = record(tmp_path / "s.mcap")
    monkeypatch.setitem(PRESETS, "fast", replace(PRESETS["fast"], skip_error=1e9))
    report = encode(session, tmp_path / "s.relive", model=bundle, preset="fast")
    ran: list[int] = []
    forward = bundle.model.decoder.forward
    monkeypatch.setattr(
        bundle.model.decoder, "forward", lambda *given: ran.append(1) or forward(*given)
    )
    with Replay.open(tmp_path / "s.relive", bundle) as replay, Session.open(session) as original:
        assert (replay.header.version, replay.header.light) == ("1.7", True)
        squares = np.square(original.frames(0, 21).astype(float) - replay.frames(0, 21)).mean()
        assert np.array_equal(replay.frames(7, 8), replay.frames(0, 21)[7:8])
    assert report.psnr_db == pytest.approx(10 * np.log10(255**2 / squares), abs=1e-6)
    assert 1 <= len(ran) <= 3  # the keyframe, each time that it was decoded


def test_a_delta_that_needs_codes_is_not_light(tmp_path: Path, bundle: Bundle) -> None:
    with Session.open(record(tmp_path / "s.mcap")) as session, torch.inference_mode():
        coder = StepCoder(bundle, session.schema, Geometry(56, 40), light=True)
        frames, track = session.frames(0, 8), gop_track(session, 0, 8)
        made = encode_gop(coder, frames, track, Setting(1e-3, 30), effort=Effort(VectorSearch()))
    assert made.codes.depths[1:].any()
