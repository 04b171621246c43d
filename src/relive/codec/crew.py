"""Processes that encode: threads would wait for each other at Python's lock.

```
 encode ──► (paths of session and model, settings) ───► process ─┐
        ──► numbers of GOPs ────────────────────────────────────►├─ reads its frames, encodes
        ◄── packets ─────────────────────────────────────────────┘
```

Each opens the session and has the model for itself, some 0.6 GB; only packets travel.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Any

from relive.codec.adapting import of_session
from relive.codec.bundle import Bundle, load_bundle
from relive.codec.step import Geometry, StepCoder
from relive.codec.workers import prepare
from relive.errors import ModelMismatchError, ReliveError
from relive.session import Session
from relive.session.processes import cores

GOPS_WORTH_IT = 8
"""For each process; a shorter session is through before a process has loaded torch."""

MOST = 8

_at_work: dict[str, Any] = {}  # of this process: its session, and the shared half of a step


def processes_for(frames: int, interval: int) -> int:
    """How many processes pay for a session; 1 says that threads do."""
    return max(1, min(cores(), MOST, -(-frames // interval) // GOPS_WORTH_IT))


class Crew:
    """Processes that work at the GOPs of one session.

    Args:
        count: of them.
        session: path of the recording.
        bundle: the model, with its adapter and memory, loaded from a file.
        light: see `StepCoder`.
    """

    def __init__(self, count: int, session: Path, bundle: Bundle, light: bool) -> None:
        self.count = count
        resource_tracker.ensure_running()  # or the pool would, and let Ctrl-C in again
        self._pool = ProcessPoolExecutor(
            count,
            get_context("spawn"),
            initializer=_begin,
            initargs=(
                session,
                bundle.path,
                (bundle.model_id, bundle.adapter, bundle.memory),
                light,
            ),
        )

    def submit(self, work: Callable[..., Any], *args: Any) -> Future[Any]:
        """Call `work(session, coder, *args)` in a process; all of it must be picklable."""
        # Processes start with the first call, and inherit what is blocked: Ctrl-C is for us.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self._pool.submit(_do, work, args)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def close(self) -> None:
        """End the processes; what waits is left undone."""
        self._pool.shutdown(cancel_futures=True)


@contextmanager
def crew_of(count: int, session: Path, bundle: Bundle, light: bool) -> Iterator[Crew]:
    """Have a crew for as long as it is needed.

    Raises:
        ReliveError: A process has died.
    """
    crew = Crew(count, session, bundle, light)
    try:
        yield crew
    except BrokenProcessPool as error:
        raise ReliveError(
            "a process that encoded has ended; is there memory for "
            f"{count}? One alone needs least: --workers 1"
        ) from error
    finally:
        crew.close()


def _begin(path: Path, model: Path | None, known: tuple[str, bytes, bytes], light: bool) -> None:
    """Open the session in a new process, and load the model, given its id, adapter and memory."""
    Thread(target=_end_with_parent, daemon=True).start()
    prepare()
    bundle = load_bundle(model)
    if bundle.model_id != known[0]:
        raise ModelMismatchError(f"{model} has changed while it was used")
    bundle = of_session(bundle, *known[1:])
    session = Session.open(path)
    geometry = Geometry(session.width, session.height)
    _at_work["session"] = session
    _at_work["coder"] = StepCoder(bundle, session.schema, geometry, light)


def _end_with_parent() -> None:
    """Leave no process behind when the one that asks is killed; the pool would wait for ever."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _do(work: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    return work(_at_work["session"], _at_work["coder"], *args)
