"""Where the reference of a step comes from: the classes behind `Mechanisms.warp` (design 5.2).

```
 picture (whole, decoded) ──► choose (encoder only) ──► choice ─┐  0 bits but for "searched"
     │                                                          ▼
     └────────────── motion (poses) ─────────────────────► forward ─► reference, valid, depth
```

Shapes: B batch, H W pixels of the crop, H0 W0 of the whole frame, h w cube grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relive.config import CUBE_PX
from relive.errors import InputError
from relive.model import motion as hypotheses
from relive.model.depth import STRIDE, DepthNet, FlowNet, photometric, smoothness, spread
from relive.model.motion import Motion
from relive.model.warp import sample

COPY, ROTATION = 0, 1
SHIFT_UNITS = 32.0  # world units a frame that count as one for the depth network


@dataclass(frozen=True)
class Guess:
    """What a learned warp believed, kept for its loss.

    Attributes:
        moved: the previous picture warped by depth or flow alone, no gate `[B, 2, 3, H, W]`.
        still: the previous picture as it was `[B, 1, 3, H, W]`.
        seen: 1 where the previous picture holds what was looked for `[B, 2, 1, H, W]`.
        maps: log inverse depth, gate, flow over 8 pixels, `[B, 4, H/8, W/8]`.
    """

    moved: Tensor
    still: Tensor
    seen: Tensor
    maps: Tensor


@dataclass(frozen=True)
class Warped:
    """The previous picture as the new pair should look.

    Attributes:
        reference: `[B, 2, 3, H, W]`, 0..1.
        valid: 1 where the previous picture saw the place `[B, 2, 1, H, W]`.
        inverse_depth: one over world units `[B, h, w]`; 0 for copy, for rotation alone, and where
            there is no camera.
        flow: learned motion of cubes without a camera, pixels a frame `[B, 2, h, w]`.
        guess: what the loss needs, where something is learned.
    """

    reference: Tensor
    valid: Tensor
    inverse_depth: Tensor
    flow: Tensor | None = None
    guess: Guess | None = None


class SearchedWarp(nn.Module):
    """The encoder tries 32 hypotheses for every cube and sends the index of the best."""

    def choose(self, motion: Motion, picture: Tensor, frames: Tensor) -> Tensor:
        """Search the hypotheses.

        Args:
            motion: what is known of the camera.
            picture: the whole previous frame as decoded `[B, 3, H0, W0]`.
            frames: the pair to be coded `[B, 2, 3, H, W]`.

        Returns:
            Hypotheses int64 `[B, h, w]`.
        """
        with torch.no_grad():
            return hypotheses.search(motion, picture, frames)

    def forward(self, motion: Motion, picture: Tensor, pictures: Tensor, choice: Tensor) -> Warped:
        """Warp the previous picture to both frames of the pair.

        Args:
            motion: what is known of the camera.
            picture: the whole previous frame as decoded `[B, 3, H0, W0]`.
            pictures: the last decoded pair `[B, 2, 3, H, W]`.
            choice: what `choose` gave, int64 `[B, h, w]`.
        """
        height, width = pictures.shape[-2:]
        reference, valid = hypotheses.warp(motion, picture, choice, height, width)
        inside = hypotheses.view(motion, height, width, CUBE_PX)[:, 0]
        depth = hypotheses.inverse_depths().to(choice.device)[choice] * inside
        return Warped(reference, valid, depth)

    def loss(self, warped: Warped, frames: Tensor) -> Tensor:
        """Nothing is learned: zero."""
        return frames.new_zeros(())


class FixedWarp(SearchedWarp):
    """One hypothesis everywhere, no bits: copy, or the rotation of the camera.

    Without a camera that is copy, as index 1 would be a displacement there.
    """

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def choose(self, motion: Motion, picture: Tensor, frames: Tensor) -> Tensor:
        """Return the same hypothesis for every cube; the arguments are those of `SearchedWarp`."""
        b, _, _, height, width = frames.shape
        known = motion.known.bool() & (motion.camera is not None)
        index = torch.where(known, self.index, COPY)[:, None, None]
        return index.expand(b, height // CUBE_PX, width // CUBE_PX)


class LearnedWarp(nn.Module):
    """Rotation exactly, translation by a learned depth, learned flow without a camera; no bits.

    ```
     picture ─rotate─► DepthNet ─► depth ─► warp ─┐
        │                  └─────► gate ──────────┤
        └──────────────── copy ───────────────────┴─► reference
    ```
    """

    def __init__(self) -> None:
        super().__init__()
        self.depth = DepthNet(channels=16)
        self.flow = FlowNet()

    def choose(self, motion: Motion, picture: Tensor, frames: Tensor) -> Tensor:
        """Return zeros, which cost nothing; the arguments are those of `SearchedWarp`."""
        b, _, _, height, width = frames.shape
        shape = (b, height // CUBE_PX, width // CUBE_PX)
        return torch.zeros(shape, dtype=torch.long, device=frames.device)

    def forward(self, motion: Motion, picture: Tensor, pictures: Tensor, choice: Tensor) -> Warped:
        """Warp the previous picture to both frames of the pair; as `SearchedWarp.forward`."""
        pictures = pictures.to(picture.dtype)
        plain = hypotheses.screen_positions(motion, *pictures.shape[-2:])
        still = sample(picture, *plain)
        flowed = self._by_flow(picture, pictures, plain, still)
        if motion.camera is None:
            return flowed
        posed = self._by_depth(motion, picture, pictures, still)
        return _select(motion.known.bool(), posed, flowed)

    def loss(self, warped: Warped, frames: Tensor) -> Tensor:
        """Photometric loss and edge-aware smoothness (Monodepth2, arXiv 1806.01260).

        Args:
            warped: what `forward` gave.
            frames: the true pair `[B, 2, 3, H, W]`.

        Returns:
            A scalar.
        """
        guess = warped.guess
        if guess is None:
            raise ValueError("this was not warped by a learned warp")
        blended = photometric(warped.reference, frames)
        # auto-mask: where doing nothing fits better, depth has nothing to learn
        moved = photometric(guess.moved, frames).minimum(photometric(guess.still, frames))
        seen = guess.seen
        fit = ((blended + moved) * seen).mean((1, 2, 3, 4)) / seen.mean((1, 2, 3, 4)).clamp_min(0.1)
        return fit.mean() + smoothness(guess.maps, frames[:, 0])

    def _by_flow(
        self, picture: Tensor, pictures: Tensor, plain: tuple[Tensor, Tensor], still: Tensor
    ) -> Warped:
        """Warp by flow that goes on: one step to the first frame, two to the second."""
        small = self.flow(pictures)
        dx, dy = spread(small).unbind(1)
        places = [(plain[0] - n * dx, plain[1] - n * dy) for n in (1, 2)]
        moved = torch.stack([sample(picture, x, y) for x, y in places], 1)
        seen = torch.stack([_inside(x, y, *picture.shape[-2:]) for x, y in places], 1)
        maps = torch.cat([torch.zeros_like(small), small / STRIDE], 1)
        cubes = F.avg_pool2d(small, CUBE_PX // STRIDE)
        guess = Guess(moved, still[:, None], seen, maps)
        return Warped(moved, seen, torch.zeros_like(cubes[:, 0]), cubes, guess)

    def _by_depth(self, motion: Motion, picture: Tensor, pictures: Tensor, still: Tensor) -> Warped:
        """Warp the scene by the depth, and blend it with what is fixed to the screen."""
        height, width = pictures.shape[-2:]
        view = hypotheses.view(motion, height, width)
        small, small_gate = self.depth(_depth_input(motion, picture, pictures, still))
        depth = spread(small).exp()[:, 0]
        gate = torch.where(view, spread(small_gate), 1.0)[:, None]
        moved, seen = [], []
        for frame in range(2):
            x, y = hypotheses.scene_positions(motion, frame, depth, height, width)
            moved.append(torch.where(view, sample(picture, x, y), still))
            inside = _inside(x, y, _bottom(motion, picture), picture.shape[-1])
            seen.append(torch.where(view, inside, 1.0))
        scene, inside = torch.stack(moved, 1), torch.stack(seen, 1)
        reference = torch.lerp(scene, still[:, None].expand_as(scene), gate)
        valid = torch.lerp(inside, torch.ones_like(inside), gate)
        maps = torch.cat([small, small_gate, torch.zeros_like(small).repeat(1, 2, 1, 1)], 1)
        cubes = CUBE_PX // STRIDE
        near, share = F.avg_pool2d(small, cubes).exp(), F.avg_pool2d(gate[:, 0], CUBE_PX)
        flow = torch.zeros_like(near).repeat(1, 2, 1, 1)
        near = near.where(share < 0.5, 0.0)[:, 0]
        return Warped(reference, valid, near, flow, Guess(scene, still[:, None], inside, maps))


def _depth_input(motion: Motion, picture: Tensor, pictures: Tensor, still: Tensor) -> Tensor:
    """What depth can be told from, at half resolution `[B, 16, H/2, W/2]`.

    The picture turned into the new view, the picture and the one before as they were, where the
    turned one is seen, the place in the view, the view, and how the camera goes.
    """
    height, width = pictures.shape[-2:]
    camera = motion.camera
    if camera is None:
        raise ValueError("depth needs a camera")
    far = torch.zeros_like(picture[:, :1, :1, 0])
    x, y = hypotheses.scene_positions(motion, 0, far, height, width)
    seen = _inside(x, y, _bottom(motion, picture), picture.shape[-1])
    half = [F.avg_pool2d(p - 0.5, 2) for p in (sample(picture, x, y), still, pictures[:, 0], seen)]
    columns, rows = hypotheses.screen_positions(motion, height, width, 2)
    right = (columns - camera.centre_x_px) / camera.focal_x_px
    up = (camera.centre_y_px - rows) / camera.focal_y_px
    place = torch.stack([right, up], 1)
    inside = hypotheses.view(motion, height, width, 2).float()
    pace = (motion.shifts[:, 0, :, None, None] / SHIFT_UNITS).clamp(-4, 4)
    return torch.cat([*half, place, inside, pace.expand(-1, -1, height // 2, width // 2)], 1)


def _bottom(motion: Motion, picture: Tensor) -> int:
    """Last row that shows the scene; below it lies the overlay."""
    bottom = picture.shape[-2]
    return bottom if motion.camera is None else min(bottom, motion.camera.bottom_px)


def _inside(x: Tensor, y: Tensor, bottom: int, right: int) -> Tensor:
    """1 where positions lie in the picture `[B, 1, H, W]`."""
    return ((x >= 0) & (x <= right) & (y >= 0) & (y <= bottom)).float()[:, None]


def _select(known: Tensor, posed: Warped, flowed: Warped) -> Warped:
    """Take the one or the other for every row of the batch."""

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(known.view(-1, *[1] * (a.ndim - 1)), a, b)

    if posed.flow is None or flowed.flow is None or posed.guess is None or flowed.guess is None:
        raise ValueError("only learned warps can be joined")
    guess = Guess(
        pick(posed.guess.moved, flowed.guess.moved),
        posed.guess.still,
        pick(posed.guess.seen, flowed.guess.seen),
        pick(posed.guess.maps, flowed.guess.maps),
    )
    return Warped(
        pick(posed.reference, flowed.reference),
        pick(posed.valid, flowed.valid),
        pick(posed.inverse_depth, flowed.inverse_depth),
        pick(posed.flow, flowed.flow),
        guess,
    )


Warper = SearchedWarp | LearnedWarp


def make_warper(kind: str) -> Warper:
    """Build the warp that `Mechanisms.warp` names.

    Raises:
        InputError: There is no such warp.
    """
    match kind:
        case "searched":
            return SearchedWarp()
        case "learned":
            return LearnedWarp()
        case "rotation":
            return FixedWarp(ROTATION)
        case "copy":
            return FixedWarp(COPY)
    raise InputError(f"warp {kind!r} is not one of searched, learned, rotation, copy")
