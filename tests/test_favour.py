"""Encoding that favours the important regions of a session."""

from pathlib import Path

import numpy as np
import pytest

import relive
from relive.cli.run import run
from relive.codec.favour import cube_importance, favouring
from relive.enhancement.look_ahead import flat_plan
from relive.errors import InputError
from relive.session import Recorder, Region, RegionSchema, Session
from small_model import write_small_model

FRAMES, HEIGHT, WIDTH = 6, 48, 72
SCHEMA = RegionSchema((Region(1, "ground", "simple", 1), Region(2, "hud", "critical", 5)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("favour")
    rng = np.random.default_rng(1)
    maps = np.ones((HEIGHT, WIDTH), np.uint8)
    maps[:, 32:] = 2
    for name, schema in (("s", SCHEMA), ("plain", None)):
        with Recorder(path / f"{name}.mcap", regions=schema, force=True) as recorder:
            for n in range(FRAMES):
                cells = rng.integers(30, 200, (HEIGHT // 4, WIDTH // 4, 3), dtype=np.uint8)
                grain = rng.integers(0, 50, (HEIGHT, WIDTH, 3), dtype=np.uint8)
                frame = cells.repeat(4, 0).repeat(4, 1) + grain  # no palette holds it
                recorder.add(frame, [], n * 28_571_428, None if schema is None else maps)
    write_small_model(path / "m.safetensors")
    return path


def encoded(folder: Path, favour: float) -> tuple[bytes, np.ndarray]:
    """Bytes of a replay, and its squared errors by column of pixels."""
    out, model = folder / "x.relive", folder / "m.safetensors"
    settings = {"quality": 4, "preset": "fast", "force": True}
    relive.encode(folder / "s.mcap", out, model=model, favour=favour, **settings)
    with Session.open(folder / "s.mcap") as session, relive.Replay.open(out, model) as replay:
        seen = np.stack([replay.frame(n) for n in range(FRAMES)]).astype(float)
        return out.read_bytes(), np.square(seen - session[:FRAMES]).mean((0, 1, 3))


def test_importance_is_that_of_the_pixels_of_a_cube(folder: Path) -> None:
    with Session.open(folder / "s.mcap") as session:
        worth = cube_importance(session, 0, 2)
    assert worth is not None
    assert worth.shape == (2, 3, 5)  # the last column of cubes is half beyond the edge
    np.testing.assert_array_equal(worth[0], [[0, 0, 1, 1, 1]] * 3)


def test_the_mean_step_of_a_frame_stays() -> None:
    plan, worth = flat_plan(30, 1, 2, 2), np.array([[[0, 0], [1, 1]]], np.float32)
    offsets = favouring(plan, worth, 8.0).offsets
    np.testing.assert_array_equal(offsets[0], [[2, 2], [-2, -2]])
    assert favouring(plan, worth, 0.0) is plan
    assert favouring(plan, None, 8.0) is plan


def test_what_matters_is_finer_and_the_rest_is_coarser(folder: Path) -> None:
    _, plain = encoded(folder, 0.0)
    _, favoured = encoded(folder, 8.0)
    assert favoured[32:].mean() < 0.7 * plain[32:].mean()
    assert favoured[:32].mean() > plain[:32].mean()


def test_sessions_without_regions_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = folder / "m.safetensors"
    with pytest.raises(InputError, match=r"no regions.*relive regions"):
        relive.encode(folder / "plain.mcap", folder / "y.relive", model=model, favour=3.0)
    with pytest.raises(InputError, match="not between"):
        relive.encode(folder / "s.mcap", folder / "y.relive", model=model, favour=13.0)
    assert not (folder / "y.relive").exists()
    words = ["encode", "--batch", str(folder), "-o", str(folder / "out"), "--favour", "3"]
    assert run(words) == 2
    assert "--favour" in capsys.readouterr().err
