"""The recorder: what it refuses, and how it ends."""

import importlib.util
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from relive.errors import InputError, ReliveError
from relive.session import Recorder, RegionSchema, Session, StateField, StateSchema

SCHEMA = StateSchema((StateField("x"), StateField("y")))
FRAME = np.zeros((6, 8, 3), np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((6, 9, 3), np.uint8), [0, 0], 5), "size is 9×6, that of the session 8×6"),
        ((np.zeros((6, 8), np.uint8), [0, 0], 5), r"shape is \[6, 8\]"),
        ((np.zeros((6, 8, 4), np.uint8), [0, 0], 5), r"shape is \[6, 8, 4\]"),
        ((np.zeros((0, 8, 3), np.uint8), [0, 0], 5), r"shape is \[0, 8, 3\]"),
        ((FRAME.astype(np.float32), [0, 0], 5), "of type float32, not uint8"),
        (([[1]], [0, 0], 5), "is a list"),
        ((FRAME, [0], 5), "has 1 values, the schema 2 fields"),
        ((FRAME, [0, 0, 0], 5), "has 3 values, the schema 2 fields"),
        ((FRAME, [[0, 0]], 5), "not one row of numbers"),
        ((FRAME, ["a", "b"], 5), "not one row of numbers"),
        ((FRAME, [[0], [0, 1]], 5), "not one row of numbers"),
        ((FRAME, [0, float("nan")], 5), "state 'y' is nan"),
        ((FRAME, [float("inf"), 0], 5), "state 'x' is inf"),
        ((FRAME, [0, 1e300], 5), "state 'y' is 1e\\+300"),
        ((FRAME, [0, 0], 4), "time_ns 4 is not after that of the frame before, 4"),
        ((FRAME, [0, 0], 3), "time_ns 3 is not after"),
        ((FRAME, [0, 0], -1), "time_ns -1"),
        ((FRAME, [0, 0], 2**63), "2\\^63"),
        ((FRAME, [0, 0], 5.5), "not a whole number"),
        ((FRAME, [0, 0], 5, np.zeros((6, 9), np.uint8)), r"regions have the shape \[6, 9\]"),
        ((FRAME, [0, 0], 5, np.zeros((6, 8), np.int32)), "regions is of type int32"),
        ((None, [0, 0], 5, np.zeros((6, 8), np.uint8)), "regions need a frame"),
    ],
)
def test_bad_input_names_the_frame_and_spares_the_rest(tmp_path, arguments, message):
    with Recorder(tmp_path / "s.mcap", SCHEMA) as recorder:
        recorder.add(FRAME + 1, [1, 2], 3)
        recorder.add(None, [1, 2], 4)
        with pytest.raises(InputError, match=f"^frame 2: .*{message}"):
            recorder.add(*arguments)
        recorder.add(FRAME + 2, [3, 4], 6)
    with Session.open(tmp_path / "s.mcap") as session:
        assert not session.damaged
        assert session.times_ns.tolist() == [3, 4, 6]
        assert session.frame(2)[0, 0, 0] == 2


def test_what_the_game_does_with_its_buffers_does_not_matter(tmp_path):
    frame, state = FRAME.copy(), np.zeros(2, np.float32)
    with Recorder(tmp_path / "s.mcap", SCHEMA) as recorder:
        for number in range(40):
            frame[:] = number
            state[:] = number
            recorder.add(frame[::1], state, number, frame[:, :, 0])
    with Session.open(tmp_path / "s.mcap") as session:
        np.testing.assert_array_equal(session.frames(0, 40)[:, 0, 0, 0], np.arange(40))
        np.testing.assert_array_equal(session.states[:, 1], np.arange(40))


def test_an_existing_file_is_kept(tmp_path):
    path = tmp_path / "s.mcap"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists; use --force"):
        Recorder(path)
    assert path.read_text() == "mine"
    with Recorder(path, force=True) as recorder:
        recorder.add(FRAME, [], 0)
    Session.open(path).close()


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*No such file"):
        Recorder(tmp_path / "none" / "s.mcap")


def test_an_error_in_the_game_finalises(tmp_path):
    with pytest.raises(ZeroDivisionError), Recorder(tmp_path / "s.mcap") as recorder:  # noqa: PT012
        recorder.add(FRAME, [], 0)
        raise ZeroDivisionError
    with Session.open(tmp_path / "s.mcap") as session:
        assert (len(session), session.damaged) == (1, False)


def test_events(tmp_path):
    with Recorder(tmp_path / "s.mcap") as recorder:
        recorder.event("before")
        recorder.add(FRAME, [], 7)
        recorder.event("after", "x" * 1000)
        recorder.event("later", time_ns=99)
        for name, payload, time_ns in (("", "", 0), ("a", "x" * (1 << 20), 0), ("a", "", -1)):
            with pytest.raises(InputError):
                recorder.event(name, payload, time_ns)
    with Session.open(tmp_path / "s.mcap") as session:
        assert [(e.time_ns, e.name) for e in session.events] == [
            (0, "before"),
            (7, "after"),
            (99, "later"),
        ]


