"""Regions and memory: against brute force, and the order of decoding."""

import math
from collections.abc import Callable
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from relive.model.memory import MemoryAttention, MemoryBanks
from relive.model.motion import Motion, inverse_depths
from relive.model.regions import (
    FAR,
    FIXED,
    MIDDLE,
    NEAR,
    OVERLAY,
    REGIONS,
    UNKNOWN,
    RegionBias,
    RegionEmbedding,
    RegionHierarchy,
    comes_later,
    consistency,
    cube_regions,
    decoding_order,
    depth_regions,
    ranks,
)
from relive.model.token_windows import HIDDEN
from relive.model.warp import Pinhole

CAMERA = Pinhole.from_fov(90.0, 1.2, (0, 0, 320, 208))
H, W, D, R, M = 5, 7, 12, len(REGIONS), 4


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def motion_of(camera: Pinhole | None, known: list[float], origins: list[list[float]]) -> Motion:
    b = len(known)
    turns = torch.eye(3).expand(b, 2, 3, 3)
    return Motion(camera, turns, torch.zeros(b, 2, 3), torch.tensor(origins), torch.tensor(known))


def some_regions(b: int = 2) -> Tensor:
    return torch.randint(R, (b, H, W))


def places(h: int, w: int) -> Tensor:
    return torch.arange(h * w)[None]


def test_kinds_have_an_order() -> None:
    assert len({k.importance for k in REGIONS}) == len(REGIONS)
    assert decoding_order() == (OVERLAY, FIXED, NEAR, MIDDLE, FAR, UNKNOWN)
    assert ranks(torch.tensor(decoding_order())).tolist() == list(range(R))


def test_regions_of_a_camera() -> None:
    motion = motion_of(CAMERA, [1.0], [[0.0, 0.0]])
    choice = torch.arange(15 * 20).view(1, 15, 20) % 32
    regions = cube_regions(motion, choice, 15, 20)
    assert regions.dtype == torch.int64
    assert (regions[:, 13:] == OVERLAY).all()  # 208 = 13 cubes
    row = regions[0, 0].tolist()
    assert row == [FIXED, FAR, *[NEAR] * 10, *[MIDDLE] * 8]
    assert regions[0, 1, :12].tolist() == [MIDDLE, MIDDLE, *[FAR] * 10]
    first = cube_regions(motion, None, 15, 20)
    assert (first[:, 13:] == OVERLAY).all()
    assert (first[:, :13] == UNKNOWN).all()


def test_regions_without_a_camera() -> None:
    choice = torch.tensor([[[0, 1], [31, 0]]])
    for motion in (
        motion_of(None, [0.0], [[0.0, 0.0]]),
        motion_of(CAMERA, [0.0], [[0.0, 400.0]]),
    ):
        assert cube_regions(motion, choice, 2, 2).tolist() == [[[FIXED, MIDDLE], [MIDDLE, FIXED]]]
        assert (cube_regions(motion, None, 2, 2) == UNKNOWN).all()


def test_regions_of_crops() -> None:
    """A crop sees the same cubes as the frame; sessions with and without a camera mix."""
    motion = motion_of(CAMERA, [1.0, 0.0], [[16.0, 176.0], [16.0, 176.0]])
    regions = cube_regions(motion, torch.ones(2, 4, 3, dtype=torch.int64), 4, 3)
    assert regions[0, :, 0].tolist() == [FAR, FAR, OVERLAY, OVERLAY]  # rows 11 to 14
    assert (regions[1] == MIDDLE).all()
    aside = motion_of(CAMERA, [1.0], [[304.0, 0.0]])
    assert cube_regions(aside, None, 1, 2).tolist() == [[[UNKNOWN, OVERLAY]]]


