"""Threads of the codec: one GOP a core, one torch thread inside.

GOPs are independent, so this scales better than threads inside an operation, and the arithmetic of
a GOP is the same on machines of any number of cores: encoder and decoder see the same pixels.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch

GOPS_AT_A_TIME = "RELIVE_GOPS_AT_A_TIME"
"""Environment variable, read when this is imported; a batch has one GOP at a time a process."""


def _num_workers() -> int:
    given = os.environ.get(GOPS_AT_A_TIME, "")
    if given.isascii() and given.isdigit() and int(given):
        return int(given)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    return max(1, min(4, cores))


NUM_WORKERS = _num_workers()


def prepare() -> None:
    """Set up a thread that decodes: pixels depend on it."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


@lru_cache(maxsize=1)
def workers() -> ThreadPoolExecutor:
    """The pool; made on first use."""
    return ThreadPoolExecutor(NUM_WORKERS, thread_name_prefix="relive", initializer=prepare)


# A forked process has none of the threads, and would wait for them for ever.
if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=workers.cache_clear)
