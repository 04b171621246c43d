"""A worker process that judges broken input: a hang or a crash of it is an outcome, too."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class Judge:
    """A worker process; a new one after a hang or a crash.

    Args:
        serve: what runs there; it is handed one end of a pipe and `arguments`, sends "ready", and
            answers every request with a tuple of texts until None comes.
        arguments: for `serve`.
        limit_s: how long an answer may take.
    """

    def __init__(
        self, serve: Callable[..., None], arguments: tuple[Any, ...], limit_s: float
    ) -> None:
        self._serve, self._arguments, self._limit_s = serve, arguments, limit_s
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe: Connection[Any, Any]
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=self._serve, args=(theirs, *self._arguments), daemon=True
        )
        self._process.start()
        theirs.close()
        self._pipe.recv()

    def ask(self, request: Any) -> Any:
        """Return the answer, or "hang" or "crash" where there was none."""
        self._pipe.send(request)
        answer = "hang"
        try:
            if self._pipe.poll(self._limit_s):
                return self._pipe.recv()
        except EOFError:
            answer = "crash"
        self._process.kill()
        self._process.join()
        self._start()
        return answer

    def stop(self) -> None:
        """End the worker."""
        self._pipe.send(None)
        self._process.join()
