"""Live streams: what a receiver sees, whole and with losses of every kind."""

import gc
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from relive.bitstream import DetailTables, GopCodes, GopDetail, StepLayout, StepWriter
from relive.codec import Bundle, Decoder, Encoder, LiveFrame, Replay, encode, gop, load_bundle
from relive.codec.effort import DEFAULT_PRESET, PRESETS
from relive.container import ReplayHeader, pack_live_header
from relive.container.live_header import LIVE_VERSION
from relive.errors import FormatError, InputError, ModelMismatchError, ReliveError
from relive.session import Session
from small_model import write_small_model
from test_codec import SCHEMA, record

INTERVAL, COUNT = 6, 21
STEPS = INTERVAL // 2


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_small_model(tmp_path_factory.mktemp("model") / "m.safetensors"))


def send(
    session: Session, bundle: Bundle, quality: int, tiers: int = 2
) -> tuple[bytes, list[bytes]]:
    """The header and all packets of a session."""
    encoder = Encoder(
        session.width,
        session.height,
        session.schema,
        model=bundle,
        quality=quality,
        tiers=tiers,
        keyframe_interval=INTERVAL,
    )
    packets = []
    for i in range(session.num_frames):
        frame = session.frame(i) if session.present[i] else None
        packets += encoder.push(frame, session.states[i], int(session.times_ns[i]))
    return encoder.header, packets + encoder.flush()


def receive(bundle: Bundle, packets: list[bytes]) -> tuple[list[LiveFrame], Decoder]:
    decoder = Decoder(bundle)
    return [frame for packet in packets for frame in decoder.push(packet)], decoder


