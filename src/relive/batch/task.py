"""What goes to a worker, and what comes back."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PART = ".relive.part"
"""How the hidden names end under which workers write."""


@dataclass(frozen=True)
class Settings:
    """How the sessions of a batch are encoded; the words of `relive.encode`."""

    model: Path | None = None
    quality: int | None = None
    bitrate: float | None = None
    psnr: float | None = None
    preset: str = "medium"
    keyframe_interval: int = 32
    depth: int | None = None
    adapt: bool = False

    def facts(self) -> dict[str, Any]:
        """Return what decides the bytes, but for the model, which goes by its id."""
        return {name: value for name, value in asdict(self).items() if name != "model"}


@dataclass(frozen=True)
class Made:
    """A whole result, and what it was made of; a line of the manifest.

    Attributes:
        file: path of the session inside its folder.
        session: SHA-256 of the session.
        result: SHA-256 of the replay.
        model_id: of the model.
        settings: of the encoding.
        frames: of the session.
        bytes: size of the replay.
        psnr_db: measured.
        seconds: of wall time that it took.
        cpu_seconds: of all cores.
        damaged: whether the session was; what could be read is in the replay.
        reached: whether a target of bits or PSNR was met.
    """

    file: str
    session: str
    result: str
    model_id: str
    settings: dict[str, Any]
    frames: int
    bytes: int
    psnr_db: float
    seconds: float
    cpu_seconds: float
    damaged: bool
    reached: bool


@dataclass(frozen=True)
class Task:
    """One session to encode.

    Attributes:
        file: its path inside the folder of sessions.
        session: its whole path, the same on every host.
        out: the replay.
        settings: how.
        model_id: the model that the settings mean.
        known: what the manifest says of this session.
        force: replace what is there and is not of this batch.
    """

    file: str
    session: Path
    out: Path
    settings: Settings
    model_id: str
    known: tuple[Made, ...] = ()
    force: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        made: the result; None where there is none.
        part: the file that is to be renamed; None where the result was there already.
        reason: why there is no result.
        again: whether another try may do better.
    """

    made: Made | None = None
    part: Path | None = None
    reason: str = ""
    again: bool = False
