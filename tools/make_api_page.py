"""Write docs/api.md from the docstrings of the public interface.

python tools/make_api_page.py
"""

import ast
import inspect
import re
import textwrap
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import relive

WIDTH = 88
PAGE = Path(__file__).parents[1] / "docs" / "api.md"
HEAD = """# Python interface

Made by `python tools/make_api_page.py` from the docstrings; `tests/test_recipes.py` checks that it
is fresh. Everything in `relive` loads when it is first used: a program that only records never
loads torch. Nothing else is promised to stay as it is.
"""
GROUPS = {
    "Recording": ("Recorder", "RecordSession", "Session", "Event"),
    "What the numbers mean": ("StateSchema", "StateField", "Camera", "RegionSchema", "Region"),
    "Compressing and decoding": ("encode", "EncodeReport", "decode", "Replay"),
    "Live": ("Encoder", "Decoder", "LiveFrame"),
    "Errors": (
        "ReliveError",
        "InputError",
        "FormatError",
        "MissingExtraError",
        "DamagedError",
        "ModelMismatchError",
    ),
}
BESIDE = {
    "Batches": ("relive.batch.encode_batch", "relive.batch.Settings"),
    "Exports": ("relive.codec.clips.write_clip", "relive.codec.rerun_log.write_rerun"),
    "Restoring": (
        "relive.restore.restore",
        "relive.restore.interpolate",
        "relive.restore.Output",
        "relive.restore.Hidden",
        "relive.restore.Tally",
    ),
    "Views": (
        "relive.view.view",
        "relive.view.Wanted",
        "relive.view.Offset",
        "relive.view.Tally",
        "relive.view.open_view",
        "relive.view.Viewer",
        "relive.view.View",
    ),
    "Finding regions": (
        "relive.regions.discover",
        "relive.regions.Found",
        "relive.regions.write_regions",
        "relive.regions.adjusted_rand",
    ),
    "Catalogue and search": (
        "relive.catalog.add",
        "relive.catalog.update",
        "relive.catalog.sweep",
        "relive.search.opened",
        "relive.search.find",
        "relive.search.Query",
        "relive.search.Found",
    ),
    "Training data": (
        "relive.codec.stored.StoredCodes",
        "relive.datasets.write_steps",
        "relive.datasets.read_file",
        "relive.datasets.episodes",
        "relive.datasets.write_session",
        "relive.datasets.to_minari",
        "relive.datasets.from_minari",
        "relive.torch.ReplayDataset",
        "relive.torch.split_sessions",
    ),
}
_SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes):$")
_ITEM = re.compile(r"^    (\*{0,2}\w[\w., ]*): ", re.MULTILINE)


def page() -> str:
    """The page."""
    missing = set(relive.__all__) - {name for names in GROUPS.values() for name in names}
    if missing - {"__version__"}:
        raise SystemExit(f"no group for {', '.join(sorted(missing))}")
    parts = [HEAD]
    for title, names in GROUPS.items():
        parts.append(f"## {title}\n")
        parts += [_described(f"relive.{name}", getattr(relive, name)) for name in names]
    for title, paths in BESIDE.items():
        parts.append(f"## {title}\n")
        for path in paths:
            module, _, name = path.rpartition(".")
            parts.append(_described(path, getattr(import_module(module), name)))
    return "\n".join(parts)


def _described(path: str, item: Any) -> str:
    """A class with its public methods, or a function."""
    lines = [f"### `{path}`\n", _code(path.rpartition(".")[2], item), _text(item)]
    if inspect.isclass(item) and not issubclass(item, Exception):
        for name, member in vars(item).items():
            if not name.startswith("_") and _is_method(member):
                lines.append(_member(item.__name__, name, member))
    return "\n".join(lines)


def _is_method(member: Any) -> bool:
    return isinstance(member, property | classmethod | staticmethod) or inspect.isfunction(member)


def _member(owner: str, name: str, member: Any) -> str:
    if isinstance(member, property):
        return f"#### `{owner}.{name}`\n\n{_text(member)}"
    function = member.__func__ if hasattr(member, "__func__") else member
    return f"#### `{owner}.{name}`\n\n{_code(name, function)}\n{_text(function)}"


def _code(name: str, item: Any) -> str:
    if inspect.isclass(item) and issubclass(item, Exception):
        return ""
    return f"```python\n{_signature(name, item)}\n```\n"


def _signature(name: str, item: Any) -> str:
    """The signature as the source has it, one parameter a line where it is long."""
    if is_dataclass(item):
        shown, result = _fields(item), ""
    else:
        node = _node(item.__init__ if inspect.isclass(item) else item)
        shown = _parameters(node.args)
        plain = inspect.isclass(item) or node.returns is None
        result = "" if plain else f" -> {ast.unparse(node.returns)}"
    text = f"{name}({', '.join(shown)}){result}"
    if len(text) <= WIDTH:
        return text
    return f"{name}(\n    " + ",\n    ".join(shown) + f",\n){result}"


def _node(item: Any) -> Any:
    return ast.parse(textwrap.dedent(inspect.getsource(item))).body[0]


def _fields(item: Any) -> list[str]:
    """Fields of a dataclass, in the order of its constructor."""
    return [
        f"{ast.unparse(line.target)}: {ast.unparse(line.annotation)}"
        + (f" = {ast.unparse(line.value)}" if line.value else "")
        for line in _node(item).body
        if isinstance(line, ast.AnnAssign)
    ]


def _parameters(args: ast.arguments) -> list[str]:
    names = [*args.posonlyargs, *args.args]
    bare = [None] * (len(names) - len(args.defaults))
    shown = [_parameter(*pair) for pair in zip(names, [*bare, *args.defaults], strict=True)]
    if args.vararg:
        shown.append(f"*{ast.unparse(args.vararg)}")
    elif args.kwonlyargs:
        shown.append("*")
    shown += [_parameter(*pair) for pair in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    return [text for text in shown if text not in ("self", "cls")]


def _parameter(name: ast.arg, default: ast.expr | None) -> str:
    value = "" if default is None else f" = {ast.unparse(default)}"
    return f"{ast.unparse(name)}{value}"


def _text(item: Any) -> str:
    """A docstring as Markdown: sections become bold words, their entries lists."""
    out: list[str] = []
    listed = False
    for line in (inspect.getdoc(item) or "").splitlines():
        if found := _SECTION.match(line):
            out += [f"**{found[1]}**", ""]
            listed = True
        elif listed and line.startswith("    "):
            entry = _ITEM.match(line)
            new = not line.startswith("     ")
            out.append(f"- `{entry[1]}`: {line[entry.end() :]}" if entry else _plain(line, new))
        else:
            listed = False
            out.append(line)
    return "\n".join(out).rstrip() + "\n"


def _plain(line: str, new: bool) -> str:
    return f"- {line.strip()}" if new else f"  {line.strip()}"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
