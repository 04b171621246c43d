"""The enhancement layer at work on a GOP: encoder and decoder, a pair of frames at a time.

The next step starts from the enhanced pair, so its codes say what is new against that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relive.bitstream import GopDetail, cube_steps, has_levels
from relive.codec.pairs import Enhanced, Frames, Looks, Pair, pull_of
from relive.enhancement.copies import code_copies, find_copies, predict_copies
from relive.enhancement.deblock import block_edges, choose_strength, deblock
from relive.enhancement.frame import Reference, enlarge, predict, reconstruct, to_blocks, whole
from relive.enhancement.game_colours import Pull
from relive.enhancement.look_ahead import Plan
from relive.enhancement.modes import choose_modes
from relive.enhancement.palettes import Palettes, find_palettes
from relive.enhancement.post_filter import FilterSample
from relive.enhancement.search import LAMBDA, LevelCosts, choose_levels
from relive.enhancement.transform import forward
from relive.enhancement.vectors import VectorSearch
from relive.enhancement.weights import choose_weights


def decode_pair(detail: GopDetail, pair: Pair, looks: Looks) -> Enhanced:
    """Decode the layer of a step; `detail` is of this step alone."""
    frames = Frames(pair, looks)
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
        strength = int(detail.strengths[place])
        if strength:
            frame = deblock(frame, block_edges(levels, modes, sources, vectors), sizes, strength)
        frames.add(prediction, frame, sizes)
        frames.show(pull_of(detail, place), bool(detail.unfiltered[place]))
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
        looks: of the model.
        vectors: how to search them.
        older: predict from the frame before the reference, too.
        watch: told every frame of the GOP by its number, before the filter.
        tiles: contents of cubes with palettes that the GOP has so far.
    """

    costs: LevelCosts
    looks: Looks
    vectors: VectorSearch
    older: bool = True
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
        pull: of the frame before.
    """

    detail: GopDetail
    plan: Plan
    kept: NDArray[np.int8]
    modes: NDArray[np.uint8] | None = None
    pull: Pull = Pull.NONE


@dataclass(frozen=True)
class _Goal:
    """One frame that the layer is to show.

    Attributes:
        target: the true frame `[3, H, W]`, 0..255.
        base: decoded from the codes `[3, H, W]`.
        number: of its quantiser step.
        offsets: finer or coarser than that, by the plan, int8 `[h, w]`.
        tools: what the model has for the layer.
    """

    target: Tensor
    base: Tensor
    number: int
    offsets: NDArray[np.int8]
    tools: Tools

    @cached_property
    def sizes(self) -> Tensor:
        """Quantiser steps of cubes `[h, w]`."""
        return _sizes(self.number, self.offsets)

    @cached_property
    def price(self) -> Tensor:
        """Squared error that one bit must save `[h, w]`."""
        return LAMBDA * self.sizes.square()

    def palettes(self) -> tuple[Palettes, Tensor]:
        """Palettes of the frame, and what a cube costs with one, squared error, `[h, w]`."""
        found, bits = find_palettes(self.target, self.tools.tiles)
        return found, self.price * bits


@dataclass(frozen=True)
class _Found:
    """How a frame is coded.

    Attributes:
        prediction: `[3, H, W]`, 0..255.
        levels: on top of it `[3, H, W]`.
        offsets: of the quantiser steps, by which the levels were chosen, int8 `[h, w]`.
        flat: cubes that have a palette.
        modes: and `sources`, `split`, `vectors` and `weights`: as `GopDetail` has them of a frame,
            int64.
    """

    prediction: Tensor
    levels: Tensor
    offsets: NDArray[np.int8]
    flat: Palettes
    modes: Tensor
    sources: Tensor
    split: Tensor
    vectors: Tensor
    weights: Tensor


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
    frames = Frames(pair, tools.looks)
    pull, detail, kept, before = layer.pull, layer.detail, layer.kept, layer.modes
    for place in range(2):
        number = int(layer.plan.steps[place])
        goal = _Goal(target[place], pair.base[place], number, layer.plan.offsets[place], tools)
        if (reference := frames.reference(older=tools.older)) is None:
            found = _by_copies(goal)
        else:
            found = _by_reference(goal, reference, before)
            before = found.modes.numpy().astype(np.uint8)
        _write(detail, place, found)
        kept = np.where(has_levels(detail.levels[place]), found.offsets, kept)
        detail.steps[place], detail.offsets[place] = number, kept
        sizes = _sizes(number, kept)
        frame = reconstruct(found.prediction, found.levels, sizes)
        edges = block_edges(found.levels, found.modes, found.sources, found.vectors)
        detail.strengths[place], frame = choose_strength(target[place], frame, edges, sizes)
        frames.add(found.prediction, frame, sizes)
        pull, detail.unfiltered[place] = frames.show_best(target[place], pull)
        detail.pulls[place], detail.tints[place] = pull.strength, pull.tint
        tools.tiles.update(key for *_, key in found.flat.contents())
        if tools.watch is not None:
            colours = tools.looks.colours
            guide = goal.base if colours is None else colours.apply(frame, pull)
            a, b, c, d = _bytes(frame, found.prediction, guide, target[place])
            half = [side // 2 for side in a.shape[1:]]
            sample = FilterSample(a, b, c, d, enlarge(sizes, half).numpy())
            tools.watch(2 * index + place, sample)
    return frames.done()


def _by_copies(goal: _Goal) -> _Found:
    """Predict the first frame of a GOP: from the codes, from itself, by palettes."""
    flat, flat_costs = goal.palettes()
    copies, costs = find_copies(goal.target, whole(goal.base), goal.price, flat_costs)
    flat = flat.only((flat_costs < costs) & ~copies.copied)
    offsets = copies.finer(goal.offsets)
    sizes, base = _sizes(goal.number, offsets), flat.paint(goal.base)
    prediction, levels = code_copies(goal.target, base, copies, sizes, goal.tools.costs)
    none, vectors = torch.zeros_like(copies.modes), to_blocks(copies.vectors)
    weights = torch.zeros(3, 2, dtype=torch.long)
    return _Found(prediction, levels, offsets, flat, copies.modes, none, none, vectors, weights)


def _by_reference(goal: _Goal, reference: Reference, before: NDArray[np.uint8] | None) -> _Found:
    """Predict a frame: from the codes, from frames that are shown before, by palettes."""
    target, price, search = goal.target, goal.price, goal.tools.vectors
    flat, flat_costs = goal.palettes()
    own = reference.carried(goal.base)
    weights, vectors = choose_weights(target, own, reference, price, search)
    reference = reference.weighted(weights)
    known = None if before is None else torch.from_numpy(before.astype(np.int64))
    modes, sources, split, vectors, costs = choose_modes(
        target, own, reference, vectors, price, search, known
    )
    flat = flat.only(flat_costs < costs)
    plain = ~flat.where
    modes, sources, split = modes * plain, sources * plain, split * plain
    vectors = vectors * to_blocks(plain)[..., None]
    prediction = flat.paint(predict(goal.base, reference, modes, sources, vectors))
    levels = choose_levels(forward(target - prediction), goal.sizes, goal.tools.costs)
    return _Found(prediction, levels, goal.offsets, flat, modes, sources, split, vectors, weights)


def _write(detail: GopDetail, place: int, found: _Found) -> None:
    """Write what was chosen for a frame; not the offsets, which depend on the frame before."""
    detail.levels[place] = found.levels.numpy()
    flat = found.flat
    detail.palettes[place], detail.colours[place] = flat.sizes, flat.colours
    detail.indices[place] = flat.indices
    detail.weights[place], detail.modes[place] = found.weights.numpy(), found.modes.numpy()
    detail.sources[place], detail.split[place] = found.sources.numpy(), found.split.numpy()
    detail.vectors[place] = found.vectors.numpy()
