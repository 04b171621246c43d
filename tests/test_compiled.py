"""Kernels that other kernels alone call: Python has no way in, and must not try."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KERNELS = {"compiled", "inner", "loosely", "inlined"}


def decorators(node: ast.AST) -> set[str]:
    """Names of the decorators of a function; none of anything else."""
    if not isinstance(node, ast.FunctionDef):
        return set()
    return {one.id for one in node.decorator_list if isinstance(one, ast.Name)}


def used_from_python(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Every name that Python reads, behind what it is read from (empty where nothing is named)."""
    if decorators(node) & KERNELS or isinstance(node, ast.Import | ast.ImportFrom):
        return
    if isinstance(node, ast.Name):
        yield "", node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        yield node.value.id, node.attr
    for child in ast.iter_child_nodes(node):
        yield from used_from_python(child)


def calls(text: str, own: str, kernels: dict[str, set[str]]) -> set[str]:
    """Which kernels the Python of a file uses, by whatever name it imports them.

    Args:
        text: of the file.
        own: its module.
        kernels: names by module.
    """
    tree = ast.parse(text)
    plain = {("", name): name for name in kernels.get(own, ())}
    for node in ast.walk(tree):
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            name = alias.asname or alias.name
            if alias.name in kernels.get(node.module or "", ()):
                plain["", name] = alias.name
            for kernel in kernels.get(f"{node.module}.{alias.name}", ()):
                plain[name, kernel] = kernel
    return {plain[use] for use in used_from_python(tree) if use in plain}


def texts(folder: str) -> Iterator[tuple[str, str]]:
    """Module and text of every file of a folder."""
    for path in (ROOT / folder).rglob("*.py"):
        module = ".".join(path.relative_to(ROOT / folder).with_suffix("").parts)
        yield module, path.read_text(encoding="utf-8")


def test_python_calls_no_inner_kernel() -> None:
    kernels = {
        module: {n.name for n in ast.walk(ast.parse(text)) if "inner" in decorators(n)}
        for module, text in texts("src")
        if "@inner" in text
    }
    assert len(kernels) > 10
    for folder in ("src", "tests", "tools", "examples"):
        for module, text in texts(folder):
            assert not calls(text, module, kernels), module


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("from a.b import f\nf(1)", ""),
        ("from a.b import f as g\ng(1)", ""),
        ("from a import b\nb.f(1)", ""),
        ("@inner\ndef f(x): return x\ndef h(): return f(1)", "a.b"),
    ],
)
def test_a_call_is_found(text: str, own: str) -> None:
    assert calls(text, own, {"a.b": {"f"}}) == {"f"}


def test_calls_of_kernels_are_none() -> None:
    text = "from a.b import f\n@compiled\ndef g(x): return f(x)\ndef h(): return g(1)"
    assert calls(text, "", {"a.b": {"f"}}) == set()
