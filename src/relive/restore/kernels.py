"""Loops over pixels and hypotheses: plane sweep, semi-global smoothing, displacements.

Pictures are uint8 or float32 `[H, W, 3]`; a mask is True where a pixel is known.

Shapes: H W pixels, L labels (depths or displacements).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from relive.compiled import compiled, inner

Floats = NDArray[np.float32]
Picture = NDArray[Any]
Mask = NDArray[np.bool_]
NEAREST = np.float32(1e-3)
HALF, ONE = np.float32(0.5), np.float32(1)
MAX_MISFIT = np.float32(40)  # levels; beyond it places are simply different
UNSEEN = np.float32(-1)
THIRD = np.float32(1 / 3)


class Eye(NamedTuple):
    """How the target's camera is seen from a source: pinhole, rotation, shift, lowest row."""

    focal: tuple[np.float32, np.float32]
    centre: tuple[np.float32, np.float32]
    turn: Floats  # [3, 3]
    shift: Floats  # [3]
    bottom: np.float32


@compiled
def read(
    picture: Picture, known: Mask, x: np.float32, y: np.float32, bottom: np.float32
) -> tuple[Any, Any, Any, Any]:
    """Read a picture between its pixels, and say whether the place is in it and known."""
    height, width = known.shape
    inside = x >= 0 and x <= np.float32(width) and y >= 0 and y <= bottom
    column = min(max(x - HALF, np.float32(0)), np.float32(width - 1))
    row = min(max(y - HALF, np.float32(0)), np.float32(height - 1))
    c0, r0 = np.int64(column), np.int64(row)
    fx, fy = column - np.float32(c0), row - np.float32(r0)
    c1, r1 = min(c0 + 1, width - 1), min(r0 + 1, height - 1)
    a, b = (ONE - fx) * (ONE - fy), fx * (ONE - fy)
    c, d = (ONE - fx) * fy, fx * fy
    seen = inside and known[r0, c0] and known[r0, c1] and known[r1, c0] and known[r1, c1]
    p, q, r, s = picture[r0, c0], picture[r0, c1], picture[r1, c0], picture[r1, c1]
    return (
        np.float32(a * p[0] + b * q[0] + c * r[0] + d * s[0]),
        np.float32(a * p[1] + b * q[1] + c * r[1] + d * s[1]),
        np.float32(a * p[2] + b * q[2] + c * r[2] + d * s[2]),
        seen,
    )


@compiled
def place(eye: Eye, right: np.float32, up: np.float32, near: np.float32) -> tuple[Any, Any]:
    """Where a ray of the target at an inverse depth lies in the source."""
    turn, shift = eye.turn, eye.shift
    a = turn[0, 0] * right + turn[0, 1] * up + turn[0, 2] + shift[0] * near
    b = turn[1, 0] * right + turn[1, 1] * up + turn[1, 2] + shift[1] * near
    c = turn[2, 0] * right + turn[2, 1] * up + turn[2, 2] + shift[2] * near
    if c < NEAREST:
        return np.float32(-1e6), np.float32(-1e6)
    return (
        np.float32(a / c * eye.focal[0] + eye.centre[0]),
        np.float32(-b / c * eye.focal[1] + eye.centre[1]),
    )


@inner
def _misfit(
    one: tuple[Any, Any, Any, Any],
    two: tuple[Any, Any, Any, Any],
    target: Picture,
    known: bool,
) -> np.float32:
    """How badly two readings fit the target pixel, or one another where that is not known."""
    if known:
        total, count = np.float32(0), np.float32(0)
        for look in (one, two):
            if look[3]:
                total += abs(look[0] - target[0]) + abs(look[1] - target[1])
                total += abs(look[2] - target[2])
                count += ONE
        return min(total * THIRD / count, MAX_MISFIT) if count > 0 else UNSEEN
    if not (one[3] and two[3]):
        return UNSEEN
    total = abs(one[0] - two[0]) + abs(one[1] - two[1]) + abs(one[2] - two[2])
    return min(total * THIRD, MAX_MISFIT)


