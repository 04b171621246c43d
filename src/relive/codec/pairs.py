"""A pair of frames and its enhancement layer: what is known before, and what is shown after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relive.bitstream import GopDetail
from relive.codec.bundle import Bundle
from relive.codec.step import StepState, to_pixels
from relive.enhancement.frame import Reference
from relive.enhancement.game_colours import GameColours, Pull
from relive.enhancement.post_filter import PostFilter
from relive.enhancement.search import frame_error
from relive.model.context import Carry


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
        known = None
        if older and self.last is not None:
            known = Reference(self.last[frame], None, *self._places(frame, 2))
        if frame:
            if first is None:
                raise ValueError("the second frame of a pair follows the first")
            return Reference(first, added, *self._places(1, 1), known)
        if self.last is None:
            return None
        return Reference(self.last[1], None, *self._places(0, 1), known)

    def _places(self, frame: int, back: int) -> tuple[Tensor, Tensor]:
        """Where the pixels of frame 0 or 1 lie one or two frames back: columns, rows `[H, W]`."""
        height, width = self.base.shape[-2:]
        x, y = self.state.places(frame, back, self.choice, (height, width))
        return x[0], y[0]


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

    def pixels(self, place: int) -> NDArray[np.uint8]:
        """What is shown of frame 0 or 1, uint8 `[H, W, 3]`."""
        return to_pixels(self.filters[place]())

    def carry(self, carry: Carry) -> Carry:
        """What the next step starts from."""
        return replace(carry, pictures=self.kept[None] / 255)


@dataclass(frozen=True)
class Looks:
    """What a model does to a frame before it is shown.

    Attributes:
        post_filter: of the model, if it has one.
        colours: of its game, if it knows them.
    """

    post_filter: PostFilter | None
    colours: GameColours | None

    @classmethod
    def of(cls, bundle: Bundle) -> Looks:
        """Of a model."""
        return cls(bundle.post_filter, bundle.colours)


@dataclass(frozen=True)
class Decoded:
    """A frame, deblocked, and what its looks depend on; whole numbers in 0..255, `[3, H, W]`.

    Attributes:
        frame: what the next frames are predicted from.
        prediction: of it.
        base: decoded from the codes.
        sizes: quantiser steps of its cubes `[h, w]`.
    """

    frame: Tensor
    prediction: Tensor
    base: Tensor
    sizes: Tensor

    def drawn(self, looks: Looks, pull: Pull) -> Tensor:
        """The frame, drawn to the colours of its game if they are known `[3, H, W]`."""
        return self.frame if looks.colours is None else looks.colours.apply(self.frame, pull)

    def filtered(self, looks: Looks, drawn: Tensor) -> Tensor:
        """The frame through the post-filter, if there is one `[3, H, W]`."""
        if looks.post_filter is None:
            return drawn
        guide = self.base if looks.colours is None else drawn
        return looks.post_filter.apply_to(self.frame, self.prediction, guide, self.sizes)

    def show(self, looks: Looks, pull: Pull, unfiltered: bool) -> Tensor:
        """What is shown of it `[3, H, W]`."""
        drawn = self.drawn(looks, pull)
        return drawn if unfiltered else self.filtered(looks, drawn)


class Frames:
    """The frames of a pair as they come."""

    def __init__(self, pair: Pair, looks: Looks) -> None:
        self._pair, self._looks = pair, looks
        self._kept: list[Decoded] = []
        self._shown: list[Callable[[], Tensor]] = []

    def reference(self, older: bool) -> Reference | None:
        """Of the frame that comes next; with the frame before that, where it is wanted."""
        if not self._kept:
            return self._pair.reference(0, None, None, older)
        first = self._kept[0]
        return self._pair.reference(1, first.frame, first.frame - first.prediction, older)

    def add(self, prediction: Tensor, frame: Tensor, sizes: Tensor) -> None:
        """Take the next frame, deblocked, and the quantiser steps of its cubes `[h, w]`."""
        base = self._pair.base[len(self._kept)]
        self._kept.append(Decoded(frame, prediction, base, sizes))

    def show(self, pull: Pull, unfiltered: bool) -> None:
        """Show the frame that came last so."""
        self._shown.append(partial(self._kept[-1].show, self._looks, pull, unfiltered))

    def show_best(self, target: Tensor, before: Pull) -> tuple[Pull, bool]:
        """Show the frame that came last as it comes closest to the target.

        Args:
            target: the true frame `[3, H, W]`.
            before: pull of the frame before.

        Returns:
            Its pull, and whether it is shown without the post-filter.
        """
        decoded, colours = self._kept[-1], self._looks.colours
        pull = Pull.NONE if colours is None else colours.choose(target, decoded.frame, before)
        drawn = decoded.drawn(self._looks, pull)
        looks = [decoded.filtered(self._looks, drawn), drawn]
        errors = [frame_error(shown, target) for shown in looks]
        best = int(np.argmin(errors))
        self._shown.append(partial(_same, looks[best]))
        return pull, best == 1

    def done(self) -> Enhanced:
        """Both frames."""
        return Enhanced(torch.stack([kept.frame for kept in self._kept]), self._shown)


def _same(frame: Tensor) -> Tensor:
    """Show a frame that is known."""
    return frame


def pull_of(detail: GopDetail, place: int) -> Pull:
    """How a frame of a layer is drawn to the colours of its game."""
    mixed, red, green, blue = detail.tints[place].tolist()
    return Pull(int(detail.pulls[place]), (mixed, red, green, blue))
