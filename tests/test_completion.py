"""What the shells offer after TAB, asked as their scripts ask."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from relive.cli import completing, run
from relive.codec.effort import PRESETS

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a.mcap", "b.mcap", "b.relive", "model.safetensors", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "c.mcap").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(
    monkeypatch: pytest.MonkeyPatch, capsys: Capsys, shell: str, *words: str
) -> tuple[int, list[str]]:
    """Complete the last of some words."""
    monkeypatch.setenv("_RELIVE_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", "\n".join(["relive", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", " ".join(["relive", *words]))
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    code = run([])
    out, err = capsys.readouterr()
    assert err == ""
    return code, out.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["enc"], ["encode"]),
        (["encode", ""], ["a.mcap", "b.mcap", "corpus/"]),
        (["encode", "corpus/"], ["corpus/c.mcap"]),
        (["encode", "cor"], []),  # the shell completes a lone folder itself
        (["decode", "b"], ["b.relive"]),
        (["info", "b"], ["b.mcap", "b.relive"]),
        (["encode", "a.mcap", "--preset", ""], ["fast", "medium", "slow"]),
        (["encode", "a.mcap", "--model", "m"], ["model.safetensors"]),
        (["record", "cr"], ["crafter:"]),
        (["info", "nowhere/"], []),
    ],
)
def test_values(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capsys,
    words: list[str],
    offered: list[str],
) -> None:
    assert asked(monkeypatch, capsys, "bash", *words) == (0, offered)


def test_the_presets_are_those_of_the_codec() -> None:
    assert tuple(PRESETS) == completing.PRESETS


def test_options_of_a_verb(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys) -> None:
    _, offered = asked(monkeypatch, capsys, "bash", "encode", "--p")
    assert offered == ["--psnr", "--preset"]


def test_games_behind_a_colon(monkeypatch: pytest.MonkeyPatch, capsys: Capsys) -> None:
    pytest.importorskip("vizdoom")
    _, offered = asked(monkeypatch, capsys, "bash", "record", "doom", ":", "freedoom2/map0")
    assert offered == [f"freedoom2/map0{n}" for n in range(1, 10)]
    _, offered = asked(monkeypatch, capsys, "bash", "record", "doom", ":")
    assert "deathmatch" in offered
    _, offered = asked(monkeypatch, capsys, "fish", "record", "doom:dea")
    assert "doom:deathmatch" in offered


def test_zsh_and_fish_get_their_form(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    _, offered = asked(monkeypatch, capsys, "zsh", "decode", "b")
    assert offered == ["_arguments", "'*:", ':(("b.relive"))\'']
    assert asked(monkeypatch, capsys, "fish", "decode", "b") == (0, ["b.relive"])
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "is-args")
    assert asked(monkeypatch, capsys, "zsh", "decode", "nothing")[1] == ["_files"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_installs_and_completes(folder: Path) -> None:
    """A real bash: install, source, press TAB."""
    home = folder / "home"
    home.mkdir()
    shim = home / "relive"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m relive "$@"\n')
    shim.chmod(0o755)
    script = """
set -e
relive --install-completion > /dev/null
. ~/.bash_completions/relive.sh
COMP_WORDS=(relive decode b) COMP_CWORD=2
_relive_completion relive
echo "${COMPREPLY[@]}"
COMP_WORDS=(relive record crafter : s) COMP_CWORD=4
_relive_completion relive
echo "${COMPREPLY[@]}"
"""
    environment = {**os.environ, "HOME": str(home), "PATH": f"{home}:{os.environ['PATH']}"}
    done = subprocess.run(
        [shutil.which("bash") or "", "--norc", "-c", script],
        env=environment,
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().split() == ["b.relive", "survival"]
    assert done.stderr == b""
    assert "relive.sh" in (home / ".bashrc").read_text()
