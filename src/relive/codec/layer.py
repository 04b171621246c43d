"""The enhancement layer at work on a GOP: encoder and decoder, a pair of frames at a time.

The next step starts from the enhanced pair, so its codes say what is new against that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relive.bitstream import GopDetail, cube_steps, has_levels
from relive.codec.step import StepState
from relive.enhancement.copies import code_copies, find_copies, predict_copies
from relive.enhancement.deblock import block_edges, choose_strength, deblock
from relive.enhancement.frame import Reference, enlarge, predict, reconstruct, to_blocks, whole
from relive.enhancement.look_ahead import Plan
from relive.enhancement.modes import choose_modes
from relive.enhancement.palettes import Palettes, find_palettes
from relive.enhancement.post_filter import FilterSample, PostFilter
from relive.enhancement.search import LAMBDA, LevelCosts, choose_levels
from relive.enhancement.transform import forward
from relive.enhancement.vectors import VectorSearch
from relive.enhancement.weights import choose_weights
from relive.model.context import Carry
from relive.model.motion import Motion, positions


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
        filters: each shows a frame, the same through the post-filter `[3, H, W]`.
    """

    kept: Tensor
    filters: Sequence[Callable[[], Tensor]]

    def pixels(self) -> NDArray[np.uint8]:
        """What is shown, uint8 `[2, H, W, 3]`."""
        shown = torch.stack([show() for show in self.filters])
        return shown.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()

    def carry(self, carry: Carry) -> Carry:
        """What the next step starts from."""
        return replace(carry, pictures=self.kept[None] / 255)


class _Frames:
    """The frames of a pair as they come."""

    def __init__(self, pair: Pair, post_filter: PostFilter | None) -> None:
        self._pair, self._filter = pair, post_filter
        self._kept: list[Tensor] = []
        self._shown: list[Callable[[], Tensor]] = []
        self._added: Tensor | None = None

    def reference(self, older: bool) -> Reference | None:
        """Of the frame that comes next; with the frame before that, where it is wanted."""
        place = len(self._kept)
        return self._pair.reference(place, self._kept[0] if place else None, self._added, older)

    def add(
        self, prediction: Tensor, frame: Tensor, sizes: Tensor, unfiltered: bool = False
    ) -> None:
        """Take the next frame, deblocked, and the quantiser steps of its cubes `[h, w]`."""
        show = partial(_same, frame)
        if self._filter is not None and not unfiltered:
            base = self._pair.base[len(self._kept)]
            show = partial(self._filter.apply_to, frame, prediction, base, sizes)
        self._kept.append(frame)
        self._shown.append(show)
        self._added = frame - prediction

    def show_better(self, target: Tensor) -> bool:
        """Show the frame that came last as it is where the post-filter takes it from the target.

        Returns:
            Whether it does.
        """
        frame, filtered = self._kept[-1], self._shown[-1]()
        errors = [float((shown - target).square().sum()) for shown in (frame, filtered)]
        better = frame if errors[0] < errors[1] else filtered
        self._shown[-1] = partial(_same, better)
        return errors[0] < errors[1]

    def done(self) -> Enhanced:
        """Both frames."""
        return Enhanced(torch.stack(self._kept), self._shown)


def _same(frame: Tensor) -> Tensor:
    """Show a frame as it is, without a filter."""
    return frame


def decode_pair(detail: GopDetail, pair: Pair, post_filter: PostFilter | None) -> Enhanced:
    """Decode the layer of a step; `detail` is of this step alone."""
    frames = _Frames(pair, post_filter)
    for place in range(2):
        modes, sources, vectors, weights = (
            torch.from_numpy(array[place].astype(np.int64))
            for array in (detail.modes, detail.sources, detail.vectors, detail.weights)
        )
        reference = frames.reference(older=bool(sources.any()))
        if reference is not None:
            reference = reference.weighted(weights)
        levels = torch.from_numpy(detail.levels[place].astype(np.float32))
        sizes = _sizes(int(detail.steps[place]), detail.offsets[place])
        flat = Palettes(detail.palettes[place], detail.colours[place], detail.indices[place])
        if reference is None:
            base = flat.paint(pair.base[place])
            prediction = predict_copies(base, modes, vectors, levels, sizes)
        else:
            prediction = predict(pair.base[place], reference, modes, sources, vectors)
            prediction = flat.paint(prediction)
        frame = reconstruct(prediction, levels, sizes)
        edges = block_edges(levels, modes, sources, vectors)
        frame = deblock(frame, edges, sizes, int(detail.strengths[place]))
        frames.add(prediction, frame, sizes, bool(detail.unfiltered[place]))
    return frames.done()


def _sizes(step: int, offsets: NDArray[np.int8]) -> Tensor:
    """Quantiser steps of cubes `[h, w]`, in levels of 255."""
    return torch.exp2(torch.from_numpy(cube_steps(step, offsets)) / 6)


def _bytes(*pictures: Tensor) -> Iterator[NDArray[np.uint8]]:
    return (picture.to(torch.uint8).numpy() for picture in pictures)


