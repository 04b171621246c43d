"""`relive doctor`: what it says of a whole installation, and of broken ones."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from relive.cli import doctor_checks, run
from relive.codec import self_test
from relive.codec.bundle import ID_CHARACTERS, bundled_path, load_bundle
from relive.codec.self_test import synthetic_clip

Capsys = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[1]


def test_what_it_says_of_this_machine(capsys: Capsys) -> None:
    assert run(["doctor", "--no-speed", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["problems"] == []
    assert values["model"]["model_id"] == load_bundle().model_id
    assert values["model"]["path"] == str(bundled_path())
    assert values["device"]["cores"] >= 1
    assert values["device"]["torch"].split("+")[0] == values["packages"]["torch"].split("+")[0]
    assert values["disk"]["free_bytes"] > 0
    assert values["speed"] is None
    assert len(values["model"]["model_id"]) == ID_CHARACTERS


def test_it_measures(capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "FRAMES", 4)
    monkeypatch.setattr(self_test, "GOP_FRAMES", 2)
    assert run(["doctor", "--json"]) == 0
    speed = json.loads(capsys.readouterr().out)["speed"]
    assert speed["encode_fps"] > 0
    assert speed["decode_fps"] > 0
    assert run(["doctor", "--no-speed"]) == 0
    assert "all there" in capsys.readouterr().out


def test_the_clip_is_the_same_everywhere() -> None:
    clip = synthetic_clip(3)
    assert clip.shape == (3, 240, 320, 3)
    assert (clip[0] != clip[1]).any()
    assert (synthetic_clip(3) == clip).all()


def test_packages_and_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def names(lines: list[str]) -> list[str]:
        return sorted(line.split(">")[0].split("=")[0] for line in lines)

    assert names(project["dependencies"]) == sorted(doctor_checks.PACKAGES)
    for extra, lines in project["optional-dependencies"].items():
        if extra != "dev":
            assert names(lines) == sorted(doctor_checks.EXTRAS[extra][0]), extra


def test_a_missing_package_is_named_before_anything_is_loaded() -> None:
    code = """
import sys
from relive.cli import doctor_checks, run
real = doctor_checks.version_of
doctor_checks.version_of = lambda name: None if name in ("torch", "vizdoom") else real(name)
code = run(["doctor"])
assert not {"torch", "numba", "av", "numpy"} & set(sys.modules), "heavy"
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr == "relive: torch not installed: pip install relive\n"
    assert "vizdoom missing, so no record, demo; pip install 'relive[games]'" in done.stdout
    assert "BROKEN: torch" in done.stdout


def test_broken_weights_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: Capsys, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "tiny.safetensors").write_bytes(b"half a mod")
    (weights / "tiny.md").write_bytes(bundled_path().with_suffix(".md").read_bytes())
    monkeypatch.setattr(doctor_checks.resources, "files", lambda _: tmp_path)
    assert run(["doctor", "--json", "--no-speed"]) == 1
    out, err = capsys.readouterr()
    values = json.loads(out)
    assert values["model"]["whole"] is False
    assert "install relive again" in err
    assert err.count("\n") == 1
    (weights / "tiny.safetensors").unlink()
    assert run(["doctor", "--no-speed"]) == 1
    assert "No such file" in capsys.readouterr().err


def test_a_codec_that_does_not_run_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    monkeypatch.setitem(sys.modules, "relive.codec.self_test", None)
    assert run(["doctor"]) == 1
    assert "the codec does not run" in capsys.readouterr().err


def test_without_typer_there_is_one_line() -> None:
    code = "import sys; sys.modules['typer'] = None; import relive.__main__ as m; m.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "relive: typer is not installed: pip install relive\n"
