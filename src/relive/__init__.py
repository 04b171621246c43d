"""Relive: a learned replay system for game sessions.

The house is one straight line. Each folder is one arrow and its inverse; `codec` is the one place
where the stages meet::

     session ──► cubes ──► model ──► quantizer ──► bitstream ──► container
     frames      clips     latents   codes         packets       file
     states                float     int           bytes
     regions
            write/read  cut/stitch  encode/decode  encode/decode  pack/unpack  write/read

``enhancement`` is what is done in pixels on top of that: what the codes leave, coded at stride 8.

The names below are the whole public interface. They load on first use, so that ``import relive``
costs nothing and a program that only records never loads torch.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Threads that spin while they wait take the machine from the game that is being recorded. OpenMP
# reads this once, when torch is loaded; a value that the user has set is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

if TYPE_CHECKING:
    from relive.codec import Decoder, Encoder, EncodeReport, LiveFrame, Replay, decode, encode
    from relive.errors import (
        DamagedError,
        FormatError,
        InputError,
        MissingExtraError,
        ModelMismatchError,
        ReliveError,
    )
    from relive.session import (
        Camera,
        Event,
        Recorder,
        RecordSession,
        Region,
        RegionSchema,
        Session,
        StateField,
        StateSchema,
    )

__all__ = [
    "Camera",
    "DamagedError",
    "Decoder",
    "EncodeReport",
    "Encoder",
    "Event",
    "FormatError",
    "InputError",
    "LiveFrame",
    "MissingExtraError",
    "ModelMismatchError",
    "RecordSession",
    "Recorder",
    "Region",
    "RegionSchema",
    "ReliveError",
    "Replay",
    "Session",
    "StateField",
    "StateSchema",
    "__version__",
    "decode",
    "encode",
]

_CODEC = {"Decoder", "EncodeReport", "Encoder", "LiveFrame", "Replay", "decode", "encode"}


def _home(name: str) -> str:
    """Name the module that defines a public name."""
    if name in _CODEC:
        return "relive.codec"
    return "relive.errors" if name.endswith("Error") else "relive.session"


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'relive' has no attribute {name!r}")
    value = getattr(import_module(_home(name)), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
