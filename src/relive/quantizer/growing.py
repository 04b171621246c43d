"""Codebooks that grow: entries are added behind those that are there, which stay as they are.

Shapes: N vectors, D width, K quantizers, V codebook size, A entries added.
"""

from __future__ import annotations

import torch
from torch import Tensor

from relive.quantizer.rvq import nearest

ROUNDS = 8
SAMPLE = 60_000
"""Vectors that one stage learns from."""


@torch.no_grad()
def grown(codebooks: Tensor, vectors: Tensor, added: int, generator: torch.Generator) -> Tensor:
    """Add entries to every stage where the vectors are worst quantised.

    The start is k-means++ given the entries that are there (Arthur and Vassilvitskii, SODA 2007);
    rounds of k-means then move the new entries alone. Later stages see what the grown ones leave.

    Args:
        codebooks: float32 `[K, V, D]`.
        vectors: normalised remainders `[N, D]`.
        added: A, entries a stage.
        generator: of the start.

    Returns:
        `[K, V + A, D]`; the first V entries are those of `codebooks`.
    """
    rows = torch.randperm(len(vectors), generator=generator)[:SAMPLE]
    residual, stages = vectors[rows].float(), []
    for codebook in codebooks:
        book = torch.cat([codebook, _started(codebook, residual, added, generator)])
        for _ in range(ROUNDS):
            code = nearest(residual, book)
            counts = torch.bincount(code, minlength=len(book)).float()
            sums = torch.zeros_like(book).index_add_(0, code, residual)
            means = sums / counts.clamp_min(1)[:, None]
            moved = (counts > 0) & (torch.arange(len(book)) >= len(codebook))
            book = torch.where(moved[:, None], means, book)
        stages.append(book)
        residual = residual - book[nearest(residual, book)]
    return torch.stack(stages)


def _started(codebook: Tensor, vectors: Tensor, added: int, generator: torch.Generator) -> Tensor:
    """Vectors to start from, `[A, D]`: drawn by their squared distance to what there is."""
    error = (vectors - codebook[nearest(vectors, codebook)]).square().sum(-1)
    chosen = []
    for _ in range(added):
        if float(error.max()) <= 1e-12:
            break
        pick = vectors[torch.multinomial(error, 1, generator=generator)]
        chosen.append(pick)
        error = torch.minimum(error, (vectors - pick).square().sum(-1))
    filled = torch.cat(chosen) if chosen else vectors.new_zeros(0, vectors.shape[1])
    # what could not be filled is never nearest to anything
    missing = filled.new_full((added - len(filled), vectors.shape[1]), UNREACHED)
    return torch.cat([filled, missing])


UNREACHED = 1e3
"""Of entries without a vector: beyond every remainder, and within FP16."""
