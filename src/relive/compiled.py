"""How kernels are compiled: by numba, on first use, once for a machine."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit
from numba.core import event

Function = TypeVar("Function", bound=Callable[..., Any])
log = logging.getLogger(__name__)


def compiled(function: Function) -> Function:
    """Compile on first use; other Python threads run beside it."""
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


class _Announcer(event.Listener):
    """Says once, to a person, why the first encoding takes so long to begin."""

    said = False

    def on_start(self, event: event.Event) -> None:
        """A kernel is not in the cache."""
        if not self.said:
            self.said = True
            level = logging.WARNING if sys.stderr.isatty() else logging.INFO
            log.log(level, "compiling kernels, once on this machine: half a minute or so")

    def on_end(self, event: event.Event) -> None:
        """Nothing more to say."""


event.register("numba:compile", _Announcer())  # type: ignore[no-untyped-call]
