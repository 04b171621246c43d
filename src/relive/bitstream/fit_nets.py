"""Training of a net: a softmax over symbols, learned in floats and rounded to integers.

Only the integers are kept, so nothing here has to be reproducible across machines.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import Ints
from relive.bitstream.layout import Family
from relive.bitstream.net import HIDDEN, MAX_BIAS, MAX_HIDDEN, SHIFT, Net
from relive.bitstream.powers import UNIT

BATCH = 2048
EPOCHS = 10
MAX_STEPS = 1200
MIN_SAMPLES = 200
MAX_HELD = 8192
RATE = 0.016
DECAY = 0.3
TUNE_EPOCHS = 12
TUNE_RATE = 0.004
_LOGIT = UNIT / math.log(2.0)  # units of a logit in one nat
_EMBED_ONE = float(1 << SHIFT)
_EMBED_MAX = 127 / _EMBED_ONE
_OUT_MAX = 127 / _LOGIT

Rows = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]


def fit_net(rows: Rows, codes: Ints, family: Family, seed: int) -> Net:
    """Fit a net to feature rows `[features, n]` and codes `[n]`.

    The last eighth of the samples is held out and chooses when to stop.
    """
    if len(codes) < MIN_SAMPLES:
        return Net.uniform(family)
    rng = np.random.default_rng(seed)
    parted = family.highs > 1
    rank = rank_codes(rows, codes, family) if parted else np.arange(family.size)
    ranks = rank[codes]
    kept = len(codes) - len(codes) // 8
    held = slice(kept, kept + MAX_HELD)
    trainer = _Trainer(_first_weights(family, ranks[:kept], rng), family.lows, DECAY)
    steps = min(MAX_STEPS, max(60, EPOCHS * kept // BATCH))
    best = (math.inf, trainer.integers(rank))
    for step in range(steps):
        chosen = rng.integers(0, kept, min(BATCH, kept))
        rate = RATE * math.sin(math.pi * (step + 1) / (steps + 1)) ** 2 + 1e-4
        trainer.step(rows[:, chosen], ranks[chosen], rate)
        if step % (steps // 12) == 0 or step == steps - 1:
            loss = trainer.loss(rows[:, held], ranks[held])
            best = min(best, (loss, trainer.integers(rank)), key=lambda pair: pair[0])
    return best[1]


def tune_net(net: Net, rows: Rows, codes: Ints, seed: int) -> Net:
    """Go on from a net with the samples of one session; the order of its symbols stays.

    Args:
        net: to start from.
        rows: features `[features, n]`.
        codes: symbols `[n]`.
        seed: of the choice of samples.
    """
    if len(codes) < MIN_SAMPLES or len(net.rank) == 1:
        return net
    rng = np.random.default_rng(seed)
    ranks = net.rank.astype(np.int64)[codes]
    trainer = _Trainer(floats_of(net), len(net.low_bias) // len(net.high_bias), decay=0.0)
    count = len(codes)
    steps = min(MAX_STEPS, max(40, TUNE_EPOCHS * count // BATCH))
    for step in range(steps):
        chosen = rng.integers(0, count, min(BATCH, count))
        trainer.step(rows[:, chosen], ranks[chosen], TUNE_RATE * (1 - step / steps))
    return trainer.integers(net.rank.astype(np.int64))


def floats_of(net: Net) -> dict[str, Floats]:
    """Weights of a net as floats: the inverse of `_Trainer.integers`."""
    return {
        "embed": net.embed / _EMBED_ONE,
        "high": net.high / _LOGIT,
        "low": net.low / _LOGIT,
        "high_bias": net.high_bias / _LOGIT,
        "low_bias": net.low_bias / _LOGIT,
    }


def rank_codes(rows: Rows, codes: Ints, family: Family) -> npt.NDArray[np.int64]:
    """Order codes so that those in like company share their high part; int64 `[V]`.

    Company is what the features say when a code comes; codes are halved along the direction in
    which their companies differ most, again and again, down to groups of one low part.
    """
    size, ways = family.size, family.lows
    starts = family.starts
    company = np.zeros((size, starts[-1]))
    for feature in rows:
        flat = codes.astype(np.int64) * starts[-1] + feature
        company += np.bincount(flat, minlength=company.size).reshape(company.shape)
    seen = company.sum(axis=1, keepdims=True)
    usual = company.sum(axis=0) + 1.0
    usual /= usual.sum()
    company = (company / (seen + 50.0) - usual * seen / (seen + 50.0)) / np.sqrt(usual)
    order = _halve(np.arange(size), company, ways)
    rank = np.empty(size, np.int64)
    rank[order] = np.arange(size)
    return rank


def _halve(codes: npt.NDArray[np.int64], company: Floats, ways: int) -> npt.NDArray[np.int64]:
    """Return the codes in an order in which every run of `ways` keeps like company."""
    if len(codes) <= ways:
        return codes
    here = company[codes] - company[codes].mean(axis=0)
    gram = here @ here.T
    _, vectors = np.linalg.eigh(gram)
    ordered = codes[np.argsort(vectors[:, -1], kind="stable")]
    middle = -(-len(codes) // (2 * ways)) * ways
    return np.concatenate(
        [_halve(ordered[:middle], company, ways), _halve(ordered[middle:], company, ways)]
    )


def _first_weights(
    family: Family, ranks: npt.NDArray[np.int64], rng: np.random.Generator
) -> dict[str, Floats]:
    """Weights to start from: biases as often as ranks came, the rest near 0."""
    high, every = family.highs, family.highs * family.lows
    starts = family.starts
    seen = np.bincount(ranks, minlength=every) + 0.3
    seen_high = seen.reshape(high, -1).sum(axis=1)
    embed = rng.normal(0, 0.1, (starts[-1], HIDDEN))
    embed[starts[-2] :] += 0.5  # the group is always there: a bias that opens the hidden units
    return {
        "embed": embed,
        "high": rng.normal(0, 0.1, (HIDDEN, high)),
        "low": rng.normal(0, 0.1, (HIDDEN, every)),
        "high_bias": np.log(seen_high / seen_high.sum()),
        "low_bias": np.log(seen / np.repeat(seen_high, family.lows)),
    }


class _Trainer:
    """Weights, their gradients, and Adam.

    Args:
        weights: to start from.
        ways: low parts of a symbol.
        decay: of the weights, a step at full rate.
    """

    def __init__(self, weights: dict[str, Floats], ways: int, decay: float) -> None:
        self._ways, self._decay = ways, decay
        self.weights = weights
        self._mean = {name: np.zeros_like(value) for name, value in self.weights.items()}
        self._square = {name: np.zeros_like(value) for name, value in self.weights.items()}
        self._steps = 0

    def step(self, rows: Rows, ranks: npt.NDArray[np.int64], rate: float) -> None:
        """Take one step of Adam on a batch: rows `[features, n]`, ranks `[n]`."""
        self._steps += 1
        fade = math.sqrt(1 - 0.99**self._steps) / (1 - 0.9**self._steps)
        for name, gradient in self._gradients(rows, ranks).items():
            weight, mean, square = self.weights[name], self._mean[name], self._square[name]
            mean += 0.1 * (gradient - mean)
            square += 0.01 * (gradient * gradient - square)
            weight *= 1 - rate * self._decay * (not name.endswith("bias"))
            weight -= rate * fade * mean / (np.sqrt(square) + 1e-8)
        np.clip(self.weights["embed"], -_EMBED_MAX, _EMBED_MAX, out=self.weights["embed"])
        for name in ("high", "low"):
            np.clip(self.weights[name], -_OUT_MAX, _OUT_MAX, out=self.weights[name])

    def loss(self, rows: Rows, ranks: npt.NDArray[np.int64]) -> float:
        """Return the mean cost of ranks `[n]` in nats."""
        w = self.weights
        hidden = np.clip(w["embed"][rows].sum(axis=0), 0.0, MAX_HIDDEN / _EMBED_ONE)
        high, low = np.divmod(ranks, self._ways)
        share = _softmax(hidden @ w["high"] + w["high_bias"])[np.arange(len(high)), high]
        every = (hidden @ w["low"] + w["low_bias"]).reshape(len(high), -1, self._ways)
        share = share * _softmax(every[np.arange(len(high)), high])[np.arange(len(high)), low]
        return float(-np.log(share).mean())

    def _gradients(self, rows: Rows, ranks: npt.NDArray[np.int64]) -> dict[str, Floats]:
        w, n = self.weights, rows.shape[1]
        high, low = np.divmod(ranks, self._ways)
        total = w["embed"][rows].sum(axis=0)
        hidden = np.clip(total, 0.0, MAX_HIDDEN / _EMBED_ONE)
        error = _softmax(hidden @ w["high"] + w["high_bias"])
        error[np.arange(n), high] -= 1.0
        error /= n
        out = {"high": hidden.T @ error, "high_bias": error.sum(axis=0)}
        back = error @ w["high"].T
        out["low"], out["low_bias"] = np.zeros_like(w["low"]), np.zeros_like(w["low_bias"])
        for part in np.unique(high):
            here = np.nonzero(high == part)[0]
            columns = slice(part * self._ways, (part + 1) * self._ways)
            error = _softmax(hidden[here] @ w["low"][:, columns] + w["low_bias"][columns])
            error[np.arange(len(here)), low[here]] -= 1.0
            error /= n
            out["low"][:, columns] = hidden[here].T @ error
            out["low_bias"][columns] = error.sum(axis=0)
            back[here] += error @ w["low"][:, columns].T
        back[(total <= 0.0) | (total >= MAX_HIDDEN / _EMBED_ONE)] = 0.0
        flat = np.concatenate(list(rows)).astype(np.int64)
        features = len(rows)
        out["embed"] = np.stack(
            [
                np.bincount(flat, np.tile(unit, features), minlength=len(w["embed"]))
                for unit in back.T
            ],
            axis=1,
        )
        return out

    def integers(self, rank: npt.NDArray[np.int64]) -> Net:
        """Round the weights."""
        w = self.weights
        limit = MAX_BIAS - 1
        return Net(
            np.rint(w["embed"] * _EMBED_ONE).astype(np.int8),
            np.rint(w["high"] * _LOGIT).astype(np.int8),
            np.rint(w["low"] * _LOGIT).astype(np.int8),
            np.clip(np.rint(w["high_bias"] * _LOGIT), -limit, limit).astype(np.int16),
            np.clip(np.rint(w["low_bias"] * _LOGIT), -limit, limit).astype(np.int16),
            rank.astype(np.int16),
        )


def _softmax(logits: Floats) -> Floats:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
