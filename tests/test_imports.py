"""The import table of the house: who may import whom, and where torch may be loaded."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "relive"
LINE = {"session", "cubes", "model", "quantizer", "bitstream", "container"}

# room → rooms that it may import, beside itself and errors
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "config": set(),
    "session": set(),
    "cubes": {"session", "config"},
    "compiled": set(),
    "kernels": {"compiled", "bitstream", "config"},
    "model": {"config", "kernels"},
    "quantizer": {"config"},
    "bitstream": {"compiled", "config"},
    "container": set(),
    "enhancement": {"kernels", "model", "bitstream", "config"},
    "codec": LINE | {"enhancement", "config"},
    "restore": {"codec", "model", "session", "cubes", "compiled"},
    # a view needs the cameras, kernels and outputs of restore; restore knows nothing of views
    "view": {"restore", "codec", "model", "session", "cubes", "compiled"},
    # looks with the encoder and its warps, and writes sessions
    "regions": {"codec", "model", "session"},
    "train": {"session", "cubes", "model", "quantizer", "enhancement", "config"},
    "bench": {"codec", "train", "session", "cubes", "model", "quantizer", "bitstream", "config"},
    "player": {"codec", "session", "container", "config", "cubes", "view"},
    "stream": {"codec", "session"},
    "catalog": {"codec", "container", "session"},
    "datasets": {"codec", "container", "session"},
    "batch": {"codec", "session"},
    "torch": {"codec"},
    "search": {"catalog", "codec", "cubes", "session"},
    "cli": LINE
    | {
        "codec",
        "catalog",
        "search",
        "datasets",
        "batch",
        "train",
        "bench",
        "player",
        "stream",
        "restore",
        "view",
        "regions",
        "config",
        "compiled",
        "relive",
    },
    "__main__": {"cli"},
    "__init__": LINE | {"codec", "train"},
}
WITHOUT_TORCH = {
    "errors",
    "config",
    "session",
    "bitstream",
    "container",
    "compiled",
    "kernels",
    "batch",
    "cli",
    "__main__",
    "__init__",
}
FILES = sorted(SOURCE.rglob("*.py"))


def folder_of(path: Path) -> str:
    """Name the room of a file: its folder, or its own name beside the folders."""
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imported_modules(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, anywhere in it, by its full name."""
    package = ["relive", *path.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            if module == "relive":
                yield from (
                    f"relive.{alias.name}" for alias in node.names if alias.name[0].islower()
                )


def rooms_imported(path: Path) -> set[str]:
    """Name the rooms of ours that a file imports."""
    names = (name.split(".") for name in imported_modules(path))
    return {name[1] if len(name) > 1 else "relive" for name in names if name[0] == "relive"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_room_imports_only_what_the_table_allows(path: Path) -> None:
    room = folder_of(path)
    assert room in MAY_IMPORT, f"{path}: a new room needs a line in the table"
    allowed = MAY_IMPORT[room] | {room, "errors"}
    if room == "cli":
        allowed |= {"__version__"}
    assert rooms_imported(path) <= allowed


@pytest.mark.parametrize("room", sorted(WITHOUT_TORCH))
def test_room_knows_no_torch(room: str) -> None:
    for path in (path for path in FILES if folder_of(path) == room):
        assert not any(name.split(".")[0] == "torch" for name in imported_modules(path)), path


@pytest.mark.parametrize(
    "module",
    [
        "relive",
        "relive.cli.app",
        "relive.session",
        "relive.container",
        "relive.bitstream",
        "relive.catalog",
        "relive.search",
    ],
)
def test_torch_is_not_loaded_by(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_files_stay_short() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {path: length for path, length in lengths.items() if length > 400} == {}
