"""Packets ↔ file: a `.relive` file is MCAP, readable after `kill -9` (docs/format.md).

```
 ReplayHeader, GopRecord, events ── ReplayWriter ──► file ── ReplayReader ──► the same
 ReplayHeader ── pack_live_header ──► first packet of a live stream ── unpack_live_header ──► same
```
"""

from relive.container.gop import GopEntry, GopRecord, ReplayEvent
from relive.container.header import ReplayHeader
from relive.container.live_header import (
    HEADER_MAGIC,
    is_whole_header,
    pack_live_header,
    stream_checksum,
    unpack_live_header,
)
from relive.container.reader import ReplayReader
from relive.container.verify import RepairReport, cut, repair, verify
from relive.container.writer import ReplayWriter

__all__ = [
    "HEADER_MAGIC",
    "GopEntry",
    "GopRecord",
    "RepairReport",
    "ReplayEvent",
    "ReplayHeader",
    "ReplayReader",
    "ReplayWriter",
    "cut",
    "is_whole_header",
    "pack_live_header",
    "repair",
    "stream_checksum",
    "unpack_live_header",
    "verify",
]
