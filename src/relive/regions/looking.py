"""What is seen of a step of a session, on a grid of 8×8 pixels: contents and motion.

```
 pair ─► bundled encoder, as at a keyframe ─► latents of cubes ─► enlarged to blocks ─┐
 pair ─► colour, contrast ────────────────────────────────────────────────────────────┼─► Look
 frame before, poses ─► warped by every depth and height ─► what fits? ───────────────┘
```

Motion is seen against hypotheses that cover the picture: it stands still (`copy`), it is upright at
one of 16 depths and turned in one of 7 ways, or it lies flat, as floors and ceilings do, at one of
30 heights. Flat ground has
an inverse depth that grows with the distance from the horizon (planar parallax: Irani and Anandan,
"A unified approach to moving object detection", PAMI 1998). Without a camera the hypothesis is one
displacement of the whole picture, by phase correlation.

Shapes: H W padded pixels, h w blocks, M hypotheses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from relive.codec import Bundle
from relive.codec.step import Geometry, StepCoder, StepState, to_picture
from relive.model.motion import inverse_depths
from relive.model.warp import Pinhole, camera_positions, sample
from relive.session import Session

BLOCK_PX = 8
STEP_FRAMES = 2
STEP_BACK = 2
"""Frames from the one before to the pair."""
SAMPLED_PX = 2
"""Distance of the pixels that are compared."""
NOISE = (2 / 255) ** 2
"""Squared error that says nothing."""
LIMIT = 4.0
"""Cues are logarithms of ratios; what is beyond this is as sure as it gets."""
TURNS_DEG = (-70, -45, -20, 0, 20, 45, 70)
"""Of upright surfaces about the vertical; 0 faces the camera."""
CONTRASTS = 16.0
"""Powers of two from no contrast to all."""
MOVING_SHARE = 0.1
"""Of the blocks that tell moving from standing still."""


@dataclass(frozen=True)
class Look:
    """What is seen of a step.

    Attributes:
        latents: of the encoder, as of a keyframe, float32 `[h, w, D]`.
        colour: lightness, red against green, blue against yellow; contrast, logarithmic;
            float32 `[h, w, 4]`.
        moves: how much better motion explains a block than standing still, in powers of two; below
            0 it stands still while the picture moves; float32 `[h, w]`.
        lies: how much better flat ground explains it than an upright surface `[h, w]`.
        own: what no hypothesis explains, over NOISE, in powers of two `[h, w]`.
        moving: whether the picture as a whole moved.
    """

    latents: NDArray[np.float32]
    colour: NDArray[np.float32]
    moves: NDArray[np.float32]
    lies: NDArray[np.float32]
    own: NDArray[np.float32]
    moving: bool


class Watcher:
    """Looks at a session, step by step.

    Args:
        session: an open session.
        bundle: the model whose encoder looks.
    """

    def __init__(self, session: Session, bundle: Bundle) -> None:
        self.session = session
        self.geometry = Geometry(session.width, session.height)
        self.coder = StepCoder(bundle, session.schema, self.geometry)
        self.num_steps = -(-session.num_frames // STEP_FRAMES)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of blocks of the padded picture."""
        height, width = self.geometry.padded
        return height // BLOCK_PX, width // BLOCK_PX

    @property
    def horizon(self) -> float:
        """Row of blocks at which the camera looks level; the middle where there is none."""
        camera = self.coder.camera
        middle = self.session.height / 2 if camera is None else camera.centre_y_px
        return middle / BLOCK_PX

    def look(self, step: int) -> Look:
        """Look at frames 2·step and 2·step + 1."""
        first = STEP_FRAMES * step
        rows = np.array([first - STEP_BACK, first, first + 1]).clip(0, self.session.num_frames - 1)
        frames = [self.session.frames(int(row), int(row) + 1)[0] for row in rows]
        pictures = to_picture(self.geometry.pad(np.stack(frames)))
        with torch.inference_mode():
            order = rows[[0, 0, 1, 1]]
            state = self.coder.state(self.session.states[order], self.session.times_ns[order])
            latents = self._latents(pictures[1:], state)
            colour = _colours(pictures[1])
            cues = self._motion(pictures[0], pictures[1], state)
        return Look(latents.numpy(), colour.numpy(), *cues)

    def _latents(self, pair: Tensor, state: StepState) -> Tensor:
        """Latents of the cubes, enlarged to blocks: `[h, w, D]`."""
        step = self.coder.begin(None, state, torch.zeros(1, *self.geometry.grid, dtype=torch.long))
        latents = self.coder.bundle.model.encoder(pair[None], step.context, step.pyramid)
        enlarged = F.interpolate(latents.permute(0, 3, 1, 2), scale_factor=2, mode="bilinear")
        return enlarged[0].permute(1, 2, 0)

    def _motion(
        self, before: Tensor, now: Tensor, state: StepState
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], bool]:
        """Cues of motion from one frame to another: moves, lies, own, moving."""
        grey = [picture.mean(0)[None, None] for picture in (before, now)]
        still, upright, flat = _explained(grey[0], grey[1], state, self.coder.camera)
        moved = torch.minimum(upright[0], flat[0])
        moves = _ratio(still, moved)
        # the displacement of a picture that stands still is a wrong one
        told = moves if self.coder.camera is None else moves.abs()
        moving = bool((told > 1).float().mean() > MOVING_SHARE)
        own = (torch.minimum(still, moved) / NOISE + 1).log2()
        return moves.numpy(), _ratio(upright[1], flat[1]).numpy(), own.numpy(), moving


