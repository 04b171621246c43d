"""Times, presence and states of a GOP's frames ↔ packet (docs/format.md, "Track packet")."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import STRIPPED, SymbolDecoder, SymbolEncoder
from relive.bitstream.columns import (
    FLAT,
    MAX_PERIOD,
    MAX_RATIO,
    Columns,
    Plan,
    plan_columns,
    rebuild,
    residuals_of,
)
from relive.bitstream.fields import FORMS, to_floats, to_integers
from relive.bitstream.framing import ByteReader, seal, unseal, unzigzag
from relive.bitstream.residuals import (
    ACTIVITY_ONE,
    LEAST_BITS,
    MAX_ACTIVITY,
    code_residuals,
    decode_residuals,
    start_activity,
)
from relive.bitstream.track_heads import Field, Heads, code_heads, code_present
from relive.errors import FormatError

TRACK_VERSION = 1
"""Version 0 says the clock, too, and is not one stream of symbols; it is read, not written."""
MAX_FRAMES = 65536
MAX_VALUES = 1 << 20
"""Most frames × columns one packet may hold."""
_NAME = "track packet"
_CONSTANT, _REFERENCE, _PERIOD = 4, 8, 16
_MAX_TIME = (1 << 63) - 1

Times = npt.NDArray[np.int64]
Present = npt.NDArray[np.bool_]
States = npt.NDArray[np.float32]


class Clock(NamedTuple):
    """Frames of a GOP, and when they were.

    Attributes:
        frames: how many.
        start_ns: time of the first.
        length_ns: time of the last less that of the first.
    """

    frames: int
    start_ns: int
    length_ns: int


def encode_track(
    times_ns: Times,
    present: Present,
    states: States,
    schema_steps: Sequence[float],
    kinds: Sequence[str],
) -> bytes:
    """Encode the times and states of one GOP as a packet that decodes alone.

    Args:
        times_ns: int64 `[n]`, not falling, from 0 up.
        present: bool `[n]`, which frames exist.
        states: float32 `[n, S]`.
        schema_steps: declared step of each field, `[S]`; 0 keeps the very bits.
        kinds: kind of each field, `[S]`; "angle" lets it turn round.

    Raises:
        FormatError: shapes do not agree, or times fall.
    """
    n = _check_input(times_ns, present, states, schema_steps, kinds)
    forms_and_integers = [to_integers(states[:, i], s) for i, s in enumerate(schema_steps)]
    off_line = times_ns - _line(int(times_ns[0]), int(times_ns[-1] - times_ns[0]), n)
    columns = np.stack([off_line, *(integers for _, integers in forms_and_integers)], axis=1)
    forms = [0, *(form for form, _ in forms_and_integers)]
    periods: list[tuple[int, ...]] = [(), *map(_periods, schema_steps, kinds)]
    plans = plan_columns(columns, periods)
    residuals = residuals_of(columns, plans)
    activity = start_activity(residuals)
    encoder = SymbolEncoder()
    code_present(encoder, present)
    heads = Heads(forms, plans, columns[0], activity // ACTIVITY_ONE)
    code_heads(encoder, heads, _fields(schema_steps, kinds))
    code_residuals(encoder, residuals, activity)
    return seal(bytes([TRACK_VERSION]) + encoder.to_short_bytes())


def decode_track(
    packet: bytes,
    schema_steps: Sequence[float],
    kinds: Sequence[str],
    clock: Clock | None = None,
) -> tuple[Times, Present, States]:
    """Decode a packet: times int64 `[n]`, present bool `[n]`, states float32 `[n, S]`.

    Args:
        packet: of the track.
        schema_steps: as `encode_track`.
        kinds: as `encode_track`.
        clock: what the message around it says; packets of version 0 say it themselves.

    Raises:
        FormatError: damage, another version, or another number of fields than the schema has.
    """
    _check_steps(schema_steps, kinds)
    reader = ByteReader(unseal(packet, _NAME), _NAME)
    version = reader.byte()
    if version > TRACK_VERSION or (version and clock is None):
        raise FormatError(f"{_NAME} has version {version}; this program reads 0 to {TRACK_VERSION}")
    if version and clock is not None:
        present, heads, residuals = _take_compact(reader, clock, _fields(schema_steps, kinds))
    else:
        clock, present, heads, residuals = _take_plain(reader, len(schema_steps))
    columns = rebuild(heads.first, residuals, heads.plans)
    times = _line(clock.start_ns, clock.length_ns, clock.frames) + columns[:, 0]
    if int(times[0]) < 0 or bool((times[1:] < times[:-1]).any()):
        raise FormatError(f"{_NAME}: times are negative or fall")
    states = np.empty((clock.frames, len(schema_steps)), np.float32)
    for i, step in enumerate(schema_steps):
        states[:, i] = to_floats(heads.forms[i + 1], columns[:, i + 1], step)
    return times, present, states


def _take_compact(
    reader: ByteReader, clock: Clock, fields: list[Field]
) -> tuple[Present, Heads, Columns]:
    """Read a packet of version 1."""
    if not 1 <= clock.frames <= MAX_FRAMES or clock.frames * len(fields) > MAX_VALUES:
        raise FormatError(f"{_NAME}: {clock.frames} frames of {len(fields) - 1} fields")
    stream = reader.rest()
    decoder = SymbolDecoder.of_short(stream)
    present = code_present(decoder, np.zeros(clock.frames, np.bool_))
    heads = code_heads(decoder, None, fields)
    activity = heads.activity * ACTIVITY_ONE
    blank = np.zeros((clock.frames - 1, len(activity)), np.int64)
    if blank.size * LEAST_BITS > 8 * (len(stream) + STRIPPED):
        raise FormatError(f"{_NAME}: {len(stream)} bytes cannot be {blank.size} values")
    residuals = code_residuals(decoder, blank, activity)
    decoder.check_end()
    return present, heads, residuals


def _take_plain(reader: ByteReader, fields: int) -> tuple[Clock, Present, Heads, Columns]:
    """Read a packet of version 0."""
    n, width = reader.varint(MAX_FRAMES), reader.varint(MAX_VALUES)
    if n < 1 or n * (width + 1) > MAX_VALUES or width != fields:
        raise FormatError(f"{_NAME}: {n} frames of {width} fields; {fields} expected")
    start, length = reader.varint(_MAX_TIME), reader.varint(_MAX_TIME)
    present = _unpack_present(reader, n)
    rows = [_unpack_plan(reader) for _ in range(width + 1)]
    plans = [row[1] for row in rows]
    activity = np.array([row[3] for row in rows if not row[1].constant], np.int64)
    first = np.array([row[2] for row in rows], np.int64)
    heads = Heads([row[0] for row in rows], plans, first, activity // ACTIVITY_ONE)
    classes = reader.take(4 * reader.varint(MAX_VALUES))
    return (
        Clock(n, start, length),
        present,
        heads,
        decode_residuals(classes, reader.rest(), n - 1, activity),
    )


def _fields(schema_steps: Sequence[float], kinds: Sequence[str]) -> list[Field]:
    """What the schema says of the columns, the time first."""
    pairs = zip(schema_steps, kinds, strict=True)
    return [Field(stepped=True), *(Field(s > 0.0, _periods(s, k)) for s, k in pairs)]


def _line(start: int, length: int, n: int) -> Times:
    """Return int64 `[n]`: rounded times on the straight line from `start` over `length` ns."""
    gaps = max(n - 1, 1)
    whole, part = divmod(length, gaps)
    i = np.arange(n, dtype=np.int64)
    return start + i * whole + (2 * i * part + gaps) // (2 * gaps)


def _periods(step: float, kind: str) -> tuple[int, ...]:
    """Return full turns in steps, should the unit be degrees or radians."""
    if kind != "angle" or step <= 0.0:
        return ()
    turns = (round(turn / step) for turn in (360.0, 2.0 * math.pi) if turn / step < MAX_PERIOD)
    return tuple(turn for turn in turns if turn >= 2)


def _unpack_present(reader: ByteReader, n: int) -> Present:
    mark = reader.byte()
    if mark == 0:
        return np.ones(n, np.bool_)
    if mark != 1:
        raise FormatError(f"{_NAME}: presence mark {mark} is unknown")
    packed = np.frombuffer(reader.take((n + 7) // 8), np.uint8)
    return np.unpackbits(packed, count=n).astype(np.bool_)


def _unpack_plan(reader: ByteReader) -> tuple[int, Plan, int, int]:
    """Return form, plan, first value and starting activity of a column."""
    flags = reader.byte()
    form = flags & 3
    if form not in FORMS or flags > _PERIOD * 2 - 1:
        raise FormatError(f"{_NAME}: column flags {flags:#04x} are unknown")
    first = unzigzag(reader.varint())
    if flags & _CONSTANT:
        return form, Plan(constant=True), first, 0
    activity = reader.byte() * ACTIVITY_ONE
    if activity > MAX_ACTIVITY:
        raise FormatError(f"{_NAME}: activity {activity // ACTIVITY_ONE} exceeds 64")
    if flags & _REFERENCE:
        reference, ratio = reader.varint(MAX_VALUES), unzigzag(reader.varint(2 * MAX_RATIO))
        return form, Plan(reference=reference, ratio=ratio), first, activity
    slope = reader.byte()
    if slope > FLAT:
        raise FormatError(f"{_NAME}: slope {slope} exceeds {FLAT}")
    period = reader.varint(MAX_PERIOD) if flags & _PERIOD else 0
    low = unzigzag(reader.varint()) if flags & _PERIOD else 0
    return form, Plan(slope=slope, period=period, low=low), first, activity


def _check_steps(schema_steps: Sequence[float], kinds: Sequence[str]) -> None:
    if len(schema_steps) != len(kinds):
        raise FormatError(f"{len(schema_steps)} steps for {len(kinds)} kinds of fields")
    if not all(math.isfinite(step) and step >= 0.0 for step in schema_steps):
        raise FormatError(f"steps must be finite and not negative: {list(schema_steps)}")


def _check_input(
    times_ns: Times,
    present: Present,
    states: States,
    schema_steps: Sequence[float],
    kinds: Sequence[str],
) -> int:
    _check_steps(schema_steps, kinds)
    n = len(times_ns)
    shapes = (times_ns.shape, present.shape, states.shape)
    if shapes != ((n,), (n,), (n, len(schema_steps))) or not 1 <= n <= MAX_FRAMES:
        raise FormatError(f"times, present and states do not agree: shapes {shapes}")
    if n * (len(kinds) + 1) > MAX_VALUES:
        raise FormatError(f"{n} frames of {len(kinds)} fields exceed {MAX_VALUES} values")
    types = [str(array.dtype) for array in (times_ns, present, states)]
    if types != ["int64", "bool", "float32"]:
        raise FormatError(f"times, present, states must be int64, bool, float32, not {types}")
    if int(times_ns[0]) < 0 or bool((np.diff(times_ns) < 0).any()):
        raise FormatError("times must not be negative and must not fall")
    return n
