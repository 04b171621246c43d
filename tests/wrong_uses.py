"""Wrong uses of the command line, and what each is told: one list for the test and docs/errors.md.

Everything happens inside the folder that `prepare` fills; `tools/list_wrong_uses.py` writes the
page.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from relive.container import ReplayReader
from relive.session import Recorder, StateSchema
from short_replay import write_short


@dataclass(frozen=True)
class WrongUse:
    """A command that must be refused.

    Attributes:
        what: what is wrong, in a few words.
        command: after `relive`.
        says: words that the line must have: what, and where.
        code: the exit code.
        listed: whether docs/errors.md shows it.
    """

    what: str
    command: str
    says: tuple[str, ...]
    code: int = 2
    listed: bool = False

    @property
    def args(self) -> list[str]:
        """The command, split as a shell does."""
        return shlex.split(self.command)


def shown(what: str, command: str, *says: str, code: int = 2) -> WrongUse:
    """A wrong use that the page lists."""
    return WrongUse(what, command, says, code, listed=True)


def use(what: str, command: str, *says: str, code: int = 2) -> WrongUse:
    """A wrong use that is tested alone."""
    return WrongUse(what, command, says, code)


M = "--model m.safetensors"
WRONG_USES = (
    # files
    shown("no such session", "encode nowhere.mcap -o x.relive", "nowhere.mcap", "No such file"),
    shown(
        "no such replay", f"decode nowhere.relive -o x.mp4 {M}", "nowhere.relive", "No such file"
    ),
    use("no such file", "info nowhere", "nowhere", "No such file"),
    use("no such video", "import nowhere.avi -o x.mcap", "nowhere.avi"),
    use("no such file", "verify nowhere.relive", "nowhere.relive", "No such file"),
    use("no such file", "repair nowhere.relive -o x.relive", "nowhere.relive", "No such file"),
    use("no such replay", "export nowhere.relive -o x.relive", "nowhere.relive", "No such file"),
    use("no such replay", "export nowhere.relive -o x.gif", "nowhere.relive", "No such file"),
    use("no such session", f"compare nowhere.mcap s.relive {M}", "nowhere.mcap", "No such file"),
    use("no such session", "regions nowhere.mcap -o x.mcap", "nowhere.mcap", "No such file"),
    use("regions over the session", "regions s.mcap -o s.mcap --force", "s.mcap", "itself"),
    shown("no regions to favour", f"encode s.mcap -o x.relive --favour 6 {M}", "relive regions"),
    shown("nothing to grow from", f"grow --data folder -o x.safetensors {M}", "folder", "session"),
    use("no such folder", f"grow --data nowhere -o x.safetensors {M}", "nowhere", "folder"),
    shown("a folder where a file is wanted", "info folder", "folder", "directory"),
    use("a folder for a session", "encode folder -o x.relive", "folder", "directory"),
    use("a folder for a replay", f"decode folder -o x.mp4 {M}", "folder", "directory"),
    shown("an empty file", "info empty.mcap", "empty.mcap", " empty"),
    use("an empty session", "encode empty.mcap -o x.relive", "empty.mcap", " empty"),
    use("an empty replay", f"decode empty.relive -o x.mp4 {M}", "empty.relive", " empty"),
    shown("a text file", "info text.mcap", "text.mcap", "not a session or a replay"),
    use("a text for a session", "encode text.mcap -o x.relive", "text.mcap", "MCAP"),
    shown("a video to encode", "encode clip.mkv -o x.relive", "clip.mkv", "relive import"),
    shown("a session to decode", f"decode s.mcap -o x.mp4 {M}", "s.mcap", "relive encode"),
    shown(
        "a replay to encode",
        f"encode s.relive -o x.relive {M}",
        "s.relive",
        "replay",
        "relive decode",
    ),
    shown("a view without a camera", "view other.mcap --at 0 -o x.png", "other.mcap", "camera.x"),
    shown("a view from nowhere", "view s.mcap -o x.png", "--camera", "--at"),
    use("a session to export", "export s.mcap -o x.relive", "s.mcap", "relive encode"),
    use("a session to make a clip of", "export s.mcap -o x.gif", "s.mcap", "relive encode"),
    use("a replay to import", "import s.relive -o x.mcap", "s.relive", "video"),
    shown("both files are sessions", f"compare s.mcap s.mcap {M}", "s.mcap", "not a replay"),
    use("both files are replays", f"compare s.relive s.relive {M}", "s.relive", "replay"),
    shown("another session's replay", f"compare other.mcap s.relive {M}", "s.relive", "other.mcap"),
    shown("cut before its first frame", "info head.mcap", "head.mcap", "nothing was recorded"),
    shown("a replay cut in its header", "info head.relive", "head.relive", "header"),
    shown(
        "a cut replay",
        f"decode cut.relive -o ok.mkv --force {M}",
        "cut.relive",
        "were written to ok.mkv",
        code=3,
    ),
    shown("a cut replay", "verify cut.relive", "cut.relive", "relive repair", code=3),
    use("a cut session", "verify cut.mcap", "cut.mcap", "relive repair", code=3),
    # outputs
    shown("the output exists", "record crafter:survival -o kept.mcap", "kept.mcap", "--force"),
    use("the output exists", f"encode s.mcap -o kept.mcap {M}", "kept.mcap", "--force"),
    use("the output exists", f"decode s.relive -o kept.mkv {M}", "kept.mkv", "--force"),
    use("the output exists", f"export s.relive -o kept.gif {M}", "kept.gif", "--force"),
    use("the output exists", "repair s.relive -o kept.mcap", "kept.mcap", "--force"),
    use("the output exists", "import clip.mkv -o kept.mcap", "kept.mcap", "--force"),
    shown("the output is the input", f"encode s.mcap -o s.mcap --force {M}", "s.mcap", "itself"),
    use("the output is the input", "repair s.relive -o s.relive --force", "s.relive", "itself"),
    use("the output is the input", "export s.relive -o s.relive --force", "s.relive", "itself"),
    shown(
        "the folder of the output is missing",
        f"encode s.mcap -o no/x.relive {M}",
        "no",
        "No such file",
    ),
    use(
        "the folder of the output is missing",
        "record crafter:survival -o no/x.mcap",
        "no",
        "No such",
    ),
    use(
        "the folder of the output is missing",
        f"decode s.relive -o no/x.mkv {M}",
        "no/x.mkv",
        "no folder no",
    ),
    use(
        "the folder of the output is missing",
        f"export s.relive -o no/x.gif {M}",
        "no/x.gif",
        "no folder no",
    ),
    use(
        "the folder of the output is a file",
        f"encode s.mcap -o kept.mkv/x.relive {M}",
        "kept.mkv",
        "directory",
    ),
    shown("the output is a folder", f"encode s.mcap -o folder --force {M}", "folder", "directory"),
    use(
        "the output is a folder", "record crafter:survival -o folder --force", "folder", "directory"
    ),
    use("the output is a folder", "import clip.mkv -o folder --force", "folder", "directory"),
    shown(
        "a folder that holds more than pictures",
        f"decode s.relive -o folder --force {M}",
        "folder",
        "letter.txt",
    ),
    shown("a video's name for a replay", f"encode s.mcap -o x.mp4 {M}", "x.mp4", ".relive"),
    use("a video's name for a session", "record crafter:survival -o x.avi", "x.avi", ".mcap"),
    use("a name for nothing", f"export s.relive -o '' {M}", "names no file"),
    use("a name for nothing", f"decode s.relive -o '' {M}", "names no file"),
    shown("an unknown kind of output", f"decode s.relive -o x.avi {M}", "x.avi", ".mp4"),
    use("an unknown kind of output", "export s.relive -o x.zip", "x.zip", ".gif"),
    use(
        "the output is a device", f"encode s.mcap -o /dev/null --force {M}", "/dev/null", "regular"
    ),
    use(
        "the output is a device", f"decode s.relive -o full.mkv --force {M}", "full.mkv", "regular"
    ),
    use("the output is a device", f"export s.relive -o full.mkv --force {M}", "full.mkv"),
    # numbers
    shown("quality out of range", f"encode s.mcap -o x.relive --quality 11 {M}", "--quality", "11"),
    use(
        "quality is no number", f"encode s.mcap -o x.relive --quality best {M}", "--quality", "best"
    ),
    use("NaN for a PSNR", f"encode s.mcap -o x.relive --psnr nan {M}", "PSNR", "nan"),
    use("a negative PSNR", f"encode s.mcap -o x.relive --psnr -3 {M}", "PSNR", "-3"),
    shown(
        "a bit rate that is none",
        f"encode s.mcap -o x.relive --bitrate fast {M}",
        "bitrate",
        "fast",
    ),
    use("a negative bit rate", f"encode s.mcap -o x.relive --bitrate -5k {M}", "bitrate", "-5k"),
    use("a bit rate of nothing", f"encode s.mcap -o x.relive --bitrate 0 {M}", "bitrate", "0"),
    use(
        "an infinite bit rate", f"encode s.mcap -o x.relive --bitrate 1e999 {M}", "bitrate", "1e999"
    ),
    shown("two targets", f"encode s.mcap -o x.relive --psnr 30 --quality 3 {M}", "psnr", "quality"),
    shown(
        "an odd keyframe interval",
        f"encode s.mcap -o x.relive --keyframe-interval 7 {M}",
        "keyframe",
        "7",
    ),
    use(
        "a huge keyframe interval",
        f"encode s.mcap -o x.relive --keyframe-interval 99998 {M}",
        "keyframe",
        "99998",
    ),
    shown(
        "an unknown preset",
        f"encode s.mcap -o x.relive --preset best {M}",
        "preset",
        "best",
        "medium",
    ),
    shown("end before start", f"decode s.relive -o x.mkv --start 1 --end 0.5 {M}", "1", "0.5"),
    shown(
        "a range after the end",
        f"decode s.relive -o x.mkv --start 99 {M}",
        "99",
        "last is at 1.114 s",
    ),
    use("NaN for a second", f"decode s.relive -o x.mkv --start nan {M}", "--start", "nan"),
    use("a negative second", f"decode s.relive -o x.mkv --start -1 {M}", "--start", "-1"),
    use("a range after the end", f"export s.relive -o x.gif --start 99 {M}", "99", "1.114 s"),
    use("a range after the end", "export s.relive -o x.relive --start 99", "99", "1.114 s"),
    use("a tier that there is not", "export s.relive -o x.relive --tier 3", "--tier", "3"),
    use("a rate of nothing", f"export s.relive -o x.gif --fps 0 {M}", "--fps", "0"),
    use("NaN for a rate", f"export s.relive -o x.gif --fps nan {M}", "--fps", "nan"),
    use("no time at all", "record crafter:survival -o x.mcap --seconds 0", "--seconds", "0"),
    shown(
        "NaN for a length", "record crafter:survival -o x.mcap --seconds nan", "--seconds", "nan"
    ),
    use("for ever", "record crafter:survival -o x.mcap --seconds inf", "inf seconds"),
    use("a negative seed", "record crafter:survival -o x.mcap --seed -1", "--seed", "-1"),
    use("NaN for the pace", f"stream s.mcap --pace nan {M}", "--pace", "nan"),
    use("a port that is none", f"stream s.mcap --port 70000 {M}", "--port", "70000"),
    use("NaN for minutes", "train --from tiny --data folder --minutes nan", "--minutes", "nan"),
    # games, models, words
    shown("an unknown game", "record chess:e4 -o x.mcap", "chess:e4", "doom:deathmatch"),
    shown("an unknown map", "record doom:freedoom2/map99 -o x.mcap", "map99", "map32"),
    use("an unknown environment", "record gym:NoSuch-v0 -o x.mcap", "NoSuch-v0"),
    use("no game", "record -o x.mcap", "GAME"),
    use("a player that there is not", "record crafter:survival -o x.mcap --player ghost", "ghost"),
    shown(
        "another model than the replay's",
        "decode s.relive -o x.mkv",
        "needs model",
        "--model",
        code=4,
    ),
    shown(
        "a model file that is missing",
        "decode s.relive -o x.mkv --model gone.safetensors",
        "gone.safetensors",
        code=4,
    ),
    shown(
        "a model file that is none",
        "encode s.mcap -o x.relive --model s.mcap",
        "s.mcap",
        "not a Relive model",
    ),
    use("an unknown verb", "encoed s.mcap -o x.relive", "encoed"),
    use("an unknown option", "encode s.mcap -o x.relive --fast", "--fast"),
    use("no output", "encode s.mcap", "--out"),
    use("one argument too many", "info s.mcap s.relive", "s.relive"),
    shown(
        "a state file with too few rows",
        "import clip.mkv --state short.csv -o x.mcap",
        "short.csv",
        "3 frames",
    ),
    shown("a state file with NaN", "import clip.mkv --state nan.csv -o x.mcap", "nan.csv", "nan"),
    use(
        "a state file that is missing",
        "import clip.mkv --state gone.csv -o x.mcap",
        "gone.csv",
        "No such",
    ),
    use(
        "a schema that is no TOML",
        "import clip.mkv --state full.csv --schema text.mcap -o x.mcap",
        "text.mcap",
        "TOML",
    ),
    use("an unknown table in a batch", "record --batch bad.toml -o x", "bad.toml"),
    use("a training file that is missing", "train gone.toml", "gone.toml"),
    use("a run that is none", "report folder", "folder"),
    use("no sessions to measure", "bench rd empty_folder", "empty_folder", "no sessions"),
    use("a peer that there is not", "bench rd s.mcap --peers vp10", "vp10", "x264"),
    use("a tier that there is not", "bench rd s.mcap --tier gold", "gold", "archive"),
    use("qualities that are none", "bench rd s.mcap --qualities a,b", "a,b"),
    use("depths that are none", "bench chain s.mcap --depths x", "--depths x"),
    use("sides that are none", "bench speed --video-sizes 1x", "--video-sizes 1x"),
    use("a size that there is not", "bench speed --sizes giant", "giant", "tiny"),
    use(
        "regions that are none", "import clip.mkv --regions text.mcap -o x.mcap", "text.mcap", "NPZ"
    ),
    use("regions that are missing", "import clip.mkv --regions gone.npz -o x.mcap", "gone.npz"),
    # datasets of episodes
    shown("an NPZ file without pictures", "import lone.npz -o x.mcap", "lone.npz", "pictures"),
    shown("an NPZ file with Python objects", "import things.npz -o x.mcap", "things", "unpickled"),
    shown("an NPZ file that is none", "import torn.npz -o x.mcap", "torn.npz", "not an NPZ file"),
    use("an NPZ file that is missing", "import gone.npz -o x.mcap", "gone.npz", "no such file"),
    use("states for an NPZ file", "import lone.npz --state full.csv -o x.mcap", "--state"),
    use("a rate for a video", "import clip.mkv --fps 10 -o x.mcap", "--fps", "datasets"),
    shown("a folder that is no dataset", "import folder -o x.mcap", "folder", "info.json", ".npz"),
    shown("a dataset of another version", "import ancient -o x.mcap", "ancient", "v1.6", "v3.0"),
    shown(
        "an action that there is not",
        f"export s.relive -o x --layout npz --action jump {M}",
        "s.relive",
        "jump",
    ),
    shown("a missing frame in LeRobot", f"export s.relive -o x --layout lerobot {M}", "7", "--fps"),
    use("a file for a dataset", f"export s.relive -o x.mp4 --layout lerobot {M}", "x.mp4"),
    use("a range of a dataset", f"export s.relive -o x --layout npz --start 1 {M}", "--start"),
    use("an action for a clip", f"export s.relive -o x.gif --action x {M}", "--action"),
    use("a task for NPZ", f"export s.relive -o x --layout npz --task win {M}", "--task"),
    use("no replays", "export empty_folder -o x --layout npz", "empty_folder"),
    use("nothing to train", "train", "CONFIG.toml", "--from"),
    use("weights that are missing", "train --from gone --data folder", "gone", "tiny"),
    use("a report over a file", "report folder -o kept.mkv", "kept.mkv", "exists"),
    use("a replay to stream", "stream s.relive", "s.relive", "relive decode"),
    use("a port that is none", "stream ws://127.0.0.1:99999", "99999", "65535"),
    use("open to all without a token", "stream s.mcap --host 0.0.0.0", "from outside", "token"),
    use("an output for a sender", "stream s.mcap -o x.mcap", "--out", "s.mcap"),
    use("a replay to standard output", f"encode s.mcap -o - {M}", "-:", "standard output"),
    use("a session to resume", "train --resume nowhere", "nowhere"),
    # search, catalogue, restoring, batches
    shown("nothing to search by", "search s.relive", "--where"),
    shown(
        "no such thing to search", "search nowhere.relive --where 'health < 1'", "nowhere.relive"
    ),
    shown("a condition that is none", "search s.relive --where 'health <'", "health <", "syntax"),
    shown("a field that no replay has", "search s.relive --where 'mana < 1'", "mana"),
    shown("a place that is none", "search s.relive --near here", "here"),
    shown("a picture that is none", "search s.relive --like text.mcap", "text.mcap"),
    use("a text", "search s.relive --like folder/letter.txt", "letter.txt is not a picture"),
    shown("a catalogue that is none", "catalog list text.mcap", "text.mcap"),
    shown("no such catalogue", "catalog update nowhere.duckdb", "nowhere.duckdb"),
    shown("nothing to file", "catalog add new.duckdb nowhere", "nowhere"),
    shown("a rectangle that is none", "restore s.mcap -o x.mcap --hide 1,2,3", "1,2,3"),
    shown("a rectangle outside", "restore s.mcap -o x.mcap --hide 900,0,8,8", "900,0,8,8"),
    shown("no frame rate", "interpolate s.mcap --fps 0 -o x.mcap", "fps", "0"),
    shown("a batch of nothing", "encode --batch empty_folder -o x", "empty_folder"),
    shown("a batch of no folder", "encode --batch nowhere -o x", "nowhere"),
)


def prepare(folder: Path) -> Path:
    """Fill a folder with whole, cut, empty and foreign files."""
    write_short(folder)
    session, replay = (folder / "s.mcap").read_bytes(), (folder / "s.relive").read_bytes()
    with ReplayReader.open(folder / "s.relive") as reader:
        gop_at = reader.gops[3].codes_at
    write_other(folder / "other.mcap")
    for name, data in {
        "cut.mcap": session[: len(session) * 9 // 10],
        "cut.relive": replay[: gop_at + 10],
        "head.mcap": session[:400],
        "head.relive": replay[:60],
        "empty.mcap": b"",
        "empty.relive": b"",
        "text.mcap": b"hello, I am a text\n",
        "short.csv": b"time_s,health\n0,1\n0.04,2\n0.08,3\n",
        "nan.csv": b"time_s,health\n" + b"".join(b"%.2f,nan\n" % (n / 25) for n in range(10)),
        "full.csv": b"time_s,health\n" + b"".join(b"%.2f,1\n" % (n / 25) for n in range(10)),
        "torn.npz": b"PK\x03\x04 and no more",
        "bad.toml": b"[nonsense]\nx = 1\n",
        **dict.fromkeys(("kept.mcap", "kept.mkv", "kept.gif"), b"mine"),
    }.items():
        (folder / name).write_bytes(data)
    (folder / "folder").mkdir()
    (folder / "folder" / "letter.txt").write_text("mine")
    (folder / "empty_folder").mkdir()
    (folder / "ancient" / "meta").mkdir(parents=True)
    (folder / "ancient" / "meta" / "info.json").write_text('{"codebase_version": "v1.6"}')
    np.savez(folder / "lone.npz", action=np.zeros((4, 2)))
    np.savez(folder / "things.npz", image=np.array([{}, {}]))
    (folder / "full.mkv").symlink_to("/dev/full")
    write_video(folder / "clip.mkv")
    return folder


def write_other(path: Path) -> None:
    """Write a session of another size."""
    with Recorder(path, StateSchema()) as recorder:
        for n in range(4):
            recorder.add(np.zeros((64, 64, 3), np.uint8), np.zeros(0, np.float32), n)


def write_video(path: Path) -> None:
    """Write a video of 10 frames, 64×48, 25 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25, width=64, height=48, pix_fmt="bgr0")
        for n in range(10):
            picture = np.full((48, 64, 3), 20 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