@compiled
def sweep(
    sources: tuple[Picture, Mask, Picture, Mask],
    eyes: tuple[Eye, Eye],
    target: tuple[Picture, Mask],
    nears: Floats,
    cost: Floats,
) -> None:
    """Compare two pictures, seen from the target's camera, at every inverse depth.

    Args:
        sources: pictures and masks of both.
        eyes: the target's camera as seen from both.
        target: what is known of the target itself.
        nears: inverse depths `[L]`.
        cost: takes the misfits `[H, W, L]`, rows of the view alone; -1 where nothing can be said.
    """
    a, known_a, b, known_b = sources
    eye = eyes[0]
    for i in range(cost.shape[0]):
        up = -(np.float32(i) + HALF - eye.centre[1]) / eye.focal[1]
        for j in range(cost.shape[1]):
            right = (np.float32(j) + HALF - eye.centre[0]) / eye.focal[0]
            for k in range(len(nears)):
                x, y = place(eyes[0], right, up, nears[k])
                one = read(a, known_a, x, y, eyes[0].bottom)
                x, y = place(eyes[1], right, up, nears[k])
                two = read(b, known_b, x, y, eyes[1].bottom)
                cost[i, j, k] = _misfit(one, two, target[0][i, j], target[1][i, j])


@compiled
def look(source: tuple[Picture, Mask], eye: Eye, near: Floats, seen: Mask, colours: Floats) -> None:
    """Read a source at the inverse depths `[H, W]` of the target's pixels."""
    for i in range(near.shape[0]):
        up = -(np.float32(i) + HALF - eye.centre[1]) / eye.focal[1]
        for j in range(near.shape[1]):
            right = (np.float32(j) + HALF - eye.centre[0]) / eye.focal[0]
            x, y = place(eye, right, up, near[i, j])
            r, g, b, there = read(source[0], source[1], x, y, eye.bottom)
            colours[i, j, 0], colours[i, j, 1], colours[i, j, 2] = r, g, b
            seen[i, j] = there


@compiled
def settle(cost: Floats, surcharge: np.float32) -> None:
    """Where nothing can be said of a label, put a little more than the mean of the others."""
    height, width, count = cost.shape
    for i in range(height):
        for j in range(width):
            total, told = np.float32(0), 0
            for k in range(count):
                if cost[i, j, k] >= 0:
                    total += cost[i, j, k]
                    told += 1
            filler = total / np.float32(told) * surcharge if told else np.float32(0)
            for k in range(count):
                if cost[i, j, k] < 0:
                    cost[i, j, k] = filler


@compiled
def box(cost: Floats, radius: int, out: Floats) -> None:
    """Mean over squares of pixels `[H, W, L]`, smaller at the edges."""
    height, width, count = cost.shape
    rows = np.zeros((width, count), np.float32)
    for i in range(height):
        top, bottom = max(0, i - radius), min(height - 1, i + radius)
        if i == 0:
            for r in range(bottom + 1):
                rows += cost[r]
        else:
            if i + radius < height:
                rows += cost[i + radius]
            if i - radius - 1 >= 0:
                rows -= cost[i - radius - 1]
        sums = np.zeros(count, np.float32)
        for j in range(-radius, width):
            if j + radius < width:
                sums += rows[j + radius]
            if j - radius - 1 >= 0:
                sums -= rows[j - radius - 1]
            if j >= 0:
                left, right = max(0, j - radius), min(width - 1, j + radius)
                area = np.float32((bottom - top + 1) * (right - left + 1))
                for k in range(count):
                    out[i, j, k] = sums[k] / area