def _colours(picture: Tensor) -> Tensor:
    """Opponent colours of blocks and their contrast: `[3, H, W]` to `[h, w, 4]`."""
    red, green, blue = picture
    light = (red + green + blue) / 3
    planes = torch.stack([light, red - green, blue - (red + green) / 2])
    means = F.avg_pool2d(planes, BLOCK_PX)
    squares = F.avg_pool2d(light[None].square(), BLOCK_PX)
    spread = (squares - means[:1].square()).clamp_min(0).add(NOISE).log2() / CONTRASTS
    return torch.cat([means, spread]).permute(1, 2, 0).contiguous()


def _explained(
    before: Tensor, now: Tensor, state: StepState, camera: Pinhole | None
) -> tuple[Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Squared error of blocks, each with its neighbours, by the best hypothesis of every kind.

    Args:
        before: grey `[1, 1, H, W]`.
        now: the same, later.
        state: poses of both.
        camera: None without one.

    Returns:
        Standing still `[h, w]`; upright and flat surfaces, in both windows of `_errors`.
    """
    small = F.avg_pool2d(now, SAMPLED_PX)
    still, _ = _errors(F.avg_pool2d(before, SAMPLED_PX), small)
    if camera is None:
        moved = _errors(F.avg_pool2d(_displaced(before, now), SAMPLED_PX), small)
        return still, moved, moved
    height, width = small.shape[-2:]
    xs, ys = ((torch.arange(n)[None] + 0.5) * SAMPLED_PX for n in (width, height))
    levels = inverse_depths()[1:, None, None]
    quarter = (camera.bottom_px - camera.top_px) / 4
    away = (ys[0, :, None] - camera.centre_y_px).abs() / quarter
    averaged = F.avg_pool2d(before, SAMPLED_PX, 1, padding=1, count_include_pad=False)
    turn, shift = state.motion.turns[:, 1], state.motion.shifts[:, 1]
    best = []
    across = ((xs - camera.centre_x_px) / camera.focal_x_px)[None]
    turned = torch.cat(
        [
            (math.cos(angle) + math.sin(angle) * across).clamp_min(0) * levels[::2]
            for angle in map(math.radians, TURNS_DEG)
        ]
    )
    for depths in (turned, levels[1:] * away):
        x, y = camera_positions(camera, turn, shift, depths[None], xs, ys)
        # the mean of pixels k - 1 and k stands at k: half a pixel later
        x, y = (place[0].expand(len(depths), height, width) + 0.5 for place in (x, y))
        seen = sample(averaged, x.flatten(0, 1)[None], y.flatten(0, 1)[None])
        best.append(_errors(seen.view(-1, 1, height, width), small))
    return still, best[0], best[1]


def _errors(seen: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Least mean squared error, `[M, 1, H/s, W/s]` to `[h, w]`: of blocks with those around them.

    Returns:
        In windows of 3×3 blocks, and of 5 rows and 3 columns.
    """
    squares = F.avg_pool2d((seen - target).square(), BLOCK_PX // SAMPLED_PX)
    near, tall = (
        F.avg_pool2d(squares, window, 1, (window[0] // 2, 1), count_include_pad=False)
        for window in ((3, 3), (5, 3))
    )
    return near[:, 0].amin(0), tall[:, 0].amin(0)


def _ratio(over: Tensor, under: Tensor) -> Tensor:
    """Logarithm of a ratio of squared errors, to the base 2, within LIMIT."""
    ratio: Tensor = ((over + NOISE) / (under + NOISE)).log2().clamp(-LIMIT, LIMIT)
    return ratio


def _displaced(before: Tensor, now: Tensor) -> Tensor:
    """Move the earlier picture as a whole, where it fits best by phase correlation.

    The strongest displacement other than none; the edges come in again at the other side.
    """
    spectra = [torch.fft.rfft2(x[0, 0] - x.mean()) for x in (before, now)]
    cross = spectra[1] * spectra[0].conj()
    peaks = torch.fft.irfft2(cross / cross.abs().clamp_min(1e-9), s=before.shape[-2:])
    peaks[0, 0] = -1
    dy, dx = divmod(int(peaks.argmax()), peaks.shape[1])
    return before.roll((dy, dx), (-2, -1))
