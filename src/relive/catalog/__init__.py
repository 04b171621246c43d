"""A tree of replays in one duckdb file, kept up to date, checked and searched.

```
 folders ──add, update──► catalogue ──► list, stats ──► search
                             └──sweep──► what is damaged
```
"""

from relive.catalog.catalog import Catalog
from relive.catalog.filing import FilingReport, add, find_replays, remove, update
from relive.catalog.summary import summary
from relive.catalog.sweep import SweepReport, sweep

__all__ = [
    "Catalog",
    "FilingReport",
    "SweepReport",
    "add",
    "find_replays",
    "remove",
    "summary",
    "sweep",
    "update",
]