@inner
def _carry_on(own: Floats, before: Floats, p1: np.float32, p2: np.float32, after: Floats) -> None:
    """One step of a path: own cost, and the cheapest way to get here from the labels before."""
    count = len(own)
    least = before[0]
    for k in range(1, count):
        least = min(least, before[k])
    for k in range(count):
        way = min(before[k], least + p2)
        if k > 0:
            way = min(way, before[k - 1] + p1)
        if k < count - 1:
            way = min(way, before[k + 1] + p1)
        after[k] = own[k] + way - least


@compiled
def smooth(cost: Floats, p1: np.float32, p2: np.float32, total: Floats) -> None:
    """Sum the costs of four paths to every pixel (semi-global matching, Hirschmüller 2008)."""
    height, width, count = cost.shape
    line, here = np.zeros((width, count), np.float32), np.zeros(count, np.float32)
    last = np.zeros(count, np.float32)
    for back in range(2):
        for i in range(height):
            last[:] = 0
            for step in range(width):
                j = width - 1 - step if back else step
                _carry_on(cost[i, j], last, p1, p2, here)
                last[:] = here
                total[i, j] += here
        line[:] = 0
        for step in range(height):
            i = height - 1 - step if back else step
            for j in range(width):
                _carry_on(cost[i, j], line[j], p1, p2, here)
                line[j] = here
                total[i, j] += here


@compiled
def choose(total: Floats, nears: Floats, near: Floats) -> None:
    """Pick the cheapest label of every pixel, and between labels by a parabola."""
    height, width, count = total.shape
    for i in range(height):
        for j in range(width):
            best = 0
            for k in range(1, count):
                if total[i, j, k] < total[i, j, best]:
                    best = k
            near[i, j] = nears[best]
            if 0 < best < count - 1:
                m, z, p = total[i, j, best - 1], total[i, j, best], total[i, j, best + 1]
                bend = m - 2 * z + p
                off = (m - p) / (2 * bend) if bend > NEAREST else np.float32(0)
                step = nears[best + 1] - nears[best] if off > 0 else nears[best] - nears[best - 1]
                near[i, j] += off * step


@compiled
def compare_shifted(
    sources: tuple[Picture, Mask, Picture, Mask],
    target: tuple[Picture, Mask],
    parts: tuple[np.float32, np.float32],
    shifts: Floats,
    toll: np.float32,
    cost: Floats,
) -> None:
    """Compare two pictures, displaced against one another, for every displacement.

    Args:
        sources: pictures and masks of both.
        target: what is known of the target itself.
        parts: of the displacement, backwards in the first picture and forwards in the second.
        shifts: columns and rows of the displacements `[L, 2]`.
        toll: what a pixel of displacement costs.
        cost: takes the misfits `[H, W, L]`.
    """
    a, known_a, b, known_b = sources
    height, width, count = cost.shape
    bottom = np.float32(height)
    for i in range(height):
        for j in range(width):
            x, y = np.float32(j) + HALF, np.float32(i) + HALF
            for k in range(count):
                dx, dy = shifts[k, 0], shifts[k, 1]
                one = read(a, known_a, x - dx * parts[0], y - dy * parts[0], bottom)
                two = read(b, known_b, x + dx * parts[1], y + dy * parts[1], bottom)
                misfit = _misfit(one, two, target[0][i, j], target[1][i, j])
                far = np.sqrt(dx * dx + dy * dy)
                cost[i, j, k] = MAX_MISFIT if misfit < 0 else misfit + toll * far


@compiled
def look_shifted(
    source: tuple[Picture, Mask], shifts: Floats, part: np.float32, seen: Mask, colours: Floats
) -> None:
    """Read a source at `part` of the displacements `[H, W, 2]` of the target's pixels."""
    height, width = seen.shape
    bottom = np.float32(height)
    for i in range(height):
        for j in range(width):
            x = np.float32(j) + HALF + shifts[i, j, 0] * part
            y = np.float32(i) + HALF + shifts[i, j, 1] * part
            r, g, b, there = read(source[0], source[1], x, y, bottom)
            colours[i, j, 0], colours[i, j, 1], colours[i, j, 2] = r, g, b
            seen[i, j] = there
