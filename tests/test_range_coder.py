"""The range coder against constriction, whose streams it writes and reads."""

import constriction
import numpy as np
import pytest

from relive.bitstream import range_kernel as kernel
from relive.bitstream.array_kernel import sink_of
from relive.bitstream.coder import SymbolDecoder, SymbolEncoder
from relive.errors import FormatError

FAMILY = constriction.stream.model.Categorical(perfect=False)
ROUNDS = 200


def arrays(rng, kind):
    """Counts of every size, flat ones, and such as leave hardly any room but for one symbol."""
    ways, count = int(rng.integers(2, 40)), int(rng.integers(1, 60))
    counts = np.floor(2 ** rng.uniform(0, 16, (count, ways))).astype(np.float32)
    if kind == 1:
        counts = np.where(rng.random((count, ways)) < 0.95, 1, 65536).astype(np.float32)
    if kind == 2:
        counts[:] = 1
    likely = rng.random(count) < 0.5
    symbols = np.where(likely, counts.argmax(1), rng.integers(0, ways, count))
    return symbols.astype(np.int32), counts


def streams(seed):
    rng = np.random.default_rng(seed)
    pieces = [arrays(rng, int(rng.integers(3))) for _ in range(int(rng.integers(6)))]
    encoder = constriction.stream.queue.RangeEncoder()
    for symbols, counts in pieces:
        encoder.encode(symbols, FAMILY, counts)
    return rng, pieces, encoder.get_compressed()


@pytest.mark.parametrize("seed", range(0, ROUNDS, 20))
def test_writes_what_constriction_writes(seed):
    for number in range(seed, seed + 20):
        _, pieces, words = streams(number)
        encoder = SymbolEncoder()
        for symbols, counts in pieces:
            assert np.array_equal(encoder.code(symbols, counts), symbols)
        assert encoder.to_bytes() == words.astype("<u4").tobytes()
        assert encoder.to_bytes() == words.astype("<u4").tobytes()  # the end is not kept


@pytest.mark.parametrize("seed", range(0, ROUNDS, 20))
def test_reads_what_constriction_reads_of_whole_and_broken_streams(seed):
    for number in range(seed, seed + 20):
        rng, pieces, words = streams(number)
        noise = rng.integers(0, 1 << 32, len(words) + 1).astype(np.uint32)
        for payload in (words, words[: len(words) // 2], noise):
            theirs = constriction.stream.queue.RangeDecoder(payload)
            ours = SymbolDecoder(payload.astype("<u4").tobytes())
            for _, counts in pieces:
                try:
                    expected = theirs.decode(FAMILY, counts)
                except AssertionError:
                    with pytest.raises(FormatError, match="not valid"):
                        ours.code(np.zeros(0, np.int32), counts)
                    break
                assert np.array_equal(ours.code(np.zeros(0, np.int32), counts), expected)


@pytest.mark.parametrize("decodes", [False, True])
def test_even_counts_are_counts_of_one(decodes):
    rng = np.random.default_rng(5)
    ways = rng.integers(2, 300, 500)
    symbols = [int(rng.integers(n)) for n in ways]
    encoder = constriction.stream.queue.RangeEncoder()
    for symbol, n in zip(symbols, ways, strict=True):
        encoder.encode(np.array([symbol], np.int32), FAMILY, np.ones((1, n), np.float32))
    words = encoder.get_compressed()
    state, own = kernel.new_state(), np.zeros(len(words) + 4, np.uint32)
    if decodes:
        own[: len(words)] = words
        kernel.begin(state, own[: len(words)])
    for symbol, n in zip(symbols, ways, strict=True):
        given = 0 if decodes else symbol
        assert kernel.code_even(state, own[: len(words) + 4], decodes, given, int(n)) == symbol
    if not decodes:
        kernel.seal(state, own)
        assert np.array_equal(own[: int(state[kernel.PLACE])], words)


@pytest.mark.parametrize("symbols", [[4], [0, -1], [5000, 1]])
def test_symbols_outside_their_alphabet_are_refused(symbols):
    encoder = SymbolEncoder()
    with pytest.raises(FormatError, match=r"symbols must lie in 0 … 3, not"):
        encoder.code(np.array(symbols, np.int32), np.ones((len(symbols), 4), np.float32))
    assert encoder.to_bytes() == b""


def test_kernels_refuse_a_coder_that_they_do_not_know():
    class Other:
        def code(self, symbols, counts):
            return symbols

    with pytest.raises(TypeError, match="a Other takes no symbols"):
        sink_of(Other(), np.zeros((1, 1), np.int32), np.zeros(1, np.int32))


def test_words_held_back_are_written_with_and_without_a_carry():
    """Symbols on the way to one point, the first of whose words has no end: 0x80000000, 0, 0, …"""
    point = np.array([1 << 31, *[0] * 40], np.uint32)
    counts = np.array([[3000, 1, 2000, 5]], np.float32)
    theirs = constriction.stream.queue.RangeDecoder(point)
    way = [theirs.decode(FAMILY, counts) for _ in range(200)]
    most, ends = 0, set()
    for length in range(1, 200, 3):
        for last in range(4):
            encoder, library = SymbolEncoder(), constriction.stream.queue.RangeEncoder()
            for symbol in [*way[:length], np.array([last], np.int32)]:
                encoder.code(symbol, counts)
                library.encode(symbol, FAMILY, counts)
                most = max(most, int(encoder.state[kernel.HELD]))
            words = np.frombuffer(encoder.to_bytes(), "<u4")
            assert np.array_equal(words, library.get_compressed())
            ends.add(int(words[0]))
    assert most >= 3, "nothing was held back for long"
    assert {(1 << 31) - 1, 1 << 31} <= ends, "no carry, or nothing but carries"
