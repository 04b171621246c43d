"""Who does the tasks: processes of this machine. `on_ray.py` has the same for a cluster."""

from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Protocol

from relive.batch.task import Outcome, Task
from relive.batch.work import work
from relive.session.processes import END_S, end, exit_text, spawn, unwind_when_asked

WAIT_S = 1.0
"""How long a pool waits for news."""


class Pool(Protocol):
    """Does tasks, several at a time."""

    def room(self) -> int:
        """Count the tasks that it takes now."""

    def start(self, task: Task) -> None:
        """Take a task; there must be room."""

    def ended(self) -> list[tuple[Task, Outcome]]:
        """Wait a moment, and give back what has ended."""

    def close(self) -> None:
        """End what is going on, and leave no process behind."""


@dataclass
class _Worker:
    """A process, and what it works at."""

    process: SpawnProcess
    pipe: Connection
    task: Task | None = None


class LocalPool:
    """Processes of this machine, each with one core's work; they live as long as the batch.

    Args:
        workers: how many at once.
    """

    def __init__(self, workers: int) -> None:
        self._limit = workers
        self._workers: list[_Worker] = []

    def room(self) -> int:
        """Count the workers that have nothing to do."""
        return self._limit - sum(worker.task is not None for worker in self._workers)

    def start(self, task: Task) -> None:
        """Give a task to a worker that is idle, or to a new one."""
        worker = next((worker for worker in self._workers if worker.task is None), None)
        if worker is None:
            worker = _Worker(*spawn(_serve, name="relive batch", duplex=True))
            self._workers.append(worker)
        worker.task = task
        try:
            worker.pipe.send(task)
        except OSError:
            return  # it has died since; `ended` finds that out

    def ended(self) -> list[tuple[Task, Outcome]]:
        """Hear the workers; one that has died gives its task back."""
        found = []
        busy = [worker for worker in self._workers if worker.task is not None]
        ready = wait([worker.pipe for worker in busy], timeout=WAIT_S)
        for worker in busy:
            if worker.pipe not in ready or worker.task is None:
                continue
            outcome = self._hear(worker)
            if outcome is not None:
                found.append((worker.task, outcome))
                worker.task = None
        return found

    def close(self) -> None:
        """End the workers: what they were at is put away."""
        end([worker.process for worker in self._workers])
        for worker in self._workers:
            worker.pipe.close()
        self._workers.clear()

    def _hear(self, worker: _Worker) -> Outcome | None:
        """Take one word of a worker; None says that it goes on."""
        try:
            outcome: Outcome | None = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join(END_S)
            worker.pipe.close()
            self._workers.remove(worker)
            how = exit_text(worker.process.exitcode)
            return Outcome(reason=f"the process that encoded it ended ({how})", again=True)
        return outcome


def _serve(pipe: Connection) -> None:
    """Do tasks until nobody sends any: the body of a worker's process."""
    unwind_when_asked()

    def alive(_done: int, _total: int) -> None:
        pipe.send(None)  # fails where nobody listens any more, and ends the encoding

    try:
        while True:
            outcome = work(pipe.recv(), alive)
            _tell(pipe, outcome)
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _tell(pipe: Connection, outcome: Outcome) -> None:
    """Send an outcome; what nobody hears of is removed."""
    try:
        pipe.send(outcome)
    except BaseException:
        if outcome.part is not None:
            outcome.part.unlink(missing_ok=True)
        raise