@dataclass(frozen=True)
class Tools:
    """What the encoder of the layer works with.

    Attributes:
        costs: estimated bits of levels.
        post_filter: of the model, if it has one.
        vectors: how to search them.
        older: predict from the frame before the reference, too.
        flat: palettes, and frames without the post-filter; live packets have neither.
        watch: told every frame of the GOP by its number, before the filter.
        tiles: contents of cubes with palettes that the GOP has so far.
    """

    costs: LevelCosts
    post_filter: PostFilter | None
    vectors: VectorSearch
    older: bool = True
    flat: bool = True
    watch: Callable[[int, FilterSample], None] | None = None
    tiles: set[bytes] = field(default_factory=set)


@dataclass(frozen=True)
class Layer:
    """The layer of one step, for its encoder to fill.

    Attributes:
        detail: of this step alone, zeros.
        plan: of this step alone.
        kept: offsets of the frame before, int8 `[h, w]`; 0 at a keyframe.
        modes: of the frame before, uint8 `[h, w]`; None at a keyframe, or where it is not known.
    """

    detail: GopDetail
    plan: Plan
    kept: NDArray[np.int8]
    modes: NDArray[np.uint8] | None = None


def _palettes(target: Tensor, price: Tensor, tools: Tools) -> tuple[Palettes, Tensor]:
    """Palettes of a frame, and what a cube costs with one, squared error, `[h, w]`."""
    if not tools.flat:
        return Palettes.none(*price.shape), torch.full_like(price, torch.inf)
    found, bits = find_palettes(target, tools.tiles)
    return found, price * bits


def encode_pair(
    layer: Layer,
    index: int,
    pair: Pair,
    target: Tensor,
    tools: Tools,
) -> Enhanced:
    """Choose the layer of step `index` and write it into `layer`.

    Args:
        layer: takes it.
        index: number of the step in its GOP.
        pair: what is known before.
        target: the true pair `[2, 3, H, W]`, 0..255.
        tools: what the model has for the layer.

    Returns:
        What `decode_pair` will give.
    """
    frames = _Frames(pair, tools.post_filter)
    detail, plan, kept, before = layer.detail, layer.plan, layer.kept, layer.modes
    for place in range(2):
        number, offsets = int(plan.steps[place]), plan.offsets[place]
        sizes = _sizes(number, offsets)
        price = LAMBDA * sizes.square()
        reference = frames.reference(older=tools.older)
        grid = pair.choice.shape[1:]
        weights = torch.zeros(3, 2, dtype=torch.long)
        modes = torch.zeros(grid, dtype=torch.long)
        sources, split = torch.zeros_like(modes), torch.zeros_like(modes)
        vectors = torch.zeros(*to_blocks(modes).shape, 2, dtype=torch.long)
        flat, flat_costs = _palettes(target[place], price, tools)
        if reference is not None:
            own = reference.carried(pair.base[place])
            weights, vectors = choose_weights(target[place], own, reference, price, tools.vectors)
            reference = reference.weighted(weights)
            modes, sources, split, vectors, costs = choose_modes(
                target[place],
                own,
                reference,
                vectors,
                price,
                tools.vectors,
                None if before is None else torch.from_numpy(before.astype(np.int64)),
            )
            flat = flat.only(flat_costs < costs)
            plain = ~flat.where
            modes, sources, split = modes * plain, sources * plain, split * plain
            vectors = vectors * to_blocks(plain)[..., None]
            before = modes.numpy().astype(np.uint8)
            prediction = predict(pair.base[place], reference, modes, sources, vectors)
            prediction = flat.paint(prediction)
            levels = choose_levels(forward(target[place] - prediction), sizes, tools.costs)
        else:
            copies, costs = find_copies(target[place], whole(pair.base[place]), price, flat_costs)
            flat = flat.only((flat_costs < costs) & ~copies.copied)
            offsets = copies.finer(offsets)
            sizes = _sizes(number, offsets)
            modes, vectors = copies.modes, to_blocks(copies.vectors)
            base = flat.paint(pair.base[place])
            prediction, levels = code_copies(target[place], base, copies, sizes, tools.costs)
        detail.levels[place] = levels.numpy()
        kept = np.where(has_levels(detail.levels[place]), offsets, kept)
        detail.offsets[place] = kept
        sizes = _sizes(number, kept)
        frame = reconstruct(prediction, levels, sizes)
        edges = block_edges(levels, modes, sources, vectors)
        strength, frame = choose_strength(target[place], frame, edges, sizes)
        frames.add(prediction, frame, sizes)
        if tools.flat:
            detail.unfiltered[place] = frames.show_better(target[place])
        detail.palettes[place], detail.colours[place] = flat.sizes, flat.colours
        detail.indices[place] = flat.indices
        tools.tiles.update(key for *_, key in flat.contents())
        if tools.watch is not None:
            a, b, c, d = _bytes(frame, prediction, pair.base[place], target[place])
            half = [side // 2 for side in a.shape[1:]]
            sample = FilterSample(a, b, c, d, enlarge(sizes, half).numpy())
            tools.watch(2 * index + place, sample)
        detail.steps[place], detail.strengths[place] = number, strength
        detail.weights[place] = weights.numpy()
        detail.modes[place] = modes.numpy()
        detail.sources[place] = sources.numpy()
        detail.split[place] = split.numpy()
        detail.vectors[place] = vectors.numpy()
    return frames.done()
