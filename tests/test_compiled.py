"""Kernels that other kernels alone call: Python has no way in, and must not try."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KERNELS = {"compiled", "inner", "loosely", "inlined"}
ROOMS = {"bitstream", "kernels", "restore", "view"}
"""Where kernels are."""
Names = dict[str, set[str]]


def decorators(node: ast.AST) -> set[str]:
    """Names of the decorators of a function; none of anything else."""
    if not isinstance(node, ast.FunctionDef):
        return set()
    return {one.id for one in node.decorator_list if isinstance(one, ast.Name)}


@dataclass(frozen=True)
class Module:
    """A file of Python.

    Attributes:
        name: as it is imported.
        text: of it.
    """

    name: str
    text: str = field(repr=False)

    @cached_property
    def tree(self) -> ast.Module:
        """Parsed."""
        return ast.parse(self.text)

    @cached_property
    def imported(self) -> list[tuple[str, str, str]]:
        """Module, name in it (empty for all of it), and what it is called here."""
        found = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [(one.name, "", one.asname or one.name) for one in node.names]
            if isinstance(node, ast.ImportFrom):
                assert not node.level, f"{self.name}: relative imports are not looked through"
                module = node.module or ""
                found += [(module, one.name, one.asname or one.name) for one in node.names]
        return found

    def python(self, node: ast.AST | None = None) -> Iterator[ast.AST]:
        """Every part of it that is Python, not in a kernel, not an import."""
        node = node or self.tree
        if decorators(node) & KERNELS or isinstance(node, ast.Import | ast.ImportFrom):
            return
        yield node
        for child in ast.iter_child_nodes(node):
            yield from self.python(child)


def inner_kernels(modules: list[Module]) -> Names:
    """Names that stand for `inner` kernels, by module: where they are made and imported."""
    found = {m.name: set[str]() for m in modules}
    for m in modules:
        assert ("relive.compiled", "inner") not in {(a, b) for a, b, c in m.imported if b != c}
        found[m.name] |= {n.name for n in ast.walk(m.tree) if "inner" in decorators(n)}
    before = -1
    while before != (before := sum(map(len, found.values()))):
        for m in modules:
            found[m.name] |= {c for a, b, c in m.imported if b in found.get(a, ())}
    return {name: names for name, names in found.items() if names}


def python_of_kernels(modules: list[Module], kernels: Names) -> set[str]:
    """Kernels that call an `inner` one: as Python (`py_func`) they must not run."""
    return {
        node.name
        for m in modules
        for node in ast.walk(m.tree)
        if decorators(node) & KERNELS
        and isinstance(node, ast.FunctionDef)
        and {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & kernels.get(m.name, set())
    }


def wrong(m: Module, kernels: Names, as_python: set[str]) -> set[str]:
    """What the Python of a file says of `inner` kernels, by whatever way it has them."""
    own = kernels.get(m.name, set())
    plain = own | {c for a, b, c in m.imported if b in kernels.get(a, ()) or b == "*"}
    near = set(own)
    for module, name, _ in m.imported:
        near |= kernels.get(module, set()) | kernels.get(f"{module}.{name}", set())
        assert name != "*" or module not in kernels, f"{m.name}: import * of kernels"
    found = set()
    for node in m.python() if plain or near else ():
        if isinstance(node, ast.Name) and node.id in plain:
            found.add(node.id)
        if isinstance(node, ast.Attribute) and node.attr in near:
            found.add(node.attr)
        if isinstance(node, ast.Attribute) and node.attr == "py_func":
            last = node.value.attr if isinstance(node.value, ast.Attribute) else node.value
            name = last.id if isinstance(last, ast.Name) else last
            found |= {name} & as_python if isinstance(name, str) else set()
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value} & near
    return found


def modules_of(folder: str) -> list[Module]:
    """Every file of a folder that may know a kernel: one that names where they are."""
    found = []
    for path in (ROOT / folder).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if any(f"relive.{room}" in text for room in ROOMS):
            name = ".".join(path.relative_to(ROOT / folder).with_suffix("").parts)
            found.append(Module(name.removesuffix(".__init__"), text))
    return found


def test_python_calls_no_inner_kernel() -> None:
    source = modules_of("src")
    kernels = inner_kernels(source)
    made = {name for name, names in kernels.items() if names}
    assert len(made) > 10
    assert {name.split(".")[1] for name in made} <= ROOMS
    as_python = python_of_kernels(source, kernels)
    for m in (*source, *modules_of("tests"), *modules_of("tools"), *modules_of("examples")):
        assert not wrong(m, kernels, as_python), m.name


MADE = Module("a.b", "from relive.compiled import inner\n@inner\ndef f(x): return x")
USER = Module("a.c", "from a.b import f as g\n@compiled\ndef k(x): return g(x)\nX = 1")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("from a.b import f\nf(1)", "f"),
        ("from a.b import f as h\nh(1)", "h"),
        ("from a import b\nb.f(1)", "f"),
        ("import a.b\na.b.f(1)", "f"),
        ("import a.b as m\nself.m = m\nself.m.f(1)", "f"),
        ("from a import b\ngetattr(b, 'f')(1)", "f"),
        ("from a.c import g\ng(1)", "g"),
        ("from a import c\nc.g(1)", "g"),
        ("from a import c\nc.k.py_func(1)", "k"),
        ("from a.c import k\nk.py_func(1)", "k"),
    ],
)
def test_a_call_is_found(text: str, name: str) -> None:
    kernels = inner_kernels([MADE, USER])
    assert kernels == {"a.b": {"f"}, "a.c": {"g"}}
    as_python = python_of_kernels([MADE, USER], kernels)
    assert wrong(Module("user", text), kernels, as_python) == {name}
    assert wrong(Module("a.b", MADE.text + "\ndef h(): return f(1)"), kernels, set()) == {"f"}


def test_calls_of_kernels_are_none() -> None:
    kernels = inner_kernels([MADE, USER])
    text = "from a.b import f\n@compiled\ndef g(x): return f(x)\ndef h(): return g(1)"
    assert wrong(Module("user", text), kernels, {"k"}) == set()
    assert wrong(USER, kernels, {"k"}) == set()
