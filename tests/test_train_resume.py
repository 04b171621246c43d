"""Training that stops: killed, with a damaged checkpoint, on a full disk; and goes on."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from relive.errors import InputError
from relive.train import checkpoint
from relive.train.run import train
from relive.train.settings import TrainSettings
from small_model import SMALL, WHOLE_SMALL, small_weights
from test_codec import record
from test_train import PHASE, Settings, _settings, newest, settings_in  # noqa: F401  a fixture


def different(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> list[str]:
    """Names of what is not the same in both, bit for bit."""
    return sorted(
        {k for k in a.keys() & b.keys() if not torch.equal(a[k], b[k])} | (a.keys() ^ b.keys())
    )


class _StopAt:
    """Ask a run to end as a scheduler does, after some lines or updates."""

    def __init__(self, update: int) -> None:
        self.update, self.seen = update, 0

    def __call__(self, *_: object) -> None:
        self.seen += 1
        if self.seen == self.update:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainSettings, Path]:
    """Settings, and a run by them.

    Sessions of two sizes, and two batches an update, so that several streams are on their way.
    """
    folder = tmp_path_factory.mktemp("never")
    settings = settings_in(folder)
    record(folder / "data/a-wide.mcap", frames=40, size=(64, 96), game="another")
    phases = [phase.model_dump() for phase in settings().phase]
    phases[1]["accumulate"] = 2
    whole = settings(out=folder / "whole", phase=phases)
    return whole, train(whole, begin=small_weights(WHOLE_SMALL))


@pytest.mark.parametrize("at", [3, 11, 15])
def test_killed_and_resumed_is_never_killed(
    never_killed: tuple[TrainSettings, Path],
    tmp_path: Path,
    at: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bit for bit: weights, averages, codebooks, optimisers, chains, masks; in every phase."""
    settings, whole = never_killed
    stop = _StopAt(at)
    watched = "relive.train.watch.Watch.after"
    from relive.train.watch import Watch

    plain = Watch.after

    def after(self: Watch, *arguments: object) -> None:
        plain(self, *arguments)  # type: ignore[arg-type]
        stop()

    monkeypatch.setattr(watched, after)
    broken = settings.model_copy(update={"out": tmp_path / "broken"})
    with pytest.raises(KeyboardInterrupt, match="resume"):
        train(broken, begin=small_weights(WHOLE_SMALL))
    done = checkpoint.read_progress(tmp_path / "broken")["update"]
    assert at <= done <= at + 1  # the signal is seen at the end of an update
    lefts = [name for name in newest(tmp_path / "broken") if name.startswith("left.")]
    streams = {name.split(".")[1] for name in lefts}
    assert streams == {"0", "1"} or at == 15  # by then the last phase had one update
    train(broken, resume=tmp_path / "broken")
    assert different(newest(whole), newest(tmp_path / "broken")) == []


def test_a_run_goes_on_with_its_sessions_only(settings: Settings, tmp_path: Path) -> None:
    phase = ({**PHASE, "name": "a", "updates": 1},)
    run = train(settings(phase=phase), begin=small_weights(SMALL))
    longer = settings(phase=(*phase, {**phase[0], "name": "b"}))
    (tmp_path / "data").rename(tmp_path / "moved")  # the same sessions elsewhere are no matter
    moved = longer.model_copy(update={"data": tmp_path / "moved"})
    record(tmp_path / "moved/a2.mcap", frames=40, size=(64, 80))
    with pytest.raises(InputError, match=r"learns from 40 frames of 1 sessions.*with a2"):
        train(moved, resume=run)
    (tmp_path / "moved/a2.mcap").unlink()
    train(moved, resume=run)
    assert checkpoint.read(run).progress.update == 2


def test_workers_read_the_same(settings: Settings, tmp_path: Path) -> None:
    phase = ({**PHASE, "name": "a", "updates": 3},)
    runs = [
        train(settings(out=tmp_path / f"w{n}", workers=n, phase=phase), begin=small_weights(SMALL))
        for n in (0, 2)
    ]
    assert different(newest(runs[0]), newest(runs[1])) == []


def test_a_damaged_checkpoint_is_passed_over(settings: Settings, tmp_path: Path) -> None:
    phase = ({**PHASE, "name": "a", "updates": 5},)
    short = settings(phase=phase, checkpoint_minutes=1e-6, keep_checkpoints=2)
    run = train(short, begin=small_weights(SMALL))
    paths = checkpoint.numbered(run)
    assert len(paths) == 2
    paths[-1].write_bytes(paths[-1].read_bytes()[:5000])
    assert checkpoint.read(run).progress.update == int(paths[0].stem)
    paths[0].write_bytes(b"")
    with pytest.raises(InputError, match=paths[0].name):
        checkpoint.read(run)


FULL_DISK = """
import resource, sys
from pathlib import Path
from relive.train import watch
from relive.train.run import train
from relive.train.settings import check_settings, read_json
from small_model import SMALL, small_weights
watch.LOG_SECONDS = 1e9  # a slow machine would report, and reach the limit, sooner
settings = check_settings(read_json(Path(sys.argv[1])), "test")
def report(share, line):
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
train(settings, report=report, begin=small_weights(SMALL))
"""


def test_a_full_disk_leaves_the_last_checkpoint_whole(settings: Settings, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the full disk: a write fails half-way."""
    phase = ({**PHASE, "name": "a", "updates": 60},)
    plain = settings(phase=phase, checkpoint_minutes=1e-6).model_dump_json()
    (tmp_path / "s.json").write_text(plain)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "s.json")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    assert done.returncode == 1
    assert "no space left for a checkpoint" in done.stderr.splitlines()[-1]
    assert (
        checkpoint.read(tmp_path / "run").progress.update == 19
    )  # the limit falls before 20 is written
    assert not list((tmp_path / "run").rglob("*.part"))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
