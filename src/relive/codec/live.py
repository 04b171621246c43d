"""What both ends of a live stream share.

```
 frame, state ──► Encoder.push ──► packets ──► anything that takes bytes ──► Decoder.push ──► frames
                  a pair a step                                              what is lost, concealed
```

Nothing looks ahead and memory is that of a step, so a stream may last for ever. The pictures are
those of a file of the same quality (docs/live.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from relive.bitstream import StepLayout
from relive.codec.step import StepCoder
from relive.codec.workers import workers

T = TypeVar("T")

MAX_PIXELS = 1 << 23
"""Of a frame, at either end: 3840×2160."""
GREY = 128


@dataclass(frozen=True)
class LiveFrame:
    """A frame as a receiver sees it.

    Attributes:
        number: of the frame in the stream, from 0.
        time_ns: its time.
        state: float32 `[S]`.
        pixels: uint8 `[H, W, 3]`.
        present: False where the game had no frame; `pixels` is then filled in.
        concealed: True where the packet was lost and the frame is a guess: generated, not decoded.
        degraded: True where it was decoded against a picture that is not the encoder's: from a loss
            to the next keyframe.
    """

    number: int
    time_ns: int
    state: NDArray[np.float32]
    pixels: NDArray[np.uint8]
    present: bool = True
    concealed: bool = False
    degraded: bool = False


def step_layout(coder: StepCoder, stream: int, tiers: int) -> StepLayout:
    """What the packets of a stream have in common."""
    bundle = coder.bundle
    steps = tuple(field.step for field in coder.schema.fields)
    detail = bundle.detail if tiers > 1 else None
    return StepLayout(stream, coder.geometry.grid, steps, bundle.tables, detail)


def on_worker(task: Callable[[], T]) -> T:
    """Run a task where files are coded too: one thread, whose arithmetic is always the same."""

    def run() -> T:
        with torch.inference_mode():
            return task()

    return workers().submit(run).result()
