"""The enhancement layer at work on a GOP: encoder and decoder, a pair of frames at a time.

The next step starts from the enhanced pair, so its codes say what is new against that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relive.bitstream import GopDetail, step_size
from relive.codec.step import StepState
from relive.enhancement.frame import Reference, enlarge, predict, reconstruct
from relive.enhancement.modes import choose_modes, to_blocks
from relive.enhancement.post_filter import FilterSample, PostFilter
from relive.enhancement.search import LAMBDA, LevelCosts, choose_levels
from relive.enhancement.transform import forward
from relive.enhancement.weights import choose_weights
from relive.model.context import Carry
from relive.model.motion import Motion, positions

KEYFRAME_FINER, EVEN_FINER = 3, 1
"""Sixths of an octave by which the quantiser is finer on keyframes, and on every other step."""


@dataclass(frozen=True)
class Pair:
    """What a step knows before its layer.

    Attributes:
        base: decoded from the codes `[2, 3, H, W]`, whole numbers in 0..255.
        last: the pair before, enhanced `[2, 3, H, W]`; None at a keyframe.
        state: of the step.
        choice: motion hypotheses int64 `[1, h, w]`.
    """

    base: Tensor
    last: Tensor | None
    state: StepState
    choice: Tensor

    def reference(
        self, frame: int, first: Tensor | None, added: Tensor | None, older: bool
    ) -> Reference | None:
        """Reference of frame 0 or 1.

        Args:
            frame: 0 or 1.
            first: frame 0, where 1 is asked for.
            added: what the layer added to it.
            older: with the frame before the reference, where there is one.
        """
        known = self._older(frame) if older and self.last is not None else None
        if frame:
            if first is None:
                raise ValueError("the second frame of a pair follows the first")
            return Reference(
                first, added, *_places(self.state.within, 0, self.choice, first), known
            )
        if self.last is None:
            return None
        last = self.last[1]
        return Reference(last, None, *_places(self.state.motion, 0, self.choice, last), known)

    def _older(self, frame: int) -> Reference:
        """The frame before the reference of frame 0 or 1."""
        if self.last is None:
            raise ValueError("nothing comes before a keyframe")
        picture, motion = self.last[frame], self.state.motion
        if frame or motion.camera is None:
            return Reference(picture, None, *_places(motion, 1, self.choice, picture))
        return Reference(picture, None, *_places(motion.before(), 0, self.choice, picture))


def _places(motion: Motion, frame: int, choice: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
    """Where the pixels of frame 0 or 1 lie in a picture before: columns and rows `[H, W]`."""
    height, width = picture.shape[-2:]
    pixels = enlarge(choice[0], (height, width)).long()[None, None]
    x, y = positions(motion, frame, pixels, height, width)
    return x[0, 0].expand(height, width), y[0, 0].expand(height, width)


def layer_pair(carry: Carry, before: Carry | None, state: StepState, choice: Tensor) -> Pair:
    """Put together what is known before the layer of a step.

    Args:
        carry: what the step left, its pictures as decoded from the codes.
        before: what the step before left; None at a keyframe.
        state: of the step.
        choice: motion hypotheses int64 `[1, h, w]`.
    """
    last = None if before is None else (before.pictures[0] * 255).round()
    return Pair((carry.pictures[0] * 255).round(), last, state, choice)


@dataclass(frozen=True)
class Enhanced:
    """A pair with its layer, whole numbers in 0..255.

    Attributes:
        kept: what the next frames are predicted from `[2, 3, H, W]`.
        shown: the same through the post-filter.
    """

    kept: Tensor
    shown: Tensor

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """What is shown, uint8 `[2, H, W, 3]`."""
        return self.shown.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()

    def carry(self, carry: Carry) -> Carry:
        """What the next step starts from."""
        return replace(carry, pictures=self.kept[None] / 255)


class _Frames:
    """The frames of a pair as they come."""

    def __init__(self, pair: Pair, post_filter: PostFilter | None) -> None:
        self._pair, self._filter = pair, post_filter
        self._kept: list[Tensor] = []
        self._shown: list[Tensor] = []
        self._added: Tensor | None = None

    def reference(self, older: bool) -> Reference | None:
        """Of the frame that comes next; with the frame before that, where it is wanted."""
        place = len(self._kept)
        return self._pair.reference(place, self._kept[0] if place else None, self._added, older)

    def add(self, prediction: Tensor, levels: Tensor, size: float) -> Tensor:
        """Reconstruct the next frame."""
        frame = shown = reconstruct(prediction, levels, size)
        if self._filter is not None:
            base = self._pair.base[len(self._kept)]
            shown = self._filter.apply_to(frame, prediction, base, size)
        self._kept.append(frame)
        self._shown.append(shown)
        self._added = frame - prediction
        return frame

    def done(self) -> Enhanced:
        """Both frames."""
        return Enhanced(torch.stack(self._kept), torch.stack(self._shown))


def decode_pair(
    detail: GopDetail, index: int, pair: Pair, post_filter: PostFilter | None
) -> Enhanced:
    """Decode the layer of step `index`."""
    frames = _Frames(pair, post_filter)
    for place, row in enumerate((2 * index, 2 * index + 1)):
        modes = torch.from_numpy(detail.modes[row].astype(np.int64))
        vectors = torch.from_numpy(detail.vectors[row].astype(np.int64))
        sources = torch.from_numpy(detail.sources[row].astype(np.int64))
        reference = frames.reference(older=bool(sources.any()))
        if reference is not None:
            weights = torch.from_numpy(detail.weights[row].astype(np.int64))
            reference = reference.weighted(weights)
        prediction = predict(pair.base[place], reference, modes, sources, vectors)
        levels = torch.from_numpy(detail.levels[row].astype(np.float32))
        frames.add(prediction, levels, step_size(int(detail.steps[row])))
    return frames.done()


def _bytes(*pictures: Tensor) -> Iterator[NDArray[np.uint8]]:
    return (picture.to(torch.uint8).numpy() for picture in pictures)


@dataclass(frozen=True)
class Tools:
    """What the encoder of the layer works with.

    Attributes:
        costs: estimated bits of levels.
        post_filter: of the model, if it has one.
        watch: told every frame of the GOP by its number, before the filter.
    """

    costs: LevelCosts
    post_filter: PostFilter | None
    watch: Callable[[int, FilterSample], None] | None = None


def encode_pair(
    detail: GopDetail,
    index: int,
    pair: Pair,
    target: Tensor,
    step: int,
    tools: Tools,
) -> Enhanced:
    """Choose the layer of step `index` and write it into `detail`.

    Args:
        detail: of the GOP.
        index: number of the step.
        pair: what is known before.
        target: the true pair `[2, 3, H, W]`, 0..255.
        step: number of the quantiser step.
        tools: what the model has for the layer.

    Returns:
        What `decode_pair` will give.
    """
    finer = KEYFRAME_FINER if index == 0 else EVEN_FINER if index % 2 == 0 else 0
    number = max(step - finer, 0)
    size = step_size(number)
    price = LAMBDA * size**2
    frames = _Frames(pair, tools.post_filter)
    for place, row in enumerate((2 * index, 2 * index + 1)):
        reference = frames.reference(older=True)
        grid = pair.choice.shape[1:]
        weights = torch.zeros(3, 2, dtype=torch.long)
        modes = torch.zeros(grid, dtype=torch.long)
        sources, split = torch.zeros_like(modes), torch.zeros_like(modes)
        vectors = torch.zeros(*to_blocks(modes).shape, 2, dtype=torch.long)
        if reference is not None:
            own = reference.carried(pair.base[place])
            weights, vectors = choose_weights(target[place], own, reference, price)
            reference = reference.weighted(weights)
            modes, sources, split, vectors = choose_modes(
                target[place], own, reference, vectors, price
            )
        prediction = predict(pair.base[place], reference, modes, sources, vectors)
        levels = choose_levels(forward(target[place] - prediction), size, tools.costs)
        frame = frames.add(prediction, levels, size)
        if tools.watch is not None:
            a, b, c, d = _bytes(frame, prediction, pair.base[place], target[place])
            tools.watch(row, FilterSample(a, b, c, d, size))
        detail.steps[row] = number
        detail.weights[row] = weights.numpy()
        detail.modes[row] = modes.numpy()
        detail.sources[row] = sources.numpy()
        detail.split[row] = split.numpy()
        detail.vectors[row] = vectors.numpy()
        detail.levels[row] = levels.numpy()
    return frames.done()
