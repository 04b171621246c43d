"""What lies over the scene and is fixed to the screen: a weapon, a cockpit, a crosshair.

Found without labels, from frames between which the camera turned: the scene turned along, what is
fixed to the screen stayed. Where that is said of a pixel in half of the pairs that can tell, the
pixel shows no place in the world.

Shapes: T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from relive.model.warp import Pinhole
from relive.restore import kernels as matching
from relive.restore.looks import mean_over
from relive.restore.sources import Frame, Mask, eye_between
from relive.view.memory import SessionMemory

NUM_PAIRS = 16
TURN_RAD = 0.04  # less does not tell; more is the better
MAX_PACES = 4.0  # between the two frames of a pair
TELLING = 10.0  # levels by which one of both readings must be wrong
STAYED = 0.5  # a pixel that stayed differs by so much less than one that turned along
SHARE, FEWEST = 0.5, 3  # of the pairs that can tell, and how many must
MARGIN_PX = 2
PLAIN_PX = 8  # between parts that were found, where nothing can tell


def telling_pairs(memory: SessionMemory, handy: NDArray[np.bool_]) -> list[int]:
    """Choose frames between which and the next one the camera turned, all over the recording.

    Args:
        memory: of the recording.
        handy: frames that are read quickly, bool `[T]`.

    Returns:
        Numbers of the first frames of the pairs.
    """
    poses, usable = memory.poses, memory.usable
    both = usable[:-1] & usable[1:] & handy[:-1]
    axes = memory.axes[:, 2]
    turns = np.arccos((axes[:-1] * axes[1:]).sum(1).clip(-1, 1))
    steps = np.linalg.norm(np.diff(poses[:, :3], axis=0), axis=1)
    fit = np.flatnonzero(both & (turns > TURN_RAD) & (steps < MAX_PACES * memory.pace))
    parts = [part for part in np.array_split(fit, NUM_PAIRS) if len(part)]
    return [int(part[turns[part].argmax()]) for part in parts]


def find_overlay(
    memory: SessionMemory,
    pairs: Sequence[int],
    camera: Pinhole,
    view: Mask,
    read: Callable[[int], Frame],
) -> Mask:
    """Find the pixels that are fixed to the screen inside of the view, bool `[H, W]`.

    Args:
        memory: of the recording.
        pairs: first frames of pairs, as `telling_pairs` chooses them.
        camera: of the recording.
        view: pixels that the camera's picture covers, bool `[H, W]`.
        read: frames by their numbers.
    """
    stayed, told = np.zeros(view.shape, np.int32), np.zeros(view.shape, np.int32)
    for index in pairs:
        one, other = read(index), read(index + 1)
        turned, seen = _turn(one, memory.poses[index], memory.poses[index + 1], camera, view)
        truth = other.astype(np.float32)
        still = mean_over(np.abs(one - truth).mean(-1), 1)
        along = mean_over(np.abs(turned - truth).mean(-1), 1)
        tells = seen & view & (np.maximum(still, along) > TELLING)
        told += tells
        stayed += tells & (still < STAYED * along)
    sure = (told >= FEWEST) & (stayed > SHARE * told)
    opened = _grow(~_grow(~sure, 1), 1)  # single pixels go
    plain = (told < FEWEST) & _close(opened, PLAIN_PX)  # one colour all over does not tell
    return np.asarray(_grow(_close(opened | plain, 2), MARGIN_PX) & view)


def _turn(
    picture: Frame,
    pose: NDArray[np.float64],
    target: NDArray[np.float64],
    camera: Pinhole,
    view: Mask,
) -> tuple[NDArray[np.float32], Mask]:
    """Turn a picture to where another camera looks, as if all were far away."""
    colours, seen = np.empty((*view.shape, 3), np.float32), np.empty(view.shape, np.bool_)
    far = np.zeros(view.shape, np.float32)
    turned = np.concatenate([pose[:3], target[3:]])
    matching.look((picture, view), eye_between(camera, pose, turned), far, seen, colours)
    return colours, seen


def _close(mask: Mask, radius: int) -> Mask:
    """Add what lies between, up to twice `radius` pixels apart."""
    return ~_grow(~_grow(mask, radius), radius)


def _grow(mask: Mask, radius: int) -> Mask:
    """Add what is within `radius` pixels, in a square."""
    picture = torch.from_numpy(mask.astype(np.float32))[None, None]
    grown = F.max_pool2d(picture, 2 * radius + 1, 1, radius)[0, 0]
    return np.asarray(grown.numpy() > 0)
