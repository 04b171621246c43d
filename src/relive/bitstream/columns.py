"""Integer columns ↔ residuals: what a column would be if it went on as before.

All arithmetic is on int64 and wraps, the same in both directions. Three ways to predict column `x`
at row `t`, with `d` the change from row `t - 2` to row `t - 1`:

- slope `k`:     `x[t-1] + (k d + 16 >> 5)`: 0 stands still, 32 goes straight on, 29 is friction;
- flat:          `x[0]`;
- reference `g`: `x[t-1] + (ratio g[t] + 2048 >> 12)`: a position that follows its velocity.

A column with a period (an angle) predicts and counts modulo the period.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relive.errors import FormatError

Columns = npt.NDArray[np.int64]  # [n, columns]

SLOPES = (0, 16, 24, 29, 32)
FLAT = 63
MAX_RATIO = 1 << 24
MAX_PERIOD = 1 << 40
_RATIO_SHIFT = 12
_REFERENCE_BITS = 24.0
"""A reference must save this many bits: what it costs in the header."""
_PERIOD_BITS = 40.0
MAX_REFERENCED = 1024


@dataclass(frozen=True)
class Plan:
    """How one column is predicted.

    Attributes:
        constant: every row is the first; nothing is coded.
        slope: 0 … 62, or `FLAT`; unused with a reference.
        period: values count modulo this, 0 = they do not.
        low: least value of a column with a period.
        reference: number of the column it follows, -1 = none.
        ratio: change of this column for one unit of the reference, in 1/4096.
    """

    constant: bool = False
    slope: int = 0
    period: int = 0
    low: int = 0
    reference: int = -1
    ratio: int = 0


def plan_columns(columns: Columns, periods: list[tuple[int, ...]]) -> list[Plan]:
    """Choose the cheapest prediction of each column.

    Args:
        columns: int64 `[n, columns]`.
        periods: for each column, the periods worth trying beside none.
    """
    plans = [_plan_alone(columns[:, i], periods[i]) for i in range(columns.shape[1])]
    pays = len(columns) > 2 and columns.shape[1] <= MAX_REFERENCED
    return _plan_references(columns, plans) if pays else plans


def residuals_of(columns: Columns, plans: list[Plan]) -> Columns:
    """Return the residuals int64 `[n - 1, active columns]` of the columns that are not constant."""
    parts = [_residuals(columns, i, plan) for i, plan in enumerate(plans) if not plan.constant]
    return np.stack(parts, axis=1) if parts else np.zeros((len(columns) - 1, 0), np.int64)


def rebuild(first: npt.NDArray[np.int64], residuals: Columns, plans: list[Plan]) -> Columns:
    """Undo `residuals_of`, given the first row: int64 `[n, columns]`.

    Raises:
        FormatError: a column refers to one that does not stand alone.
    """
    columns = np.repeat(first[None], len(residuals) + 1, axis=0)
    active = [i for i, plan in enumerate(plans) if not plan.constant]
    place = {column: at for at, column in enumerate(active)}
    alone = [i for i in active if plans[i].reference < 0]
    if alone:
        kept = residuals[:, [place[i] for i in alone]]
        columns[:, alone] = _run(columns[0, alone], kept, [plans[i] for i in alone])
    for i in active:
        reference = plans[i].reference
        if reference >= 0:
            if reference >= len(plans) or plans[reference].reference >= 0:
                raise FormatError(f"track packet: column {i} follows column {reference}")
            change = _follow(columns[1:, reference], plans[i].ratio) + residuals[:, place[i]]
            columns[1:, i] += np.cumsum(change)
    return columns


def _run(first: npt.NDArray[np.int64], residuals: Columns, plans: list[Plan]) -> Columns:
    """Run columns without reference forward, row by row."""
    slope = np.array([plan.slope for plan in plans], np.int64)
    period = np.array([plan.period for plan in plans], np.int64)
    low = np.array([plan.low for plan in plans], np.int64)
    flat, turning = slope == FLAT, period > 0
    modulus = np.where(turning, period, 1)
    out = np.empty((len(residuals) + 1, len(plans)), np.int64)
    out[0] = first
    change = np.zeros(len(plans), np.int64)
    for t, residual in enumerate(residuals, 1):
        ahead = out[t - 1] + ((slope * change + 16) >> 5)
        value = np.where(flat, first, ahead) + residual
        out[t] = np.where(turning, low + (value - low) % modulus, value)
        change = _turn(out[t] - out[t - 1], period)
    return out


def _turn(change: npt.NDArray[np.int64], period: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Take changes the short way round where there is a period."""
    modulus = np.where(period > 0, period, 1)
    half = modulus // 2
    return np.where(period > 0, (change + half) % modulus - half, change)


