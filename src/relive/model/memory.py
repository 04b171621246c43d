"""Memory banks of the regions, and attention to them (specification, "Spatial memory banks").

A bank holds a few representative latents of its region. Both sides update it with the
*dequantised* latents of a step, so it costs no bits; a keyframe sets it back to what was learned.

Shapes: B batch, h w cube grid, N cubes, D width, R regions, M slots of a bank.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relive.model.parts import PointLinear, in_float32, start_at_zero


class MemoryBanks(nn.Module):
    """Start contents of the banks and their update: online k-means by moving averages.

    The rule is that of the codebook of VQ-VAE (arXiv 1711.00937, appendix A.1), per region.

    Args:
        num_regions: R.
        slots: M.
        latent_dim: D of the latents.
        decay: share of a slot that an update keeps, 0 to 1.
    """

    def __init__(self, num_regions: int, slots: int, latent_dim: int, decay: float = 0.9) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise ValueError(f"decay of memory banks is {decay}, not 0 to 1")
        self.decay = decay
        # small beside latents: at first the direction of a slot decides what it takes
        self.contents = nn.Parameter(torch.randn(num_regions, slots, latent_dim) * 0.1)

    def start(self, batch: int) -> Tensor:
        """Banks of a keyframe: the learned contents, float32 `[B, R, M, D]`."""
        return self.contents.float().expand(batch, -1, -1, -1)

    def update(self, banks: Tensor, latents: Tensor, regions: Tensor, sent: Tensor) -> Tensor:
        """Move every slot towards the mean of the cubes that are nearest to it.

        The choice of the slot passes no gradient; latents and banks do.

        Args:
            banks: `[B, R, M, D]`.
            latents: dequantised latents of the step `[B, h, w, D]`.
            regions: ids int64 `[B, h, w]`.
            sent: whether the cube has codes (depth over 0), bool `[B, h, w]`.

        Returns:
            Banks after the step, float32 `[B, R, M, D]`; slots that got no cube are unchanged.
        """
        with in_float32(banks):
            slots = banks.float().flatten(1, 2)  # [B, R*M, D]
            values = latents.float().flatten(1, 2)  # [B, N, D]
            taken = nearest_slots(banks, latents, regions) * sent.flatten(1)[..., None]
            count = taken.sum(1)[..., None]  # [B, R*M, 1]
            mean = taken.transpose(1, 2) @ values / count.clamp(min=1)
            moved = self.decay * slots + (1 - self.decay) * mean
            return torch.where(count > 0, moved, slots).view(banks.shape)


@torch.no_grad()
def nearest_slots(banks: Tensor, latents: Tensor, regions: Tensor) -> Tensor:
    """Nearest slot of the bank of every cube's region, as 0 and 1: float32 `[B, N, R*M]`.

    Args:
        banks: `[B, R, M, D]`.
        latents: `[B, h, w, D]`.
        regions: ids int64 `[B, h, w]`.
    """
    slots = banks.float().flatten(1, 2)
    # |x − s|² less |x|², which is the same for all slots
    distance = slots.square().sum(-1)[:, None] - 2 * latents.float().flatten(1, 2) @ slots.mT
    elsewhere = ~own_slots(regions, banks)
    best = distance.masked_fill(elsewhere, torch.inf).argmin(-1, keepdim=True)
    places = torch.arange(slots.shape[1], device=banks.device)
    return (places == best).float()


def own_slots(regions: Tensor, banks: Tensor) -> Tensor:
    """Which slots belong to the region of a cube: ids `[B, h, w]` to bool `[B, N, R*M]`."""
    r, m = banks.shape[1:3]
    owner = torch.arange(r, device=banks.device).repeat_interleave(m)
    return regions.flatten(1)[..., None] == owner


class MemoryAttention(nn.Module):
    """Cubes read the slots of all banks; a learned bonus prefers those of their own region.

    Banks of other regions stay readable: a wall that was far comes near.

    Args:
        dim: width D of the cubes.
        latent_dim: width of the banks.
        num_heads: attention heads.
    """

    def __init__(self, dim: int, latent_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm, self.norm_banks = nn.LayerNorm(dim), nn.LayerNorm(latent_dim)
        self.q = PointLinear(dim, dim)
        self.kv = nn.Linear(latent_dim, 2 * dim)
        self.out = PointLinear(dim, dim)
        self.own = nn.Parameter(torch.ones(num_heads))  # e times as likely as another region's
        start_at_zero(self.out)

    def forward(self, x: Tensor, banks: Tensor, regions: Tensor) -> Tensor:
        """Map cubes `[B, h, w, D]` to `[B, h, w, D]`, with banks `[B, R, M, D_latent]`."""
        b, h, w, d = x.shape
        q = self.q(self.norm(x)).reshape(b, h * w, self.num_heads, -1).transpose(1, 2)
        kv = self.kv(self.norm_banks(banks)).view(b, -1, 2, self.num_heads, d // self.num_heads)
        k, v = kv.permute(2, 0, 3, 1, 4)
        bonus = own_slots(regions, banks)[:, None] * self.own[:, None, None]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bonus.to(q.dtype))
        return x + self.out(mixed.transpose(1, 2).reshape(b, h, w, d))
