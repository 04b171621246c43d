"""A GOP, step by step: pictures ↔ integers of the codes and of the enhancement layer.

```
 frames ─► pad ─► motion, context ─► latents ─► codes, depths ─► picture ─► enhancement ─► next step
```

Files and live packets share `encode_step` and `decode_step`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relive.bitstream import CodeChooser, GopCodes, GopDetail
from relive.codec.effort import DEFAULT_PRESET, PRESETS, Effort
from relive.codec.favour import favouring
from relive.codec.layer import Layer, Tools, decode_pair, encode_pair
from relive.codec.pairs import Looks, layer_pair, pull_of
from relive.codec.rate import Left, Setting, choose_depths, cube_error
from relive.codec.step import Geometry, StepCoder, StepContext, StepState, frame_of, to_picture
from relive.codec.track import GopTrack
from relive.enhancement.look_ahead import flat_plan, look_ahead
from relive.enhancement.post_filter import FilterSample
from relive.model.context import Carry
from relive.model.warping import Taste, Warped


def step_rows(index: int, count: int) -> NDArray[np.intp]:
    """Frames of the GOP that step `index` is about: the pair before, and the pair.

    A keyframe knows nothing before it; an odd last frame is paired with itself.
    """
    first = 2 * index
    before = (first - 2, first - 1) if index else (first, first)
    return np.array([*before, first, first + 1]).clip(max=count - 1)


@dataclass(frozen=True)
class CodedGop:
    """The integers of a GOP, and what they lost.

    Attributes:
        codes: of the base tier.
        detail: of the enhancement layer, where the setting has one.
        squares: summed squared error over the frames that are present (0..255).
    """

    codes: GopCodes
    detail: GopDetail | None
    squares: float


def encode_gop(
    coder: StepCoder,
    frames: NDArray[np.uint8],
    track: GopTrack,
    setting: Setting,
    depth: int | None = None,
    watch: Callable[[int, FilterSample], None] | None = None,
    effort: Effort = PRESETS[DEFAULT_PRESET],
    favour: float = 0.0,
) -> CodedGop:
    """Encode one GOP.

    Args:
        coder: the shared half of a step.
        frames: uint8 `[n, height, width, 3]`.
        track: of the same frames.
        setting: what to aim at.
        depth: the same depth for every cube, instead of the search.
        watch: see `layer.Tools`.
        effort: how long to search.
        favour: see `favour.favouring`.
    """
    count, (h, w) = len(frames), coder.geometry.grid
    steps = -(-count // 2)
    gop = GopCodes.empty(steps, coder.bundle.config.quantizer.num_quantizers, h, w)
    detail = None if setting.step is None else GopDetail.empty(2 * steps, h, w)
    padded = coder.geometry.pad(frames)
    aim = _aim(coder, setting, depth, effort, watch)
    plan = None
    if setting.step is not None:
        plan = flat_plan(setting.step, steps, h, w)
        if effort.look_ahead:
            plan = look_ahead(padded, 2 * steps, setting.step)
        plan = favouring(plan, track.worth, favour)
    carry: Carry | None = None
    kept, squares = np.zeros((h, w), np.int8), 0.0
    for index in range(steps):
        rows = step_rows(index, count)
        taste = Taste(setting.smoothness)
        if index > 1:
            taste = replace(taste, before=torch.from_numpy(gop.motion[index - 1, :1]).long())
        start = start_step(coder, carry, padded, track, rows, taste)
        layer = None
        if detail is not None and plan is not None:
            layer = Layer(detail.part(index), plan.part(index), kept)
            if index:
                before = 2 * index - 1
                layer = replace(layer, modes=detail.modes[before], pull=pull_of(detail, before))
        shown = encode_step(coder, carry, start, index, aim, gop.part(index), layer)
        carry = shown.carry
        if layer is not None:
            kept = layer.detail.offsets[1]
        squares += _squares(coder.geometry, shown.pixels, frames, track.present, rows)
    return CodedGop(gop, detail, squares)


def _aim(
    coder: StepCoder,
    setting: Setting,
    depth: int | None,
    effort: Effort,
    watch: Callable[[int, FilterSample], None] | None,
) -> Aim:
    """What the steps of a GOP are to reach; the arguments are those of `encode_gop`."""
    bundle, memory = coder.bundle, coder.bundle.detail.memory
    tools = Tools(
        bundle.level_costs,
        Looks.of(bundle),
        effort.vectors,
        effort.older,
        watch,
        set(memory.contents()) if memory else set(),
    )
    if depth is not None:
        return Aim(setting, tools, depth)
    if setting.step is not None:
        return Aim(setting, tools, skip_below=effort.skip_error)
    chooser = CodeChooser(bundle.tables, *coder.geometry.grid)  # a layer would pay for its choice
    return Aim(setting, tools, chooser=chooser)


@dataclass(frozen=True)
class Aim:
    """What the encoder of a step is to reach, and what it works with.

    Attributes:
        setting: price of bits, quantiser step.
        tools: of the enhancement layer.
        depth: the same depth for every cube, instead of the search.
        skip_below: a delta whose reference has a lower mean `cube_error` gets no codes.
        chooser: of the codes of a GOP; None takes the nearest.
    """

    setting: Setting
    tools: Tools
    depth: int | None = None
    skip_below: float = 0.0
    chooser: CodeChooser | None = None


@dataclass(frozen=True)
class Shown:
    """What a step shows, and what the next one starts from.

    Attributes:
        carry: for the next step.
        show: gives the pixels of frame 0 or 1, uint8 `[H, W, 3]` with padding; those that nobody
            asks for need not be made.
    """

    carry: Carry
    show: Callable[[int], NDArray[np.uint8]]
    _made: dict[int, NDArray[np.uint8]] = field(
        default_factory=dict, compare=False, repr=False, init=False
    )

    def frame(self, place: int) -> NDArray[np.uint8]:
        """Pixels of frame 0 or 1, made once."""
        if place not in self._made:
            with torch.inference_mode():
                self._made[place] = self.show(place)
        return self._made[place]

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """Both frames, uint8 `[2, H, W, 3]` with padding."""
        return np.stack([self.frame(place) for place in range(2)])


def encode_step(
    coder: StepCoder,
    carry: Carry | None,
    start: Start,
    index: int,
    aim: Aim,
    codes: GopCodes,
    layer: Layer | None,
) -> Shown:
    """Choose the integers of a step and write them into `codes` and `layer`.

    Args:
        coder: the shared half of a step.
        carry: from the step before; None at a keyframe.
        start: of this step.
        index: its number in the GOP.
        aim: what to reach.
        codes: of this step alone, zeros.
        layer: of this step alone; None without an enhancement layer.

    Returns:
        What `decode_step` will give.
    """
    coded = _code(coder, carry, start, aim)
    codes.motion[0] = start.choice.numpy()
    if coded is not None:
        codes.depths[0] = coded.depths.numpy()
        codes.codes[0] = coded.sent.permute(2, 0, 1).numpy()
        after = coder.finish(coded.step, coded.sent, coded.depths)
    elif carry is not None:
        after = coder.move(carry, start.state, start.choice)
    else:
        raise ValueError("a keyframe is never light")
    if layer is None:
        return Shown(after, partial(frame_of, after))
    pair = layer_pair(after, carry, start.state, start.choice)
    target = (start.target[0] * 255).round().contiguous()
    enhanced = encode_pair(layer, index, pair, target, aim.tools)
    return Shown(enhanced.carry(after), enhanced.pixels)


def decode_step(
    coder: StepCoder,
    carry: Carry | None,
    state: StepState,
    codes: GopCodes,
    detail: GopDetail | None,
) -> Shown:
    """Decode a step.

    Args:
        coder: the shared half of a step.
        carry: from the step before; None at a keyframe.
        state: of this step.
        codes: of this step alone.
        detail: of this step alone; None shows the codes alone.
    """
    choice = torch.from_numpy(codes.motion[0, :1].astype(np.int64))
    depths = torch.from_numpy(codes.depths[0].astype(np.int64))
    if carry is not None and coder.is_light(carry, depths):
        after = coder.move(carry, state, choice)
    else:
        sent = torch.from_numpy(codes.codes[0].astype(np.int64)).permute(1, 2, 0)
        after = coder.finish(coder.begin(carry, state, choice), sent, depths)
    if detail is None:
        return Shown(after, partial(frame_of, after))
    pair = layer_pair(after, carry, state, choice)
    enhanced = decode_pair(detail, pair, Looks.of(coder.bundle))
    return Shown(enhanced.carry(after), enhanced.pixels)


@dataclass(frozen=True)
class Start:
    """A step before any code is looked for.

    Attributes:
        target: the true pair `[1, 2, 3, H, W]`, 0..1.
        state: of the step.
        choice: motion hypotheses int64 `[1, h, w]`.
        warped: the frame before, by these; None at a keyframe.
    """

    target: Tensor
    state: StepState
    choice: Tensor
    warped: Warped | None

    def is_good(self, limit: float) -> bool:
        """Whether the warped frame is wrong by less than a mean `cube_error`."""
        if self.warped is None:
            return False
        return bool(cube_error(self.warped.reference, self.target).mean() < limit)


def start_step(
    coder: StepCoder,
    carry: Carry | None,
    padded: NDArray[np.uint8],
    track: GopTrack,
    rows: NDArray[np.intp],
    taste: Taste | None = None,
) -> Start:
    """Start a step of a GOP; `rows` as from `step_rows`, the rest as in `start_pair`."""
    target = to_picture(padded[rows[2:]])[None]
    state = coder.state(track.states[rows], track.times_ns[rows])
    return start_pair(coder, carry, target, state, taste)


def start_pair(
    coder: StepCoder,
    carry: Carry | None,
    target: Tensor,
    state: StepState,
    taste: Taste | None = None,
) -> Start:
    """Search the motion of a step.

    Args:
        coder: the shared half of a step.
        carry: from the step before; None at a keyframe.
        target: the true pair `[1, 2, 3, H, W]`, 0..1.
        state: of the step.
        taste: see `SearchedWarp.choose`.
    """
    h, w = coder.geometry.grid
    if carry is None:
        return Start(target, state, torch.zeros(1, h, w, dtype=torch.long), None)
    choice = coder.bundle.model.warper.choose(state.motion, carry.pictures[:, 1], target, taste)
    return Start(target, state, choice, coder.warp(carry, state, choice))


@dataclass(frozen=True)
class Trial:
    """A step before the encoder has decided how deep to code it."""

    step: StepContext
    remainder: Tensor  # [1, h, w, D]
    codes: Tensor  # [h, w, K]


def try_codes(
    coder: StepCoder, carry: Carry | None, start: Start, skip_below: float = 0.0
) -> Trial:
    """Build the context of a step, encode it and quantise to full depth.

    Where the reference is as good as `Aim.skip_below` says, the remainder is 0.
    """
    step = coder.begin(carry, start.state, start.choice, start.warped)
    if start.is_good(skip_below):
        remainder = torch.zeros_like(step.prediction)
    else:
        remainder = coder.bundle.model.encoder(start.target, step.context, step.pyramid)
    codes = coder.bundle.quantizer.encode(remainder.flatten(0, 2), step.kind)
    return Trial(step, remainder, codes.view(*coder.geometry.grid, -1))


@dataclass(frozen=True)
class _Coded:
    """What is sent of a step: depths `[h, w]`, and codes `[h, w, K]`, 0 beyond them."""

    step: StepContext
    depths: Tensor
    sent: Tensor


def _code(coder: StepCoder, carry: Carry | None, start: Start, aim: Aim) -> _Coded | None:
    """Choose the codes of a step; None makes it light."""
    if coder.light and aim.depth is None and start.is_good(aim.skip_below):
        return None
    trial = try_codes(coder, carry, start, aim.skip_below)
    if aim.depth is None:
        price = aim.setting.price
        depths = choose_depths(coder, trial.step, trial.remainder, trial.codes, price)
    else:
        depths = torch.full(coder.geometry.grid, aim.depth)
    if coder.is_light(carry, depths):
        return None
    if aim.chooser is None:
        stages = torch.arange(trial.codes.shape[-1])
        sent = torch.where(stages < depths[..., None], trial.codes, 0)
        return _Coded(trial.step, depths, sent)
    left = Left(coder, trial.step.kind, trial.remainder.flatten(0, 2), aim.setting.price)
    motion = start.choice.expand(2, -1, -1).numpy().astype(np.uint8)
    chosen = aim.chooser.step(depths.numpy().astype(np.uint8), motion, left)
    return _Coded(trial.step, depths, torch.from_numpy(chosen.astype(np.int64)).permute(1, 2, 0))


def _squares(
    geometry: Geometry,
    pixels: NDArray[np.uint8],
    frames: NDArray[np.uint8],
    present: NDArray[np.bool_],
    rows: NDArray[np.intp],
) -> float:
    total = 0.0
    for place, row in enumerate(rows[2:]):
        if present[row] and (place == 0 or row != rows[2]):
            seen = pixels[place, : geometry.height, : geometry.width].astype(np.float32)
            total += float(np.square(seen - frames[row]).sum(dtype=np.float64))
    return total
