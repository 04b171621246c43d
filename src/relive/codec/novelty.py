"""What a model has never seen, told by how badly its first codebook fits.

Pairs of frames are encoded as keyframes. The first code of a cube says most of it where the
codebook learned from such pictures; for another game it leaves several times as much. The error of
the latents is told in pixels, by the sensitivity of the decoder (`relive.codec.rate`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from relive.codec.bundle import Bundle
from relive.codec.rate import pixel_errors
from relive.codec.step import Geometry, StepCoder, to_picture
from relive.config import CUBE_PX
from relive.session import Session

NEW = 0.016
"""Of `misfit`, for the bundled model: what is over it is new. Its training sessions reach 0.0123, a
game that it never saw 0.040 (docs/growing.md)."""
SAMPLES = 24
"""Pairs of frames of a session that are looked at."""


def key_latents(bundle: Bundle, session: Session, samples: int = SAMPLES) -> Iterator[Tensor]:
    """Encode pairs spread over a session, each as a keyframe.

    Args:
        bundle: the model.
        session: an open session.
        samples: pairs, at most.

    Yields:
        Normalised remainders float32 `[N, D]` of one pair, before quantisation.
    """
    geometry = Geometry(session.width, session.height)
    coder = StepCoder(bundle, session.schema, geometry)
    none = torch.zeros(1, *geometry.grid, dtype=torch.long)
    last = max(session.num_frames - 2, 0)
    for first in np.unique(np.linspace(0, last, samples).astype(int)).tolist():
        rows = np.array([first, first, first, min(first + 1, session.num_frames - 1)])
        frames = np.stack([session.frames(int(i), int(i) + 1)[0] for i in rows[2:]])
        with torch.inference_mode():
            state = coder.state(session.states[rows], session.times_ns[rows])
            step = coder.begin(None, state, none)
            target = to_picture(geometry.pad(frames))[None]
            yield bundle.model.encoder(target, step.context, step.pyramid).flatten(0, 2)


def misfit(bundle: Bundle, session: Session, samples: int = SAMPLES) -> float:
    """Squared error of the pixels (0..1, mean of colours) that the first code of keyframes leaves.

    Args:
        bundle: the model.
        session: an open session.
        samples: pairs, at most.
    """
    left, cubes = 0.0, 0
    with torch.inference_mode():
        for vectors in key_latents(bundle, session, samples):
            first = torch.ones(len(vectors), dtype=torch.long)
            codes = bundle.quantizer.encode(vectors, 0)
            error = vectors - bundle.quantizer.decode(codes, first, 0)
            left += float(pixel_errors(bundle.sensitivity[0], error).sum())
            cubes += len(vectors)
    return left / (cubes * 2 * CUBE_PX**2)
