"""Encoding in processes: the same bytes, and none is left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import relive
from relive.codec.crew import GOPS_WORTH_IT, MOST, processes_for
from relive.errors import ReliveError
from relive.session.processes import cores
from short_replay import write_short

SCRIPT = """
import multiprocessing, sys
import relive

def tell(done, total):
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    sys.stdin.read()

if __name__ == "__main__":
    relive.encode(
        "s.mcap", "x.relive", model="m.safetensors", keyframe_interval=8, processes=2, progress=tell
    )
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_short(tmp_path_factory.mktemp("crew"))


def encode(folder: Path, name: str, **more: object) -> bytes:
    """Encode the short session in five GOPs."""
    relive.encode(
        folder / "s.mcap",
        folder / name,
        model=folder / "m.safetensors",
        keyframe_interval=8,
        **more,
    )
    return (folder / name).read_bytes()


def test_processes_write_what_threads_write(folder: Path) -> None:
    assert encode(folder, "two.relive", processes=2) == encode(folder, "one.relive")
    assert not multiprocessing.active_children()


def test_a_process_that_dies_ends_the_encoding_with_a_line(folder: Path) -> None:
    def kill(_done: int, _total: int) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    with pytest.raises(ReliveError, match="a process that encoded has ended"):
        encode(folder, "killed.relive", processes=2, progress=kill)


def test_processes_end_with_the_one_that_is_killed(folder: Path) -> None:
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(children) == 2
    deadline = time.monotonic() + 20
    while any(map(_is_alive, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_is_alive, children))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIG_DFL)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
    except (OSError, FileNotFoundError):
        return False
    return state != "Z"


def test_short_sessions_have_threads() -> None:
    assert processes_for(2 * 32 * GOPS_WORTH_IT - 33, 32) == 1
    assert processes_for(10**6, 32) == min(cores(), MOST)
