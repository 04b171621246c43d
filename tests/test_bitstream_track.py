"""Track packets: exact times, states exact to their step, and refusals."""

import math
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relive.bitstream import Clock, decode_track, encode_track
from relive.bitstream.coder import SymbolDecoder, SymbolEncoder
from relive.bitstream.residuals import code_residuals, start_activity
from relive.errors import FormatError

quick = settings(max_examples=100, deadline=None, derandomize=True)
any_float = st.floats(width=32, allow_nan=True, allow_infinity=True)
steps = st.sampled_from((0.0, 1e-30, 0.0054931640625, 0.0625, 1.0, 1e30))
kinds = st.sampled_from(("linear", "angle", "category", "counter"))


def clock(n: int, start: int = 0) -> np.ndarray:
    return start + np.arange(n) * 10**9 // 35


def span(times: np.ndarray) -> Clock:
    return Clock(len(times), int(times[0]), int(times[-1] - times[0]))


@st.composite
def tracks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[float], list[str]]:
    n, width = draw(st.integers(1, 12)), draw(st.integers(0, 5))
    gaps = draw(st.lists(st.integers(0, 2**58), min_size=n, max_size=n))
    present = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    values = st.lists(any_float | st.sampled_from((0.0, -0.0, 1.0, 82.0)), min_size=n, max_size=n)
    states = np.array([draw(values) for _ in range(width)], np.float32).reshape(width, n).T
    fields = [(draw(steps), draw(kinds)) for _ in range(width)]
    return (
        np.cumsum(np.array(gaps, np.int64)),
        np.array(present, np.bool_),
        np.ascontiguousarray(states),
        [step for step, _ in fields],
        [kind for _, kind in fields],
    )


@quick
@given(tracks())
def test_round_trip(
    track: tuple[np.ndarray, np.ndarray, np.ndarray, list[float], list[str]],
) -> None:
    times, present, states, field_steps, field_kinds = track
    packet = encode_track(times, present, states, field_steps, field_kinds)
    got_times, got_present, got = decode_track(packet, field_steps, field_kinds, span(times))
    assert np.array_equal(got_times, times)
    assert got_times.dtype == np.int64
    assert np.array_equal(got_present, present)
    for i, step in enumerate(field_steps):
        exact = np.array_equal(got[:, i].view(np.int32), states[:, i].view(np.int32))
        assert exact or np.array_equal(got[:, i], on_grid(states[:, i], step))


def on_grid(values: np.ndarray, step: float) -> np.ndarray:
    """Return the nearest multiples of the step."""
    assert step > 0
    with np.errstate(all="ignore"):
        return (np.rint(values.astype(np.float64) / step) * step).astype(np.float32)


@pytest.mark.parametrize("width", [0, 1, 200])
def test_narrow_and_wide(width: int) -> None:
    rng = np.random.default_rng(width)
    states = np.cumsum(rng.normal(size=(32, width)), axis=0).astype(np.float32)
    field_steps, field_kinds = [0.01] * width, ["linear"] * width
    packet = encode_track(clock(32), np.ones(32, bool), states, field_steps, field_kinds)
    assert len(packet) < 50 + 45 * width
    times, present, got = decode_track(packet, field_steps, field_kinds, span(clock(32)))
    assert np.array_equal(times, clock(32))
    assert present.all()
    assert np.array_equal(got, np.rint(states.astype(np.float64) / 0.01) * 0.01) or np.allclose(
        got, states, atol=0.0051
    )


