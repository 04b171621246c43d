"""The GPU recipe: pieces come together again or are refused; its settings are right."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from relive.errors import InputError
from relive.session.batch_spec import read_batch
from relive.train.settings import Phase, read_settings

ROOT = Path(__file__).parents[1]
PIECE = 1000


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module(name)


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load("gpu_pieces", monkeypatch)
    monkeypatch.setattr(module, "PIECE_BYTES", PIECE)
    return module


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("gpu_steps", monkeypatch)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    sizes = {"a.safetensors": 3500, "b.json": 10, "whole.bin": 2 * PIECE, "empty": 0}
    paths = [tmp_path / name for name in sizes]
    for number, (path, size) in enumerate(zip(paths, sizes.values(), strict=True)):
        path.write_bytes(bytes((number + i * i) % 251 for i in range(size)))
    return paths


def test_pieces_come_together_again(pieces: ModuleType, files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "checkpoint-1"
    assert pieces.write_pieces(files, out) == 4 + 1 + 2
    assert max(path.stat().st_size for path in out.glob("*.0*")) == PIECE
    joined = pieces.join_pieces([out], tmp_path / "joined")
    assert [path.read_bytes() for path in joined] == [path.read_bytes() for path in files]
    assert not [p for p in tmp_path.rglob("*") if p.name.endswith(".part")]


def test_pieces_come_in_parts(pieces: ModuleType, files: list[Path], tmp_path: Path) -> None:
    folders = [tmp_path / str(n) / "checkpoint-1" for n in range(3)]
    for number, folder in enumerate(folders):
        pieces.write_pieces(files, folder, slice(3 * number, 3 * number + 3))
    assert sum(len(list(folder.glob("*.0*"))) for folder in folders) == 7
    found = pieces.find_sets([folder.parent for folder in folders])
    assert found == folders
    joined = pieces.join_pieces(found, tmp_path / "joined")
    assert [path.read_bytes() for path in joined] == [path.read_bytes() for path in files]


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda out: (out / "a.safetensors.001").write_bytes(b"x" * PIECE), "is damaged"),
        (lambda out: (out / "a.safetensors.003").write_bytes(b""), "is damaged"),
        (lambda out: (out / "b.json.000").unlink(), "is missing"),
        (lambda out: (out / "SHA256SUMS").unlink(), "has no SHA256SUMS"),
        (lambda out: cut(out / "SHA256SUMS", 2), "is cut"),
    ],
)
def test_what_is_damaged_is_refused_in_one_line(
    pieces: ModuleType, files: list[Path], tmp_path: Path, harm, words: str
) -> None:
    out = tmp_path / "checkpoint-1"
    pieces.write_pieces(files, out)
    harm(out)
    with pytest.raises(InputError, match=words) as error:
        pieces.join_pieces([out], tmp_path / "joined")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "joined/b.json").exists()


def cut(path: Path, lines: int) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:lines]))


def test_a_set_that_is_not_whole_is_passed_over(
    pieces: ModuleType, files: list[Path], tmp_path: Path
) -> None:
    """A writer that was killed left pieces without a list."""
    pieces.write_pieces(files, tmp_path / "out/checkpoint-00000001")
    pieces.write_pieces(files, tmp_path / "out/checkpoint-00000002")
    (tmp_path / "out/checkpoint-00000002/SHA256SUMS").unlink()
    assert pieces.find_sets([tmp_path / "out"]) == [tmp_path / "out/checkpoint-00000001"]


def test_the_command_refuses_damaged_pieces(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "checkpoint-1"
    out.mkdir()
    (out / "a.000").write_bytes(b"a")
    (out / "SHA256SUMS").write_text(f"{'0' * 64}  a.000\n{'0' * 64}  a\n")
    command = [sys.executable, str(ROOT / "tools/train_small_on_gpu.py"), "--resume-from", str(out)]
    done = subprocess.run(
        [*command, "--work", str(tmp_path / "work")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "a.000 is damaged" in done.stderr


def test_updates_are_counted_by_phase(steps: ModuleType) -> None:
    log = [
        {"update": 0, "event": "phase", "detail": "a"},
        {"update": 20, "phase": "a", "updates_per_s": 2.0, "loader_wait_share": 0.1},
        {"update": 20, "event": "phase", "detail": "a"},  # went on
        {"update": 30, "event": "phase", "detail": "c"},
    ]
    rows = [{"name": n, "flops_per_update": 5.0, "frames_per_update": 8} for n in ("a", "c")]
    planned = {"phases": [rows[0], {"name": "b"}, rows[1]], "peak_flops_per_s": 100.0}
    a, c = steps._phases(log, planned, 37)
    assert (a["updates"], c["updates"]) == (30, 7)
    assert a["share_of_peak"] == pytest.approx(0.1)
    assert c["share_of_peak"] is None


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_the_recipes_hold_the_whole_schedule(name: str) -> None:
    settings = read_settings(ROOT / f"configs/{name}.toml")
    phases = settings.phase
    assert settings.model == name
    assert phases[0].masking is not None
    assert [phase.quantize for phase in phases[:3]] == [False, False, True]
    assert [phase.chain for phase in phases[2:6]] == [2, 4, 8, 16]
    assert phases[5].context_noise > 0
    assert phases[6].probability
    assert settings.loss_weights(phases[7])["rate"] > 0
    assert len({phase.name for phase in phases}) == len(phases) == 8


def test_what_is_recorded_on_the_spot_keeps_the_splits() -> None:
    """No map and no session of the test splits of the corpus is learned from."""
    spot, corpus = (read_batch(ROOT / f"configs/{n}.toml") for n in ("corpus-gpu", "corpus"))
    assert {take.split for take in spot} == {"train", "valid"}
    unknown = {take.game for take in corpus if take.split.endswith("_unknown")}
    assert not unknown & {take.game for take in spot}
    sessions = {(take.game, take.play.seed) for take in corpus}
    assert not sessions & {(take.game, take.play.seed) for take in spot}


def test_minutes_follow_the_budget(steps: ModuleType, tmp_path: Path) -> None:
    phases = [{"name": "a", "minutes": 3, "batch": 64}, {"name": "p", "probability": True}]
    scaled = steps.scaled({"phase": phases}, steps.Place(tmp_path), "tiny", 10.0)
    assert scaled["phase"][0]["minutes"] == pytest.approx(6.8)
    assert "minutes" not in scaled["phase"][1]
    assert json.dumps(phases) == json.dumps(
        [{"name": "a", "minutes": 3, "batch": 64}, {"name": "p", "probability": True}]
    )


def test_a_batch_that_does_not_fit_is_halved(
    steps: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairs an update stay the same; the GPU's refusal is played."""
    settings = read_settings(ROOT / "configs/small.toml")

    class Fake:
        progress = SimpleNamespace(phase=0)
        stepper = SimpleNamespace(optimizer=SimpleNamespace(zero_grad=lambda set_to_none: None))

        @property
        def phase(self) -> Phase:
            return self.settings.phase[self.progress.phase]

    def count(run: Fake, number: int) -> dict[str, int]:
        if run.phase.batch > 50:
            raise torch.OutOfMemoryError("played")
        return {"accumulate": run.phase.accumulate}

    run = Fake()
    run.settings = settings
    monkeypatch.setattr(steps, "_count", count)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    row = steps._probe_phase(run, 1)
    assert row == {"name": "autoencoder", "batch": 48, "accumulate": 4}
    assert run.settings.phase[1].batch == 48
    assert run.settings.phase[2] == settings.phase[2]
    assert steps._probe_phase(run, 6) == {"name": "probability"}
