"""How well a search by picture finds the place again, and how fast (issue 7, d).

    python tools/measure_search.py WORK -o results/search.json

Sessions of held-out maps are recorded with seeds that no training saw: some to search in, one to
ask with. What is searched is real: `relive encode` (codes alone) of the pairs of frames at which a
replay would have its keyframes, one in 32 frames, filed into a catalogue. An answer is right where
the camera stood within 64 map units (2 m; a person is 56 units tall) and 20° of the question's, on
the same map. Every question that has a right answer counts; all maps are searched at once.

Pixels are those of the picture, shrunk to 40×30; HOG is that of scikit-image on 16×16 cells (no
extra of Relive has it: `pip install scikit-image`). Both search the exact pictures that the codes
were made of. The pose is given to the baseline of poses. Latency: the descriptors repeated until
they are those of 100 hours at 35 frames/s.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relive.bench.provenance import provenance, write_json
from relive.catalog import Catalog, add
from relive.codec import Bundle, Replay, encode, load_bundle
from relive.cubes.states import camera_poses
from relive.search import Like, Place, Query, find
from relive.search.picture import alike
from relive.session import Recorder, Session

KNOWN = ("freedoom2/map01", "freedoom2/map05", "freedoom1/e1m1", "freedoom1/e2m3")
UNKNOWN = ("freedoom2/map18", "freedoom2/map20")
SEEDS, ASKED_SEED = (7202, 7303, 7404), 7101
INTERVAL, ASKED_EVERY = 32, 35
WITHIN, ANGLE_DEG = 64.0, 20.0
HOURS, FPS = 100, 35
WHERE = ("health < 20 and ammo = 0", "health > 0")
Array = NDArray[Any]


def record(game: str, seed: int, work: Path, seconds: float) -> Path:
    """Record a session, unless it is there."""
    out = work / f"{game.replace('/', '-')}-{seed}.mcap"
    if not out.exists():
        part = out.with_suffix(".part.mcap")
        command = [sys.executable, "-m", "relive", "record", f"doom:{game}", "-o", str(part), "-q"]
        command += ["--seconds", str(seconds), "--seed", str(seed), "--force"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        part.rename(out)
    return out


def thin(session: Path, out: Path) -> None:
    """Keep the pairs of frames at which a replay has its keyframes."""
    with (
        Session.open(session) as whole,
        Recorder(out, whole.schema, game=whole.game, force=True) as recorder,
    ):
        for first in range(0, whole.num_frames - 1, INTERVAL):
            for index, frame in zip(
                range(first, first + 2), whole.frames(first, first + 2), strict=True
            ):
                recorder.add(frame, whole.states[index], int(whole.times_ns[index]))


def searched(game: str, seed: int, work: Path, seconds: float, bundle: Bundle) -> Path:
    """Make the replay that is searched, unless it is there."""
    session = record(game, seed, work, seconds)
    replay = work / "replays" / f"{session.stem}.relive"
    if not replay.exists():
        replay.parent.mkdir(exist_ok=True)
        pairs, part = work / "pairs.mcap", work / "part.relive"
        thin(session, pairs)
        encode(pairs, part, model=bundle, tiers=1, keyframe_interval=2, force=True)
        part.rename(replay)
    return replay


def pictures(session: Path, every: int) -> tuple[Array, Array]:
    """Every so many frames of a session, and their poses."""
    with Session.open(session) as opened:
        places = list(range(0, opened.num_frames - 1, every))
        frames = np.concatenate([opened.frames(place, place + 1) for place in places])
        return frames, camera_poses(opened.schema, opened.states[places])


def right(asked: Array, there: Array) -> Array:
    """Which answers are right, bool `[questions, answers]`."""
    apart = np.linalg.norm(asked[:, None, :3] - there[None, :, :3], axis=2)
    turned = np.abs((asked[:, None, 3] - there[None, :, 3] + np.pi) % (2 * np.pi) - np.pi)
    return (apart <= WITHIN) & (turned <= np.radians(ANGLE_DEG))


def shrunk(frames: Array) -> Array:
    """Means of 8×8 pixels, flat."""
    n, h, w, _ = frames.shape
    return frames.reshape(n, h // 8, 8, w // 8, 8, 3).mean((2, 4)).reshape(n, -1)


def hogs(frames: Array) -> Array:
    """Histograms of gradients."""
    from skimage.feature import hog

    sizes = {"pixels_per_cell": (16, 16), "cells_per_block": (2, 2)}
    return np.stack([hog(frame.mean(2), orientations=8, **sizes) for frame in frames])


def distances(asked: Array, there: Array) -> Array:
    """Euclidean distances."""
    products = asked @ there.T
    return (asked**2).sum(1)[:, None] + (there**2).sum(1)[None] - 2 * products


def poses_apart(asked: Array, there: Array) -> Array:
    """Distance in units of 64, and of the view in units of 20°, squared and added."""
    apart = np.linalg.norm(asked[:, None, :3] - there[None, :, :3], axis=2) / WITHIN
    turned = np.abs((asked[:, None, 3] - there[None, :, 3] + np.pi) % (2 * np.pi) - np.pi)
    return apart**2 + (turned / np.radians(ANGLE_DEG)) ** 2


def recall(far: Array, fits: Array) -> dict[str, Any]:
    """Share of the questions whose nearest, or one of whose five nearest, answers is right."""
    asked = fits.any(1)
    order = np.argsort(far, axis=1, kind="stable")[:, :5]
    hits = np.take_along_axis(fits, order, 1)[asked]
    return {
        "questions": int(asked.sum()),
        "recall_at_1": round(float(hits[:, 0].mean()), 3),
        "recall_at_5": round(float(hits.any(1).mean()), 3),
    }


def code_distances(catalog: Catalog, likes: list[Like], names: list[tuple[str, int]]) -> Array:
    """Distances as the search computes them; columns in the order of `names`."""
    numbers = {Path(p).stem: n for n, p in catalog.rows("SELECT file, path FROM files")}
    column = {(numbers[stem], frame): place for place, (stem, frame) in enumerate(names)}
    far = np.full((len(likes), len(names)), np.inf)
    for row, like in enumerate(likes):
        hits = alike(catalog, like)
        for file, frame, cost in zip(hits.file, hits.frame, hits.cost, strict=True):
            far[row, column[int(file), int(frame)]] = cost
    return far


def seconds_of(work: Any, times: int = 7) -> dict[str, float]:
    """Median and worst of some runs."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return {"median_s": round(float(np.median(taken)), 4), "worst_s": round(max(taken), 4)}


