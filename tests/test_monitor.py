"""What a run leaves to be looked at: lines, numbers in TensorBoard, picture sheets."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relive.train.monitor import Monitor, PictureRow, scalars
from relive.train.pictures import hide, turbo

SIDE = 32


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in (out / "log.jsonl").read_text().splitlines()]


def row(name: str = "map01", side: int = SIDE, **changes: Any) -> PictureRow:
    rng = np.random.default_rng(0)
    original = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    parts: dict[str, Any] = {
        "name": name,
        "original": original,
        "reconstruction": original // 2,
        "masked": rng.random((2, 2)) < 0.5,
        "inverse_depth": rng.random((2, 2)).astype(np.float32),
        "psnr_db": 12.5,
    }
    return PictureRow(**(parts | changes))


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read back what TensorBoard would show, as it would show it after a resume."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return {
        tag: [(event.step, event.value) for event in read.Scalars(tag)]
        for tag in read.Tags()["scalars"]
    }


def test_lines_are_appended_and_what_is_not_finite_is_null(tmp_path: Path) -> None:
    with Monitor(tmp_path / "run", tensorboard=False) as monitor:
        monitor.line({"update": 20, "loss": float("nan"), "weights": {"rate": np.float32(0.5)}})
        monitor.line({"update": 40, "loss": 1.5, "phase": "größer"})
    first, second = lines(tmp_path / "run")
    assert first == {"update": 20, "loss": None, "weights": {"rate": 0.5}}
    assert second == {"update": 40, "loss": 1.5, "phase": "größer"}


def test_half_a_line_of_a_killed_run_does_not_swallow_the_next(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"update": 20}\n{"upda')
    Monitor(tmp_path, tensorboard=False).line({"update": 40})
    rows = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(rows[0]), json.loads(rows[2])] == [{"update": 20}, {"update": 40}]


def test_truncation_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, tensorboard=False)
    for update in (20, 40, 60):
        monitor.line({"update": update, "minutes": update / 10})
        monitor.line({"minutes": update / 10, "valid": {"depth 3": [20.0]}})  # as of old
        monitor.pictures(update, [row()])
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"update": 6')
    monitor.truncate_after(40)
    assert [line["minutes"] for line in lines(tmp_path)] == [2, 2, 4, 4]
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["update-00000020.png", "update-00000040.png"]
    assert not list(tmp_path.glob(".*"))


def test_truncation_of_a_run_without_a_log_is_nothing(tmp_path: Path) -> None:
    Monitor(tmp_path, tensorboard=False).truncate_after(100)
    assert not (tmp_path / "log.jsonl").exists()


def test_numbers_get_tags_by_what_they_are() -> None:
    line = {
        "update": 20,
        "minutes": 1.5,
        "phase": "chain",
        "loss": 1.0,
        "spatial": 0.25,
        "psnr_delta_db": 25.0,
        "bits_per_cube": None,
        "skipped": 0,
        "new": 3,
        "learning_rate": math.inf,
        "weights": {"spatial": 0.3},
    }
    assert dict(scalars(line)) == {
        "loss/total": 1.0,
        "loss/spatial": 0.25,
        "psnr/delta_db": 25.0,
        "optimizer/skipped_updates": 0.0,
        "other/new": 3.0,
        "weight/spatial": 0.3,
    }


def test_curves_and_points_get_tags_too() -> None:
    curve = [20.0, 24.0, *([25.0] * 14)]
    found = dict(scalars({"update": 1, "valid": {"depth 3": curve}}))
    assert found["valid/depth_3/mean_db"] == pytest.approx(sum(curve) / 16)
    assert (found["valid/depth_3/step_01_db"], found["valid/depth_3/step_16_db"]) == (20, 25)
    point = {"depth": 5, "bits_per_pixel": 0.05, "psnr_db": 27.0}
    assert dict(scalars({"rd": [point], "split": "valid"})) == {
        "rd_valid/depth_5/bits_per_pixel": 0.05,
        "rd_valid/depth_5/psnr_db": 27.0,
    }


def test_tensorboard_shows_the_run_that_was_resumed(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with Monitor(tmp_path) as monitor:
        for update in (20, 40, 60):
            monitor.line({"update": update, "loss": float(update)})
        monitor.line({"update": 60, "event": "checkpoint", "detail": "whole"})
        monitor.pictures(60, [row()])
    with Monitor(tmp_path) as resumed:
        resumed.truncate_after(40)
        resumed.line({"update": 60, "loss": 7.0})
    assert events(tmp_path / "tensorboard")["loss/total"] == [(20, 20), (40, 40), (60, 7)]


def test_without_tensorboard_and_pillow_a_run_still_logs(tmp_path: Path) -> None:
    (tmp_path / "no.py").write_text(
        "import sys\n"
        "sys.modules['tensorboard'] = sys.modules['PIL'] = None\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from relive.train.monitor import Monitor, PictureRow\n"
        "picture = np.zeros((16, 16, 3), np.uint8)\n"
        "with Monitor(Path(sys.argv[1])) as monitor:\n"
        "    for update in (1, 2):\n"
        "        monitor.line({'update': update})\n"
        "        monitor.pictures(update, [PictureRow('a', picture, picture, None, None, 9.0)])\n"
    )
    command = [sys.executable, str(tmp_path / "no.py"), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [line["update"] for line in lines(tmp_path / "run")] == [1, 2]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["log.jsonl"]
    assert done.stderr.count("tensorboard is not installed") == 1
    assert done.stderr.count("pillow is not installed") == 1


def test_a_sheet_has_a_row_a_session_whatever_is_missing(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    rows = [row(), row("no camera", side=48, inverse_depth=None), row("no mask", masked=None)]
    Monitor(tmp_path, tensorboard=False).pictures(1234, rows)
    sheet = np.asarray(image.open(tmp_path / "pictures" / "update-00001234.png"))
    # the first original, enlarged ten times, stands whole in the first column
    corner = next(
        (y, x) for y in range(200) for x in (8,) if (sheet[y, x] == rows[0].original[0, 0]).all()
    )
    shown = sheet[corner[0] :: 10, corner[1] :: 10][:SIDE, :SIDE]
    assert np.array_equal(shown, rows[0].original)


def test_only_hidden_cubes_are_greyed() -> None:
    original = np.full((32, 48, 3), (200, 0, 0), np.uint8)
    masked = np.zeros((2, 3), np.bool_)
    masked[1, 2] = True
    changed = (hide(original, masked) != original).any(axis=2)
    assert changed[16:, 32:].all()
    assert changed.sum() == 256


def test_turbo_goes_from_blue_over_green_to_red() -> None:
    far, middle, near = turbo(np.array([[0.1, 0.5, 0.95]]))[0].argmax(axis=-1)
    assert (far, middle, near) == (2, 1, 0)
    assert np.array_equal(turbo(np.array([[-1.0, 2.0]])), turbo(np.array([[0.0, 1.0]])))


def test_depth_that_is_unknown_or_all_the_same_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    flat, unknown = np.ones((2, 2), np.float32), np.full((2, 2), np.nan, np.float32)
    rows = [row(inverse_depth=flat), row(inverse_depth=unknown)]
    Monitor(tmp_path, tensorboard=False).pictures(1, rows)
    assert (tmp_path / "pictures" / "update-00000001.png").stat().st_size > 0


def test_no_rows_are_no_sheet(tmp_path: Path) -> None:
    Monitor(tmp_path, tensorboard=False).pictures(1, [])
    assert not (tmp_path / "pictures").exists()
