"""How well found regions agree with ViZDoom's labels, and what they are worth to the encoder.

    python tools/measure_regions.py agreement CORPUS -o results/regions.json
    python tools/measure_regions.py appearing CORPUS WORK -o results/regions.json
    python tools/measure_regions.py bits CORPUS WORK -o results/regions.json
    python tools/measure_regions.py pictures CORPUS docs/img/regions.jpg

`agreement`: `relive.regions.discover` on every Doom session of a split; adjusted Rand index of all
pixels of every fourth frame against the labels, which discovery does not see. Beside it, on the
same pixels: k-means with 6 clusters, fitted to the session, of colours, of the place, of both, of
the mean colours of SLIC superpixels (of scikit-image, which no extra of Relive has: `pip install
scikit-image`), of the latents alone; the regions that the model derives from camera and motion; and
blocks of 8×8 that know the labels, the most that blocks can reach. `steady`: the same with a first
look at a third of the session alone. `appearing`: 60 frames of Crafter behind a session of Doom
(validation).

`bits`: `relive.encode(favour=6)` with the regions of the game and with found ones, against no
regions; PSNR over all pixels, and over those that the game's labels call actor, thing, HUD or
weapon, and BD-rates of both.

Thresholds of `relive.regions` were chosen on 8 training sessions.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from relive.bench.provenance import provenance, write_json
from relive.codec import Bundle, Replay, encode, load_bundle
from relive.codec.step import to_picture
from relive.model.regions import cube_regions
from relive.regions import Found, adjusted_rand, discover
from relive.regions.looking import BLOCK_PX, STEP_FRAMES, Watcher
from relive.regions.words import kmeans, nearest
from relive.session import Recorder, Session

SPLITS = ("valid", "valid_unknown", "test_known", "test_unknown")
EVERY = 4
CLUSTERS = 6
IMPORTANT = 3  # importance of things in the game's schema: they, actors, weapon and HUD
FAVOUR, QUALITIES, FRAMES = 6.0, (3, 5, 7), 32
BITS = ("deathmatch-9001", "freedoom1-e1m1-9004")
APPEARING = ("deathmatch-5003", "freedoom1-e1m4-5002", "freedoom2-map03-5000")
Array = NDArray[Any]


def sessions(corpus: Path, split: str) -> list[Path]:
    """Doom sessions of a split: those that have labels."""
    paths = sorted((corpus / split).glob("*.mcap"))
    return [path for path in paths if not path.name.startswith(("crafter", "gym"))]


def clustered(features: Array) -> Array:
    """k-means of rows `[n, ..., D]`: `[n, ...]`."""
    rows = features.reshape(-1, features.shape[-1]).astype(np.float32)
    found, _ = nearest(rows, kmeans(rows, CLUSTERS, np.random.default_rng(0)))
    return found.astype(np.uint8).reshape(features.shape[:-1])


def by_superpixels(frames: Array) -> Array:
    """k-means of the mean colours of SLIC superpixels."""
    from skimage.color import rgb2lab
    from skimage.segmentation import slic

    means, maps = [], []
    for frame in frames:
        places = slic(frame, n_segments=300, compactness=10, start_label=0)
        colours = rgb2lab(frame).reshape(-1, 3)
        count = np.bincount(places.ravel()).clip(1)
        sums = [np.bincount(places.ravel(), colours[:, i]) for i in range(3)]
        means.append(np.stack(sums, 1) / count[:, None])
        maps.append(places)
    ids = np.split(clustered(np.concatenate(means)), np.cumsum([len(m) for m in means])[:-1])
    return np.stack([one[places] for one, places in zip(ids, maps, strict=True)])


def enlarge(blocks: Array, side: int, height: int, width: int) -> Array:
    """Regions of blocks to pixels."""
    return blocks.repeat(side, 1).repeat(side, 2)[:, :height, :width]


def by_model(watcher: Watcher, rows: range) -> Array:
    """Regions of cubes as the model derives them from camera and searched motion."""
    session, maps = watcher.session, []
    for row in rows:
        order = np.array([row - 3, row - 2, row - 1, row]).clip(min=0)
        frames = np.concatenate([session.frames(int(i), int(i) + 1) for i in order[1:]])
        pictures = to_picture(watcher.geometry.pad(frames))
        with torch.inference_mode():
            motion = watcher.coder.state(session.states[order], session.times_ns[order]).motion
            warper = watcher.coder.bundle.model.warper
            choice = warper.choose(motion, pictures[:1], pictures[None, 1:])
            maps.append(cube_regions(motion, choice, *watcher.geometry.grid)[0].numpy())
    return enlarge(np.stack(maps).astype(np.uint8), 16, session.height, session.width)


def baselines(session: Session, bundle: Bundle, rows: range, true: Array) -> dict[str, float]:
    """Agreement of what is simpler, of today's model, and of the best that blocks can do."""
    watcher = Watcher(session, bundle)
    frames = np.stack([session.frames(row, row + 1)[0] for row in rows])
    _, height, width, _ = frames.shape
    y, x = np.mgrid[:height, :width]
    place = np.broadcast_to(np.stack([y, x], -1) / 4.0, (*frames.shape[:3], 2))
    latents = np.stack([watcher.look(row // STEP_FRAMES).latents for row in rows])
    blocks = true.reshape(len(true), height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX)
    counts = np.stack([(blocks == i).sum((2, 4)) for i in range(int(true.max()) + 1)])
    maps: dict[str, Callable[[], Array]] = {
        "colour": lambda: clustered(frames),
        "place": lambda: clustered(place[:1]).repeat(len(true), 0),
        "colour and place": lambda: clustered(np.concatenate([frames, place], -1)),
        "SLIC superpixels": lambda: by_superpixels(frames),
        "latents": lambda: enlarge(clustered(latents), BLOCK_PX, height, width),
        "model, camera and motion": lambda: by_model(watcher, rows),
        "blocks that know": lambda: enlarge(counts.argmax(0), BLOCK_PX, height, width),
    }
    return {name: adjusted_rand(make().astype(np.uint8), true) for name, make in maps.items()}


def shares(found: Found, maps: Array, true: Array) -> dict[str, list[float]]:
    """Of the pixels of every label, the share that each found region takes."""
    table = np.bincount(maps.ravel().astype(int) * 8 + true.ravel(), minlength=256 * 8)
    table = table.reshape(256, 8)[:, :6] / np.bincount(true.ravel(), minlength=6)[:6].clip(1)
    return {r.name: [round(float(v), 4) for v in table[r.id]] for r in found.schema.regions}


def steadiness(session: Session, bundle: Bundle, maps: Array, true: Array) -> dict[str, Any]:
    """Compare with regions of which a third of the session was looked at first."""
    rows = range(2, session.num_frames, EVERY)
    late = [i for i, row in enumerate(rows) if row >= session.num_frames / 3]
    third = discover(session, model=bundle, learn_s=session.duration_s / 3)
    thirds = np.concatenate([third.maps(rows[i], rows[i] + 1) for i in late])
    return {
        "last two thirds": adjusted_rand(maps[late], true[late]),
        "first look a third": adjusted_rand(thirds, true[late]),
        "same region": float((thirds == maps[late]).mean()),
        "opened": [[o.region.name, o.frame] for o in third.opened],
    }


def agreement(path: Path, bundle: Bundle, steady: bool) -> dict[str, Any]:
    """Measure one session."""
    with Session.open(path) as session:
        rows = range(2, session.num_frames, EVERY)
        labels = [session.regions(row, row + 1) for row in rows]
        true = np.concatenate([x for x in labels if x is not None])
        found = discover(session, model=bundle)
        maps = np.concatenate([found.maps(row, row + 1) for row in rows])
        result = {
            "session": path.stem,
            "found": adjusted_rand(maps, true),
            "regions": [region.name for region in found.schema.regions],
            "shares_of_labels": shares(found, maps, true),
        }
        if steady:
            result["steady"] = steadiness(session, bundle, maps, true)
        result["baselines"] = baselines(session, bundle, rows, true)
    print(path.parent.name, path.stem, f"{result['found']:.3f}", file=sys.stderr, flush=True)
    return result


def appearing(doom: Path, crafter: Path, work: Path, bundle: Bundle) -> dict[str, Any]:
    """Put frames of another game behind a session, and see when a region opens."""
    out, before, after = work / "appearing.mcap", 150, 60
    with Session.open(doom) as first, Session.open(crafter) as second:
        rows = np.arange(first.height) * second.height // first.height
        columns = np.arange(first.width) * second.width // first.width
        with Recorder(out, first.schema, force=True) as recorder:
            for n in range(before + after):
                late = n - before
                frame = first[n] if late < 0 else second[late][rows][:, columns]
                state = first.states[min(n, before - 1)]
                recorder.add(frame, state, n * first.frame_interval_ns)
    with Session.open(out) as session:
        found = discover(session, model=bundle, learn_s=3.0)
    ids = [opened.region.id for opened in found.opened]
    late, early = found.blocks[(before + 10) // 2 :], found.blocks[: before // 2]
    return {
        "doom": doom.stem,
        "crafter": crafter.stem,
        "other game from frame": before,
        "opened": [[o.region.name, o.frame] for o in found.opened],
        "share_after": float(np.isin(late, ids).mean()),
        "share_before": float(np.isin(early, ids).mean()),
    }


def with_regions(path: Path, out: Path, found: Found | None) -> None:
    """Write the first frames of a session, with the game's regions or with found ones."""
    with Session.open(path) as session:
        schema = session.region_schema if found is None else found.schema
        with Recorder(out, session.schema, schema, game=session.game, force=True) as recorder:
            for n in range(FRAMES):
                labels = session.regions(n, n + 1)
                maps = labels if found is None else found.maps(n, n + 1)
                regions = None if maps is None else maps[0]
                recorder.add(session[n], session.states[n], int(session.times_ns[n]), regions)


def points(session: Path, favour: float, bundle: Bundle, important: Array) -> list[dict[str, Any]]:
    """Encode at several qualities: bits, PSNR of all pixels and of those that matter."""
    rows, out = [], session.with_suffix(".relive")
    for quality in QUALITIES:
        report = encode(
            session, out, model=bundle, quality=quality, favour=favour, preset="fast", force=True
        )
        with Replay.open(out, bundle) as replay, Session.open(session) as original:
            seen = np.stack([replay.frame(n) for n in range(FRAMES)]).astype(np.float32)
            squares = np.square(seen - original[:FRAMES]).mean(-1)
        rows.append(
            {
                "quality": quality,
                "bits_per_pixel": report.bits_per_pixel,
                "psnr_db": psnr(squares),
                "psnr_important_db": psnr(squares[important]),
                "psnr_rest_db": psnr(squares[~important]),
            }
        )
    return rows


def psnr(squares: Array) -> float:
    """PSNR of squared errors, in dB."""
    return 10 * math.log10(255**2 / max(float(squares.mean()), 1e-4))


def bd_rate(anchor: list[dict[str, Any]], other: list[dict[str, Any]], key: str) -> float:
    """Bits at equal quality over those of the anchor, in per cent."""
    import bjontegaard

    columns = [
        [row[name] for row in rows] for rows in (anchor, other) for name in ("bits_per_pixel", key)
    ]
    return float(bjontegaard.bd_rate(*columns, method="pchip"))


def bits(path: Path, work: Path, bundle: Bundle) -> dict[str, Any]:
    """Measure one session with favoured regions."""
    with Session.open(path) as session:
        labels = session.regions(0, FRAMES)
        schema = session.region_schema
        found = discover(session, model=bundle)
    if labels is None or schema is None:
        raise SystemExit(f"{path} has no labels")
    ids = [region.id for region in schema.regions if region.importance >= IMPORTANT]
    important = np.isin(labels, ids)
    curves = {}
    for name, regions, favour in (
        ("none", None, 0.0),
        ("given", None, FAVOUR),
        ("found", found, FAVOUR),
    ):
        part = work / f"{path.stem}-{name}.mcap"
        with_regions(path, part, regions)
        curves[name] = points(part, favour, bundle, important)
        print(path.stem, name, curves[name], file=sys.stderr, flush=True)
    keys = ("psnr_db", "psnr_important_db", "psnr_rest_db")
    rates = {
        name: {key: bd_rate(curves["none"], curves[name], key) for key in keys}
        for name in ("given", "found")
    }
    print(path.stem, rates, file=sys.stderr, flush=True)
    share = float(important.mean())
    return {"session": path.stem, "important": share, "points": curves, "bd_rate": rates}


PALETTE = np.array(
    [[0, 0, 0], [40, 80, 255], [255, 60, 255], [255, 40, 40], [130, 130, 130], [50, 130, 60]],
    np.uint8,
)
LABELS = PALETTE[[4, 5, 3, 0, 1, 2]]
LABELS[3] = (255, 200, 0)
MORE = np.random.default_rng(3).integers(60, 230, (250, 3), dtype=np.uint8)


def pictures(corpus: Path, out: Path, bundle: Bundle) -> None:
    """Draw frames, the labels of the game and what was found, side by side."""
    from PIL import Image

    rows = []
    for name, frame in (
        ("test_known/deathmatch-9001", 120),
        ("test_known/freedoom1-e1m1-9004", 150),
        ("test_unknown/freedoom2-map18-9500", 200),
        ("valid/crafter-survival-5100", 130),
    ):
        with Session.open(corpus / f"{name}.mcap") as session:
            found, size = discover(session, model=bundle), (320, 240)
            seen = np.concatenate([PALETTE, MORE])[found.maps(frame, frame + 1)[0]]
            labels = session.regions(frame, frame + 1)
            known = np.zeros_like(seen) if labels is None else LABELS[labels[0]]
            three = (session[frame], known, seen)
        images = [Image.fromarray(part).resize(size, Image.Resampling.NEAREST) for part in three]
        rows.append(np.hstack([np.asarray(image) for image in images]))
    Image.fromarray(np.vstack(rows)).save(out, quality=88)


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Mean over sessions."""
    means = {"found": float(np.mean([row["found"] for row in rows]))}
    for name in rows[0].get("baselines", {}):
        means[name] = float(np.mean([row["baselines"][name] for row in rows]))
    return means


def merged(out: Path, part: dict[str, Any]) -> None:
    """Add a part to the results."""
    before = json.loads(out.read_text()) if out.exists() else {}
    command = "python " + " ".join(sys.argv)
    for value in part.values():
        value["command"] = command
        value["provenance"] = provenance()
    write_json(out, before | part)


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("agreement", "appearing", "bits", "pictures"))
    parser.add_argument("corpus", type=Path)
    parser.add_argument("work", type=Path, nargs="?", default=Path())
    parser.add_argument("-o", "--out", type=Path, default=Path("results/regions.json"))
    parser.add_argument("--splits", default=",".join(SPLITS))
    given = parser.parse_args()
    bundle = load_bundle()
    if given.part == "pictures":
        pictures(given.corpus, given.work, bundle)
    elif given.part == "bits":
        rows = []
        for name in BITS:
            rows.append(bits(given.corpus / "test_known" / f"{name}.mcap", given.work, bundle))
            merged(given.out, {"bits": {"favour": FAVOUR, "frames": FRAMES, "sessions": rows}})
    elif given.part == "appearing":
        valid = given.corpus / "valid"
        crafter = valid / "crafter-survival-5100.mcap"
        rows = [appearing(valid / f"{n}.mcap", crafter, given.work, bundle) for n in APPEARING]
        merged(given.out, {"appearing": {"sessions": rows}})
    else:
        result: dict[str, Any] = {}
        for split in given.splits.split(","):
            paths = sessions(given.corpus, split)
            rows = [agreement(path, bundle, split == "test_known") for path in paths]
            result[split] = {"mean": summary(rows), "sessions": rows}
        merged(given.out, {"agreement": result})


if __name__ == "__main__":
    main()