@pytest.fixture(name="stream", scope="module")
def _stream(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> list[bytes]:
    """Header, then 11 packets: GOPs of 3, 3, 3 and 2 steps, the last of one frame."""
    with Session.open(record(tmp_path_factory.mktemp("live") / "s.mcap", COUNT)) as session:
        header, packets = send(session, bundle, 5, tiers=1)
    return [header, *packets]


@pytest.fixture(name="whole", scope="module")
def _whole(stream: list[bytes], bundle: Bundle) -> list[LiveFrame]:
    return receive(bundle, stream)[0]


@pytest.mark.parametrize("tiers", [1, 2])
@pytest.mark.parametrize("missing", [(), (3, 4, 5, 11, 20)])
def test_frames_equal_those_of_a_file_without_look_ahead(
    tmp_path: Path,
    bundle: Bundle,
    tiers: int,
    missing: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blind = replace(PRESETS[DEFAULT_PRESET], look_ahead=False)
    monkeypatch.setitem(PRESETS, DEFAULT_PRESET, blind)
    monkeypatch.setattr(gop, "CodeChooser", lambda *_: None)  # nor what the steps before taught
    path = record(tmp_path / "s.mcap", COUNT, missing=missing)
    quality = 3 if tiers > 1 else None
    out = tmp_path / "s.relive"
    encode(path, out, model=bundle, quality=quality, tiers=tiers, keyframe_interval=INTERVAL)
    with Session.open(path) as session:
        header, packets = send(session, bundle, 3, tiers)
    frames, decoder = receive(bundle, [header, *packets])
    with Replay.open(tmp_path / "s.relive", bundle) as replay:
        for i, pixels in enumerate(replay.iter_frames()):
            assert np.array_equal(frames[i].pixels, pixels), i
            assert np.array_equal(frames[i].state, replay.states[i])
        assert [f.time_ns for f in frames] == replay.times_ns.tolist()
        assert [f.present for f in frames] == replay.present.tolist()
    assert [f.number for f in frames] == list(range(COUNT))
    assert not any(f.concealed for f in frames)
    assert vars(decoder.losses) == dict.fromkeys(vars(decoder.losses), 0)


def without(stream: list[bytes], *lost: int) -> list[bytes]:
    """The header, and all packets but some."""
    return [stream[0], *(p for i, p in enumerate(stream[1:]) if i not in lost)]


def check_healed(frames: list[LiveFrame], whole: list[LiveFrame], lost: int) -> None:
    """A lost step is guessed, the rest of its GOP decoded as well as can be, all else exact."""
    concealed = range(2 * lost, 2 * lost + 2)
    degraded = range(concealed.stop, min(COUNT, (lost // STEPS + 1) * INTERVAL))
    assert [f.number for f in frames] == list(range(COUNT))
    assert [f.number for f in frames if f.concealed] == list(concealed)
    assert [f.number for f in frames if f.degraded] == list(degraded)
    for frame, true in zip(frames, whole, strict=True):
        if not frame.concealed:
            assert np.array_equal(frame.state, true.state)
            assert frame.time_ns == true.time_ns
            assert frame.degraded or np.array_equal(frame.pixels, true.pixels)
    times = [f.time_ns for f in frames]
    assert times == sorted(set(times))


@pytest.mark.parametrize("lost", range(1, 10))
def test_a_lost_step_is_concealed_and_healed(
    stream: list[bytes], whole: list[LiveFrame], bundle: Bundle, lost: int
) -> None:
    frames, decoder = receive(bundle, without(stream, lost))
    check_healed(frames, whole, lost)
    assert decoder.losses.concealed == sum(f.concealed for f in frames)
    assert decoder.losses.degraded == sum(f.degraded for f in frames)
    assert decoder.losses.damaged == 0


def test_with_an_enhancement_layer_too(tmp_path: Path, bundle: Bundle) -> None:
    with Session.open(record(tmp_path / "s.mcap", COUNT)) as session:
        header, packets = send(session, bundle, 2)
    whole, _ = receive(bundle, [header, *packets])
    check_healed(receive(bundle, without([header, *packets], 4))[0], whole, 4)
    again = bytearray(packets[2])
    again[1] ^= 8  # says that it has no layer
    _, decoder = receive(bundle, [header, *packets[:2], forge([header], bytes(again[:-4]))])
    assert decoder.losses.damaged == 1


def test_flat_art_is_exact_and_each_packet_knows_its_palettes(bundle: Bundle) -> None:
    """Tiles of few colours, twice the same: what a packet before said cannot be named."""
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (4, 3), np.uint8)[rng.integers(0, 4, (6, 8))]
    frames = [np.roll(tiles, i // 2, 1).repeat(8, 0).repeat(8, 1) for i in range(8)]
    encoder = Encoder(64, 48, model=bundle, quality=5, keyframe_interval=INTERVAL)
    packets = [p for i, frame in enumerate(frames) for p in encoder.push(frame, (), i + 1)]
    shown, _ = receive(bundle, [encoder.header, *packets])
    for place in (0, 1, 6, 7):  # of keyframes
        assert np.array_equal(shown[place].pixels, frames[place])
    after, decoder = receive(bundle, [encoder.header, packets[0], *packets[2:]])
    assert [f.number for f in after if f.concealed] == [2, 3]
    assert decoder.losses.damaged == 0


def test_a_guess_is_nearer_than_a_picture_that_stands(
    stream: list[bytes], whole: list[LiveFrame], bundle: Bundle
) -> None:
    frames, _ = receive(bundle, without(stream, 4))
    yaw = [f.state[3] for f in frames[7:11]]
    assert yaw == pytest.approx([10.5, 12.0, 13.5, 15.0])
    true = [f.time_ns for f in whole]
    assert [f.time_ns for f in frames] == pytest.approx(true, abs=2)
    assert not np.array_equal(frames[8].pixels, frames[7].pixels)
    assert error(frames[10], whole[10]) < error(frames[7], whole[10])


def error(frame: LiveFrame, true: LiveFrame) -> float:
    return float(np.square(frame.pixels.astype(float) - true.pixels).mean())


def test_a_stream_without_its_first_packet_begins_at_the_next_keyframe(
    stream: list[bytes], whole: list[LiveFrame], bundle: Bundle
) -> None:
    frames, decoder = receive(bundle, without(stream, 0))
    assert [f.number for f in frames] == list(range(INTERVAL, COUNT))
    assert all(np.array_equal(f.pixels, whole[f.number].pixels) for f in frames)
    assert decoder.losses.early == 2


def test_without_its_last_packet_a_stream_ends_early(
    stream: list[bytes], whole: list[LiveFrame], bundle: Bundle
) -> None:
    frames, _ = receive(bundle, stream[:-1])
    assert [f.number for f in frames] == list(range(COUNT - 1))
    assert not any(f.concealed for f in frames)


def test_whole_gops_may_be_missing(
    stream: list[bytes], whole: list[LiveFrame], bundle: Bundle
) -> None:
    frames, decoder = receive(bundle, without(stream, *range(2, 9)))
    assert [f.number for f in frames] == [*range(10), *range(18, 21)]
    assert [f.number for f in frames if f.concealed] == list(range(4, 10))
    assert decoder.losses.missing == 8
    assert np.array_equal(frames[-1].pixels, whole[-1].pixels)


def test_nothing_is_shown_before_the_header(
    stream: list[bytes], whole: list[LiveFrame], bundle: Bundle
) -> None:
    frames, decoder = receive(bundle, [*stream[1:5], stream[0], *stream[5:]])
    assert decoder.losses.early == 4 + 2
    assert frames[0].number == 2 * INTERVAL
    assert all(np.array_equal(f.pixels, whole[f.number].pixels) for f in frames)


def test_packets_that_come_twice_change_nothing(
    stream: list[bytes], whole: list[LiveFrame], bundle: Bundle
) -> None:
    frames, decoder = receive(bundle, [packet for packet in stream for _ in range(2)])
    assert len(frames) == COUNT
    assert all(np.array_equal(f.pixels, w.pixels) for f, w in zip(frames, whole, strict=True))
    assert decoder.losses.late == len(stream) - 1


def test_packets_in_another_order(
    stream: list[bytes], whole: list[LiveFrame], bundle: Bundle
) -> None:
    swapped = [*stream[:5], stream[6], stream[5], *stream[7:]]
    frames, decoder = receive(bundle, swapped)
    check_healed(frames, whole, 4)
    assert decoder.losses.late == 1
    late_keyframe = [*stream[:4], stream[5], stream[4], *stream[6:]]
    check_healed(receive(bundle, late_keyframe)[0], whole, 3)


@pytest.mark.parametrize("lost", [1, 3, 4])
def test_damaged_packets_count_as_lost(
    stream: list[bytes], whole: list[LiveFrame], bundle: Bundle, lost: int
) -> None:
    packet, rng = stream[1 + lost], np.random.default_rng(lost)
    for broken in (b"", packet[:1], packet[:-5], packet + b"\0", flip(packet, rng)):
        frames, decoder = receive(bundle, [*stream[: lost + 1], broken, *stream[lost + 2 :]])
        check_healed(frames, whole, lost)
        assert decoder.losses.damaged == 1


def flip(packet: bytes, rng: np.random.Generator) -> bytes:
    broken = bytearray(packet)
    broken[int(rng.integers(len(packet)))] ^= 1 << int(rng.integers(8))
    return bytes(broken)


def forge(stream: list[bytes], body: bytes) -> bytes:
    """Give a body the checksum of its stream."""
    return body + struct.pack("<I", zlib.crc32(stream[0][-4:] + body))


def test_forged_packets_are_no_error(
    stream: list[bytes], whole: list[LiveFrame], bundle: Bundle
) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        lost = int(rng.integers(1, STEPS))
        body = stream[1 + lost][:-4]
        body = body[: rng.integers(len(body))] if rng.random() < 0.3 else flip(body, rng)
        forged = forge(stream, body)
        frames, _ = receive(bundle, [*stream[: 1 + lost], forged, *stream[2 + lost : 2 + STEPS]])
        times = [f.time_ns for f in frames]
        assert times == sorted(set(times))
        assert len(frames) <= 2 * (STEPS + 1) + INTERVAL
        if not frames[-1].concealed:
            assert np.array_equal(frames[-1].pixels, whole[INTERVAL + 1].pixels)


def test_a_forged_jump_is_not_filled(stream: list[bytes], bundle: Bundle) -> None:
    decoder = Decoder(bundle)
    for packet in stream[:3]:
        decoder.push(packet)
    body = bytearray(stream[3][:-4])
    assert body[2:4] == bytes([0, 2])  # GOP 0, step 2
    far = forge(stream, bytes(body[:2]) + b"\xff\xff\xff\xff\x0f" + bytes(body[3:]))
    frames = decoder.push(far)
    assert [f.number for f in frames] == [(2**32 - 1) * INTERVAL + 4 + i for i in range(2)]
    assert decoder.losses.missing == (2**32 - 1) * INTERVAL


def test_headers(stream: list[bytes], bundle: Bundle, tmp_path: Path) -> None:
    decoder = Decoder(bundle)
    assert decoder.push(stream[0][:-1]) == []
    assert decoder.losses.damaged == 1
    assert decoder.header is None
    decoder.push(stream[0])
    assert decoder.header is not None
    assert decoder.header.keyframe_interval == INTERVAL
    newer = bytearray(stream[0][:-4])
    newer[4] = LIVE_VERSION + 1
    with pytest.raises(FormatError, match=f"version {LIVE_VERSION + 1}"):
        decoder.push(bytes(newer) + struct.pack("<I", zlib.crc32(newer)))
    huge = ReplayHeader(bundle.model_id, 16384, 16384, 3, 16)
    with pytest.raises(FormatError, match="16384x16384"):
        decoder.push(pack_live_header(huge))
    other = write_small_model(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(ModelMismatchError, match=bundle.model_id):
        Decoder(other).push(stream[0])


def test_a_new_stream_begins_anew(stream: list[bytes], bundle: Bundle) -> None:
    other = Encoder(32, 16, model=bundle, tiers=1)
    frame = np.zeros((16, 32, 3), np.uint8)
    packets = [*other.push(frame, [], 5), *other.push(frame, [], 6)]
    frames, decoder = receive(bundle, [*stream[:4], other.header, stream[4], *packets])
    assert [f.pixels.shape for f in frames[-2:]] == [(16, 32, 3)] * 2
    assert [f.number for f in frames[-2:]] == [0, 1]
    assert decoder.losses.damaged == 1  # of the stream before: another checksum


def test_wrong_input_is_refused_and_the_stream_goes_on(bundle: Bundle) -> None:
    encoder = Encoder(32, 16, SCHEMA, model=bundle)
    frame, state = np.zeros((16, 32, 3), np.uint8), np.zeros(5)
    encoder.push(frame, state, 10)
    wrong: list[tuple[str, Callable[[], object]]] = [
        ("after 10", lambda: encoder.push(frame, state, 10)),
        ("shape", lambda: encoder.push(frame[:8], state, 20)),
        ("5 finite", lambda: encoder.push(frame, state[:3], 20)),
        ("5 finite", lambda: encoder.push(frame, [0, 0, 0, np.nan, 0], 20)),
        ("out of range", lambda: encoder.push(frame, [3e38, 0, 0, 0, 0], 20)),
    ]
    for match, push in wrong:
        with pytest.raises(InputError, match=match):
            push()
    assert len(encoder.push(frame, state, 20)) == 1
    assert encoder.flush() == []
    with pytest.raises(ReliveError, match="ended"):
        encoder.push(frame, state, 30)
    for setting in ({"quality": 11}, {"keyframe_interval": 7}, {"keyframe_interval": 4096}):
        with pytest.raises(InputError):
            Encoder(32, 16, model=bundle, **setting)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="8x16"):
        Encoder(8, 16, model=bundle)


def test_steps_that_are_out_of_range_are_not_written(bundle: Bundle) -> None:
    sizes = bundle.tables.layout
    writer = StepWriter(StepLayout(1, (2, 3), [], bundle.tables, DetailTables.uniform()))
    times, present, states = np.array([0, 1]), np.ones(2, np.bool_), [np.zeros(0, np.float32)] * 2

    def write(step: int, depth: int = 0, motion: int = 0, mode: int = 0) -> bytes:
        codes, detail = GopCodes.empty(1, sizes.num_quantizers, 2, 3), GopDetail.empty(2, 2, 3)
        codes.depths[:], codes.motion[:], detail.modes[:] = depth, motion, mode
        return writer.write(0, step, times, present, states, codes, detail)

    assert write(0)
    assert write(1, motion=3, mode=1)
    for wrong in ({"depth": 250}, {"motion": 250}, {"mode": 9}):
        with pytest.raises(FormatError):
            write(1, **wrong)
    with pytest.raises(FormatError, match="motion of the keyframe"):
        write(0, motion=1)


def reachable_bytes(*roots: object) -> int:
    """Bytes of all arrays and tensors that objects hold, models aside."""
    seen: set[int] = set()
    todo, total = list(roots), 0
    while todo:
        item = todo.pop()
        if id(item) in seen or isinstance(item, (type, Bundle)) or callable(item):
            continue
        seen.add(id(item))
        total += int(getattr(item, "nbytes", 0))
        todo += gc.get_referents(item)
    return total


def test_memory_does_not_grow_with_the_stream(bundle: Bundle) -> None:
    encoder, decoder = Encoder(32, 16, model=bundle, keyframe_interval=4), Decoder(bundle)
    decoder.push(encoder.header)
    rng, held = np.random.default_rng(0), []
    for i in range(48):
        frame = rng.integers(0, 255, (16, 32, 3), np.uint8)
        for packet in encoder.push(frame, [], i):
            decoder.push(packet)
        if i % 8 == 7:
            held.append(reachable_bytes(encoder, decoder))
    assert len(set(held)) == 1
    assert held[0] < 2_000_000
