"""Which surface a pixel of a view lies on, by vote, and its colour.

Shapes: K surfaces, H W pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relive.view.render import Looks

Floats = NDArray[np.float32]
RAY_RAD, ZOOM = 0.3, 0.7  # a look worsens by e with this angle, and log of zoom
SAME_SHARE, SAME_PACES = 0.1, 160.0  # depths that count as one: a tenth, or one of so many paces
SHARPNESS = 3.0  # the best look outweighs the others
LEVELS = 25.0  # a look that differs by so many levels from the best one counts less by e


def blend(looks: Looks, pace: float) -> tuple[Floats, Floats]:
    """Weigh the looks.

    Returns:
        Colours `[H, W, 3]`, and how sure they are, 0 to 1 `[H, W]`: 0 where nobody saw the place.
    """
    worth = looks.trust * np.exp(-looks.rays / RAY_RAD - np.abs(np.log(looks.zoom)) / ZOOM)
    seen = looks.near >= 0
    worth = (worth + 1e-4) * seen
    near = looks.near
    slack = SAME_SHARE * near + 1 / (SAME_PACES * pace)
    same = np.abs(near[:, None] - near[None]) <= slack[:, None]  # [K, K, H, W]
    votes = (same * worth[None]).sum(1) * seen
    best = votes.argmax(0)[None]
    member = np.take_along_axis(same, best[:, None], 0)[0] & seen
    strongest = np.where(member, worth, 0)
    lead = strongest.argmax(0)[None]
    colour = np.take_along_axis(looks.colours, lead[..., None], 0)
    apart = np.abs(looks.colours - colour).mean(-1)
    weights = (strongest / strongest.max(0).clip(1e-9)) ** SHARPNESS * np.exp(-apart / LEVELS)
    weights *= member
    total = weights.sum(0)
    mixed = (weights[..., None] * looks.colours).sum(0) / total.clip(1e-9)[..., None]
    spread = (weights * apart).sum(0) / total.clip(1e-9)
    sure = (1 - np.prod(1 - strongest.clip(0, 0.99), 0)) * np.exp(-spread / LEVELS)
    return mixed.astype(np.float32), (sure * seen.any(0)).astype(np.float32)
