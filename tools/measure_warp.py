"""Measure what the pose warp predicts, and train the learned one for it (issue 3, point 7).

    python tools/measure_warp.py TRAIN VALID --json results/warp.json --picture depth.png

TRAIN and VALID are folders of sessions. The learned warp alone is trained, on true previous frames
and by its own loss, which needs no labels; then copy, rotation, learned and searched predict the
same pairs of VALID from the true previous frame. Given is the PSNR of the pixels of the 3-D view,
of the mean squared error over all pairs; once with the camera, once with the camera withheld.
`--jpeg 20` stands in for frames that went through a codec.
"""

import argparse
import io
import json
import math
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from relive.bench.provenance import machine, versions, write_json
from relive.config import CUBE_PX
from relive.cubes.clips import Crop
from relive.cubes.sampling import Augmentation, Sampler
from relive.cubes.states import camera_poses, has_camera
from relive.cubes.store import SessionStore, open_folder
from relive.model.motion import FARTHEST, NEAREST, Motion, view
from relive.model.warping import LearnedWarp, Warped, Warper, make_warper
from relive.train.batch import pinhole

KINDS = ("copy", "rotation", "learned", "searched")
WARM_UP_STEPS = 50
BEGAN = time.perf_counter()

Json = dict[str, Any]
Pair = tuple[Motion, Tensor, Tensor, Tensor]  # motion, picture, pictures, frames


def say(text: str) -> None:
    """Show a line of progress."""
    print(f"[{time.perf_counter() - BEGAN:5.0f} s] {text}", file=sys.stderr, flush=True)


# reading -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """What a warp is given.

    Attributes:
        camera: the camera is known.
        parallax: the pose of the frame before the previous one is known.
        jpeg: quality of the previous frames, 1..95, in place of the codec's; None for true frames.
    """

    camera: bool = True
    parallax: bool = True
    jpeg: int | None = None


def read_pairs(crops: list[Crop], how: Reading) -> Pair:
    """Read two frames, which count as decoded, and the pair after them, for every crop."""
    stores = [c.store for c in crops]
    rows = [slice(c.start, c.start + 4) for c in crops]
    clips = torch.stack(
        [read_clip(s.frames[r], how.jpeg) for s, r in zip(stores, rows, strict=True)]
    )
    poses = [camera_poses(s.schema, s.states[r]) for s, r in zip(stores, rows, strict=True)]
    places = torch.from_numpy(np.stack(poses))
    motion = Motion.from_poses(
        pinhole(stores[0]) if how.camera else None,
        places[:, 1:],
        torch.tensor([[float(c.x), float(c.y)] for c in crops]),
        torch.tensor([float(has_camera(s.schema) and how.camera) for s in stores]),
        places[:, 0] if how.parallax else None,
    )
    cut = [
        clip[..., c.y : c.y + c.height, c.x : c.x + c.width]
        for clip, c in zip(clips, crops, strict=True)
    ]
    windows = torch.stack(cut)
    return motion, clips[:, 1], windows[:, :2], windows[:, 2:]


def read_clip(frames: NDArray[np.uint8], jpeg: int | None) -> Tensor:
    """Four frames `[4, 3, H, W]`, 0..1; the first two as a lossy codec would give them."""
    clip = np.array(frames)
    if jpeg is not None:
        for i in range(2):
            packet = io.BytesIO()
            Image.fromarray(clip[i]).save(packet, "jpeg", quality=jpeg)
            clip[i] = np.asarray(Image.open(packet))
    return torch.from_numpy(clip).permute(0, 3, 1, 2).float() / 255


def spaced_pairs(store: SessionStore, count: int) -> list[Crop]:
    """Whole frames, evenly spaced over a session."""
    frames, height, width = store.frames.shape[:3]
    if height % CUBE_PX or width % CUBE_PX:
        raise SystemExit(f"{store.name}: frames must be multiples of {CUBE_PX} pixels")
    starts = np.linspace(0, frames - 4, count).astype(int)
    return [Crop(store, int(start), 0, 0, width, height) for start in starts]


# training ----------------------------------------------------------------------------------------


def train(stores: list[SessionStore], options: argparse.Namespace) -> tuple[LearnedWarp, Json]:
    """Train depth and flow by turns, by their own loss alone, until the time is up."""
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    warper = LearnedWarp()
    optimizer = torch.optim.AdamW(warper.parameters(), options.rate, weight_decay=0.01)
    how = Reading(True, not options.no_parallax, options.jpeg)
    losses: tuple[list[float], list[float]] = ([], [])  # without and with the camera
    sampler = Sampler(stores, balanced=False)
    limit, began, steps = options.minutes * 60, time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < limit:
        with_camera = steps % 4 > 0
        size = (options.crop, options.crop)
        crops = [sampler.draw(2, size, rng, Augmentation()) for _ in range(options.batch)]
        loss = loss_of(warper, read_pairs(crops, replace(how, camera=with_camera)))
        slope = 0.5 + 0.5 * math.cos(math.pi * spent / limit)
        for group in optimizer.param_groups:
            group["lr"] = options.rate * min(slope, (steps + 1) / WARM_UP_STEPS)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(warper.parameters(), 1.0)
        optimizer.step()
        losses[with_camera].append(float(loss.detach()))
        steps += 1
        if steps % 200 == 0:
            blind, seeing = (np.mean(values[-50:]) for values in losses)
            say(f"step {steps}: loss with camera {seeing:.4f}, without {blind:.4f}")
    return warper.eval(), {"steps": steps, "seconds": round(time.perf_counter() - began, 1)}


def loss_of(warper: LearnedWarp, pair: Pair) -> Tensor:
    """The warp's own loss."""
    motion, picture, pictures, frames = pair
    choice = warper.choose(motion, picture, frames)
    return warper.loss(warper(motion, picture, pictures, choice), frames)


