"""Run one command line and turn every outcome into an exit code and at most one line."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer

from relive.cli import completing
from relive.errors import InputError, MissingExtraError, ReliveError

INTERRUPTED = 130
_EXTRA_OF = {
    "accelerate": "train",
    "bjontegaard": "bench",
    "crafter": "games",
    "cv2": "restore",
    "duckdb": "search",
    "fastapi": "play",
    "flip_evaluator": "bench",
    "gymnasium": "games",
    "imageio_ffmpeg": "bench",
    "matplotlib": "bench",
    "minari": "data",
    "PIL": "play",
    "pyarrow": "search",
    "ray": "scale",
    "rerun": "rerun",
    "starlette": "play",
    "tensorboard": "train",
    "torchmetrics": "bench",
    "uvicorn": "play",
    "vizdoom": "games",
    "websockets": "live",
}
_BAD_PATH = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


def run(args: Sequence[str]) -> int:
    """Run `relive args…`.

    Returns:
        The exit code of design section 2. One line on stderr goes with every code but 0.
    """
    try:
        _terminate_like_interrupt()
        if completing.VARIABLE in os.environ:
            return completing.complete(_command())
        _invoke(list(args) or ["--help"])
        sys.stdout.flush()
    except typer.Exit as leave:
        return int(leave.exit_code)
    except (KeyboardInterrupt, typer.Abort) as stop:
        _say(": ".join(["interrupted", *map(str, stop.args)]))
        return INTERRUPTED
    except BrokenPipeError:
        _let_go_of_output()
        _say("nobody reads standard output any more")
        return 1
    except Exception as error:
        if not {"-v", "--verbose"}.isdisjoint(args):
            traceback.print_exc()
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _let_go_of_output()
        line, code = explain(error)
        _say(line)
        return code
    return 0


def _let_go_of_output() -> None:
    """Drop what stdout still holds, so that Python has no second error with it on leaving."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def explain(error: Exception) -> tuple[str, int]:
    """Say in one line what went wrong.

    Returns:
        The line, and the exit code.
    """
    if isinstance(error, ReliveError):
        return str(error), _code_of(error)
    if hasattr(error, "format_message"):  # typer's own usage errors
        return _usage_line(error), 2
    if isinstance(error, ModuleNotFoundError) and (extra := _EXTRA_OF.get(error.name or "")):
        return str(MissingExtraError(str(error.name), extra)), 2
    if isinstance(error, OSError):
        return _os_line(error), 2 if isinstance(error, _BAD_PATH) else 1
    if isinstance(error, MemoryError):
        return "not enough memory", 1
    return f"internal error, {type(error).__name__}: {error} (-v shows where)", 1


def _command() -> Any:
    from relive.cli.app import app

    return typer.main.get_command(app)


def _invoke(args: list[str]) -> None:
    command = _command()
    with command.make_context("relive", args) as context:
        command.invoke(context)


def _terminate_like_interrupt() -> None:
    """Let SIGTERM unwind like Ctrl-C: recordings are finalised and games stopped."""

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _usage_line(error: Any) -> str:
    path = error.ctx.command_path if getattr(error, "ctx", None) else "relive"
    message = " ".join(str(error.format_message()).split()).rstrip(".")
    return f"{message}{_given(error.__cause__)}; see: {path} --help"


def _given(cause: Any) -> str:
    """Name the value that pydantic found wrong behind a usage error; it does not say so itself."""
    errors = cause.errors() if hasattr(cause, "errors") else []
    return f", not {errors[0]['input']}" if errors and "input" in errors[0] else ""


def _code_of(error: ReliveError) -> int:
    """Look behind an error for the file system: a full disk is 1, a bad path is 2, always."""
    cause: BaseException | None = error
    while cause is not None and error.exit_code <= InputError.exit_code:
        if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
            return ReliveError.exit_code
        if isinstance(cause, _BAD_PATH):
            return InputError.exit_code
        cause = cause.__cause__ or cause.__context__
    return error.exit_code


def _os_line(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"no space left on the disk{where}; free some and run the same command again"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"too many open files{where}; raise the limit (ulimit -n) or give fewer sessions"
    return f"{error.strerror or error}{where}"


def _say(line: str) -> None:
    sys.stderr.write(f"relive: {' '.join(line.split())}\n")