def test_after_close(tmp_path):
    recorder = Recorder(tmp_path / "s.mcap")
    recorder.close()
    recorder.close()
    with pytest.raises(ReliveError, match="is closed"):
        recorder.add(FRAME, [], 0)


def test_half_a_second_of_silence_is_written(tmp_path):
    with Recorder(tmp_path / "s.mcap") as recorder:
        recorder.add(FRAME, [], 0)
        deadline = time.monotonic() + 20
        size = (tmp_path / "s.mcap").stat().st_size
        while (tmp_path / "s.mcap").stat().st_size == size and time.monotonic() < deadline:
            time.sleep(0.02)
        with Session.open(tmp_path / "s.mcap") as session:
            assert (len(session), session.damaged) == (1, True)


def test_a_full_disk_is_one_line_and_keeps_what_was_written(tmp_path):
    path = tmp_path / "s.mcap"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    recorder = Recorder(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(ReliveError, match=r"cannot write .*stays readable") as caught:  # noqa: PT012
            for number in range(10_000):
                recorder.add(NOISE ^ (number % 256), [], number)
        with pytest.raises(ReliveError, match="cannot write"):
            recorder.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    with Session.open(path, verify=True) as session:
        assert session.damaged
        assert len(session) == 32  # 16 frames of noise are 197 kB
        np.testing.assert_array_equal(session.frame(31), NOISE ^ 31)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_disk_that_is_full_from_the_start():
    with pytest.raises(ReliveError, match="No space left on device"):
        Recorder("/dev/full", force=True)


def test_a_slow_disk_slows_the_game_and_memory_stays(tmp_path):
    path = tmp_path / "slow.mcap"
    os.mkfifo(path)  # a pipe: takes 64 KiB and then no more until somebody reads
    received = bytearray()
    hold = threading.Event()

    def read():
        with path.open("rb") as pipe:
            hold.wait(60)
            while data := pipe.read(1 << 16):
                received.extend(data)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    recorder = Recorder(path, force=True)
    added = []

    def play():
        for number in range(200):
            recorder.add(NOISE ^ number, [], number)
            added.append(number)

    game = threading.Thread(target=play, daemon=True)
    game.start()
    time.sleep(1.0)
    assert 0 < len(added) <= 64  # in the pipe, in a segment and in the queue
    hold.set()
    game.join()
    recorder.close()
    reader.join()
    (tmp_path / "copy.mcap").write_bytes(received)
    with Session.open(tmp_path / "copy.mcap") as session:
        assert (len(session), session.damaged) == (200, False)


def test_regions_without_a_schema_are_legal(tmp_path):
    with Recorder(tmp_path / "s.mcap") as recorder:
        recorder.add(FRAME, [], 0, np.full((6, 8), 7, np.uint8))
    with Session.open(tmp_path / "s.mcap") as session:
        assert session.region_schema is None
        assert session.regions(0, 1).tolist() == np.full((1, 6, 8), 7).tolist()
    with Recorder(tmp_path / "t.mcap", regions=RegionSchema()) as recorder:
        recorder.add(FRAME, [], 0)
    with Session.open(tmp_path / "t.mcap") as session:
        assert session.region_schema == RegionSchema()


CHILD = """
import sys, time
import numpy as np
from relive.session import Recorder
with Recorder(sys.argv[1]) as recorder:
    for number in range(100_000):
        recorder.add(np.full((30, 40, 3), number % 256, np.uint8), [], number)
        print(number, flush=True)
        time.sleep(0.005)
"""


def test_ctrl_c_finalises(tmp_path):
    path = tmp_path / "s.mcap"
    command = [sys.executable, "-c", CHILD, str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        for _ in range(100):
            child.stdout.readline()
        child.send_signal(signal.SIGINT)
        rest, errors = child.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    with Session.open(path, verify=True) as session:
        assert not session.damaged
        assert len(session) >= 100 + rest.count("\n")
        assert session.frame(99)[0, 0, 0] == 99


def test_a_recorder_that_nobody_closed_is_finalised_at_exit(tmp_path):
    path = tmp_path / "s.mcap"
    code = (
        "import sys, numpy as np\nfrom relive.session import Recorder\n"
        "Recorder(sys.argv[1]).add(np.zeros((4, 4, 3), np.uint8), [], 0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)
    with Session.open(path) as session:
        assert (len(session), session.damaged) == (1, False)


@pytest.mark.parametrize("after_s", [0.1, 0.9, 1.6])
def test_sigkill_costs_the_last_second_at_most(tmp_path, after_s):
    # The script does the same 20 times; here the second is generous, for busy machines.
    spec = importlib.util.spec_from_file_location(
        "kill_recording", Path(__file__).with_name("kill_recording.py")
    )
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    run = script.kill_once(tmp_path / "s.mcap", after_s)
    assert run["lost_s"] <= 3.0
