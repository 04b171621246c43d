"""The model in the package, on a real game session: it loads, fits its limits, and codes."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from relive.codec import Replay, encode, load_bundle
from relive.codec.bundle import bundled_path
from relive.session import Session
from relive.session.sources.doom import record_doom

MAX_BYTES, MAX_PARAMETERS = 12 * 2**20, 6_000_000


@pytest.fixture(name="session", scope="module")
def _session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("doom") / "s.mcap"
    record_doom("doom:freedoom2/map02", path, seconds=1.3, seed=4711)
    return path


def test_it_keeps_its_limits_and_names_itself_by_its_bytes() -> None:
    bundle, path = load_bundle(), bundled_path()
    assert path.stat().st_size <= MAX_BYTES
    assert sum(p.numel() for p in bundle.model.parameters()) <= MAX_PARAMETERS
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(bundle.model_id)


def test_a_real_session_is_small_and_recognisable(session: Path, tmp_path: Path) -> None:
    report = encode(session, tmp_path / "s.relive", quality=5)
    assert report.bits_per_pixel < 0.12  # of which much is the header of so short a file
    assert report.psnr_db > 22
    with Replay.open(tmp_path / "s.relive") as replay, Session.open(session) as original:
        assert np.array_equal(replay.frames(7, 9), replay.frames(0, 12)[7:9])
        assert np.allclose(replay.states[:, 3], original.states[:, 3], atol=0.003)


def test_a_true_camera_beats_a_false_one(session: Path, tmp_path: Path) -> None:
    """The pose is used: with the states reversed in time the same frames look worse."""
    from relive.session import Recorder

    with (
        Session.open(session) as original,
        Recorder(tmp_path / "lie.mcap", original.schema) as recorder,
    ):
        for i in range(original.num_frames):
            state = original.states[original.num_frames - 1 - i].copy()
            recorder.add(original.frame(i), state, int(original.times_ns[i]))
    truth = encode(session, tmp_path / "t.relive", depth=2)
    lie = encode(tmp_path / "lie.mcap", tmp_path / "l.relive", depth=2)
    assert truth.psnr_db > lie.psnr_db
