"""Residual vector quantiser: six codebooks of 512, the first codeword of each frozen at zero.

Stage k codes what stages 0..k-1 left. Any prefix of the codes decodes, so the number of stages sent
for a cube is its *depth*; depth 0 is a masked cube. Keyframes and deltas have their own codebooks,
because a latent from nothing and a remainder after prediction are not alike (design 5.3;
SoundStream, arXiv 2107.03312).

Shapes: N vectors, D width, K quantizers, V codebook size, kind 0 keyframe 1 delta.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from relive.config import QuantizerConfig

NUM_KINDS = 2


@dataclass(frozen=True)
class Quantized:
    """A training pass: straight-through vectors `[N, D]`, codes `[N, K]`, commitment."""

    vectors: Tensor
    codes: Tensor
    commitment: Tensor


def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Index of the nearest codeword: `[N, D]`, `[V, D]` to int64 `[N]`; float32 under autocast."""
    with torch.autocast(vectors.device.type, enabled=False):
        return (codebook.square().sum(-1) - 2 * vectors.float() @ codebook.T).argmin(-1)


class ResidualVQ(nn.Module):
    """Codebooks learn by k-means start, moving averages and restarts (arXiv 1906.00446)."""

    codebooks: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__()
        self.config = config
        self.reduce: Callable[[Tensor], None] = lambda seen: None
        """Sums what was seen over all processes, in place, where there are several."""
        shape = (NUM_KINDS, config.num_quantizers, config.codebook_size)
        self.register_buffer("codebooks", torch.zeros(*shape, config.codebook_dim))
        self.register_buffer("counts", torch.ones(shape))
        self.register_buffer("sums", torch.zeros(*shape, config.codebook_dim))

    @torch.no_grad()
    def encode(self, vectors: Tensor, kind: int) -> Tensor:
        """Code to full depth, greedily: `[N, D]` to int64 `[N, K]`."""
        residual, codes = vectors, []
        for codebook in self.codebooks[kind]:
            code = nearest(residual, codebook)
            residual = residual - codebook[code]
            codes.append(code)
        return torch.stack(codes, -1)

    def decode(self, codes: Tensor, depths: Tensor, kind: int) -> Tensor:
        """Sum the first `depths` codewords: `[N, K]`, `[N]` to `[N, D]`."""
        result = self.codebooks.new_zeros(len(codes), self.config.codebook_dim)
        for stage, codebook in enumerate(self.codebooks[kind]):
            result = result + codebook[codes[:, stage]] * (depths > stage)[:, None]
        return result

    def forward(self, vectors: Tensor, depths: Tensor, kinds: Tensor) -> Quantized:
        """Quantise for training, straight-through; in training mode the codebooks learn.

        Args:
            vectors: normalised remainders `[N, D]`.
            depths: int64 `[N]`.
            kinds: 0 keyframe, 1 delta `[N]`.
        """
        vectors = vectors.float()
        codes = depths.new_zeros(len(vectors), self.config.num_quantizers)
        quantized = torch.zeros_like(vectors)
        for kind in range(NUM_KINDS):
            rows = (kinds == kind).nonzero()[:, 0]
            detached = vectors[rows].detach()
            codes[rows] = self.encode(detached, kind)
            quantized[rows] = self.decode(codes[rows], depths[rows], kind)
            if self.training:
                self._learn(detached, codes[rows], kind)
        sent = (depths > 0)[:, None].float()
        commitment = ((vectors - quantized).square() * sent).mean()
        passed = quantized + (vectors - vectors.detach()) * sent
        return Quantized(passed, codes, commitment)

    @torch.no_grad()
    def _learn(self, vectors: Tensor, codes: Tensor, kind: int) -> None:
        """Move every codeword but the first towards the mean of what it stood for."""
        books, residual = self.codebooks[kind], vectors
        seen = books.new_zeros(*books.shape[:2], books.shape[2] + 1)  # sums, and how many
        for stage, codebook in enumerate(books):
            code = codes[:, stage]
            seen[stage, :, :-1].index_add_(0, code, residual)
            seen[stage, :, -1].index_add_(0, code, seen.new_ones(len(code)))
            residual = residual - codebook[code]
        self.reduce(seen)
        keep = torch.where(seen[0, :, -1].sum() > 0, self.config.decay, 1.0)
        self.counts[kind].mul_(keep).add_(seen[..., -1] * (1 - keep))
        self.sums[kind].mul_(keep).add_(seen[..., :-1] * (1 - keep))
        learned = self.sums[kind] / self.counts[kind][..., None].clamp_min(1e-5)
        self.codebooks[kind, :, 1:] = torch.where(keep < 1, learned, books)[:, 1:]

    @torch.no_grad()
    def restart(self, vectors: Tensor, kind: int, generator: torch.Generator) -> int:
        """Put codewords that are hardly used onto random remainders; return how many."""
        residual, restarted = vectors.float(), 0
        for stage in range(self.config.num_quantizers):
            counts = self.counts[kind, stage]
            dead = (counts < 0.03 * counts.mean()).nonzero()[:, 0]
            dead = dead[dead > 0]
            if len(dead) and len(residual):
                pick = torch.randint(len(residual), (len(dead),), generator=generator)
                fresh = float(counts.mean()) * 0.3
                self.codebooks[kind, stage, dead] = residual[pick]
                self.sums[kind, stage, dead] = residual[pick] * fresh
                counts[dead] = fresh
                restarted += len(dead)
            codebook = self.codebooks[kind, stage]
            residual = residual - codebook[nearest(residual, codebook)]
        return restarted

    @torch.no_grad()
    def start(
        self, vectors: Tensor, kind: int, generator: torch.Generator, rounds: int = 8
    ) -> None:
        """k-means start of every stage from `vectors` `[N, D]`, N at least the codebook size."""
        residual, size = vectors.float(), self.config.codebook_size
        for stage in range(self.config.num_quantizers):
            codebook = residual[torch.randperm(len(residual), generator=generator)[:size]].clone()
            for _ in range(rounds):
                codebook[0] = 0
                code = nearest(residual, codebook)
                counts = torch.bincount(code, minlength=size).float()
                sums = torch.zeros_like(codebook).index_add_(0, code, residual)
                codebook = torch.where(
                    counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], codebook
                )
            codebook[0] = 0
            code = nearest(residual, codebook)
            share = torch.bincount(code, minlength=size).float() / len(code) * size
            self.codebooks[kind, stage] = codebook
            self.counts[kind, stage] = share
            self.sums[kind, stage] = codebook * share[:, None]
            residual = residual - codebook[code]
