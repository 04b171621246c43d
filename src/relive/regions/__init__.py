"""Regions found, not given: what belongs together in the pictures of a session, without labels.

```
 session ─► looking ─► latents, colours, cues of motion ─► words ─► kinds ─► finding ─► maps
                                                                              └► writing ─► session
```
"""

from relive.regions.agreement import adjusted_rand
from relive.regions.finding import Found, Opened, discover
from relive.regions.writing import check_output, write_regions

__all__ = ["Found", "Opened", "adjusted_rand", "check_output", "discover", "write_regions"]
