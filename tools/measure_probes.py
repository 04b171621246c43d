"""What codes know of the game: linear probes on frozen codes, against a network on pixels.

    python tools/measure_probes.py CORPUS -o results/probes.json

Pairs of frames from Doom sessions, encoded as keyframes by the bundled model. *Codes* are what a
file of codes alone holds of them: the sum of the codewords that the encoder's search sends.
*Latents* are the same before quantisation. A probe is a logistic regression on them (L2 chosen on
`valid`, classes weighted), on all cubes or on means over 3×4 parts of the picture; beside it the
same on pixels, shrunk to 40×30. The network has four convolutions (0.1 M parameters), reads
160×120 pixels of the first frame, and learns from the same pairs and labels until `valid` is best.

`--more FOLDER` adds sessions for low health alone, as the corpus hardly has a low one to validate
or to test (`relive record --batch configs/low_health.toml -o FOLDER`). `--task` measures some again
and keeps the others of OUT as they are.

Fitted to `train`, reported on `test_known`: balanced accuracy, the mean of the recall of classes
that the test shows; chance is one over their number (of maps: one of 35 that a probe may answer).
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relive.bench.provenance import provenance, write_json
from relive.codec import load_bundle
from relive.codec.rate import CODES_PRICE, choose_depths
from relive.codec.step import Geometry, StepCoder, to_picture
from relive.session import Session

EVERY = {"train": 10, "valid": 8, "test_known": 6}
ACTOR, SEEN_SHARE = 2, 0.002  # of the regions; of the pixels
LOW_HEALTH = 50
PARTS = (3, 4)
TASKS = ("monster", "weapon", "low health", "map")
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
EPOCHS, BATCH, RATE = 12, 32, 1e-3


@dataclass
class Split:
    """Samples of one split: representations `[n, …]`, labels by task, int64 `[n]`, -1 for none."""

    inputs: dict[str, Tensor]
    labels: dict[str, Tensor]


def samples(corpus: Path, more: Path | None, split: str, coder_of: Any, maps: list[str]) -> Split:
    """Encode the pairs of a split; those of `more` have a label of low health alone."""
    rows: dict[str, list[Tensor]] = {name: [] for name in ("codes", "latents", "pixels", "small")}
    labels: dict[str, list[int]] = {name: [] for name in TASKS}
    added = [] if more is None else sorted((more / split).glob("*.mcap"))
    for path in [*sorted((corpus / split).glob("*.mcap")), *added]:
        if path.name.startswith(("crafter", "gym")):
            continue
        with Session.open(path) as session:
            coder, fields = coder_of(session), [f.name for f in session.schema.fields]
            for first in range(0, session.num_frames - 1, EVERY[split]):
                pair = session.frames(first, first + 2)
                for name, value in represented(coder, session, first, pair).items():
                    rows[name].append(value)
                state = session.states[first]
                labels["low health"].append(int(state[fields.index("health")] < LOW_HEALTH))
                if path in added:
                    for name in {*TASKS} - {"low health"}:
                        labels[name].append(-1)
                    continue
                share = float((session.regions(first, first + 1) == ACTOR).mean())
                labels["monster"].append(1 if share >= SEEN_SHARE else 0 if share == 0 else -1)
                labels["weapon"].append(int(state[fields.index("weapon")]))
                labels["map"].append(maps.index(session.game) if session.game in maps else -1)
        print(split, path.stem, file=sys.stderr, flush=True)
    return Split(
        {name: torch.stack(values) for name, values in rows.items()},
        {name: torch.tensor(values) for name, values in labels.items()},
    )


def represented(coder: StepCoder, session: Session, first: int, pair: Any) -> dict[str, Tensor]:
    """Codes, latents and pixels of a pair."""
    rows = np.array([first, first, first, first + 1])
    with torch.inference_mode():
        state = coder.state(session.states[rows], session.times_ns[rows])
        choice = torch.zeros(1, *coder.geometry.grid, dtype=torch.long)
        step = coder.begin(None, state, choice)
        target = to_picture(coder.geometry.pad(pair))[None]
        latents = coder.bundle.model.encoder(target, step.context, step.pyramid)
        codes = coder.bundle.quantizer.encode(latents.flatten(0, 2), 0)
        codes = codes.view(*coder.geometry.grid, -1)
        depths = choose_depths(coder, step, latents, codes, CODES_PRICE)
        sent = coder.bundle.quantizer.decode(codes.flatten(0, 1), depths.flatten(), 0)
        picture = to_picture(pair[:1])
        return {
            "codes": sent.view(latents.shape)[0].half().clone(),
            "latents": latents[0].half().clone(),
            "pixels": (F.avg_pool2d(picture, 2)[0] * 255).round().to(torch.uint8),
            "small": F.avg_pool2d(picture, 8)[0].half().clone(),
        }


def weights_of(labels: Tensor, classes: int) -> Tensor:
    """Weights that make classes count alike; 0 for those that are not there."""
    counts = torch.bincount(labels, minlength=classes).float()
    return torch.where(counts > 0, len(labels) / counts.clamp_min(1) / (counts > 0).sum(), 0.0)


def balanced(scores: Tensor, labels: Tensor) -> float:
    """Balanced accuracy, over the classes that are there."""
    right = (scores.argmax(1) == labels).float()
    return float(torch.stack([right[labels == c].mean() for c in labels.unique()]).mean())


def flat(inputs: Tensor, parts: bool) -> Tensor:
    """Features of a probe: all cubes, or means over parts of the picture."""
    x = inputs.float()
    if parts:
        x = F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), PARTS)
    return x.flatten(1)


def fit_linear(x: Tensor, y: Tensor, classes: int, penalty: float) -> nn.Linear:
    """Logistic regression by L-BFGS."""
    layer = nn.Linear(x.shape[1], classes)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=100, line_search_fn="strong_wolfe")
    weights = weights_of(y, classes)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(layer(x), y, weights) + penalty * layer.weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return layer


def probe(
    splits: dict[str, Split], task: str, name: str, parts: bool, classes: int
) -> dict[str, Any]:
    """Fit a probe, choose its penalty on `valid`, and report it."""
    x, y = {}, {}
    for split, data in splits.items():
        known = data.labels[task] >= 0
        x[split], y[split] = flat(data.inputs[name][known], parts), data.labels[task][known]
    mean, scale = x["train"].mean(0), x["train"].std(0) + 1e-3
    x = {split: (values - mean) / scale for split, values in x.items()}
    best: tuple[float, float, nn.Linear] | None = None
    for penalty in PENALTIES:
        layer = fit_linear(x["train"], y["train"], classes, penalty)
        with torch.no_grad():
            score = balanced(layer(x["valid"]), y["valid"])
        if best is None or score > best[0]:
            best = (score, penalty, layer)
    if best is None:
        raise ValueError("no penalty to choose from")
    with torch.no_grad():
        tested = balanced(best[2](x["test_known"]), y["test_known"])
    return {"valid": best[0], "test": tested, "penalty": best[1], "features": x["train"].shape[1]}


def network(classes: int) -> nn.Sequential:
    """The network on pixels: 160×120 to classes."""
    layers: list[nn.Module] = []
    for a, b, side in ((3, 16, 5), (16, 32, 3), (32, 64, 3), (64, 64, 3)):
        layers += [nn.Conv2d(a, b, side, 2, side // 2), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(PARTS), nn.Flatten(), nn.Linear(64 * 12, classes)
    )


def convolutional(splits: dict[str, Split], task: str, classes: int) -> dict[str, Any]:
    """Train the network on pixels; keep the epoch that is best on `valid`."""
    torch.manual_seed(0)
    x, y = {}, {}
    for split, data in splits.items():
        known = data.labels[task] >= 0
        x[split], y[split] = data.inputs["pixels"][known], data.labels[task][known]
    net, weights = network(classes), weights_of(y["train"], classes)
    count = len(y["train"])
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-2)
    steps = EPOCHS * -(-count // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2 * RATE, total_steps=steps)
    best = {"valid": 0.0, "test": 0.0, "epoch": 0}
    for epoch in range(EPOCHS):
        net.train()
        for rows in torch.randperm(count).split(BATCH):
            loss = F.cross_entropy(net(x["train"][rows].float() / 255), y["train"][rows], weights)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        net.eval()
        scores = {split: tested(net, x[split], y[split]) for split in ("valid", "test_known")}
        if scores["valid"] > best["valid"]:
            best = {"valid": scores["valid"], "test": scores["test_known"], "epoch": epoch + 1}
    return best | {"parameters": sum(p.numel() for p in net.parameters())}


@torch.no_grad()
def tested(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Balanced accuracy of the network."""
    return balanced(torch.cat([net(part.float() / 255) for part in x.split(64)]), y)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("results/probes.json"))
    parser.add_argument("--more", type=Path)
    parser.add_argument("--task", choices=TASKS, action="append")
    given = parser.parse_args()
    bundle = load_bundle()
    paths = sorted((given.corpus / "train").glob("*.mcap"))
    games = set()
    for path in paths:
        with Session.open(path) as session:
            games.add(session.game)
    maps = sorted(game for game in games if game.startswith("doom:"))

    def coder_of(session: Session) -> StepCoder:
        return StepCoder(bundle, session.schema, Geometry(session.width, session.height))

    splits = {name: samples(given.corpus, given.more, name, coder_of, maps) for name in EVERY}
    said = {"command": "python " + " ".join(sys.argv), "provenance": provenance()}
    report: dict[str, Any] = said | {"tasks": {}}
    if given.task and given.out.exists():
        report = json.loads(given.out.read_text())
    for task in given.task or TASKS:
        classes = 1 + max(int(data.labels[task].max()) for data in splits.values())
        shown = splits["test_known"].labels[task]
        row: dict[str, Any] = {
            "samples": {name: int((data.labels[task] >= 0).sum()) for name, data in splits.items()},
            "test_classes": torch.bincount(shown[shown >= 0], minlength=classes).tolist(),
        }
        for name in ("codes", "latents"):
            for parts in (False, True):
                label = f"{name}, {'3×4 parts' if parts else 'all cubes'}"
                row[label] = probe(splits, task, name, parts, classes)
                print(task, label, row[label], file=sys.stderr, flush=True)
        row["pixels 40×30, linear"] = probe(splits, task, "small", False, classes)
        row["network on pixels"] = convolutional(splits, task, classes)
        print(task, row["network on pixels"], file=sys.stderr, flush=True)
        report["tasks"][task] = row | (said if given.task else {})
        write_json(given.out, report)


if __name__ == "__main__":
    main()
