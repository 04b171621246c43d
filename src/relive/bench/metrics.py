"""How far decoded frames are from the original ones: PSNR, SSIM, MS-SSIM and FLIP.

    original chunk ─┐
                    ├─► QualityMeter.update ─► … ─► QualityMeter.result ─► Quality
    decoded chunk ──┘

The meter sees the frames chunk by chunk, so its memory does not grow with the length of a session
(but for one float a frame). PSNR and luma PSNR use every frame. The structural metrics are slow, so
they use frames spread evenly over the session, and `Quality` says how many.

Definitions:
    PSNR: RGB, from the *mean* squared error over the whole sequence, not the mean of the frames'
        PSNR, so that a few broken frames cannot hide behind many good ones. Identical frames give
        `PSNR_CAP_DB`, because JSON has no infinity.
    Luma: full-range BT.709 luma of the RGB values, as float.
    SSIM: Wang et al. 2004, 11-tap Gaussian window, on luma. MS-SSIM: five scales, on luma.
    FLIP: Andersson et al., "FLIP: A Difference Evaluator for Alternating Images" (HPG 2020), mean
        over the frame, 67 pixels per degree. 0 is identical, 1 is the largest difference.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relive.errors import InputError, MissingExtraError

Frames = NDArray[np.uint8]

PSNR_CAP_DB = 100.0
SSIM_MIN_PX = 11  # the window must fit into the frame
MS_SSIM_MIN_PX = 176  # what five scales of the 11-tap window need, as torchmetrics counts
NUM_WORST_FRAMES = 5
_LUMA_BT709 = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)


@dataclass(frozen=True)
class Quality:
    """Quality of a decoded sequence.

    Attributes:
        frames: Number of frames compared.
        psnr_db: RGB PSNR from the mean squared error over all frames.
        psnr_y_db: The same of the luma.
        ssim: Mean SSIM of the sampled frames; None when not asked for or when a side is too small.
        ms_ssim: Mean MS-SSIM of the sampled frames; None when a side is under 176 pixels.
        flip: Mean FLIP error of the sampled frames, or None when not asked for.
        structural_frames: How many frames SSIM and MS-SSIM saw.
        flip_frames: How many frames FLIP saw.
        frame_psnr_db: RGB PSNR of every frame.
    """

    frames: int
    psnr_db: float
    psnr_y_db: float
    ssim: float | None
    ms_ssim: float | None
    flip: float | None
    structural_frames: int
    flip_frames: int
    frame_psnr_db: tuple[float, ...]

    def worst_frames(self, count: int = NUM_WORST_FRAMES) -> list[int]:
        """Return the positions of the frames with the lowest PSNR, worst first."""
        order = np.argsort(np.asarray(self.frame_psnr_db), kind="stable")
        return [int(i) for i in order[:count]]


def psnr_from_mse(mse: float) -> float:
    """Return the PSNR in dB of a mean squared error of 8-bit values, capped at `PSNR_CAP_DB`."""
    if mse <= 0.0:
        return PSNR_CAP_DB
    return min(PSNR_CAP_DB, float(10.0 * np.log10(255.0**2 / mse)))


def frame_mse(original: Frames, decoded: Frames) -> NDArray[np.float64]:
    """Return the RGB mean squared error of every frame.

    Args:
        original: uint8 `[n, H, W, 3]`.
        decoded: uint8 `[n, H, W, 3]`.

    Returns:
        float64 `[n]`.

    Raises:
        InputError: The shapes differ or are not those of RGB frames.
    """
    _check_frames(original, decoded)
    pairs = zip(original, decoded, strict=True)
    return np.array([_mean_square(_difference(a, b)) for a, b in pairs], dtype=np.float64)


def _difference(a: Frames, b: Frames) -> NDArray[np.float32]:
    difference = a.astype(np.float32)
    difference -= b
    return difference


def _mean_square(values: NDArray[np.float32]) -> float:
    # einsum accumulates in float64 here, so large frames lose nothing
    flat = values.ravel()
    return float(np.einsum("i,i->", flat, flat, dtype=np.float64)) / flat.size


def spread(num_frames: int, count: int) -> list[int]:
    """Return at most `count` positions spread evenly over `num_frames`, first and last included."""
    if num_frames <= count:
        return list(range(num_frames))
    if count <= 1:
        return [num_frames // 2] if count == 1 else []
    return [round(i * (num_frames - 1) / (count - 1)) for i in range(count)]


class QualityMeter:
    """Accumulates quality over a sequence that arrives in chunks.

    Args:
        structural: Positions of the frames on which SSIM and MS-SSIM are measured.
        flip: Positions of the frames on which FLIP is measured (about 0.2 s a 320×240 frame).
    """

    def __init__(self, *, structural: Iterable[int] = (), flip: Iterable[int] = ()) -> None:
        self._structural = frozenset(structural)
        self._flip = frozenset(flip)
        self._frame_mse: list[float] = []
        self._luma_mse_sum = 0.0
        self._ssim: list[float] = []
        self._ms_ssim: list[float] = []
        self._flip_error: list[float] = []

    def update(self, original: Frames, decoded: Frames) -> None:
        """Take the next frames of both sequences.

        Args:
            original: uint8 `[n, H, W, 3]`.
            decoded: uint8 `[n, H, W, 3]`.

        Raises:
            InputError: The shapes differ.
        """
        _check_frames(original, decoded)
        for a, b in zip(original, decoded, strict=True):
            self._update_frame(a, b)

    def _update_frame(self, a: Frames, b: Frames) -> None:
        position = len(self._frame_mse)
        difference = _difference(a, b)
        self._frame_mse.append(_mean_square(difference))
        self._luma_mse_sum += _mean_square(difference @ _LUMA_BT709)
        if position in self._structural:
            ssim, ms_ssim = ssim_map(a, b), ms_ssim_of(a, b)
            if ssim is not None:
                self._ssim.append(float(ssim.mean()))
            if ms_ssim is not None:
                self._ms_ssim.append(ms_ssim)
        if position in self._flip:
            self._flip_error.append(flip_error(a, b))

    def result(self) -> Quality:
        """Return the quality of everything seen so far.

        Raises:
            InputError: No frame was seen.
        """
        if not self._frame_mse:
            raise InputError("no frames to compare: both sequences are empty")
        count = len(self._frame_mse)
        return Quality(
            frames=count,
            psnr_db=psnr_from_mse(float(np.mean(self._frame_mse))),
            psnr_y_db=psnr_from_mse(self._luma_mse_sum / count),
            ssim=_mean(self._ssim),
            ms_ssim=_mean(self._ms_ssim),
            flip=_mean(self._flip_error),
            structural_frames=len(self._ssim),
            flip_frames=len(self._flip_error),
            frame_psnr_db=tuple(psnr_from_mse(mse) for mse in self._frame_mse),
        )


def _check_frames(original: Frames, decoded: Frames) -> None:
    if original.shape != decoded.shape:
        raise InputError(
            f"frames differ in shape: {original.shape} and {decoded.shape}; "
            "compare a replay with the session it was encoded from"
        )
    if original.ndim != 4 or original.shape[-1] != 3:
        raise InputError(f"expected frames [n, H, W, 3], got shape {original.shape}")


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def ssim_map(a: Frames, b: Frames) -> NDArray[np.float32] | None:
    """Return the SSIM of the luma around every pixel of one frame pair; its mean is the SSIM.

    Args:
        a: uint8 `[H, W, 3]`.
        b: uint8 `[H, W, 3]`.

    Returns:
        float32 `[H, W]`, the frame mirrored at its border; None when a side is under 11 pixels.
    """
    if min(a.shape[0], a.shape[1]) < SSIM_MIN_PX:
        return None
    image, pair = _luma_pair(a, b)
    _, full = image.structural_similarity_index_measure(
        *pair, data_range=255.0, return_full_image=True
    )
    found: NDArray[np.float32] = full[0, 0].numpy()
    return found


def ms_ssim_of(a: Frames, b: Frames) -> float | None:
    """Return the MS-SSIM of the luma of one frame pair; None when a side is under 176 pixels."""
    if min(a.shape[0], a.shape[1]) < MS_SSIM_MIN_PX:
        return None
    image, pair = _luma_pair(a, b)
    return float(image.multiscale_structural_similarity_index_measure(*pair, data_range=255.0))


def _luma_pair(a: Frames, b: Frames) -> tuple[Any, list[Any]]:
    """Return torchmetrics' functions on images and the luma of both frames, `[1, 1, H, W]`."""
    try:
        import torch
        from torchmetrics.functional import image
    except ImportError as error:
        raise MissingExtraError("torchmetrics", "bench") from error
    return image, [torch.from_numpy((x @ _LUMA_BT709)[None, None]) for x in (a, b)]


def flip_error(a: Frames, b: Frames) -> float:
    """Return the mean FLIP error of one frame pair, 0 to 1."""
    try:
        import flip_evaluator
    except ImportError as error:
        raise MissingExtraError("flip-evaluator", "bench") from error
    reference, test = (x.astype(np.float32) / np.float32(255.0) for x in (a, b))
    _, mean_error, _ = flip_evaluator.evaluate(reference, test, "LDR", applyMagma=False)
    return float(mean_error)
