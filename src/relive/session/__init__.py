"""Recordings: schema, writer, reader and sources (games, video files).

One arrow and its inverse: a session on its way to the disk, and back::

      game, video ──► Recorder ──► segments ──► mcap_write ──► session.mcap
                      checks       16 frames    chunks, CRC         │
      frames      ◄── Session  ◄── index    ◄── mcap_read  ◄────────┘
      states          on demand    states

The bytes are specified in ``docs/format-session.md``.
"""

from typing import TYPE_CHECKING, Any

from relive.errors import MissingExtraError
from relive.session.recorder import Recorder
from relive.session.regions import Region, RegionSchema
from relive.session.schema import Camera, StateField, StateSchema
from relive.session.segments import Event
from relive.session.session import Session

if TYPE_CHECKING:
    from relive.session.wrapper import RecordSession

__all__ = [
    "Camera",
    "Event",
    "RecordSession",
    "Recorder",
    "Region",
    "RegionSchema",
    "Session",
    "StateField",
    "StateSchema",
]


def __getattr__(name: str) -> Any:
    """Load `RecordSession` when it is first used: it needs Gymnasium (PEP 562)."""
    if name != "RecordSession":
        raise AttributeError(f"module 'relive.session' has no attribute {name!r}")
    try:
        from relive.session.wrapper import RecordSession
    except ModuleNotFoundError as error:
        if error.name == "gymnasium":
            raise MissingExtraError("gymnasium", "games") from None
        raise
    return RecordSession
