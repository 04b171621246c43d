"""The tasks of a batch on a Ray cluster (extra `scale`).

Hosts see sessions, model and results under the same paths, and have the same version of relive.
"""

import signal
from types import ModuleType
from typing import Any

from relive.batch.pool import WAIT_S
from relive.batch.task import Outcome, Task
from relive.batch.work import work
from relive.errors import MissingExtraError, ReliveError

LOCAL = "local"
_STORE_BYTES = 100_000_000  # tasks and outcomes are small; frames do not go through Ray


class RayPool:
    """A Ray cluster: one task a core, and as many more waiting, so that no core waits for us.

    Args:
        address: of the cluster, in Ray's words; `local` starts one on this machine.
        workers: tasks at once at most; None for twice the cores of the cluster.

    Raises:
        MissingExtraError: Ray is not installed.
        ReliveError: There is no cluster.
    """

    def __init__(self, address: str, workers: int | None = None) -> None:
        self._ray: Any = _import_ray()
        self._limit = workers
        before = signal.getsignal(signal.SIGTERM)
        more: dict[str, Any] = {}
        if address == LOCAL:
            more = {
                "num_cpus": workers,
                "object_store_memory": _STORE_BYTES,
                "include_dashboard": False,
            }
        try:
            self._ray.init(address, log_to_driver=False, logging_level="ERROR", **more)
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ReliveError(f"there is no Ray cluster at {address}: {reason}") from error
        signal.signal(signal.SIGTERM, before)  # Ray takes it
        self._work = self._ray.remote(num_cpus=1, max_retries=0)(work)
        self._tasks: dict[Any, Task] = {}

    def room(self) -> int:
        """Count the tasks that it takes now; a cluster may grow."""
        limit = self._limit or 2 * max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        return max(0, limit - len(self._tasks))

    def start(self, task: Task) -> None:
        """Hand a task to the cluster."""
        self._tasks[self._work.remote(task)] = task

    def ended(self) -> list[tuple[Task, Outcome]]:
        """Hear of one task; a worker or a host that has died gives its task back."""
        done, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=WAIT_S)
        return [(self._tasks.pop(ref), self._outcome(ref)) for ref in done]

    def close(self) -> None:
        """Cancel what is going on, and leave the cluster, or end our own."""
        for ref in self._tasks:
            self._ray.cancel(ref, force=True)
        self._tasks.clear()
        self._ray.shutdown()

    def _outcome(self, ref: Any) -> Outcome:
        try:
            outcome: Outcome = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            line = str(error).strip().partition("\n")[0][:200]
            return Outcome(reason=f"Ray lost it ({type(error).__name__}: {line})", again=True)
        return outcome


def _import_ray() -> ModuleType:
    try:
        import ray
    except ModuleNotFoundError:
        raise MissingExtraError("ray", "scale") from None
    module: ModuleType = ray
    return module
