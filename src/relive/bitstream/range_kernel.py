"""Range coding that kernels may call: the streams of constriction 0.5, to the bit.

As `constriction.stream.queue` with 32-bit words, a 64-bit state and 24-bit probabilities under
`Categorical(perfect=False)` (Martin, "Range encoding", 1979; Bamler, "Understanding entropy coding
with asymmetric numeral systems", 2022): where the lower end of the range may still carry, words are
held back ("inverted"). Tests compare with the library; it is not called here, because a call from
Python for every array of symbols costs more than the arithmetic.

A coder is a state uint64 `[6]` and its words uint32, see `new_state`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from relive.compiled import compiled, inlined, inner

State = npt.NDArray[np.uint64]
Words = npt.NDArray[np.uint32]
LOWER, RANGE, POINT, PLACE, HELD, FIRST = range(6)
"""Parts of the state: lower end and width of the range, for a decoder what it has read; words
written or wanted so far; words held back, and the first of these."""
_PRECISION, _WORD = np.uint64(24), np.uint64(32)
_WHOLE = 1 << 24
_LEAST = np.uint64(1 << 32)
_ALL = np.uint64((1 << 64) - 1)
_ZERO, _ONE = np.uint64(0), np.uint64(1)
MIN_WEIGHT = np.float32(np.finfo(np.float32).tiny)


def new_state() -> State:
    """Return the state in which a coder begins."""
    state = np.zeros(6, np.uint64)
    state[RANGE] = _ALL
    return state


@compiled
def begin(state: State, words: Words) -> None:
    """Let a decoder read its first two words; what is missing is 0."""
    for _ in range(2):
        state[POINT] <<= _WORD
        if state[PLACE] < np.uint64(len(words)):
            state[POINT] |= np.uint64(words[state[PLACE]])
        state[PLACE] += _ONE


@inner
def _write(state: State, words: Words, word: np.uint64) -> None:
    words[state[PLACE]] = np.uint32(word)
    state[PLACE] += _ONE


@inner
def _release(state: State, words: Words, carried: bool) -> None:
    """Write the words that were held back."""
    if carried:
        _write(state, words, state[FIRST] + _ONE)
    else:
        _write(state, words, state[FIRST])
    for _ in range(1, np.int64(state[HELD])):
        _write(state, words, _ZERO if carried else _ALL)
    state[HELD] = _ZERO


@inlined
def put(state: State, words: Words, left: int, share: int) -> None:
    """Encode an interval: where it begins and how wide it is, of 2^24."""
    scale = state[RANGE] >> _PRECISION
    width, lower = scale * np.uint64(share), state[LOWER] + scale * np.uint64(left)
    if state[HELD] and lower + width > lower:
        _release(state, words, lower < state[LOWER])
    state[LOWER], state[RANGE] = lower, width
    if width < _LEAST:
        word = lower >> _WORD
        lower, width = lower << _WORD, width << _WORD
        state[LOWER], state[RANGE] = lower, width
        if state[HELD]:
            state[HELD] += _ONE
        elif lower + width > lower:
            _write(state, words, word)
        else:
            state[HELD], state[FIRST] = _ONE, word


@compiled
def seal(state: State, words: Words) -> None:
    """Write what is left of an encoder: the words held back, and up to two more."""
    if state[RANGE] == _ALL:
        return
    point = state[LOWER] + (_LEAST - _ONE)
    if state[HELD]:
        _release(state, words, point < state[LOWER])
    _write(state, words, point >> _WORD)
    if (state[LOWER] + state[RANGE]) >> _WORD == point >> _WORD:
        _write(state, words, _ZERO)


@compiled
def seal_short(state: State, words: Words) -> None:
    """As `seal`, with two words that end in as many zeros as the range allows.

    A decoder takes missing words for zeros, so that zeros at the end need not be kept.
    """
    if state[RANGE] == _ALL:
        return
    point, step = state[LOWER], np.uint64(64)
    while step:
        step -= np.uint64(8)
        below = (_ONE << step) - _ONE
        rounded = (state[LOWER] + below) & ~below
        if rounded - state[LOWER] < state[RANGE]:
            point = rounded
            break
    if state[HELD]:
        _release(state, words, point < state[LOWER])
    _write(state, words, point >> _WORD)
    _write(state, words, point & np.uint64(0xFFFFFFFF))


@inlined
def peek(state: State) -> int:
    """Which of 2^24 quantiles a decoder is at; 2^24 and more: no encoder wrote this."""
    return int((state[POINT] - state[LOWER]) // (state[RANGE] >> _PRECISION))


@inlined
def take(state: State, words: Words, left: int, share: int) -> None:
    """Decode past an interval."""
    scale = state[RANGE] >> _PRECISION
    state[LOWER] += scale * np.uint64(left)
    state[RANGE] = scale * np.uint64(share)
    if state[RANGE] < _LEAST:
        state[LOWER] <<= _WORD
        state[RANGE] <<= _WORD
        state[POINT] <<= _WORD
        if state[PLACE] < np.uint64(len(words)):
            state[POINT] |= np.uint64(words[state[PLACE]])
        state[PLACE] += _ONE


@inlined
def _edge(below: np.float32, scale: np.float32, number: int) -> int:
    """Where symbol `number` begins, given the sum of the counts below it."""
    return int(below * scale) + number


@inlined
def code_one(
    state: State,
    words: Words,
    decodes: bool,
    symbol: int,
    counts: npt.NDArray[np.float32],
    total: np.float32,
) -> int:
    """Code a symbol under counts, whole numbers `[ways]` whose sum is at most 2^24.

    Returns:
        The symbol; -1 where the words are not those of an encoder.
    """
    ways = len(counts)
    scale = np.float32(_WHOLE - ways) / total
    below = np.float32(0)
    if not decodes:
        for k in range(symbol):
            below += counts[k]
        left, right = _edge(below, scale, symbol), _WHOLE
        if symbol < ways - 1:
            right = _edge(below + counts[symbol], scale, symbol + 1)
        put(state, words, left, right - left)
        return symbol
    place = peek(state)
    if place >= _WHOLE:
        return -1
    left = 0
    for k in range(ways):
        below += counts[k]
        right = _edge(below, scale, k + 1) if k < ways - 1 else _WHOLE
        if right > place:
            take(state, words, left, right - left)
            return k
        left = right
    return -1


@inlined
def code_even(state: State, words: Words, decodes: bool, symbol: int, ways: int) -> int:
    """As `code_one`, all counts 1."""
    scale = np.float32(_WHOLE - ways) / np.float32(ways)
    place = 0
    if decodes:
        place = peek(state)
        if place >= _WHOLE:
            return -1
        symbol = min(place * ways >> 24, ways - 1)
        while symbol and _edge(np.float32(symbol), scale, symbol) > place:
            symbol -= 1
        while symbol < ways - 1 and _edge(np.float32(symbol + 1), scale, symbol + 1) <= place:
            symbol += 1
    left, right = _edge(np.float32(symbol), scale, symbol), _WHOLE
    if symbol < ways - 1:
        right = _edge(np.float32(symbol + 1), scale, symbol + 1)
    if decodes:
        take(state, words, left, right - left)
    else:
        put(state, words, left, right - left)
    return symbol


@compiled
def code_rows(
    state: State,
    words: Words,
    decodes: bool,
    symbols: npt.NDArray[np.int32],
    counts: npt.NDArray[np.float32],
) -> bool:
    """Code symbols in place `[n]` under counts `[n, ways]`; False where no encoder wrote this."""
    for n in range(len(symbols)):
        total = np.float32(0)
        for k in range(counts.shape[1]):
            total += counts[n, k]
        if not total >= MIN_WEIGHT:
            return False
        symbol = code_one(state, words, decodes, symbols[n], counts[n], total)
        if symbol < 0:
            return False
        symbols[n] = symbol
    return True
