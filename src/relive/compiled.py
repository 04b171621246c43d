"""How kernels are compiled: by numba, on first use, once for a machine and a version of Relive."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba import njit
from numba.core import event

Function = TypeVar("Function", bound=Callable[..., Any])
log = logging.getLogger(__name__)
_SOURCES = ("compiled.py", "config.py", "kernels/*.py", "bitstream/*.py", "restore/kernels.py")


def compiled(function: Function) -> Function:
    """Compile on first use; other Python threads run beside it."""
    return _compile(function, False)


def inner(function: Function) -> Function:
    """The same for what kernels alone call: a quarter less to compile.

    Python has no way in: a call from there would end the process (a test looks for them).
    """
    return _compile(function, False, no_cpython_wrapper=True)


def loosely(function: Function) -> Function:
    """The same for sums of which the order does not matter, as vector units like them."""
    return _compile(function, True)


def inlined(function: Function) -> Function:
    """The same, put into each kernel that calls it: a call that passes arrays costs 50 ns."""
    return _compile(function, False, inline="always")


@lru_cache(maxsize=1)
def cache_folder() -> Path:
    """Return `$XDG_CACHE_HOME/relive/kernels/HASH`, else the same under `~/.cache`.

    numba looks at the file of a kernel alone, not at the constants and kernels that it takes from
    others. So the hash is of every file that a kernel may see.
    """
    here, seen = Path(__file__).parent, hashlib.sha256()
    for pattern in _SOURCES:
        for path in sorted(here.glob(pattern)):
            seen.update(path.name.encode() + b"\0" + path.read_bytes())
    home = os.environ.get("XDG_CACHE_HOME")
    base = Path(home) if home else Path.home() / ".cache"
    return base / "relive" / "kernels" / seen.hexdigest()[:16]


def _compile(function: Function, loose: bool, **others: str | bool) -> Function:
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "no_cfunc_wrapper": True,
        **others,
    }
    if loose:
        options["fastmath"] = {"nsz", "reassoc", "contract"}
    config: Any = numba.config
    usual = config.CACHE_DIR
    try:
        config.CACHE_DIR = str(cache_folder())
        quick = njit(cache=True, **options)(function)
    except (RuntimeError, OSError):  # no place for a cache: compile in every process
        quick = njit(**options)(function)
    finally:
        config.CACHE_DIR = usual
    return cast("Function", quick)


class _Announcer(event.Listener):
    """Says once, to a person, why the first encoding takes so long to begin."""

    said = False

    def on_start(self, event: event.Event) -> None:
        """A kernel is not in the cache."""
        kernel = event.data["dispatcher"].py_func.__module__
        if not self.said and kernel.partition(".")[0] == "relive":
            self.said = True
            level = logging.WARNING if sys.stderr.isatty() else logging.INFO
            log.log(level, "compiling kernels, once on this machine: one to three minutes")

    def on_end(self, event: event.Event) -> None:
        """Nothing more to say."""


# the rest of numba that is used here has types, its events have none
event.register("numba:compile", _Announcer())  # type: ignore[no-untyped-call]  # numba is untyped
