"""Losses on the rebuilt picture beside its squared error: space, time, state, and what it costs.

A loss is averaged within a row first and then over the rows, so that two processes with half of a
batch each give the mean that one process gives with all of it (`rate` is a mean over vectors).

Shapes: B batch, H W pixels, h w cube grid, S state fields, N vectors, D width, V codebook size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relive.config import CUBE_PX, StateInput
from relive.model.parts import PatchConv, in_float32
from relive.quantizer.rvq import NUM_KINDS, ResidualVQ

FARTHEST = 8.0  # of a normalised state value, as in `relive.model.state`
RAREST = 1e-4  # probability of a codeword that was hardly ever used
SOFTEST = 1e-8  # least temperature of the soft assignment


def spatial_consistency(frames: Tensor, truth: Tensor, regions: Tensor) -> Tensor:
    """Compare the differences of neighbours inside a region with the true ones.

    Gradient difference loss (Mathieu et al., arXiv 1511.05440), squared and with the sign of the
    differences. What lies on both sides of a boundary may differ as it likes (specification,
    "Enforces similarity within spatial regions").

    Args:
        frames: the reconstruction `[B, 2, 3, H, W]`, 0..1.
        truth: the true pair `[B, 2, 3, H, W]`.
        regions: ids of the cubes, int64 `[B, h, w]`.

    Returns:
        Mean squared difference over right and lower neighbours, scalar.
    """
    error = frames - truth  # the difference of two gradients is the gradient of the difference
    ids = regions.repeat_interleave(CUBE_PX, 1).repeat_interleave(CUBE_PX, 2)[:, None, None]
    right = _inside(error.diff(dim=4).square(), ids[..., :-1] == ids[..., 1:])
    lower = _inside(error.diff(dim=3).square(), ids[..., :-1, :] == ids[..., 1:, :])
    return (right + lower).mean() / 2


def _inside(squares: Tensor, own: Tensor) -> Tensor:
    """Mean of `[B, 2, 3, ...]` where `own` `[B, 1, 1, ...]` holds, of each row `[B]`."""
    counts = own.flatten(1).sum(1).clamp_min(1) * squares.shape[1] * squares.shape[2]
    return (squares * own.float()).flatten(1).sum(1) / counts


def temporal_coherence(
    frames: Tensor, truth: Tensor, before: Tensor, true_before: Tensor, is_delta: Tensor
) -> Tensor:
    """Compare what changes from frame to frame with what truly changed.

    Args:
        frames: the reconstruction `[B, 2, 3, H, W]`, 0..1.
        truth: the true pair `[B, 2, 3, H, W]`.
        before: the reconstruction of the frame before, the same crop `[B, 3, H, W]`; gets no
            gradient.
        true_before: the true frame before `[B, 3, H, W]`.
        is_delta: 0 for a keyframe, which knows no frame before, else 1 `[B]`.

    Returns:
        Mean squared difference, scalar.
    """
    error = frames - truth
    inner = (error[:, 1] - error[:, 0]).square().mean((1, 2, 3))  # [B]
    outer = (error[:, 0] - (before - true_before).detach()).square().mean((1, 2, 3))
    delta = is_delta > 0
    return torch.where(delta, (inner + outer) / 2, inner).mean()


class StateAlignment(nn.Module):
    """Read the state from the reconstruction: the picture must show what the state says.

    It sees pixels alone, the pair and the frame before, so no state reaches it but through the
    picture. Its gradient goes to its own weights and to the picture.

    Args:
        inputs: the fields that the model knows; angles are predicted as sine and cosine.
    """

    mean: Tensor
    scale: Tensor
    linear: Tensor
    angle: Tensor

    def __init__(self, inputs: tuple[StateInput, ...]) -> None:
        super().__init__()
        kinds = [s.kind == "angle" for s in inputs]
        plain = {
            "mean": torch.tensor([s.mean for s in inputs]),
            "scale": torch.tensor([s.scale for s in inputs]),
            "linear": torch.tensor([i for i, a in enumerate(kinds) if not a], dtype=torch.long),
            "angle": torch.tensor([i for i, a in enumerate(kinds) if a], dtype=torch.long),
        }
        for name, values in plain.items():
            self.register_buffer(name, values, persistent=False)
        self.patches = PatchConv(9, 48, 8)
        self.mix = nn.Conv2d(48, 64, 3, stride=2, padding=1)
        self.read = nn.Linear(64, max(1, len(self.linear) + 2 * len(self.angle)))

    def forward(self, frames: Tensor, before: Tensor, states: Tensor, known: Tensor) -> Tensor:
        """Compare what the pictures show with the state of the pair's last frame.

        Args:
            frames: the reconstruction `[B, 2, 3, H, W]`, 0..1, sides multiples of 8.
            before: the reconstruction of the frame before `[B, 3, H, W]`.
            states: raw values `[B, 3, S]`, angles in radians.
            known: 1 where the session has the field `[B, S]`.

        Returns:
            Smooth L1 of the normalised values, mean over the known fields of each row, then over
            the rows, scalar; a row without a known field counts as 0.
        """
        pictures = torch.cat([frames.flatten(1, 2), before], 1)  # [B, 9, H, W]
        features = F.gelu(self.mix(F.gelu(self.patches(pictures))))
        shown = self.read(features.mean((2, 3))).float()
        last, wanted = states[:, -1].float(), self._fields(known)
        level = ((last - self.mean) / self.scale).clamp(-FARTHEST, FARTHEST)[:, self.linear]
        turn = last[:, self.angle]
        target = torch.cat([level, turn.sin(), turn.cos()], 1)  # [B, S + angles]
        target = torch.where(wanted > 0, target, 0)  # what is unknown may be no number
        each = F.smooth_l1_loss(shown[:, : target.shape[1]], target, reduction="none")
        return ((each * wanted).sum(1) / wanted.sum(1).clamp_min(1)).mean()

    def _fields(self, known: Tensor) -> Tensor:
        """Weight of every output; the sine and the cosine of an angle are half a field each."""
        angles = known[:, self.angle] / 2
        return torch.cat([known[:, self.linear], angles, angles], 1).float()


def rate(
    quantizer: ResidualVQ, remainders: Tensor, depths: Tensor, kinds: Tensor
) -> tuple[Tensor, Tensor]:
    """Estimate what the codes of a step cost.

    A codeword costs −log2 of its share in the moving averages of the quantiser. The gradient takes
    the expected cost under a soft assignment (soft-to-hard vector quantisation, Agustsson et al.,
    arXiv 1704.00648), so remainders move to codewords that are near and cheap (entropy-constrained
    vector quantisation, as in NVTC, CVPR 2023). Its temperature is the mean squared distance to
    the nearest codeword, so assignments get harder as the codebook gets finer.

    Args:
        quantizer: gives codebooks and counts, and learns nothing from it.
        remainders: normalised `[N, D]`.
        depths: stages that are sent, int64 `[N]`.
        kinds: 0 keyframe, 1 delta `[N]`.

    Returns:
        Expected bits of a vector, scalar with gradient; bits of the nearest codewords, without.
    """
    with in_float32(remainders):
        vectors = remainders.float()
        expected, actual = vectors.sum() * 0, vectors.new_zeros(())
        for kind in range(NUM_KINDS):
            rows = (kinds == kind).nonzero()[:, 0]
            if len(rows):
                soft, hard = _rate_of_kind(quantizer, vectors[rows], depths[rows], kind)
                expected, actual = expected + soft, actual + hard
    return expected / max(1, len(vectors)), actual / max(1, len(vectors))


def _rate_of_kind(
    quantizer: ResidualVQ, vectors: Tensor, depths: Tensor, kind: int
) -> tuple[Tensor, Tensor]:
    """Expected and actual bits of all vectors `[N, D]` of one kind, summed."""
    residual = vectors
    # codebooks learn in place, maybe before the gradient comes back
    codebooks, bits = quantizer.codebooks[kind].clone(), _bits(quantizer.counts[kind])
    expected, actual = vectors.sum() * 0, vectors.new_zeros(())
    for stage, codebook in enumerate(codebooks):
        sent = (depths > stage).float()
        soft, code = _expected_bits(residual, codebook, bits[stage], sent)
        expected = expected + (soft * sent).sum()
        actual = actual + (bits[stage][code] * sent).sum()
        residual = residual - codebook[code]
    return expected, actual


def _bits(counts: Tensor) -> Tensor:
    """Cost of every codeword by how often it was used: `[K, V]` to `[K, V]`."""
    share = (counts / counts.sum(-1, keepdim=True)).clamp_min(RAREST)
    return -(share / share.sum(-1, keepdim=True)).log2()


def _expected_bits(
    residual: Tensor, codebook: Tensor, bits: Tensor, sent: Tensor
) -> tuple[Tensor, Tensor]:
    """Assign vectors `[N, D]` softly; return their expected bits `[N]` and nearest codes `[N]`.

    The temperature is that of the vectors that are sent (1 in `sent` `[N]`).
    """
    # short of the square of the vector itself, which changes no assignment
    distance = codebook.square().sum(-1) - 2 * residual @ codebook.T  # [N, V]
    least, code = distance.detach().min(-1)
    nearest = (least + residual.detach().square().sum(-1)).clamp_min(0)
    temperature = ((nearest * sent).sum() / sent.sum().clamp_min(1)).clamp_min(SOFTEST)
    return torch.softmax(-distance / temperature, -1) @ bits, code
