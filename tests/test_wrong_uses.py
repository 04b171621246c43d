"""A wrong use gets its exit code and one line that says what and where; nothing else changes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from relive.cli import run
from wrong_uses import WRONG_USES, WrongUse, prepare

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("wrong"))


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in a folder but what a damaged replay leaves on purpose."""
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "ok.mkv"
    }


@pytest.mark.parametrize("wrong", WRONG_USES, ids=lambda wrong: wrong.command)
def test_one_line_and_nothing_changed(
    wrong: WrongUse,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    before = contents(folder)
    assert run(wrong.args) == wrong.code
    line = capsys.readouterr().err
    assert line.startswith("relive: ")
    assert line.count("\n") == 1
    assert not [word for word in wrong.says if word not in line], line
    assert contents(folder) == before
    assert (folder / "full.mkv").is_symlink()


def test_no_two_uses_are_the_same() -> None:
    commands = [wrong.command for wrong in WRONG_USES]
    assert len(set(commands)) == len(commands)


def test_the_page_is_fresh(folder: Path) -> None:
    from list_wrong_uses import PAGE, page

    assert PAGE.read_text(encoding="utf-8") == page(folder), "run: python tools/list_wrong_uses.py"


BUFFERED = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}


def start(folder: Path, *args: str, **streams: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "relive", *args]
    return subprocess.Popen(command, cwd=folder, env=BUFFERED, stderr=subprocess.PIPE, **streams)


def test_a_closed_pipe(folder: Path) -> None:
    with start(folder, "info", "s.relive", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        line = process.stderr.read().decode()
    assert process.returncode == 1
    assert line == "relive: nobody reads standard output any more\n"


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_no_space_for_the_answer(folder: Path) -> None:
    with (
        Path("/dev/full").open("wb") as full,
        start(folder, "info", "s.relive", stdout=full.fileno()) as process,
    ):
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.decode().count("\n") == 1
    assert "no space left" in err.decode()


def test_an_interrupted_clip_leaves_nothing(folder: Path) -> None:
    args = ["export", "s.relive", "-o", "big.gif", "--scale", "8", "--model", "m.safetensors"]
    with start(folder, *args) as process:
        end = time.monotonic() + 60
        while process.poll() is None and not list(folder.glob("big*")):
            assert time.monotonic() < end
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    left = [path.name for path in folder.glob("big*")]
    assert (process.returncode, left) in ((130, []), (0, ["big.gif"]))  # 0: it was done before
    assert err.decode().count("\n") == (process.returncode != 0)
    (folder / "big.gif").unlink(missing_ok=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_permission_denied(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    locked = folder / "locked"
    locked.mkdir(mode=0o500)
    assert run(["export", str(folder / "s.relive"), "-o", str(locked / "x.relive")]) in (1, 2)
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "Permission denied" in line
    assert "x.relive" in line
