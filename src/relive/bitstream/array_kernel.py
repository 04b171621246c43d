"""Arrays of symbols under nets, in kernels: what `context_model.py` does, without Python between.

A sink takes the symbols: it encodes, decodes, counts bits, or collects symbols and features for
training. Nets learn after every array, as there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import BitCounter, SymbolCoder, SymbolDecoder, SymbolEncoder
from relive.bitstream.context_model import ONE
from relive.bitstream.net import HIDDEN, MAX_HIDDEN, SHIFT, Net
from relive.bitstream.powers import FLOOR, LOGS, UNIT, WEIGHTS
from relive.bitstream.range_kernel import State, Words, code_even, code_one, new_state
from relive.compiled import compiled, inner

Ints = npt.NDArray[np.int32]
Grid = npt.NDArray[np.int64]
ENCODES, DECODES, COUNTS, COLLECTS = range(4)
RAW_BITS = 6
"""Raw bits are coded so many at a time."""
PRIOR_LOW = 8 * ONE
"""How often every rank came, and was expected, before the packet: `ONE` is once."""
DONE, DAMAGED, BAD_WEIGHT, BAD_VECTOR = range(4)
"""How a kernel ends."""


class FamilyNets(NamedTuple):
    """The k nets of a family, one array each, and what they have learned in the packet.

    Attributes:
        number: of the family.
        embed: int16 `[k, feature rows, HIDDEN]`.
        low: float32 `[k, HIDDEN, L]`; products and sums stay below 2^24, so they are exact.
        bias: int16 `[k, L]`.
        rank: of symbols, int16 `[k, L]`.
        symbol: of ranks, int32 `[k, L]`.
        sums: how often each rank came, and was expected, float64 `[k, 2, L]`.
    """

    number: int
    embed: npt.NDArray[np.int16]
    low: npt.NDArray[np.float32]
    bias: npt.NDArray[np.int16]
    rank: npt.NDArray[np.int16]
    symbol: Ints
    sums: npt.NDArray[np.float64]

    @classmethod
    def of(cls, nets: Sequence[Net], number: int = 0) -> FamilyNets:
        """Put the parts of nets into one array each; nothing is learned yet."""
        embed, low, bias, rank, symbol = (
            np.stack([getattr(net, part) for net in nets])
            for part in ("embed", "low", "low_bias", "rank", "symbol_of")
        )
        sums = np.full((len(nets), 2, low.shape[2]), PRIOR_LOW, np.float64)
        tables = embed.astype(np.int16), low.astype(np.float32), bias, rank, symbol
        return cls(number, *tables, sums)


class Sink(NamedTuple):
    """Where symbols go, or come from.

    Attributes:
        kind: what it does.
        state: of the range coder.
        words: of it.
        bits: counted, of every family `[families]`.
        rows: feature rows of the array at hand int32 `[m, features]`.
        symbols: of the array at hand int32 `[m]`.
        kept_rows: collected int32 `[M, features]`.
        kept: symbols of these int32 `[M]`.
        pieces: family, net, symbols and features of every array collected `[P, 4]`.
        filled: how many rows and pieces are collected `[2]`.
    """

    kind: int
    state: State
    words: Words
    bits: npt.NDArray[np.float64]
    rows: Ints
    symbols: Ints
    kept_rows: Ints
    kept: Ints
    pieces: Grid
    filled: Grid


Kept = tuple[Ints, Ints, Grid]
_NOTHING: Kept = np.empty((0, 0), np.int32), np.empty(0, np.int32), np.empty((0, 4), np.int64)


def sink_of(
    coder: SymbolCoder | None,
    rows: Ints,
    symbols: Ints,
    *,
    families: int = 1,
    most: int = 0,
    kept: Kept | None = None,
) -> Sink:
    """Return a sink.

    Args:
        coder: takes the symbols, or gives them; without one they are collected.
        rows: room for features, or full `[m, features]`.
        symbols: the same for symbols `[m]`.
        families: how many there are.
        most: symbols to come, where they are written.
        kept: where they are collected, room for them; see `Sink`.

    Raises:
        TypeError: no coder of that kind is known.
    """
    kind, state, words = COLLECTS, new_state(), np.empty(0, np.uint32)
    if isinstance(coder, SymbolEncoder):
        coder.reserve(most)
        kind, state, words = ENCODES, coder.state, coder.words
    elif isinstance(coder, SymbolDecoder):
        kind, state, words = DECODES, coder.state, coder.words
    elif isinstance(coder, BitCounter):
        kind = COUNTS
    elif coder is not None:
        raise TypeError(f"a {type(coder).__name__} takes no symbols from kernels")
    return Sink(
        kind,
        state,
        words,
        np.zeros(families),
        rows,
        symbols,
        *(kept or _NOTHING),
        np.zeros(2, np.int64),
    )


@inner
def _log(value: float) -> int:
    """`powers.logarithm` of one number."""
    mantissa, exponent = math.frexp(value)
    lead: int = LOGS[int(mantissa * (2 * len(LOGS))) - len(LOGS)]
    return lead + (exponent - 1) * UNIT


@inner
def _collect(sink: Sink, family: int, net: int | np.int64, count: int, features: int) -> None:
    first, piece = sink.filled
    for n in range(count):
        for feature in range(features):
            sink.kept_rows[first + n, feature] = sink.rows[n, feature]
        sink.kept[first + n] = sink.symbols[n]
    sink.pieces[piece, 0], sink.pieces[piece, 1] = family, net
    sink.pieces[piece, 2], sink.pieces[piece, 3] = count, features
    sink.filled[0], sink.filled[1] = first + count, piece + 1


@compiled
def code_array(
    sink: Sink, nets: FamilyNets, net: int | np.int64, count: int, features: int
) -> bool:
    """Code the first symbols of the sink under a net and its bias, then learn from them.

    Args:
        sink: its `rows` and `symbols` are laid out; takes the symbols.
        nets: of the family.
        net: number of the net.
        count: of symbols.
        features: of each.

    Returns:
        False where no encoder wrote this.
    """
    if sink.kind == COLLECTS:
        _collect(sink, nets.number, net, count, features)
        return True
    embed, low, sums = nets.embed[net].ravel(), nets.low[net], nets.sums[net]
    ways, decodes = low.shape[1], sink.kind == DECODES
    hidden, products = np.empty(HIDDEN, np.float32), np.empty(ways, np.float32)
    starts, logits = np.empty(features, np.uint64), np.empty(ways, np.int32)
    corrected, seen = np.empty((2, ways), np.int32)
    counts, due = np.empty(ways, np.float32), np.zeros(ways)
    rows = sink.rows
    for way in range(ways):
        seen[way] = 0
        corrected[way] = nets.bias[net, way] + _log(sums[0, way]) - _log(sums[1, way])
    for n in range(count):
        for feature in range(features):
            starts[feature] = np.uint64(rows[n, feature]) * np.uint64(HIDDEN)
        for k in range(HIDDEN):
            total = 0
            for feature in range(features):
                total += embed[starts[np.uint64(feature)] + np.uint64(k)]
            hidden[k] = np.float32(min(max(total, 0), MAX_HIDDEN))
        for way in range(ways):
            products[way] = 0
        for k in range(HIDDEN):
            if hidden[k]:
                for way in range(ways):
                    products[way] += hidden[k] * low[k, way]
        top = np.int32(-(1 << 30))
        for way in range(ways):
            logits[way] = (np.int32(products[way]) >> SHIFT) + corrected[way]
            top = max(top, logits[way])
        whole = 0.0
        for way in range(ways):
            counts[way] = WEIGHTS[np.uint64(min(top - logits[way], FLOOR))]
            whole += counts[way]
        for way in range(ways):
            due[way] += np.floor(counts[way] * ONE / whole)
        rank = 0 if decodes else int(nets.rank[net, sink.symbols[n]])
        if sink.kind == COUNTS:
            sink.bits[nets.number] += np.log2(whole / counts[rank])
        else:
            rank = code_one(sink.state, sink.words, decodes, rank, counts, np.float32(whole))
            if rank < 0:
                return False
        seen[rank] += 1
        sink.symbols[n] = nets.symbol[net, rank]
    for way in range(ways):
        sums[0, way] += ONE * seen[way]
        sums[1, way] += due[way]
    return True


@inner
def code_plain(sink: Sink, symbol: int, ways: int) -> int:
    """Code a symbol below `ways`, all equally likely; -1 where no encoder wrote this."""
    if sink.kind > DECODES:
        return symbol
    return code_even(sink.state, sink.words, sink.kind == DECODES, symbol, ways)


@compiled
def code_raw(sink: Sink, values: Grid, bits: Grid) -> bool:
    """Code values below 2^bits in place, at most `RAW_BITS` bits at a time, low bits first.

    Values with as many bits left go together. False where no encoder wrote this.
    """
    most, count, decodes = 0, len(values), sink.kind == DECODES
    for n in range(count):
        most = max(most, bits[n])
    for shift in range(0, most, RAW_BITS):
        for width in range(1, RAW_BITS + 1):
            for n in range(count):
                if min(bits[n] - shift, RAW_BITS) != width:
                    continue
                part = (values[n] >> shift) & ((1 << width) - 1)
                part = code_plain(sink, part, 1 << width)
                if part < 0:
                    return False
                if decodes:
                    values[n] |= part << shift
    return True
