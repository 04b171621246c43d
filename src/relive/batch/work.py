"""One session, in the process of a worker: look whether its replay is there, else encode it.

torch and the codec load with the first session that is encoded: a batch that is done already costs
no more than reading its files.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from relive.batch.task import PART, Made, Outcome, Task
from relive.errors import InputError, ModelMismatchError, ReliveError
from relive.session.processes import reason_of

if TYPE_CHECKING:
    from relive.codec import Bundle

Progress = Callable[[int, int], None]
_BAD_PATH = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


def work(task: Task, progress: Progress | None = None) -> Outcome:
    """Do a task; whatever goes wrong is an outcome as well.

    Args:
        task: what to encode.
        progress: told frames done and frames in all.
    """
    # One core a worker: as many sessions as cores lose less to waiting than GOPs of one.
    os.environ |= {"RELIVE_GOPS_AT_A_TIME": "1", "OMP_NUM_THREADS": "1"}
    try:
        _refuse_pipes(task.session)
        before = _stamp(task.session)
        session = _sha256(task.session)
        made = _find(task, session)
        if made is not None:
            return Outcome(made)
        outcome = _encode(task, session, progress)
        if _stamp(task.session) != before:
            _drop(outcome.part)
            raise ReliveError(f"{task.session} changed while it was read")
    except Exception as error:
        return Outcome(reason=reason_of(error), again=_may_pass(error))
    return outcome


def _refuse_pipes(session: Path) -> None:
    """Refuse what is no file: reading a pipe would wait for ever.

    Raises:
        InputError: It is a pipe, a device or a folder.
    """
    if session.exists() and not session.is_file():
        raise InputError(f"{session} is no regular file")


def _find(task: Task, session: str) -> Made | None:
    """Look for a result that is whole and what it should be; known by content, not by date.

    Raises:
        InputError: There is a file that no run of this batch has made.
    """
    if not task.out.exists():
        return None
    result = _sha256(task.out)
    made = next((known for known in task.known if known.result == result), None)
    if made is None and not task.force:
        raise InputError(
            f"{task.out} is not what a batch has made here; remove it, or overwrite with --force"
        )
    wanted = (session, task.model_id, task.settings.facts())
    if made is None or (made.session, made.model_id, made.settings) != wanted:
        return None
    return made


def _encode(task: Task, session: str, progress: Progress | None) -> Outcome:
    """Encode into a hidden file, and have it on the disk before it is told of."""
    from relive.codec import encode
    from relive.codec.workers import prepare

    prepare()
    task.out.parent.mkdir(parents=True, exist_ok=True)
    part = task.out.with_name(f".{uuid.uuid4().hex}{PART}")
    began, began_cpu = time.perf_counter(), time.process_time()
    settings = task.settings.facts()
    try:
        report = encode(task.session, part, model=_model(task), progress=progress, **settings)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        made = Made(
            task.file,
            session,
            _sha256(part),
            task.model_id,
            settings,
            report.frames,
            report.bytes,
            round(report.psnr_db, 4),
            round(time.perf_counter() - began, 3),
            round(time.process_time() - began_cpu, 3),
            report.damaged,
            report.reached,
        )
    except BaseException:
        _drop(part)
        raise
    return Outcome(made, part)


def _model(task: Task) -> Bundle:
    """Load the model, once for a process.

    Raises:
        ModelMismatchError: It is not the one that the batch began with.
    """
    bundle = _load(task.settings.model)
    if bundle.model_id != task.model_id:
        raise ModelMismatchError(
            f"this host has model {bundle.model_id}, the batch needs {task.model_id}; "
            "install the same version of relive on every host"
        )
    return bundle


@lru_cache(maxsize=1)
def _load(path: Path | None) -> Bundle:
    from relive.codec import load_bundle

    return load_bundle(path)


def _may_pass(error: Exception) -> bool:
    """Tell what another try may mend from input that stays bad."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return not isinstance(cause, _BAD_PATH)
        cause = cause.__cause__ or cause.__context__
    return not isinstance(error, InputError | ModelMismatchError)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


def _drop(part: Path | None) -> None:
    if part is not None:
        part.unlink(missing_ok=True)
