"""Floating point operations, counted by torch's own counter, and how many the device can do.

A multiplication and an addition are two operations. What torch's counter does not know, because it
is a kernel of one device, is given to it here by the same formulas.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, sdpa_flop_count
from torch.utils.module_tracker import ModuleTracker

from relive.bench.speed_device import DTYPES, Setting, clock

Way = Callable[[Tensor, Tensor], Tensor]
PEAK_SIDES = (512, 1024, 2048, 4096, 8192)
PEAK_RUN_S = 2.0  # a product that takes longer than this is not followed by a larger one
PEAK_REPEATS = 8


def _attention_flops(
    query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any
) -> int:
    return int(sdpa_flop_count(query, key, value))


def _convolution_flops(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return int(conv_flop_count(x, weight, out_shape, transposed=False))


class _Whole(ModuleTracker):
    """Counts a run as a whole; torch's hooks on modules fail in inference mode."""

    def __enter__(self) -> _Whole:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def count_flops(case: Callable[[], object]) -> int:
    """Run a case once and count its floating point operations (matrix products, convolutions)."""
    known = {
        torch.ops.aten.mkldnn_convolution: _convolution_flops,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        torch.ops.aten._scaled_dot_product_fused_attention_overrideable: _attention_flops,
    }
    counter = FlopCounterMode(display=False, custom_mapping=known)
    counter.mod_tracker = _Whole()
    with counter:
        case()
    return int(counter.get_total_flops())


def measure_peak(
    setting: Setting, sides: Sequence[int] = PEAK_SIDES, repeats: int = PEAK_REPEATS
) -> dict[str, Any]:
    """Measure the matrix-product peak: the best of several square sizes.

    On a CPU the product is run as `torch.matmul` and as a 1x1 convolution, because PyTorch gives
    them to two libraries; a share of the peak is a share of the better one.

    Args:
        setting: Where, and in which number format.
        sides: Rows and columns of the matrices.
        repeats: Runs of each; the fastest counts.

    Returns:
        `flops_per_s`, and by way and side the rate of each.
    """
    ways: dict[str, Way] = {"matmul": torch.matmul}
    if setting.device == "cpu":
        ways["convolution_1x1"] = _product_by_convolution
    rates = {name: _rates(setting, way, sides, repeats) for name, way in ways.items()}
    return {
        "what": "product of two square matrices, fastest run of the best size and way",
        "flops_per_s": max(max(by_side.values()) for by_side in rates.values()),
        "flops_per_s_by_side": rates,
    }


def _product_by_convolution(a: Tensor, b: Tensor) -> Tensor:
    """`a @ b` `[n, n]`, the rows of `a` as the pixels of a picture one row high."""
    product = F.conv2d(a.view(1, 1, *a.shape).permute(0, 3, 1, 2), b.T[:, :, None, None])
    return product[0, :, 0].T


def _rates(setting: Setting, way: Way, sides: Sequence[int], repeats: int) -> dict[str, float]:
    """Operations a second by side; sides that take too long are left out."""
    rates: dict[str, float] = {}
    for side in sides:
        seconds = _product_seconds(setting, way, side, repeats)
        rates[str(side)] = 2 * side**3 / seconds
        if seconds > PEAK_RUN_S / 8:
            break
    return rates


def _product_seconds(setting: Setting, way: Way, side: int, repeats: int) -> float:
    a, b = (
        torch.randn(side, side, device=setting.device).to(DTYPES[setting.dtype]) for _ in range(2)
    )
    best, start = math.inf, time.perf_counter()
    with torch.inference_mode():
        for _ in range(repeats + 1):
            best = min(best, clock(setting, lambda: way(a, b)).clock_s)
            if time.perf_counter() - start > PEAK_RUN_S:
                break
    return best
