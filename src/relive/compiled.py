"""How kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile on first use, once for a machine; other Python threads run beside it."""
    return _compile(function, False)


def loosely(function: Function) -> Function:
    """The same for sums of which the order does not matter, as vector units like them."""
    return _compile(function, True)


def _compile(function: Function, loose: bool) -> Function:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    if loose:
        options["fastmath"] = {"nsz", "reassoc", "contract"}
    try:
        quick = njit(cache=True, **options)(function)
    except RuntimeError:  # numba's way to say that it finds no place for a cache
        quick = njit(**options)(function)
    return cast("Function", quick)
