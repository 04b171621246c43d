"""The recipes do what they say: their code blocks are run, and the pages that are made are fresh.

`relive record` is answered with a short made-up session that has the fields of ViZDoom; all other
lines run as they stand, with the bundled model.
"""

import importlib
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from relive.cli import run
from relive.session import Camera, Recorder, Session, StateField, StateSchema

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "docs" / "recipes").glob("*.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FRAMES, INTERVAL_NS = 24, 28_571_429
SCHEMA = StateSchema(
    (
        *(StateField(a, "mapunit", role=f"camera.{a}", step=1 / 16) for a in "xyz"),
        StateField("yaw", "deg", "angle", "camera.yaw", 360 / 65536),
        StateField("health", "percent", step=1.0),
        StateField("action.move_forward", kind="category", step=1.0),
    ),
    Camera(90.0, 1.2),
)


def write_walk(path: Path) -> None:
    """Write a session of 24 frames, 64×48, in which health falls twice."""
    rng = np.random.default_rng(4)
    ground = rng.integers(40, 200, (12, 40, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    with Recorder(path, SCHEMA, game="doom:freedoom2/map01", force=True) as recorder:
        for n in range(FRAMES):
            health = 100 - 20 * (n >= 8) - 15 * (n >= 16)
            state = np.array([n, 0, 41, 2 * n, health, n > 0], np.float32)
            recorder.add(ground[:, n : n + 64], state, n * INTERVAL_NS)


def run_line(line: str) -> None:
    """Run one line of a shell block."""
    words = shlex.split(line, comments=True)
    if not words:
        return
    assert words[0] == "relive", line
    if words[1] == "record":
        write_walk(Path(words[words.index("-o") + 1]))
        return
    assert run(words[1:]) == 0, line


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = BLOCK.findall(recipe.read_text(encoding="utf-8"))
    assert {kind for kind, _ in blocks} == {"sh", "python"}
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, str(recipe), "exec"), names)  # noqa: S102  our own page
            continue
        for line in text.splitlines():
            run_line(line)


def test_the_newcomer_walks_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of the page from recording to compressing, with 8 small frames."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.syspath_prepend(ROOT / "examples")
    example = importlib.import_module("own_game")
    for name, value in (("WIDTH", 64), ("HEIGHT", 48)):
        monkeypatch.setattr(example, name, value)
    page = (ROOT / "docs" / "newcomer.md").read_text(encoding="utf-8")
    for kind, text in BLOCK.findall(page):
        for line in text.splitlines() if kind == "sh" else []:
            words = shlex.split(line, comments=True)
            if words[:2] == ["python", "examples/own_game.py"]:
                monkeypatch.setattr(sys, "argv", [*words[1:], "--frames", "8"])
                example.main()
            elif words[:1] == ["relive"] and words[1] in ("info", "import", "encode"):
                assert run(words[1:]) == 0, line
    with Session.open("meadow.mcap") as one, Session.open("clip.mcap") as other:
        assert (one.game, other.game) == ("meadow", "meadow")
        assert one.schema == other.schema
        assert np.allclose(one.states, other.states)
        assert np.abs(one.frames(0, 8).astype(int) - other.frames(0, 8)).mean() < 8
    assert Path("meadow.relive").exists()
    assert Path("clip.relive").exists()


def test_there_are_three_recipes() -> None:
    assert [path.stem for path in RECIPES] == ["archive", "qa", "researcher"]


def test_the_python_page_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    from make_api_page import PAGE, page

    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tools/make_api_page.py"


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/**/*.md")), ids=lambda path: path.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert "://" in link or (page.parent / link).exists(), link


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/**/*.md")}
    assert {page for page in pages - {"index.md"} if f"({page})" not in index} == set()
