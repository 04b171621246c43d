"""Encode, decode, info, compare and verify through the command line, with a small random model."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from relive.cli import run
from relive.codec import save_bundle
from relive.config import ModelConfig, QuantizerConfig
from relive.container import ReplayReader
from relive.model.hst_mae import HSTMAE
from relive.quantizer.rvq import ResidualVQ
from relive.session import Recorder, Session, StateField, StateSchema

Capsys = pytest.CaptureFixture[str]
SCHEMA = StateSchema((StateField("health", unit="hp", step=1.0),))
FRAMES, WIDTH, HEIGHT = 20, 48, 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording with one missing frame, a random model, and a replay made with it."""
    folder = tmp_path_factory.mktemp("codec")
    rng = np.random.default_rng(2)
    picture = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    with Recorder(folder / "s.mcap", SCHEMA, game="test") as recorder:
        for n in range(FRAMES):
            frame = None if n == 7 else np.roll(picture, n, axis=1)
            recorder.add(frame, np.array([100 - n], np.float32), n * 40_000_000)
        recorder.event("end", "", FRAMES * 40_000_000)
    torch.manual_seed(0)
    config = ModelConfig(quantizer=QuantizerConfig(num_quantizers=2, codebook_size=16))
    save_bundle(folder / "m.safetensors", HSTMAE(config), ResidualVQ(config.quantizer))
    args = ["encode", "s.mcap", "-o", "s.relive", "--keyframe-interval", "8"]
    assert relive(folder, *args, "--model", "m.safetensors") == 0
    return folder


