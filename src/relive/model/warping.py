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
from relive.model.depth import (
    STRIDE,
    DepthNet,
    FlowNet,
    cues,
    photometric,
    smoothness,
    spread,
    sweep,
)
from relive.model.motion import Motion
from relive.model.motion_search import search, search_finely
from relive.model.regions import cube_regions, depth_regions
from relive.model.warp import sample

COPY, ROTATION = 0, 1


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


@dataclass(frozen=True)
class Taste:
    """What an encoder prefers among hypotheses that fit alike.

    Attributes:
        smoothness: mean squared error that a differing neighbour costs.
        before: hypotheses of the step before int64 `[B, h, w]`, cheap to take again; None after a
            keyframe.
    """

    smoothness: float
    before: Tensor | None = None


class SearchedWarp(nn.Module):
    """The encoder tries 32 hypotheses for every cube and sends the index of the best."""

    def choose(
        self, motion: Motion, picture: Tensor, frames: Tensor, taste: Taste | None = None
    ) -> Tensor:
        """Search the hypotheses.

        Args:
            motion: what is known of the camera.
            picture: the whole previous frame as decoded `[B, 3, H0, W0]`.
            frames: the pair to be coded `[B, 2, 3, H, W]`.
            taste: of an encoder, which takes more time; None in training.

        Returns:
            Hypotheses int64 `[B, h, w]`.
        """
        with torch.no_grad():
            if taste is None:
                return search(motion, picture, frames)
            return search_finely(motion, picture, frames, taste.smoothness, taste.before)

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

    def regions(self, motion: Motion, choice: Tensor, warped: Warped) -> Tensor:
        """Regions of the cubes, int64 `[B, h, w]`, by their hypotheses."""
        return cube_regions(motion, choice, *choice.shape[1:])

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

    def choose(
        self, motion: Motion, picture: Tensor, frames: Tensor, taste: Taste | None = None
    ) -> Tensor:
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
        self.depth = DepthNet()
        self.flow = FlowNet()

    def choose(
        self, motion: Motion, picture: Tensor, frames: Tensor, taste: Taste | None = None
    ) -> Tensor:
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

    def regions(self, motion: Motion, choice: Tensor, warped: Warped) -> Tensor:
        """Regions of the cubes, int64 `[B, h, w]`, by their learned depth."""
        return depth_regions(motion, warped.inverse_depth.detach())

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
        view = hypotheses.view(motion, *pictures.shape[-2:])
        turned = _look(motion, picture, 0, torch.zeros_like(still[:, 0]))
        parallax = sweep(motion, picture, pictures, self.depth.depths)
        small, gate = self.depth(cues(motion, turned, still, pictures[:, 0]), *parallax)
        depth, share = spread(small).exp()[:, 0], torch.where(view, spread(gate), 1.0)
        looks = [_look(motion, picture, frame, depth) for frame in range(2)]
        moved = torch.stack([torch.where(view, seen, still) for seen, _ in looks], 1)
        seen = torch.stack([torch.where(view, inside, 1.0) for _, inside in looks], 1)
        reference = torch.lerp(moved, still[:, None].expand_as(moved), share[:, None])
        valid = torch.lerp(seen, torch.ones_like(seen), share[:, None])
        none = torch.zeros_like(small).repeat(1, 2, 1, 1)
        guess = Guess(moved, still[:, None], seen, torch.cat([small, gate, none], 1))
        cubes = F.avg_pool2d(small, CUBE_PX // STRIDE).exp()
        near = cubes.where(F.avg_pool2d(share, CUBE_PX) < 0.5, 0.0)[:, 0]
        return Warped(reference, valid, near, torch.zeros_like(cubes).repeat(1, 2, 1, 1), guess)


def _look(motion: Motion, picture: Tensor, frame: int, near: Tensor) -> tuple[Tensor, Tensor]:
    """Read the scene of a frame of the pair at inverse depths `[B, H, W]`, and where it is seen."""
    x, y = hypotheses.scene_positions(motion, frame, near, *near.shape[-2:])
    bottom = picture.shape[-2]
    if motion.camera is not None:  # the overlay hides the scene below the view
        bottom = min(bottom, motion.camera.bottom_px)
    return sample(picture, x, y), _inside(x, y, bottom, picture.shape[-1])


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