# measuring ---------------------------------------------------------------------------------------


@torch.no_grad()
def view_error(warper: Warper, pair: Pair, shown: Tensor) -> tuple[float, Warped]:
    """Mean squared error in the 3-D view of one pair."""
    motion, picture, pictures, frames = pair
    warped = warper(motion, picture, pictures, warper.choose(motion, picture, frames))
    error = (warped.reference - frames).square().mean((1, 2))
    return float(error[shown].mean()), warped


def measure(
    warpers: dict[str, Warper], stores: list[SessionStore], options: argparse.Namespace
) -> list[Json]:
    """Predict the same pairs with every warp, with the camera and without."""
    rows, how = [], Reading(True, not options.no_parallax, options.jpeg)
    for store in stores:
        row: Json = {"session": store.name}
        for label, with_camera in (("camera", True), ("no_camera", False)):
            errors: dict[str, list[float]] = {kind: [] for kind in warpers}
            for crop in spaced_pairs(store, options.pairs):
                shown = view(read_pairs([crop], Reading())[0], crop.height, crop.width)[:, 0]
                pair = read_pairs([crop], replace(how, camera=with_camera))
                for kind, warper in warpers.items():
                    errors[kind].append(view_error(warper, pair, shown)[0])
            row[label] = {kind: float(np.mean(values)) for kind, values in errors.items()}
        rows.append(row)
        say(f"{store.name}: {to_db(row['camera'])} without: {to_db(row['no_camera'])}")
    return rows


def to_db(errors: dict[str, float]) -> dict[str, float]:
    """PSNR of mean squared errors."""
    return {kind: round(-10 * math.log10(error), 2) for kind, error in errors.items()}


def summary(rows: list[Json]) -> Json:
    """PSNR of the mean over all sessions, and of every session."""
    result: Json = {}
    for label in ("camera", "no_camera"):
        kinds = rows[0][label]
        mean = {kind: float(np.mean([row[label][kind] for row in rows])) for kind in kinds}
        result[label] = {"all": to_db(mean), **{row["session"]: to_db(row[label]) for row in rows}}
    return result


@torch.no_grad()
def draw(warper: LearnedWarp, crops: list[Crop], path: Path) -> None:
    """Draw frame, warped frame, inverse depth (near is bright) and gate, a row for every crop."""
    rows = []
    for crop in crops:
        pair = read_pairs([crop], Reading())
        _, warped = view_error(warper, pair, view(pair[0], crop.height, crop.width)[:, 0])
        if warped.guess is None:
            raise SystemExit("the learned warp gave no maps")
        large = torch.nn.functional.interpolate(warped.guess.maps, scale_factor=8.0)[0]
        near = (large[0] + math.log(FARTHEST)) / math.log(FARTHEST / NEAREST)
        maps = [m.expand(3, -1, -1) for m in (near, large[1])]
        rows.append(torch.cat([pair[3][0, 0], warped.reference[0, 0], *maps], 2))
    image = (torch.cat(rows, 1).clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
    Image.fromarray(image.numpy()).save(path)


def label(options: argparse.Namespace) -> str:
    """Name a run by what the warps were given; a result file keeps one of each."""
    frames = "true frames" if options.jpeg is None else f"jpeg {options.jpeg}"
    return frames + (", no parallax" if options.no_parallax else "")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("valid", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--pairs", type=int, default=25, help="pairs of every session of VALID")
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--no-parallax", action="store_true", help="withhold the pose of the frame before"
    )
    parser.add_argument(
        "--jpeg", type=int, help="quality of the previous frames; else they are true"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    return parser.parse_args()


def main() -> None:
    """Train, measure, write."""
    options = parse()
    cache = Path(tempfile.gettempdir()) / "relive-cache"
    stores, held_out = open_folder(options.train, cache), open_folder(options.valid, cache)
    untrained = make_warper("learned").eval()
    learned, training = train(stores, options)
    warpers = {kind: make_warper(kind) for kind in KINDS}
    warpers |= {"learned": learned, "untrained": untrained}
    result = {
        "kind": "measure_warp",
        "machine": machine(),
        "versions": versions(),
        "what": "PSNR in dB of the 3-D view, next pair from the previous frame",
        "options": {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()},
        "sessions": {"train": len(stores), "valid": [s.name for s in held_out]},
        "parameters": sum(p.numel() for p in learned.parameters()),
        "training": training,
        "psnr_db": summary(measure(warpers, held_out, options)),
    }
    if options.picture:
        crops = [spaced_pairs(store, 3)[1] for store in held_out]
        draw(learned, crops, options.picture)
    if options.json:
        runs = json.loads(options.json.read_text()) if options.json.exists() else {}
        write_json(options.json, runs | {label(options): result})
    print(json.dumps(result["psnr_db"], indent=1))


if __name__ == "__main__":
    main()
