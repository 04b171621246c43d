"""Ends the game when the recorder is killed: ViZDoom does not notice that by itself."""

import contextlib
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

_SCRIPT = """
read -r _
kill -9 "$1" 2>/dev/null
rm -rf "$2" /dev/shm/ViZDoom??"$3" /dev/shm/ViZDoomMQ*"$3"
"""


class Watcher:
    """Watches over one game while this process lives. A context manager.

    A shell waits on a pipe that nobody writes to. When this process is gone, however it went,
    the pipe closes; the shell then ends the game and removes its folder and its shared memory.

    Args:
        game_pid: The process of the game; None where it is not known, then nobody watches.
        folder: The temporary folder of the game.
        instance: ViZDoom's name of the game, which is in the names of its shared memory.
    """

    def __init__(self, game_pid: int | None, folder: Path, instance: str) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if game_pid is not None and instance.isalnum():
            command = ["/bin/sh", "-c", _SCRIPT, "sh", str(game_pid), str(folder), instance]
            # A session of its own, so that Ctrl-C in a terminal does not reach the shell.
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def newest_child(command: str) -> int | None:
    """Return this process's newest child that runs `command`, or None where /proc does not tell."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, tail = stat.read_text().rpartition(")")
            pid, _, name = head.partition(" (")
            fields = tail.split()  # from the third field of proc(5) on: parent is 4, start time 22
            if name == command and int(fields[1]) == os.getpid():
                found.append((int(fields[19]), int(pid)))
    return max(found)[1] if found else None
