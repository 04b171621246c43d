"""Outcomes of a command line: exit codes, and never more than one line on stderr."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from relive.cli import run
from relive.cli.console import Console, human_bytes, table
from relive.cli.run import explain
from relive.errors import (
    DamagedError,
    FormatError,
    InputError,
    MissingExtraError,
    ModelMismatchError,
    ReliveError,
)

VERBS = [
    "demo",
    "record",
    "import",
    "info",
    "train",
    "encode",
    "decode",
    "export",
    "restore",
    "interpolate",
    "compare",
    "verify",
    "repair",
    "doctor",
]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ReliveError("x"), 1),
        (InputError("x"), 2),
        (FormatError("x"), 2),
        (DamagedError("x"), 3),
        (ModelMismatchError("x"), 4),
        (MissingExtraError("vizdoom", "games"), 2),
        (ModuleNotFoundError("no", name="vizdoom"), 2),
        (typer.BadParameter("x"), 2),
        (FileNotFoundError(errno.ENOENT, "No such file", "a"), 2),
        (OSError(errno.ENOSPC, "No space left on device", "a"), 1),
        (MemoryError(), 1),
        (ZeroDivisionError("x"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_every_error_has_its_code_and_one_line(error: Exception, code: int) -> None:
    line, got = explain(error)
    assert got == code
    assert line
    assert "\n" not in line


def test_a_missing_extra_is_named() -> None:
    assert "relive[games]" in explain(ModuleNotFoundError("no", name="vizdoom"))[0]


def test_no_space_left_says_where() -> None:
    line, _ = explain(OSError(errno.ENOSPC, "No space left on device", "/full/x.mcap"))
    assert line.startswith("no space left on the disk: /full/x.mcap")


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["encode"],
        ["encode", "a.mcap", "-o", "b.relive", "--quality", "11"],
        ["encode", "a.mcap", "-o", "b.relive", "--quality", "best"],
        ["encode", "a.mcap", "-o", "b.relive", "--bitrate", "300k"],
        ["record", "doom:deathmatch"],
        ["record", "chess:e4", "-o", "a.mcap"],
        ["record", "doom:", "-o", "a.mcap"],
        ["record", "doom:deathmatch", "-o", "a.mcap", "--seconds", "0"],
        ["record", "doom:deathmatch", "-o", "a.mcap", "--player", "ghost"],
        ["record", "doom:deathmatch", "-o", "a.mcap", "--player", "keyboard"],
        ["bench"],
        ["info", "does-not-exist"],
        ["info", "."],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_code_2(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("relive: ")
    assert err.count("\n") == 1


def test_help_and_version_leave_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == run(["--help"]) == run(["--version"]) == 0
    help_text = capsys.readouterr().out
    assert all(f"\n  {verb} " in help_text for verb in VERBS)


@pytest.mark.parametrize("verb", [[verb] for verb in VERBS] + [["bench", "rd"], ["bench", "chain"]])
def test_every_verb_has_help(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*verb, "--help"]) == 0
    assert "Usage: relive" in capsys.readouterr().out


def test_json_is_one_line_without_nan(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"psnr_db": float("inf"), "parts": {"codes": 3}, "path": Path("a")}
    Console(as_json=True).result(values, "text")
    out = capsys.readouterr().out
    assert json.loads(out) == {"psnr_db": None, "parts": {"codes": 3}, "path": "a"}
    assert out.count("\n") == 1


def test_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().progress("work") as progress:
        assert progress is None
    assert capsys.readouterr().err == ""


def test_text_for_people() -> None:
    assert [human_bytes(n) for n in (7, 34_500, 1_200_000)] == ["7 bytes", "34.5 kB", "1.20 MB"]
    assert table({"a": 1, "long": 2}) == "a     1\nlong  2"


def test_a_closed_pipe_is_no_traceback() -> None:
    command = [sys.executable, "-m", "relive", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


def test_interrupt_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_args: list[str]) -> None:
        raise KeyboardInterrupt("a.mcap holds what was played")

    monkeypatch.setattr(sys.modules[run.__module__], "_invoke", interrupted)
    assert run(["info", "a"]) == 130
    assert capsys.readouterr().err == "relive: interrupted: a.mcap holds what was played\n"