def timed(catalog: Catalog, query: Query) -> dict[str, Any]:
    """Ask a question once to see how many ranges answer it, then time it."""
    return {"ranges": find(catalog, query)[1]} | seconds_of(lambda: find(catalog, query))


def repeated(path: Path, source: Path) -> Path:
    """Repeat descriptors and states of a catalogue to those of 100 hours."""
    path.unlink(missing_ok=True)
    with Catalog.open(path, write=True, create=True) as big:
        big.run(f"ATTACH '{source}' AS small (READ_ONLY)")
        files = big.rows("SELECT max(file) FROM small.files")[0][0]
        copies = 0
        for (name,) in big.rows(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'small' "
            "AND (table_name LIKE 'descriptors_%' OR table_name LIKE 'states_%')"
        ):
            have = big.rows(f"SELECT count(*) FROM small.{name}")[0][0]  # noqa: S608
            rate = FPS / INTERVAL if name.startswith("descriptors") else FPS
            times = round(HOURS * 3600 * rate / have)
            copies = max(copies, times)
            big.run(
                f"CREATE TABLE {name} AS SELECT s.* REPLACE (file + n * {files} AS file) "  # noqa: S608
                f"FROM small.{name} s, range({times}) r(n)"
            )
        big.run(
            f"INSERT INTO files SELECT f.* REPLACE (file + n * {files} AS file) "  # noqa: S608
            f"FROM small.files f, range({copies}) r(n)"
        )
    return path


def latency(work: Path, source: Path, like: Like, place: Place) -> dict[str, Any]:
    """Search in what is repeated to the keyframes and states of 100 hours.

    A question without an answer may be quick because there is nothing to put together, so each is
    named with its ranges: a narrow condition and a broad one, a pose where somebody stood.
    """
    path = repeated(work / "hundred-hours.duckdb", source)
    began = time.perf_counter()
    with Catalog.open(path) as big:
        big.lock_down()
        opening = time.perf_counter() - began
        table = big.tables("descriptors")[0]
        rows = big.rows(f"SELECT count(*) FROM {table}")[0][0]  # noqa: S608
        frames = sum(
            big.rows(f"SELECT count(*) FROM {name}")[0][0]  # noqa: S608
            for name in big.tables("states")
        )
        return {
            "keyframes": rows,
            "frames_of_states": frames,
            "catalog_bytes": path.stat().st_size,
            "open_s": round(opening, 4),
            "like": timed(big, Query(like=like)),
            "where": {where: timed(big, Query(where=where)) for where in WHERE},
            "near": timed(big, Query(place=place)),
            "faiss_flat": faiss_seconds(big, table, like),
        }


