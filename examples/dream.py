"""Train a small next-step model on stored codes, and play what it dreams as a GIF.

    relive record crafter:survival -o play.mcap --seconds 60 --actions
    relive encode play.mcap -o play.relive --tiers 1 --keyframe-interval 2
    python examples/dream.py play.relive -o dream.gif --seconds 90

With a keyframe every two frames, the codes of every step say what is in the picture, so a model of
codes is a model of the game. A cube's next codes are predicted from its own, from those around it
and from the states, which tell what the player did to get there; the dream starts from a step of
the replay and feeds on itself. The first two codebook stages are learned: the rough picture.
Pictures are decoded by the bundled model.
"""

import argparse
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relive.bitstream import GopCodes
from relive.codec import Replay
from relive.codec.gif import Picture, write_gif
from relive.codec.gop import decode_step
from relive.torch import ReplayDataset

STAGES, WIDTH = 2, 64


class NextStep(nn.Module):
    """Codes of a step and states of this and the next one ──► logits of the next codes."""

    def __init__(self, size: int, states: int) -> None:
        super().__init__()
        self.embed = nn.ModuleList([nn.Embedding(size + 1, WIDTH) for _ in range(STAGES)])
        self.state = nn.Linear(2 * states, WIDTH)
        self.mix = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 5, padding=2), nn.GELU(),
            nn.Conv2d(WIDTH, WIDTH, 5, padding=2), nn.GELU(),
        )  # fmt: skip
        self.heads = nn.ModuleList([nn.Conv2d(WIDTH, size + 1, 1) for _ in range(STAGES)])

    def forward(self, tokens: Tensor, states: Tensor) -> list[Tensor]:
        """Predict: `[B, h, w, STAGES]`, `[B, 2, S]` ──► STAGES × `[B, V + 1, h, w]`."""
        seen = sum(table(tokens[..., n]) for n, table in enumerate(self.embed))
        seen = seen + self.state(states.flatten(1))[:, None, None]
        mixed = seen.permute(0, 3, 1, 2)
        mixed = mixed + self.mix(mixed)
        return [head(mixed) for head in self.heads]


def tokens_of(codes: Tensor, depths: Tensor, size: int) -> Tensor:
    """Codes of the first stages; one more token stands for none."""
    codes = codes[..., :STAGES].long()
    return torch.where(torch.arange(STAGES) < depths[..., None], codes, size)


def train(data: ReplayDataset, model: NextStep, size: int, scale: Tensor, seconds: float) -> None:
    """Train until the time is up, on batches of random pairs of steps."""
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.01)
    began, updates = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        windows = [data[n] for n in range(16)]
        data.set_epoch(data.epoch + 1)
        codes = torch.stack([w["codes"] for w in windows])
        tokens = tokens_of(codes, torch.stack([w["depths"] for w in windows]), size)
        states = torch.stack([w["states"][:, 0] for w in windows]) / scale
        logits = model(tokens[:, 0], states)
        loss = (
            sum(F.cross_entropy(guess, tokens[:, 1, ..., n]) for n, guess in enumerate(logits))
            / STAGES
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        updates += 1
        if updates % 20 == 0:
            print(f"update {updates}: {loss / np.log(2):.2f} bits a code", flush=True)


@torch.no_grad()
def dream(model: NextStep, tokens: Tensor, states: Tensor, heat: float) -> list[Tensor]:
    """Go on from a step `[h, w, STAGES]`, by the states of the replay `[n, S]`."""
    steps = [tokens]
    for pair in pairwise(states):
        logits = model(steps[-1][None], torch.stack(pair)[None])
        chances = [guess[0].permute(1, 2, 0) / heat for guess in logits]
        drawn = [torch.distributions.Categorical(logits=chance).sample() for chance in chances]
        steps.append(torch.stack(drawn, -1))
    return steps


def picture(replay: Replay, tokens: Tensor, frame: int, size: int) -> np.ndarray:
    """Decode a dreamt step as a keyframe, with the state of a frame of the replay."""
    sent = tokens.permute(2, 0, 1).numpy()
    gop = GopCodes.empty(1, replay.header.num_quantizers, *sent.shape[1:])
    gop.depths[0] = np.cumprod(sent < size, axis=0).sum(0)
    gop.codes[0, :STAGES] = np.where(np.cumprod(sent < size, axis=0), sent, 0)
    rows = np.array([frame, frame, frame, min(frame + 1, replay.num_frames - 1)])
    with torch.inference_mode():
        state = replay.coder.state(replay.states[rows], replay.times_ns[rows])
        pixels = decode_step(replay.coder, None, state, gop, None).pixels
    return pixels[0, : replay.height, : replay.width]


def main() -> None:
    """Train, dream, write the GIF: the replay on the left, the dream on the right."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("replay", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("dream.gif"))
    parser.add_argument("--seconds", type=float, default=90, help="to train")
    parser.add_argument("--steps", type=int, default=24, help="to dream")
    parser.add_argument("--heat", type=float, default=0.5, help="0.1 dull … 1 wild")
    options = parser.parse_args()
    torch.manual_seed(0)
    data = ReplayDataset([options.replay], steps=2, windows=16)
    with Replay.open(options.replay) as replay:
        size = replay.header.codebook_size
        scale = torch.from_numpy(np.abs(replay.states).max(0) + 1e-6)
        model = NextStep(size, replay.schema.width)
        train(data, model, size, scale, options.seconds)
        codes = replay.codes(0, 2 * options.steps)
        real = tokens_of(torch.from_numpy(codes.codes), torch.from_numpy(codes.depths), size)
        states = torch.from_numpy(replay.states[codes.first_frame]) / scale
        dreamt = dream(model, real[0], states, options.heat)
        gap = round(2e9 / max(1.0, replay.fps))
        shown = (
            np.concatenate([picture(replay, s, int(f), size) for s in (r, d)], axis=1)
            for r, d, f in zip(real, dreamt, codes.first_frame, strict=True)
        )
        frames = write_gif(
            (Picture(image, n * gap, gap) for n, image in enumerate(shown)), options.out
        )
    print(f"{options.out}: {frames} steps; left the replay, right the dream")


if __name__ == "__main__":
    main()
