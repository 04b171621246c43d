"""What was lost, and what lies between: frames made from their neighbours on both sides.

```
 session, replay ─► what it lacks ─► neighbours ─► candidates ─► weights ─► frames, marks
                    gaps.py          sources.py    candidates.py  blend.py   output.py
```
"""

from relive.restore.hiding import Hidden
from relive.restore.interpolating import interpolate
from relive.restore.output import Output, Tally
from relive.restore.restoring import restore

__all__ = ["Hidden", "Output", "Tally", "interpolate", "restore"]