def _follow(reference: npt.NDArray[np.int64], ratio: int) -> npt.NDArray[np.int64]:
    return (reference * np.int64(ratio) + (1 << (_RATIO_SHIFT - 1))) >> _RATIO_SHIFT


def _residuals(columns: Columns, i: int, plan: Plan) -> npt.NDArray[np.int64]:
    x = columns[:, i]
    if plan.reference >= 0:
        return np.asarray(x[1:] - x[:-1] - _follow(columns[1:, plan.reference], plan.ratio))
    period = np.full(len(x) - 1, plan.period, np.int64)
    if plan.slope == FLAT:
        return _turn(x[1:] - x[0], period)
    change = _turn(x[1:] - x[:-1], period)
    ahead = x[:-1].copy()
    ahead[1:] += (plan.slope * change[:-1] + 16) >> 5
    return _turn(x[1:] - ahead, period)


def _bits(residuals: npt.NDArray[np.int64]) -> float:
    """Return about how many bits residuals cost."""
    return float(np.log2(1.0 + 2.0 * np.abs(residuals.astype(np.float64))).sum())


def _plan_alone(x: npt.NDArray[np.int64], periods: tuple[int, ...]) -> Plan:
    if (x == x[0]).all():
        return Plan(constant=True)
    low, high = int(x.min()), int(x.max())
    turns = [(0, 0)] + [(p, low) for p in periods if 2 <= p <= MAX_PERIOD and high - low < p]
    plans = [
        Plan(slope=slope, period=period, low=start)
        for period, start in turns
        for slope in (*SLOPES, FLAT)
    ]
    costs = [_bits(_residuals(x[:, None], 0, p)) + _PERIOD_BITS * (p.period > 0) for p in plans]
    return plans[int(np.argmin(costs))]


def _plan_references(columns: Columns, plans: list[Plan]) -> list[Plan]:
    """Let columns follow others where that is cheaper; one that is followed follows nobody."""
    change = np.diff(columns, axis=0).astype(np.float64)  # [n - 1, columns]
    level = columns[1:].astype(np.float64)
    power = (level * level).sum(axis=0)
    product = change.T @ level  # [follower, followed]
    ratio = np.divide(product, power, out=np.zeros_like(product), where=power > 0)
    gain = ratio * product  # energy explained
    np.fill_diagonal(gain, 0.0)
    found: list[tuple[float, int, Plan]] = []
    for i, plan in enumerate(plans):
        best = int(gain[i].argmax())
        scaled = round(float(ratio[i, best]) * (1 << _RATIO_SHIFT))
        if plan.constant or plan.period or gain[i, best] <= 0 or not 0 < abs(scaled) <= MAX_RATIO:
            continue
        follower = Plan(reference=best, ratio=scaled)
        saved = _bits(_residuals(columns, i, plan)) - _bits(_residuals(columns, i, follower))
        found.append((saved, i, follower))
    return _settle(plans, found)


def _settle(plans: list[Plan], found: list[tuple[float, int, Plan]]) -> list[Plan]:
    """Take followers by falling gain, as long as nobody follows a follower."""
    settled = list(plans)
    followed: set[int] = set()
    for saved, i, follower in sorted(found, key=lambda item: item[0], reverse=True):
        free = i not in followed and settled[follower.reference].reference < 0
        if saved > _REFERENCE_BITS and free:
            settled[i] = follower
            followed.add(follower.reference)
    return settled