def brute_bias(bias: RegionBias, regions: Tensor, head: int, i: int, j: int) -> float:
    strength = bias.proximity.strength[head].item()
    sigma = math.exp(bias.proximity.log_sigma[head].item())
    if regions[i] == regions[j]:
        apart = (i // W - j // W) ** 2 + (i % W - j % W) ** 2
        return strength * math.exp(-apart / sigma**2)
    numbers = (i // W + j // W) * 49471 + (i % W + j % W) * 37345
    return 0.0 if numbers % 65536 < 0.25 * 65536 else HIDDEN


def test_bias_against_brute_force() -> None:
    bias = RegionBias(3, proximity=True, cross_links=0.25)
    with torch.no_grad():
        bias.proximity.strength.copy_(torch.tensor([0.5, -0.3, 2.0]))
    regions = some_regions(1).flatten(1)
    place = places(H, W)
    keys = place[:, 3:20]
    got = bias(regions, regions[:, 3:20], place, keys, W)
    assert got.shape == (1, 3, H * W, 17)
    assert got.dtype == torch.float32
    for head, i, j in torch.cartesian_prod(*(torch.arange(n) for n in got.shape[1:])).tolist():
        wanted = brute_bias(bias, regions[0], head, i, j + 3)
        assert got[0, head, i, j].item() == pytest.approx(wanted, abs=1e-6)


def test_a_quarter_of_the_cross_links_lies_everywhere() -> None:
    h, w = 45, 80
    place = places(h, w)
    regions = (torch.arange(h * w) // 5 % R)[None]
    bias = RegionBias(1, proximity=False, cross_links=0.25)
    seen = bias(regions, regions, place, place, w)[0, 0] == 0
    assert torch.equal(seen, seen.T)
    own = regions[0][:, None] == regions[0]
    assert seen[own].all()
    assert seen[~own].float().mean().item() == pytest.approx(0.25, rel=0.02)
    alone = torch.arange(h * w)[None]  # every cube another region: links alone
    links = (bias(alone, alone[:, ::7], place, place[:, ::7], w)[0, 0] == 0).float()
    blocks = nn.functional.avg_pool2d(links.T.reshape(-1, 1, h, w), (2, 3), 1) * 6
    assert blocks.min() >= 1 - 1e-3


def test_without_anything_the_bias_is_zero() -> None:
    regions, place = some_regions(2).flatten(1), places(H, W)
    assert not RegionBias(2, False, 1.0)(regions, regions, place, place, W).any()
    with pytest.raises(ValueError, match="cross links"):
        RegionBias(2, False, 0.0)


class Layer(nn.Module):
    """A plain transformer layer over all tokens with the bias of regions."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.mlp = nn.Linear(D, 3 * D), nn.Sequential(nn.Linear(D, D), nn.GELU())
        self.bias, self.ranked = RegionBias(2, proximity=True, cross_links=0.25), True

    def forward(self, x: Tensor, regions: Tensor, place: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (2, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        logits = q @ k.mT / math.sqrt(D / 2) + self.bias(regions, regions, place, place, W)
        if self.ranked:
            logits = logits + comes_later(regions, regions)[:, None] * HIDDEN
        x = x + (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return x + self.mlp(x)


@pytest.mark.parametrize("earlier", range(1, R))
def test_one_ranked_pass_is_decoding_region_by_region(earlier: int) -> None:
    layers = [Layer() for _ in range(3)]
    hierarchy = off_zero(RegionHierarchy(D, R))
    x, regions, place = torch.randn(1, H, W, D), some_regions(1), places(H, W)

    def decode(keep: Tensor) -> Tensor:
        """Run the layers over the kept tokens alone."""
        part, ids = x.flatten(1, 2)[:, keep], regions.flatten(1)[:, keep]
        for layer in layers:
            part = layer(part, ids, place[:, keep])
            part = hierarchy(part[:, None], ids[:, None], ranked=True)[:, 0]
        return part

    first = ranks(regions).flatten() < earlier
    whole = decode(torch.ones(H * W, dtype=torch.bool))
    assert torch.allclose(decode(first), whole[:, first], atol=1e-5)


def test_without_ranks_later_regions_are_seen() -> None:
    """The equality above is the mask's doing."""
    x, regions, place = torch.randn(1, H * W, D), some_regions(1).flatten(1), places(H, W)
    layer, first = Layer(), (ranks(regions) < 3)[0]
    layer.ranked = False
    part = layer(x[:, first], regions[:, first], place[:, first])
    assert not torch.allclose(part, layer(x, regions, place)[:, first], atol=1e-3)


Module = TypeVar("Module", bound=nn.Module)


def off_zero(module: Module) -> Module:
    """Move every parameter, so that no layer is zero."""
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return module


def run_bias(bias: RegionBias) -> Tensor:
    regions = some_regions().flatten(1)
    return bias(regions, regions, places(H, W), places(H, W), W)


Run = Callable[[nn.Module], Tensor]
BRANCHES: dict[str, tuple[Callable[[], nn.Module], Run]] = {
    "embedding": (
        lambda: RegionEmbedding(R, D),
        lambda m: m(torch.randn(2, H, W, D), some_regions()),
    ),
    "hierarchy": (
        lambda: RegionHierarchy(D, R),
        lambda m: m(torch.randn(2, H, W, D), some_regions()),
    ),
    "memory": (
        lambda: MemoryAttention(D, 8, 3),
        lambda m: m(torch.randn(2, H, W, D), torch.randn(2, R, M, 8), some_regions()),
    ),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_branches_start_as_the_identity_and_learn_everywhere(name: str) -> None:
    make, run = BRANCHES[name]
    module = make()
    torch.manual_seed(1)
    x = torch.randn(2, H, W, D)
    torch.manual_seed(1)
    assert torch.equal(run(module), x)
    run(off_zero(module)).square().sum().backward()
    for parameter in module.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_bias_learns_everywhere() -> None:
    bias = RegionBias(2, True, 0.25)
    run_bias(bias).clamp(min=-1).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.all()) for p in bias.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", BRANCHES)
def test_autocast_stays_finite(name: str, dtype: torch.dtype) -> None:
    make, run = BRANCHES[name]
    module = off_zero(make())
    with torch.autocast("cpu", dtype):
        result = run(module)
    assert result.isfinite().all()
    result.float().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in module.parameters())


def test_bias_and_banks_stay_float32_under_autocast() -> None:
    banks = MemoryBanks(R, M, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert run_bias(RegionBias(2, True, 0.25)).dtype == torch.float32
        after = banks.update(banks.start(2), torch.randn(2, H, W, 8), some_regions(), SENT)
    plain = banks.update(banks.start(2), torch.randn(2, H, W, 8), some_regions(), SENT)
    assert after.dtype == plain.dtype == torch.float32


SENT = (torch.arange(2 * H * W) % 3 > 0).view(2, H, W)


def loop_update(
    banks: Tensor, latents: Tensor, regions: Tensor, sent: Tensor, decay: float
) -> Tensor:
    after = banks.clone()
    for b, bank in enumerate(banks):
        taken: dict[tuple[int, int], list[Tensor]] = {}
        for r, c in sent[b].nonzero().tolist():
            region = int(regions[b, r, c])
            apart = (bank[region] - latents[b, r, c]).square().sum(-1)
            taken.setdefault((region, int(apart.argmin())), []).append(latents[b, r, c])
        for (region, slot), values in taken.items():
            mean = torch.stack(values).mean(0)
            after[b, region, slot] = decay * bank[region, slot] + (1 - decay) * mean
    return after


def test_update_is_the_loop() -> None:
    module = MemoryBanks(R, M, 8, decay=0.8)
    banks = module.start(2)
    assert torch.equal(banks[0], module.contents)
    assert torch.equal(banks[1], module.contents)
    for _ in range(3):
        latents, regions = torch.randn(2, H, W, 8), torch.randint(R - 1, (2, H, W))
        wanted = loop_update(banks, latents, regions, SENT, 0.8)
        banks = module.update(banks, latents, regions, SENT)
        assert torch.allclose(banks, wanted, atol=1e-6)
    assert torch.equal(banks[:, R - 1], module.start(2)[:, R - 1])  # a region that was never there


def test_nothing_sent_changes_nothing() -> None:
    module = MemoryBanks(R, M, 8)
    latents = torch.full((2, H, W, 8), 100.0)
    after = module.update(module.start(2), latents, some_regions(), torch.zeros_like(SENT))
    assert torch.equal(after, module.start(2))


def test_update_passes_gradients() -> None:
    module = MemoryBanks(R, M, 8)
    latents = torch.randn(2, H, W, 8, requires_grad=True)
    module.update(module.start(2), latents, some_regions(), SENT).square().sum().backward()
    assert latents.grad is not None
    assert module.contents.grad is not None
    assert torch.equal(latents.grad.abs().sum(-1) > 0, SENT)
    assert (module.contents.grad.abs().sum(-1) > 0).all()


def test_consistency_counts_regions_alike() -> None:
    ordered = torch.zeros(1, 2, 2, D, requires_grad=True)
    regions = torch.tensor([[[NEAR, NEAR], [NEAR, FAR]]])
    parallel = torch.zeros(1, 2, 2, D)
    parallel[0, 1, 1] = 2.0
    parallel.requires_grad_()
    loss = consistency(parallel, ordered, regions)
    assert loss.item() == pytest.approx(2.0)  # (0 + 4) / 2
    loss.backward()
    assert ordered.grad is None
    assert parallel.grad is not None


def test_unseen_regions_do_not_matter_to_the_hierarchy() -> None:
    module = off_zero(RegionHierarchy(D, R))
    x, regions = torch.randn(1, H, W, D), torch.randint(2, (1, H, W))
    before = module(x, regions)
    with torch.no_grad():
        module.names[2:] += 100.0
    assert torch.equal(module(x, regions), before)


def test_learned_depth_gives_the_regions_of_the_hypotheses() -> None:
    motion = motion_of(CAMERA, [1.0], [[0.0, 0.0]])
    choice = torch.tensor([0, *range(2, 22)]).view(3, 7)[None]  # all cubes in the view
    wanted, got = (
        cube_regions(motion, choice, 3, 7),
        depth_regions(motion, inverse_depths()[choice]),
    )
    assert torch.equal(got, wanted)
    assert set(got.unique().tolist()) == {FIXED, NEAR, MIDDLE}
    far = depth_regions(motion, torch.full((1, 1, 1), 1e-3))
    assert far.item() == FAR
    nowhere = motion_of(CAMERA, [0.0], [[0.0, 0.0]])
    assert (depth_regions(nowhere, inverse_depths()[choice]) == UNKNOWN).all()
