"""What a batch needs of the operating system: processes that share nothing, a folder held alone."""

import fcntl
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from relive.errors import InputError, ReliveError

END_S = 10.0


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spawn(
    work: Callable[..., None], *args: Any, name: str, duplex: bool = False
) -> tuple[SpawnProcess, Connection]:
    """Start a process; spawned, so that it shares no thread and no lock.

    Args:
        work: its body: called with `args` and its end of the pipe.
        args: what goes over to it.
        name: of the process.
        duplex: whether it listens, too.

    Returns:
        The process, and our end of the pipe.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=duplex)
    process = context.Process(target=work, args=(*args, theirs), name=name)
    resource_tracker.ensure_running()  # or `start` would, and let Ctrl-C in again
    # Ctrl-C reaches all processes of a terminal. This one, which inherits the mask, and what it
    # has started are ended by the process that started them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return process, ours


def unwind_when_asked() -> None:
    """Let SIGTERM unwind this process like Ctrl-C, so that it puts away what it has begun."""

    def interrupt(_signal: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # asked once: it is on its way
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def end(processes: list[SpawnProcess], patience_s: float = 0) -> None:
    """End processes: ask first, so that each puts things away; kill what does not listen.

    Args:
        processes: What to end.
        patience_s: How long to wait for a process to end by itself, before it is asked.
    """
    for process in processes:
        process.join(patience_s)
        if process.is_alive():
            process.terminate()
    for process in processes:
        process.join(END_S)
        if process.is_alive():
            process.kill()
            process.join()


def exit_text(code: int | None) -> str:
    """Say how a process ended: the name of a signal, or its exit code."""
    if code is not None and code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


def reason_of(error: Exception) -> str:
    """Say in one line why something failed; errors that are not ours say their kind."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{' '.join(str(error.filename).split())}: {error.strerror}"
    name = "" if isinstance(error, ReliveError) else f"{type(error).__name__}: "
    return name + (" ".join(str(error).split()) or "no reason given")


@contextmanager
def alone(folder: Path, doing: str) -> Iterator[None]:
    """Hold a folder: two runs at once would write the same files.

    Args:
        folder: to hold.
        doing: what another process must be doing there, such as "records".

    Raises:
        InputError: Another process holds it.
    """
    with (folder / ".lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another process {doing} in {folder}; wait for it, or stop it"
            ) from None
        yield