def test_a_player_who_runs_around_costs_few_bits() -> None:
    """Position follows velocity, the angle wraps: under 40 bits a frame for five fields."""
    n, step = 32, 360 / 65536
    yaw = (350 + 25 * np.sin(np.arange(n) / 5)) % 360
    speed = 12 * np.stack([np.cos(np.radians(yaw)), np.sin(np.radians(yaw))], axis=1)
    place = 1000 + np.cumsum(speed / 0.90625, axis=0)
    states = np.column_stack([place, yaw, speed]).astype(np.float32)
    field_steps = [0.0625, 0.0625, step, 0.015625, 0.015625]
    field_kinds = ["linear", "linear", "angle", "linear", "linear"]
    packet = encode_track(clock(n), np.ones(n, bool), states, field_steps, field_kinds)
    assert 8 * len(packet) < 40 * n
    _, _, got = decode_track(packet, field_steps, field_kinds, span(clock(n)))
    assert np.array_equal(got[:, 0], on_grid(states[:, 0], 0.0625))
    assert np.array_equal(got[:, 2], on_grid(states[:, 2], step))


def test_regular_times_and_constant_states_cost_next_to_nothing() -> None:
    states = np.tile(np.array([100.0, 0.1], np.float32), (32, 1))
    times, fields = clock(32, 10**12), ([0.0, 0.0], ["linear"] * 2)
    packet = encode_track(times, np.ones(32, bool), states, *fields)
    assert len(packet) < 30
    assert np.array_equal(decode_track(packet, *fields, span(times))[2], states)


def test_bad_arguments_are_refused() -> None:
    good = (clock(3), np.ones(3, bool), np.zeros((3, 1), np.float32), [1.0], ["linear"])
    for at, value in (
        (0, clock(4)),
        (0, clock(3)[::-1]),
        (0, clock(3) - 1),
        (0, clock(3).astype(np.float64)),
        (1, np.ones(3, np.uint8)),
        (2, np.zeros((3, 2), np.float32)),
        (3, [-1.0]),
        (3, [math.nan]),
        (4, []),
    ):
        wrong = [*good[:at], value, *good[at + 1 :]]
        with pytest.raises(FormatError):
            encode_track(*wrong)  # type: ignore[arg-type]
    packet = encode_track(*good)
    with pytest.raises(FormatError, match="version 1"):
        decode_track(packet, [1.0], ["linear"])  # its clock is in the message around it
    for frames in (0, 1 << 20):
        with pytest.raises(FormatError, match=f"{frames} frames"):
            decode_track(packet, [1.0], ["linear"], Clock(frames, 0, 1))


def test_damage_is_a_format_error_or_another_track() -> None:
    """Behind a checksum that holds, a changed packet may decode, but never to another shape."""
    rng = np.random.default_rng(3)
    states = np.cumsum(rng.normal(size=(16, 4)), axis=0).astype(np.float32)
    field_steps, field_kinds = [0.01, 0.0, 1.0, 0.5], ["linear", "linear", "angle", "angle"]
    packet = encode_track(clock(16), rng.random(16) < 0.5, states, field_steps, field_kinds)
    for number in range(1000):
        body = bytearray(packet[:-4])
        if number % 3 == 0:
            body = body[: int(rng.integers(0, len(body)))]
        else:
            body[int(rng.integers(0, len(body)))] = int(rng.integers(0, 256))
        if bytes(body) == packet[:-4]:
            continue
        sealed = bytes(body) + zlib.crc32(body).to_bytes(4, "little")
        with pytest.raises(FormatError):
            decode_track(bytes(body), field_steps, field_kinds, span(clock(16)))
        try:
            times, present, got = decode_track(sealed, field_steps, field_kinds, span(clock(16)))
        except FormatError:
            continue
        assert got.shape == (len(times), 4)
        assert present.shape == times.shape


@quick
@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=60), st.integers(1, 3))
def test_residuals_of_any_size(values: list[int], width: int) -> None:
    residuals = np.array(values[: len(values) // width * width], np.int64).reshape(-1, width)
    activity = start_activity(residuals)
    encoder = SymbolEncoder()
    code_residuals(encoder, residuals, activity)
    decoder = SymbolDecoder.of_short(encoder.to_short_bytes())
    assert np.array_equal(code_residuals(decoder, np.zeros_like(residuals), activity), residuals)
