"""Packets ↔ file: a `.relive` file is MCAP, readable after `kill -9` (docs/format.md).

```
 ReplayHeader, GopRecord, events ── ReplayWriter ──► file ── ReplayReader ──► the same
```
"""

from relive.container.gop import GopEntry, GopRecord, ReplayEvent
from relive.container.header import ReplayHeader
from relive.container.reader import ReplayReader
from relive.container.verify import RepairReport, cut, repair, verify
from relive.container.writer import ReplayWriter

__all__ = [
    "GopEntry",
    "GopRecord",
    "RepairReport",
    "ReplayEvent",
    "ReplayHeader",
    "ReplayReader",
    "ReplayWriter",
    "cut",
    "repair",
    "verify",
]
