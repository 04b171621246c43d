"""The colours that a game draws in: what they tell of a decoded frame.

Games with a palette, as those of the nineties, draw all frames of all maps in 256 colours. A model
of such a game knows them, so a decoder may draw every pixel towards those near it: the mean of the
colours, weighted by how likely noise of the size at hand would move them there. Frames under a
flash (pain, things picked up, water) have the same colours, mixed with another one.

Shapes: H W pixels, N colours. Pictures are 0..255.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relive.bitstream.detail import MAX_MIXED, MAX_PULL, NO_TINT
from relive.enhancement.frame import to_array
from relive.kernels import game_colours as kernels

MAX_COLOURS = 256
MIN_COLOURS = kernels.NEAR
EVERY = 8  # rows of a frame that a choice looks at
WORTH = 0.998  # of the squared error must be left at most, for another pull than that before
ENOUGH = 0.9  # of the pixels must have a colour of the game
COMMON = 48  # colours of a frame that a tint is tried on
ROUNDS = 4  # of learning the colours of a game
_OCTAVES = 15
_WEIGHTS = np.rint(2.0 ** (_OCTAVES - np.arange(_OCTAVES * kernels.OCTAVE) / kernels.OCTAVE))


@dataclass(frozen=True)
class Pull:
    """How a frame is drawn to the colours of its game.

    Attributes:
        strength: 0 leaves it as it is; the weight of a colour halves with every 2^(strength + 1)
            of squared distance.
        tint: mixed into all colours: how much, in 256ths, and its red, green and blue.
    """

    strength: int = 0
    tint: tuple[int, int, int, int] = NO_TINT
    NONE: ClassVar[Pull]


Pull.NONE = Pull()


def _count_colours(picture: Tensor) -> tuple[NDArray[np.int32], NDArray[np.int64]] | None:
    """Colours 0xRRGGBB of a picture `[3, H, W]`, the commonest first, and their pixels.

    None where they are more than a game may have.
    """
    values, counts = np.empty(MAX_COLOURS, np.int32), np.empty(MAX_COLOURS, np.int64)
    number = kernels.count_colours(to_array(picture), values, counts)
    if number > MAX_COLOURS:
        return None
    order = np.argsort(-counts[:number], kind="stable")
    return values[order], counts[order]


def _split(values: NDArray[np.int32]) -> NDArray[np.int32]:
    """Red, green and blue `[N, 3]` of colours 0xRRGGBB."""
    return np.stack([values >> 16, values >> 8 & 255, values & 255], 1)


@dataclass(frozen=True)
class GameColours:
    """The colours of a game: uint8 `[N, 3]`, N from 8 to 256."""

    colours: NDArray[np.uint8]

    @cached_property
    def _numbers(self) -> NDArray[np.int32]:
        return self.colours.astype(np.int32)

    @cached_property
    def _near(self) -> NDArray[np.uint8]:
        shape = (kernels.CELLS,) * 3 + (kernels.NEAR,)
        near = np.zeros(shape, np.uint8)
        kernels.find_near(self._numbers, near)
        return near

    def apply(self, frame: Tensor, pull: Pull) -> Tensor:
        """Draw a frame `[3, H, W]`, whole numbers, to the colours; whole numbers again."""
        if not pull.strength:
            return frame
        shown = np.empty(frame.shape, np.float32)
        mixed, *tint = pull.tint
        kept, added = 256 - mixed, mixed * np.array(tint)
        kernels.pull(
            to_array(frame),
            ((self._numbers * kept + added) >> 8).astype(np.int32),
            self._near,
            _WEIGHTS.astype(np.int32),
            pull.strength + 1,
            np.array([kept, *added], np.int32),
            shown,
        )
        return torch.from_numpy(shown)

    def choose(self, target: Tensor, frame: Tensor, before: Pull) -> Pull:
        """Find the pull that brings a frame closest to the true one.

        Args:
            target: the true frame `[3, H, W]`.
            frame: decoded `[3, H, W]`.
            before: of the frame before, which is kept where another gains little.
        """
        tint = self.tint_of(target, before.tint)
        if tint is None:
            return Pull(0, before.tint)
        true, rows = (part[:, ::EVERY].contiguous() for part in (target, frame))

        def error(strength: int) -> float:
            return float((self.apply(rows, Pull(strength, tint)) - true).square().sum())

        errors: dict[int, float] = {0: error(0)}
        best = before.strength or MAX_PULL // 2
        errors[best] = error(best)
        for way in (1, -1):
            while 1 <= best + way <= MAX_PULL:
                if best + way not in errors:
                    errors[best + way] = error(best + way)
                if errors[best + way] >= errors[best]:
                    break
                best += way
        best = min(errors, key=errors.__getitem__)
        kept = errors.get(before.strength)
        if tint == before.tint and kept is not None and errors[best] > WORTH * kept:
            best = before.strength
        return Pull(best, tint if best else before.tint)

    def tint_of(
        self, picture: Tensor, before: tuple[int, int, int, int] = NO_TINT
    ) -> tuple[int, int, int, int] | None:
        """Find the tint under which a true picture `[3, H, W]` has the colours of the game.

        Args:
            picture: whole numbers.
            before: of the frame before, tried first.

        Returns:
            The tint, or None where there is none.
        """
        counted = _count_colours(picture)
        if counted is None:
            return None
        found, counts = _split(counted[0]), counted[1]
        enough = ENOUGH * counts.sum()
        for tint in dict.fromkeys((NO_TINT, before)):
            if self._share(found, counts, tint) >= enough:
                return tint
        darkest = found.min(axis=0)
        tints = [
            (256 - kept, *np.clip(-(-256 * darkest // (256 - kept)), 0, 255).tolist())
            for kept in range(256 - MAX_MIXED, 256, 2)
        ]
        shares = [self._share(found[:COMMON], counts[:COMMON], tint) for tint in tints]
        for near in self._beside(tints[int(np.argmax(shares))], darkest):
            if self._share(found, counts, near) >= enough:
                return near
        return None

    @staticmethod
    def _beside(
        tint: tuple[int, int, int, int], darkest: NDArray[np.int32]
    ) -> Iterable[tuple[int, int, int, int]]:
        yield tint
        for mixed in (tint[0] - 1, min(tint[0] + 1, MAX_MIXED)):
            yield (mixed, *np.clip(-(-256 * darkest // max(mixed, 1)), 0, 255).tolist())

    @classmethod
    def learn(cls, pictures: Iterable[NDArray[np.uint8]]) -> GameColours | None:
        """Find the colours of a game.

        Those of most pictures come first; then those of pictures that they explain, so that flashes
        do not count.

        Args:
            pictures: spread over its sessions, `[H, W, 3]` each.

        Returns:
            The colours, or None where they do not explain half of the pictures.
        """
        total, seen = 0, []
        for picture in pictures:
            total += 1
            planes = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32))
            found = _count_colours(planes)
            if found is not None:
                seen.append(found)
        explained, limit = seen, MAX_COLOURS // 2
        for _ in range(ROUNDS):
            often: Counter[int] = Counter()
            for values, _ in explained:
                often.update(values.tolist())
            known = np.array(sorted(value for value, _ in often.most_common(limit)))
            explained = [
                (values, counts)
                for values, counts in seen
                if counts[np.isin(values, known)].sum() >= ENOUGH * counts.sum()
            ]
            limit = MAX_COLOURS
        if len(known) < MIN_COLOURS or 2 * len(explained) < total:
            return None
        return cls(_split(known).astype(np.uint8))

    def _share(
        self,
        found: NDArray[np.int32],
        counts: NDArray[np.int64],
        tint: tuple[int, int, int, int],
    ) -> int:
        mixed, *added = tint
        return int(
            kernels.share_near(
                found.astype(np.int32),
                counts,
                self._numbers,
                256 - mixed,
                (mixed * np.array(added)).astype(np.int32),
            )
        )
