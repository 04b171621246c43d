"""Loops over pixels: how well depths of a recorded frame fit its neighbours, and its surface drawn.

Pictures are uint8 `[H, W, 3]`; a mask is True where a pixel is known.

Shapes: V neighbours, K sources, L depths, H W pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from relive.compiled import compiled, inner
from relive.restore.kernels import Eye, place, read

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
HALF, ONE, ZERO = np.float32(0.5), np.float32(1), np.float32(0)
THIRD = np.float32(1 / 3)
UNSEEN = np.float32(-1)
MAX_MISFIT = np.float32(40)  # levels; beyond it places are simply different
BEHIND = np.float32(1e-3)


@compiled
def match(
    picture: NDArray[np.uint8],
    known: Mask,
    views: tuple[Floats, Mask],
    eyes: tuple[Eye, ...],
    nears: Floats,
    cost: Floats,
) -> None:
    """Compare a frame with its neighbours at every inverse depth.

    The mean is over the better half of the neighbours: the other half may not see the place.

    Args:
        picture: the frame.
        known: what of it belongs to the scene.
        views: pictures of the neighbours, float32 `[V, H, W, 3]`, and where they can be read
            between a pixel and the next ones across and down `[V, H, W]`.
        eyes: the frame's camera as seen from each of them.
        nears: inverse depths `[L]`.
        cost: takes the misfits `[H, W, L]`; -1 where nothing can be said.
    """
    eye = eyes[0]
    fits = np.zeros((len(nears), len(eyes)), np.float32)
    counts = np.zeros(len(nears), np.int64)
    own = np.zeros(3, np.float32)
    for i in range(cost.shape[0]):
        up = -(np.float32(i) + HALF - eye.centre[1]) / eye.focal[1]
        for j in range(cost.shape[1]):
            if not known[i, j]:
                cost[i, j] = UNSEEN
                continue
            right = (np.float32(j) + HALF - eye.centre[0]) / eye.focal[0]
            for channel in range(3):
                own[channel] = np.float32(picture[i, j, channel])
            counts[:] = 0
            for v in range(len(eyes)):
                _compare(own, (right, up), views[0][v], views[1][v], eyes[v], nears, fits, counts)
            for k in range(len(nears)):
                cost[i, j, k] = _better_half(fits[k], counts[k])


@inner
def _compare(
    own: Floats,
    ray: tuple[Any, Any],
    view: Floats,
    whole: Mask,
    eye: Eye,
    nears: Floats,
    fits: Floats,
    counts: NDArray[np.int64],
) -> None:
    """Add the misfits of a pixel to one neighbour, at every inverse depth that it can see."""
    height, width = whole.shape
    turn, shift, (right, up) = eye.turn, eye.shift, ray
    a = turn[0, 0] * right + turn[0, 1] * up + turn[0, 2]
    b = turn[1, 0] * right + turn[1, 1] * up + turn[1, 2]
    c = turn[2, 0] * right + turn[2, 1] * up + turn[2, 2]
    for k in range(len(nears)):
        ahead = c + shift[2] * nears[k]
        if ahead < BEHIND:
            continue
        over = ONE / ahead
        x = (a + shift[0] * nears[k]) * over * eye.focal[0] + eye.centre[0] - HALF
        y = eye.centre[1] - HALF - (b + shift[1] * nears[k]) * over * eye.focal[1]
        if x < 0 or y < 0 or x >= width - 1 or y >= height - 1:
            continue
        column, row = np.int64(x), np.int64(y)
        if not whole[row, column]:
            continue
        fx, fy = x - np.float32(column), y - np.float32(row)
        total = ZERO
        for channel in range(3):
            top = view[row, column, channel] * (ONE - fx) + view[row, column + 1, channel] * fx
            low = (
                view[row + 1, column, channel] * (ONE - fx)
                + view[row + 1, column + 1, channel] * fx
            )
            total += abs(top * (ONE - fy) + low * fy - own[channel])
        fits[k, counts[k]] = min(total * THIRD, MAX_MISFIT)
        counts[k] += 1


@inner
def _better_half(fits: Floats, count: int) -> np.float32:
    """Mean of the smaller half of the first numbers, which are put in order."""
    if count == 0:
        return UNSEEN
    half = (count + 1) // 2
    total = ZERO
    for a in range(half):
        least = a
        for b in range(a + 1, count):
            if fits[b] < fits[least]:
                least = b
        fits[a], fits[least] = fits[least], fits[a]
        total += fits[a]
    return total / np.float32(half)


@compiled
def draw(eye: Eye, near: Floats, known: Mask, stretch: np.float32, seen_from: Floats) -> None:
    """Draw the surface of a source into the target's view; what is nearest stays.

    The surface is a net whose knots are the pixels. A mesh that would be drawn longer than
    `stretch` pixels is a jump from one thing to another, or seen far too coarsely: it stays open.

    Args:
        eye: the source's camera as seen from the target.
        near: inverse depths of the source's pixels `[H, W]`.
        known: which of them there are `[H, W]`.
        stretch: pixels that a mesh may be long.
        seen_from: takes inverse depth in the target, and column and row in the source,
            `[3, H, W]`; the first is -1 where nothing was drawn.
    """
    height, width = near.shape
    knots = np.empty((2, width, 3), np.float32)  # of this row of pixels and of the one above
    there = np.zeros((2, width), np.bool_)
    for i in range(height):
        now, above = i & 1, 1 - (i & 1)
        for j in range(width):
            there[now, j] = known[i, j] and _knot(eye, near[i, j], i, j, knots[now, j])
        if i == 0:
            continue
        for j in range(1, width):
            whole = there[now, j - 1] and there[now, j] and there[above, j - 1] and there[above, j]
            if whole:
                a, b = knots[above, j - 1], knots[above, j]
                c, d = knots[now, j - 1], knots[now, j]
                if _longest(a, b, c, d) <= stretch:
                    u, v = np.float32(j) - HALF, np.float32(i) - HALF
                    _triangle(a, b, c, (u, v), (ONE, ZERO), (ZERO, ONE), seen_from)
                    _triangle(d, c, b, (u + ONE, v + ONE), (-ONE, ZERO), (ZERO, -ONE), seen_from)


@inner
def _knot(eye: Eye, near: np.float32, i: int, j: int, knot: Floats) -> bool:
    """Column, row and inverse depth in the target of a pixel of the source."""
    up = -(np.float32(i) + HALF - eye.centre[1]) / eye.focal[1]
    right = (np.float32(j) + HALF - eye.centre[0]) / eye.focal[0]
    turn, shift = eye.turn, eye.shift
    ahead = turn[2, 0] * right + turn[2, 1] * up + turn[2, 2] + shift[2] * near
    if ahead < BEHIND:
        return False
    knot[0], knot[1] = place(eye, right, up, near)
    knot[2] = near / ahead
    return True


@inner
def _longest(a: Floats, b: Floats, c: Floats, d: Floats) -> np.float32:
    """Longest side of a mesh, in either direction."""
    longest = ZERO
    for one, other in ((a, b), (c, d), (a, c), (b, d)):
        longest = max(longest, abs(one[0] - other[0]), abs(one[1] - other[1]))
    return longest


@inner
def _triangle(
    a: Floats,
    b: Floats,
    c: Floats,
    corner: tuple[Any, Any],
    along: tuple[Any, Any],
    down: tuple[Any, Any],
    seen_from: Floats,
) -> None:
    """Draw half a mesh: its corners, and where the first one and its sides lie in the source."""
    _, height, width = seen_from.shape
    area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
    if abs(area) < np.float32(1e-6):
        return
    left, right = min(a[0], b[0], c[0]), max(a[0], b[0], c[0])
    top, bottom = min(a[1], b[1], c[1]), max(a[1], b[1], c[1])
    if right < 0 or bottom < 0 or left > width or top > height:
        return
    slack = np.float32(-1e-3)
    for y in range(max(0, int(np.floor(top - HALF))), min(height - 1, int(bottom)) + 1):
        dy = np.float32(y) + HALF - a[1]
        for x in range(max(0, int(np.floor(left - HALF))), min(width - 1, int(right)) + 1):
            dx = np.float32(x) + HALF - a[0]
            s = (dx * (c[1] - a[1]) - dy * (c[0] - a[0])) / area
            t = (dy * (b[0] - a[0]) - dx * (b[1] - a[1])) / area
            if s < slack or t < slack or s + t > ONE - slack:
                continue
            near = a[2] + s * (b[2] - a[2]) + t * (c[2] - a[2])
            if near > seen_from[0, y, x]:
                seen_from[0, y, x] = near
                seen_from[1, y, x] = corner[0] + s * along[0] + t * down[0]
                seen_from[2, y, x] = corner[1] + s * along[1] + t * down[1]


@compiled
def pick(
    picture: NDArray[np.uint8], known: Mask, seen_from: Floats, bottom: np.float32, colours: Floats
) -> None:
    """Read a source where its surface was drawn; what lies on an edge of `known` goes unseen."""
    _, height, width = seen_from.shape
    for i in range(height):
        for j in range(width):
            if seen_from[0, i, j] >= 0:
                x, y = seen_from[1, i, j], seen_from[2, i, j]
                r, g, b, seen = read(picture, known, x, y, bottom)
                colours[i, j, 0], colours[i, j, 1], colours[i, j, 2] = r, g, b
                if not seen:
                    seen_from[0, i, j] = UNSEEN
