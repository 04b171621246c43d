"""How the columns of a compact track are predicted ↔ symbols: one function for both directions.

    presence ─► which columns stand still ─► forms ─► first values
      ─► of those that move: activities, references, slopes, periods

What is usual costs little: counts are fixed, as a GOP has too few columns to learn from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import Ints, SymbolCoder
from relive.bitstream.columns import FLAT, MAX_RATIO, MAX_REFERENCED, SLOPES, Plan
from relive.bitstream.fields import FORMS, GRID, WHOLE
from relive.bitstream.residuals import CLASSES, bit_lengths, code_bits, from_zigzag, to_zigzag
from relive.errors import FormatError

_NAME = "track packet"
_EVEN = (1, 1)
_STILL = (2, 3)
_USUAL = (31, 1)
_CHANGES = (15, 1)
_SLOPES = (*SLOPES, FLAT)
_NUMBERS = tuple(12 if k == 0 else 3 if k < 20 else 1 for k in range(CLASSES))
"""Of the bit length of a first value, a ratio or the bottom of a period."""
_ACTIVITIES = tuple(4 if k < 16 else 1 for k in range(CLASSES))

Numbers = npt.NDArray[np.int64]
Present = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Field:
    """What the schema says of a column.

    Attributes:
        stepped: it has a declared step, as the time has.
        turns: periods that its unit allows.
    """

    stepped: bool
    turns: tuple[int, ...] = ()


@dataclass(frozen=True)
class Heads:
    """What is known of the columns before their residuals.

    Attributes:
        forms: of columns, 0 for the time, `[columns]`.
        plans: how they are predicted.
        first: int64 `[columns]`.
        activity: of the columns that move, whole numbers, int64.
    """

    forms: list[int]
    plans: list[Plan]
    first: Numbers
    activity: Numbers


class _Symbols:
    """Arrays of symbols under one row of counts each."""

    def __init__(self, coder: SymbolCoder) -> None:
        self._coder = coder

    def pick(self, wanted: npt.ArrayLike, counts: tuple[int, ...]) -> Ints:
        """Code symbols `[n]`."""
        symbols = np.asarray(wanted, np.int32)
        row = np.array(counts, np.float32)
        return np.asarray(self._coder.code(symbols, np.tile(row, (len(symbols), 1))))

    def numbers(self, wanted: npt.ArrayLike) -> Numbers:
        """Code signed integers of 64 bits `[n]`."""
        values = to_zigzag(np.asarray(wanted, np.int64))
        classes = self.pick(bit_lengths(values), _NUMBERS)
        return from_zigzag(code_bits(self._coder, values, classes))


def code_present(coder: SymbolCoder, present: Present) -> Present:
    """Code which frames there are, bool `[n]`."""
    symbols = _Symbols(coder)
    if not symbols.pick([not present.all()], _USUAL)[0]:
        return np.ones(len(present), np.bool_)
    return symbols.pick(present, _EVEN).astype(np.bool_)


def code_heads(coder: SymbolCoder, heads: Heads | None, fields: list[Field]) -> Heads:
    """Code the heads of all columns.

    Args:
        coder: encodes or decodes.
        heads: to be coded; None for a decoder.
        fields: of every column.

    Raises:
        FormatError: what is decoded are no heads.
    """
    symbols, columns = _Symbols(coder), len(fields)
    usual = np.array([GRID if field.stepped else WHOLE for field in fields])
    rows = np.zeros((len(_PARTS), columns), np.int64)
    if heads is not None:
        rows[:] = np.transpose([_row(heads, i, fields[i]) for i in range(columns)])
    constant, form, first, activity, follows, reference, ratio, slope, turn, low = rows
    constant[:] = symbols.pick(constant, _STILL)
    odd = symbols.pick(form != usual, _USUAL) > 0
    form[:] = np.where(odd, form, usual)
    form[odd] = symbols.pick(form[odd], (1,) * len(FORMS))
    first[1:] = symbols.numbers(first[1:])
    moves = constant == 0
    activity[moves] = symbols.pick(activity[moves], _ACTIVITIES)
    follows[moves] = symbols.pick(follows[moves], _CHANGES)
    led, alone = moves & (follows == 1), moves & (follows == 0)
    if led.any() and columns > MAX_REFERENCED:
        raise FormatError(f"{_NAME}: columns follow others among more than {MAX_REFERENCED}")
    if led.any():
        reference[led] = symbols.pick(reference[led], (1,) * max(2, columns))
    ratio[led] = symbols.numbers(ratio[led])
    slope[alone] = symbols.pick(slope[alone], (1,) * len(_SLOPES))
    for i in np.flatnonzero(alone & np.array([bool(field.turns) for field in fields])):
        turn[i] = symbols.pick(turn[i : i + 1], (1,) * (1 + len(fields[i].turns)))[0]
    turns = alone & (turn > 0)
    low[turns] = symbols.numbers(low[turns])
    if bool((np.abs(ratio) > MAX_RATIO).any()):
        raise FormatError(f"{_NAME}: a ratio exceeds {MAX_RATIO}")
    plans = [_plan(row, field) for row, field in zip(rows.T.tolist(), fields, strict=True)]
    return Heads(form.tolist(), plans, first.copy(), activity[moves])


_PARTS = (
    "constant",
    "form",
    "first",
    "activity",
    "follows",
    "reference",
    "ratio",
    "slope",
    "turn",
    "low",
)


def _row(heads: Heads, i: int, field: Field) -> list[int]:
    """The numbers of a column, as `_PARTS` names them."""
    plan, first = heads.plans[i], int(heads.first[i])
    moved = sum(not plan.constant for plan in heads.plans[:i])
    activity = 0 if plan.constant else int(heads.activity[moved])
    return [
        int(plan.constant),
        heads.forms[i],
        first,
        activity,
        int(plan.reference >= 0),
        max(0, plan.reference),
        plan.ratio,
        _SLOPES.index(plan.slope),
        1 + field.turns.index(plan.period) if plan.period else 0,
        first - plan.low if plan.period else 0,
    ]


def _plan(row: list[int], field: Field) -> Plan:
    """Undo `_row`."""
    constant, _, first, _, follows, reference, ratio, slope, turn, low = row
    if constant:
        return Plan(constant=True)
    if follows:
        return Plan(reference=reference, ratio=ratio)
    period = field.turns[turn - 1] if turn else 0
    return Plan(slope=_SLOPES[slope], period=period, low=_wrapped(first - low) if turn else 0)


def _wrapped(value: int) -> int:
    """To 64 bits with a sign."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)
