"""What a camera near the path would have seen: from session memory, poses and matched depth.

```
 recording ─► which frames know it? ─► their depth ─► drawn from there ─► voted, blended
              memory.py                surface.py     render.py           blend.py
                 overlay.py: what is fixed to the screen is no place in the world
```

What no recorded frame shows stays unseen.
"""

from relive.view.camera import Offset
from relive.view.output import Tally, view
from relive.view.viewer import Plan, View, Viewer
from relive.view.viewing import Wanted, open_view

__all__ = ["Offset", "Plan", "Tally", "View", "Viewer", "Wanted", "open_view", "view"]
