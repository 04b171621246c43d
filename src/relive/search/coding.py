"""The codes of a picture, to compare with those of keyframes: what a search needs torch for."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from relive.codec import Bundle
from relive.codec.gop import start_step, try_codes
from relive.codec.rate import CODES_PRICE, choose_depths
from relive.codec.step import Geometry, StepCoder
from relive.codec.track import GopTrack
from relive.session import StateSchema


@torch.inference_mode()
def code_keyframe(picture: NDArray[np.uint8], bundle: Bundle) -> NDArray[np.float32]:
    """Code a picture as the encoder codes a keyframe: what is sent of its latents `[h, w, D]`."""
    height, width = picture.shape[:2]
    coder = StepCoder(bundle, StateSchema(), Geometry(width, height))
    empty = np.zeros((1, 0), np.float32)
    track = GopTrack(np.zeros(1, np.int64), empty, np.ones(1, np.bool_), b"")
    padded = coder.geometry.pad(picture[None])
    start = start_step(coder, None, padded, track, np.zeros(4, np.intp))
    trial = try_codes(coder, None, start)
    depths = choose_depths(coder, trial.step, trial.remainder, trial.codes, CODES_PRICE)
    sent = bundle.quantizer.decode(trial.codes.flatten(0, 1), depths.flatten(), 0)
    latents: NDArray[np.float32] = sent.view(*depths.shape, -1).numpy()
    return latents