def relive(folder: Path, *args: str) -> int:
    """Run a command line as if from inside the folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        return run(args)
    finally:
        os.chdir(before)


def test_encode_reports_the_promised_keys(folder: Path, capsys: Capsys) -> None:
    args = ["encode", "s.mcap", "-o", "again.relive", "--model", "m.safetensors", "--json"]
    assert relive(folder, *args, "--force") == 0
    values = json.loads(capsys.readouterr().out)
    keys = {"frames", "bytes", "bits_per_pixel", "psnr_db", "encode_fps", "parts"}
    assert keys <= values.keys()
    size = (folder / "again.relive").stat().st_size
    assert values["bytes"] == size == sum(values["parts"].values())
    assert values["bits_per_pixel"] == pytest.approx(8 * size / (FRAMES * WIDTH * HEIGHT))


def test_info_says_the_same_of_session_and_replay(folder: Path, capsys: Capsys) -> None:
    described = {}
    for name in ("s.mcap", "s.relive"):
        assert relive(folder, "info", name, "--json") == 0
        described[name] = json.loads(capsys.readouterr().out)
    session, replay = described["s.mcap"], described["s.relive"]
    assert session.keys() == replay.keys()
    same = ("frames", "width", "height", "fps", "duration_s", "state_fields", "game", "damaged")
    assert {key: session[key] for key in same} == {key: replay[key] for key in same}
    assert (session["kind"], replay["kind"]) == ("session", "replay")
    assert (session["model_id"], session["preset"]) == (None, None)
    assert replay["model_id"]
    assert replay["preset"] == "medium"


def test_info_of_a_replay_loads_no_torch(folder: Path) -> None:
    code = (
        "import sys; from relive.cli import run; run(['info', 's.relive']); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=folder, check=False).returncode == 0


def test_decode_into_everything(folder: Path, capsys: Capsys) -> None:
    for out in ("d.mkv", "d.mp4", "d.mcap", "pictures"):
        assert relive(folder, "decode", "s.relive", "-o", out, "--model", "m.safetensors") == 0
        assert (folder / out).exists()
    assert capsys.readouterr().err == ""
    assert len(list((folder / "pictures").glob("*.png"))) == FRAMES - 1
    with Session.open(folder / "s.mcap") as session, Session.open(folder / "d.mcap") as decoded:
        assert np.array_equal(decoded.states, session.states)
        assert np.array_equal(decoded.times_ns, session.times_ns)
        assert np.array_equal(decoded.present, session.present)
        assert [e.name for e in decoded.events] == [e.name for e in session.events]
        assert decoded.events[-1].name == "end"


def test_decode_to_stdout_is_raw_rgb(folder: Path) -> None:
    command = [sys.executable, "-m", "relive", "decode", "s.relive", "-o", "-"]
    options = ["--model", "m.safetensors", "--start", "0.4"]
    done = subprocess.run([*command, *options], cwd=folder, capture_output=True, check=True)
    assert len(done.stdout) == 10 * WIDTH * HEIGHT * 3
    assert done.stderr.decode() == "decoded 10 frames\n"


def test_compare_and_verify(folder: Path, capsys: Capsys) -> None:
    args = ["compare", "s.mcap", "s.relive", "--model", "m.safetensors"]
    assert relive(folder, *args, "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["frames"] == FRAMES - 1
    keys = {"psnr_db", "psnr_y_db", "ssim", "ms_ssim", "flip", "bits_per_second", "decode_fps"}
    assert keys | {"bits_per_pixel", "compression_ratio", "worst_frames"} <= values.keys()
    assert relive(folder, "verify", "s.relive") == 0
    assert "a whole replay" in capsys.readouterr().out


def test_another_model_is_code_4(folder: Path, capsys: Capsys) -> None:
    config = ModelConfig(quantizer=QuantizerConfig(num_quantizers=2, codebook_size=16))
    save_bundle(folder / "other.safetensors", HSTMAE(config), ResidualVQ(config.quantizer))
    for model in ("other.safetensors", "nowhere.safetensors"):
        for args in (["decode", "s.relive", "-o", "x.mkv"], ["compare", "s.mcap", "s.relive"]):
            assert relive(folder, *args, "--model", model) == 4
            out, err = capsys.readouterr()
            assert (out, err.count("\n")) == ("", 1)
    assert not list(folder.glob("x*.mkv"))


def test_a_damaged_replay_gives_what_is_whole(folder: Path, capsys: Capsys) -> None:
    data = (folder / "s.relive").read_bytes()
    (folder / "cut.relive").write_bytes(data[: len(data) // 2])
    assert relive(folder, "info", "cut.relive", "--json") == 0
    assert json.loads(capsys.readouterr().out)["damaged"] is True
    assert relive(folder, "verify", "cut.relive") == 3
    assert capsys.readouterr().err.count("\n") == 1
    assert relive(folder, "repair", "cut.relive", "-o", "fixed.relive") == 3
    assert relive(folder, "verify", "fixed.relive") == 0
    capsys.readouterr()
    args = ["decode", "cut.relive", "-o", "cut.mcap", "--model", "m.safetensors"]
    assert relive(folder, *args) == 3
    assert capsys.readouterr().err.count("\n") == 1
    args = ["compare", "s.mcap", "cut.relive", "--model", "m.safetensors", "--json"]
    assert relive(folder, *args) == 3
    assert json.loads(capsys.readouterr().out)["damaged"] is True
    with Session.open(folder / "cut.mcap") as decoded:
        assert 0 < len(decoded) < FRAMES


@pytest.mark.parametrize(
    "options",
    [
        ["encode", "s.mcap", "-o", "y.relive", "--keyframe-interval", "7"],
        ["encode", "s.mcap", "-o", "y.relive", "--depth", "9"],
        ["encode", "s.relive", "-o", "y.relive"],
        ["encode", "s.mcap", "-o", "no/such/folder/y.relive"],
        ["decode", "s.relive", "-o", "y.txt"],
        ["decode", "s.relive", "-o", "no/such/folder/y.mkv"],
        ["decode", "s.relive", "-o", "y.mkv", "--start", "99"],
        ["decode", "s.relive", "-o", "y.mkv", "--start", "0.4", "--end", "0.4"],
        ["decode", "m.safetensors", "-o", "y.mkv"],
    ],
    ids=" ".join,
)
def test_wrong_settings_are_code_2(folder: Path, capsys: Capsys, options: list[str]) -> None:
    assert relive(folder, *options, "--model", "m.safetensors") == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert not list(folder.glob("y*"))


def test_a_model_that_is_none_is_refused(folder: Path, capsys: Capsys) -> None:
    args = ["encode", "s.mcap", "-o", "z.relive", "--model", "s.mcap"]
    assert relive(folder, *args) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (folder / "z.relive").exists()


def test_existing_outputs_are_kept(folder: Path, capsys: Capsys) -> None:
    mine = folder / "mine.mkv"
    mine.write_text("mine")
    assert relive(folder, "decode", "s.relive", "-o", "mine.mkv", "--model", "m.safetensors") == 2
    assert "--force" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    (folder / "album").mkdir()
    (folder / "album" / "letter.txt").write_text("mine")
    args = ["decode", "s.relive", "-o", "album", "--model", "m.safetensors", "--force"]
    assert relive(folder, *args) == 2
    assert (folder / "album" / "letter.txt").read_text() == "mine"


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_no_space_left_on_stdout(folder: Path) -> None:
    command = [sys.executable, "-m", "relive", "decode", "s.relive", "-o", "-"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*command, "--model", "m.safetensors"],
            cwd=folder,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.decode().count("\n") == 1
    assert "no space left" in done.stderr.decode()


def test_ctrl_c_leaves_a_readable_replay(folder: Path) -> None:
    args = ["encode", "s.mcap", "-o", "stop.relive", "--keyframe-interval", "2"]
    command = [sys.executable, "-m", "relive", *args, "--model", "m.safetensors"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 60
        out = folder / "stop.relive"
        while process.poll() is None and not (out.exists() and out.stat().st_size > 1500):
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode in (130, 0)  # 0 if it was done before the signal came
    assert err.decode().count("\n") == (process.returncode != 0)
    with ReplayReader.open(out) as reader:
        assert reader.gops


def test_export_keeps_the_codes(folder: Path, capsys: Capsys) -> None:
    args = ["export", "s.relive", "-o", "codes.relive"]
    assert relive(folder, *args, "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["bytes"] == (folder / "codes.relive").stat().st_size < values["bytes_before"]
    assert relive(folder, "info", "codes.relive", "--json") == 0
    assert json.loads(capsys.readouterr().out)["tiers"] == 1
    model = ["--model", "m.safetensors"]
    assert relive(folder, "decode", "codes.relive", "-o", "codes.mcap", *model) == 0
    cut = ["decode", "s.relive", "-o", "first.mcap", "--quality", "1", *model]
    assert relive(folder, *cut) == 0
    with (
        Session.open(folder / "codes.mcap") as one,
        Session.open(folder / "first.mcap") as other,
    ):
        assert np.array_equal(one.frames(0, FRAMES), other.frames(0, FRAMES))
    capsys.readouterr()
    for wrong, said in (
        (args, "exists"),
        (["export", "s.relive", "-o", "s.relive", "--force"], "itself"),
        (["export", "s.mcap", "-o", "x.relive"], "recording"),
        (["export", "nothing.relive", "-o", "x.relive"], "nothing.relive"),
    ):
        assert relive(folder, *wrong) == 2
        line = capsys.readouterr().err
        assert said in line
        assert line.count("\n") == 1
    assert not (folder / "x.relive").exists()
