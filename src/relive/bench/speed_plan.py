"""What to measure, and the specification's figures that stand beside ours."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from relive.errors import InputError

MASK_RATIOS = (0.0, 0.75, 0.9, 0.95)  # of the encoder
DECODER_RATIOS = (0.0, 0.25, 0.5, 0.75)
TRAINING_RATIOS = (0.9, 0.95)
CLIP_FRAMES = 16
VIDEO_SIZES = ((224, 224), (320, 320), (512, 512), (720, 1280))  # H, W
SPECIFICATION: dict[str, Any] = {
    "base": {"flops_per_frame": 45e9, "frames_per_s": 85, "parameters": [120e6, 60e6]},
    "large": {"flops_per_frame": 120e9, "frames_per_s": 35, "parameters": [350e6, 100e6]},
    "latency_ms": {"encode": 12, "decode": 8},
    "device": "RTX 3090",
    "decoder_masking_50": {"time_ratio": 1.5, "memory_saved": 0.45},
    "videomae_720p_ratio": 2.3,
    "encoder_mask_90_ratio": 5.0,
    "cost_exponent": 1.05,
}


@dataclass(frozen=True)
class Plan:
    """Amounts; they are part of a result, and a result with other amounts is measured again.

    Attributes:
        repeats: rounds of every race; a figure is the median.
        limit_s: no new round of a race begins after this time.
        side: height and width of the pictures in pixels, but for the comparison with VideoMAE.
        batch: pictures (pairs of frames) at a time for throughput.
        train_batch: the same for the training step.
        steps: steps of the latency.
        video_sizes: (height, width) of the comparison with VideoMAE.
        session: a recording for the codec's latency; without it, drawn pictures.
    """

    repeats: int = 5
    limit_s: float = 600.0
    side: int = 224
    batch: int = 8
    train_batch: int = 2
    steps: int = 100
    video_sizes: tuple[tuple[int, int], ...] = VIDEO_SIZES
    session: str | None = None

    def __post_init__(self) -> None:
        """Refuse amounts that measure nothing."""
        for name in ("repeats", "batch", "train_batch", "steps"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} must be at least 1")

    def amounts(self, *names: str) -> dict[str, Any]:
        """The amounts that a part depends on, as JSON knows them."""
        values = asdict(self)
        values["video_sizes"] = [list(size) for size in self.video_sizes]
        return {name: values[name] for name in names}
