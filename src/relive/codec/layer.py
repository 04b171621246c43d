"""The enhancement layer at work on a GOP: encoder and decoder, a pair of frames at a time.

The next step starts from the enhanced pair, so its codes say what is new against that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relive.bitstream import GopDetail, cube_steps, has_levels
from relive.codec.pairs import Enhanced, Frames, Looks, Pair, pull_of
from relive.enhancement.copies import code_copies, find_copies, predict_copies
from relive.enhancement.deblock import block_edges, choose_strength, deblock
from relive.enhancement.frame import enlarge, predict, reconstruct, to_blocks, whole
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


def _palettes(target: Tensor, price: Tensor, tools: Tools) -> tuple[Palettes, Tensor]:
    """Palettes of a frame, and what a cube costs with one, squared error, `[h, w]`."""
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
    frames = Frames(pair, tools.looks)
    pull = layer.pull
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
        pull, unfiltered = frames.show_best(target[place], pull)
        detail.unfiltered[place], detail.pulls[place] = unfiltered, pull.strength
        detail.tints[place] = pull.tint
        detail.palettes[place], detail.colours[place] = flat.sizes, flat.colours
        detail.indices[place] = flat.indices
        tools.tiles.update(key for *_, key in flat.contents())
        if tools.watch is not None:
            colours = tools.looks.colours
            guide = pair.base[place] if colours is None else colours.apply(frame, pull)
            a, b, c, d = _bytes(frame, prediction, guide, target[place])
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