def faiss_seconds(catalog: Catalog, table: str, like: Like) -> dict[str, float] | None:
    """Time the same search by a flat index of faiss in memory, loading apart."""
    try:
        import faiss
    except ModuleNotFoundError:
        return None
    asked = like.described(like.bundle.model_id)
    if asked is None:
        return None
    began = time.perf_counter()
    column = catalog.run(f"SELECT vector FROM {table}").to_arrow_table()["vector"]  # noqa: S608
    vectors = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
    index = faiss.IndexFlatL2(len(asked.vector))
    index.add(vectors.reshape(-1, len(asked.vector)))
    loading = round(time.perf_counter() - began, 3)
    return {"load_s": loading} | seconds_of(lambda: index.search(asked.vector[None], 20))


def main() -> None:
    """Make what is searched, ask, count, time, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path, help="folder for sessions and replays; kept")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=40.0)
    options = parser.parse_args()
    work, bundle = options.work, load_bundle()
    work.mkdir(parents=True, exist_ok=True)
    splits = {"known maps": KNOWN, "unknown maps": UNKNOWN}
    replays = [
        searched(game, seed, work, options.seconds, bundle)
        for games in splits.values() for game in games for seed in SEEDS
    ]  # fmt: skip
    database = work / "search.duckdb"
    with Catalog.open(database, write=True, create=True) as catalog:
        began = time.perf_counter()
        filed = add(catalog, [work / "replays"], bundle)
        filing_s = time.perf_counter() - began
    there, there_poses, names, maps = [], [], [], []
    for replay in replays:
        frames, poses = pictures(work / f"{replay.stem}.mcap", INTERVAL)
        there.append(frames)
        there_poses.append(poses)
        names += [(replay.stem, 2 * number) for number in range(len(frames))]
        maps += [replay.stem.rpartition("-")[0]] * len(frames)
    frames, poses = np.concatenate(there), np.concatenate(there_poses)
    stored = {"raw pixels 40x30": shrunk(frames), "HOG": hogs(frames)}
    results: dict[str, Any] = {}
    with Catalog.open(database) as catalog:
        for split, games in splits.items():
            asked, asked_poses, fits = [], [], []
            for game in games:
                session = record(game, ASKED_SEED, work, options.seconds)
                shown, stood = pictures(session, ASKED_EVERY)
                asked.append(shown)
                asked_poses.append(stood)
                here = np.array(maps) == game.replace("/", "-")
                fits.append(right(stood, poses) & here)
            shown, stood = np.concatenate(asked), np.concatenate(asked_poses)
            good = np.concatenate(fits)
            likes = [Like.of(frame, bundle) for frame in shown]
            results[split] = {
                "asked": len(shown),
                "codes": recall(code_distances(catalog, likes, names), good),
                "raw pixels 40x30": recall(
                    distances(shrunk(shown), stored["raw pixels 40x30"]), good
                ),
                "HOG": recall(distances(hogs(shown), stored["HOG"]), good),
                "pose, given": recall(poses_apart(stood, poses), good),
                "chance": recall(np.random.default_rng(0).random(good.shape), good),
            }
            print(split, results[split], file=sys.stderr, flush=True)
    with Replay.open(replays[0]) as replay:
        place = Place.of(replay, replay.num_frames // 2)
    report = {
        "searched": {"replays": len(replays), "keyframes": len(frames), "seeds": SEEDS,
                     "seconds_each": options.seconds, "added": filed.added,
                     "filing_s": round(filing_s, 2)},
        "right": {"within_units": WITHIN, "within_m": 2.0, "angle_deg": ANGLE_DEG},
        "recall": results,
        "latency_100_hours_by_repetition": latency(work, database, likes[0], place),
    }  # fmt: skip
    write_json(options.out, report | provenance())
    print(report["recall"], report["latency_100_hours_by_repetition"])


if __name__ == "__main__":
    main()
