"""The codes of a replay as arrays, without decoding a picture.

```
 .relive ──► codes packets ──► depths, motion, codes of every step ──► what was sent of the latents
```

Codes come in steps of two frames. The first step of a GOP is its keyframe: its codes say what is in
the picture. Those of later steps say what is *new* against the prediction from the step before, and
a step that was predicted well enough has none at all.

Shapes: n steps, h w cube grid, K quantizers, D latent width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from relive.bitstream import GopCodes


@dataclass(frozen=True)
class StoredCodes:
    """The codes of consecutive steps.

    Attributes:
        first_frame: int64 `[n]`, number of the first frame of the step.
        num_frames: uint8 `[n]`, 2, or 1 in the last step of a GOP with an odd number of frames.
        keyframe: bool `[n]`, True where a step begins a GOP.
        readable: bool `[n]`, False where the GOP is lost or damaged: all its numbers are 0.
        depths: uint8 `[n, h, w]`, how many codes a cube has, 0 … K; 0 is prediction alone.
        motion: uint8 `[n, h, w, 2]`, motion hypothesis of the cube in both frames; 0 in keyframes.
        codes: int16 `[n, h, w, K]`, codebook indices; 0 at and beyond the depth of the cube.
    """

    first_frame: NDArray[np.int64]
    num_frames: NDArray[np.uint8]
    keyframe: NDArray[np.bool_]
    readable: NDArray[np.bool_]
    depths: NDArray[np.uint8]
    motion: NDArray[np.uint8]
    codes: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.first_frame)

    def __getitem__(self, steps: slice | NDArray[np.bool_]) -> StoredCodes:
        """Some of the steps."""
        return StoredCodes(*(getattr(self, field.name)[steps] for field in fields(self)))

    @property
    def skipped(self) -> NDArray[np.bool_]:
        """Steps without a single code, bool `[n]`: all of the picture was predicted."""
        return np.asarray(~self.depths.any((1, 2)))

    @classmethod
    def of_gop(cls, frames: range, gop: GopCodes) -> StoredCodes:
        """The codes of a GOP."""
        steps = len(gop.depths)
        return cls(
            first := frames.start + 2 * np.arange(steps, dtype=np.int64),
            np.minimum(2, frames.stop - first).astype(np.uint8),
            np.arange(steps) == 0,
            np.ones(steps, np.bool_),
            gop.depths,
            np.ascontiguousarray(gop.motion.transpose(0, 2, 3, 1)),
            np.ascontiguousarray(gop.codes.transpose(0, 2, 3, 1)),
        )

    @classmethod
    def unreadable(cls, frames: range, num_quantizers: int, h: int, w: int) -> StoredCodes:
        """Steps of a GOP that is lost or damaged."""
        steps = -(-len(frames) // 2)
        blank = cls.of_gop(frames, GopCodes.empty(steps, num_quantizers, h, w))
        return cls(**(vars(blank) | {"readable": np.zeros(steps, np.bool_)}))

    @classmethod
    def join(cls, parts: Sequence[StoredCodes]) -> StoredCodes:
        """Put steps together."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def dequantise(self, codebooks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sum the codewords of every cube: what was sent of its latent, beside the prediction.

        Args:
            codebooks: of the model, `[2, K, V, D]`: those of keyframes and of other steps;
                `Replay.codebooks`.

        Returns:
            float32 `[n, h, w, D]`; 0 where the depth is 0.
        """
        sent = np.zeros((*self.depths.shape, codebooks.shape[-1]), np.float32)
        kinds = (~self.keyframe).astype(np.intp)
        for stage in range(self.codes.shape[-1]):
            step, row, column = np.nonzero(self.depths > stage)
            code = self.codes[step, row, column, stage]
            sent[step, row, column] += codebooks[kinds[step], stage, code]
        return sent
