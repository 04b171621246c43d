"""Sparse encoder and decoder mask against the dense ones, windows against brute force."""

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relive.config import Mechanisms
from relive.errors import InputError
from relive.model.hst_mae import HSTMAE
from relive.model.layout import Everything, Strip, visible
from relive.model.masks import running_cell_mask, tube_mask
from relive.model.token_windows import HIDDEN, Windows
from small_model import SMALL, WHOLE_SMALL, shake
from test_model import _context, _inputs

# everything but what pools all cubes: a mean over hidden cubes has no dense counterpart
LOCAL = replace(
    WHOLE_SMALL, mechanisms=replace(WHOLE_SMALL.mechanisms, two_way=False, hierarchy=False)
)


@dataclass(frozen=True)
class _Blind:
    """Windows of the whole grid in which no token sees a hidden one."""

    windows: Windows
    masked: torch.Tensor  # of every token [B, h, w]

    @property
    def width(self) -> int:
        return self.windows.width

    def queries(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.windows.queries(tokens)

    def keys(self, groups: torch.Tensor) -> torch.Tensor:
        return self.windows.keys(groups)

    def join(self, groups: torch.Tensor) -> torch.Tensor:
        return self.windows.join(groups)

    def places(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.windows.places()

    def bias(self, table: torch.Tensor) -> torch.Tensor:
        hidden = self.windows.queries(self.masked[..., None].float())[..., 0]
        return self.windows.bias(table) + hidden[:, None, None] * HIDDEN


@dataclass(frozen=True)
class _Dense(Everything):
    """Compute every cube, but let nobody see the hidden ones."""

    masked: torch.Tensor

    def paste(self, cubes: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
        return torch.where(self.masked[..., None], fill, cubes)

    def windows(
        self, side: int, size: int, shift: int, batch: int, device: torch.device
    ) -> Windows:
        fine = self.masked.repeat_interleave(side, 1).repeat_interleave(side, 2)
        return _Blind(super().windows(side, size, shift, batch, device), fine)


@pytest.mark.parametrize("config", [SMALL, LOCAL, replace(LOCAL, window_size=8)])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("grid", [(7, 9), (4, 6)])
def test_sparse_encoder_equals_dense_encoder(config: object, ratio: float, grid: tuple) -> None:
    model = shake(HSTMAE(config))
    h, w = grid
    x = _inputs(model, 2, 16 * h, 16 * w)
    context, pyramid = _context(model, x)
    masked = tube_mask(2, grid, ratio, torch.Generator().manual_seed(3))
    sparse = model.encoder(x.frames, context, pyramid, visible(masked))
    dense = model.encoder(x.frames, context, pyramid, _Dense(h, w, masked))
    assert torch.allclose(sparse, dense, atol=2e-5)
    assert not torch.allclose(sparse, model.encoder(x.frames, context, pyramid), atol=1e-3)


def test_strip_of_everything_is_everything() -> None:
    model = shake(HSTMAE(WHOLE_SMALL))
    x = _inputs(model, 2, 96, 80)
    context, pyramid = _context(model, x)
    strip = visible(torch.zeros(2, 6, 5, dtype=torch.bool))
    whole = model.encoder(x.frames, context, pyramid)
    assert torch.allclose(model.encoder(x.frames, context, pyramid, strip), whole, atol=2e-5)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([(4, 0), (4, 2), (8, 0), (8, 4)]),
    st.integers(0, 99),
)
def test_runs_see_exactly_their_window(
    h: int, w: int, side: int, window: tuple[int, int], seed: int
) -> None:
    size, shift = window
    chance = torch.Generator().manual_seed(seed)
    masked = torch.rand(1, h, w, generator=chance) < 0.5
    masked[0, seed % h, seed % w] = False
    strip = visible(masked)
    runs = strip.windows(side, size, shift, 1, torch.device("cpu"))
    count = strip.index.shape[1] * side * side
    numbers = torch.arange(1.0, count + 1).view(1, -1, side, 1)  # 0 is padding
    groups = runs.queries(numbers)
    seen = runs.keys(groups)[..., 0]
    bias = runs.bias(torch.zeros((2 * size - 1) ** 2, 1))[:, 0]
    rows, columns = (t[0].tolist() for t in strip._tokens(side))
    place = [((r - shift) // size, (c - shift) // size) for r, c in zip(rows, columns, strict=True)]
    for query, keys, row in zip(groups[..., 0], seen, bias, strict=True):
        for i, number in enumerate(query.long().tolist()):
            if number:
                together = sorted(keys[row[i] == 0].long().tolist())
                mine = place[number - 1]
                assert together == [j + 1 for j, other in enumerate(place) if other == mine]
    assert torch.equal(runs.join(groups), numbers)


def test_cut_and_paste_are_inverses() -> None:
    chance = torch.Generator().manual_seed(0)
    picture = torch.rand(2, 3, 4 * 8, 6 * 8, generator=chance)
    masked = tube_mask(2, (4, 6), 0.5, chance)
    strip = visible(masked)
    cubes = strip.cut(picture, 8)
    assert cubes.shape == (2, 3, 12 * 8, 8)
    for b in range(2):
        places = (~masked[b]).nonzero().tolist()
        for n, (y, x) in enumerate(places):
            true = picture[b, :, y * 8 : y * 8 + 8, x * 8 : x * 8 + 8]
            assert torch.equal(cubes[b, :, n * 8 : n * 8 + 8], true)
    assert torch.equal(strip.together(strip.apart(cubes, 8), 8), cubes)
    grid = torch.rand(2, 4, 6, 5, generator=chance)
    few = strip.cut(grid.permute(0, 3, 1, 2), 1).permute(0, 2, 3, 1)
    back = strip.paste(few, torch.full((5,), -1.0))
    assert torch.equal(back, torch.where(masked[..., None], -1.0, grid))


def test_uneven_masks_are_refused() -> None:
    uneven = torch.tensor([[[True, False]], [[False, False]]])
    with pytest.raises(ValueError, match="row"):
        visible(uneven)
    with pytest.raises(ValueError, match="every cube"):
        visible(torch.ones(1, 2, 2, dtype=torch.bool))


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("grid", [(6, 8), (5, 7)])
def test_decoder_mask(ratio: float, grid: tuple[int, int]) -> None:
    model = shake(HSTMAE(WHOLE_SMALL))
    h, w = grid
    x = _inputs(model, 2, 16 * h, 16 * w)
    context, pyramid = _context(model, x)
    masked = running_cell_mask(grid, ratio, 1, 2)
    strip = visible(masked)
    latents, depths = torch.randn(2, h, w, 8), torch.full((2, h, w), 2)
    decoded = model.decoder(latents, depths, context, pyramid, strip)
    count = int((~masked[0]).sum())
    assert decoded.frames.shape == (2, 2, 3, count * 16, 16)
    assert strip.cut(x.frames.flatten(1, 2), 16).unflatten(1, (2, 3)).shape == decoded.frames.shape
    changed = torch.where(masked[..., None], latents + 1, latents)
    again = model.decoder(changed, depths, context, pyramid, strip)
    assert torch.equal(decoded.frames, again.frames)


def test_decoder_strip_of_everything_has_the_same_features() -> None:
    model = shake(HSTMAE(WHOLE_SMALL))
    x = _inputs(model, 1, 64, 80)
    context, pyramid = _context(model, x)
    latents, depths = torch.randn(1, 4, 5, 8), torch.full((1, 4, 5), 2)
    strip = visible(torch.zeros(1, 4, 5, dtype=torch.bool))
    one = model.decoder(latents, depths, context, pyramid, strip).features
    other = model.decoder(latents, depths, context, pyramid).features
    assert torch.allclose(one.view_as(other), other, atol=2e-5)


def test_important_regions_do_not_wait_for_others() -> None:
    ordered = replace(WHOLE_SMALL.mechanisms, decoding="importance")
    model = shake(HSTMAE(replace(WHOLE_SMALL, mechanisms=ordered)))
    x = _inputs(model, 1, 64, 80)
    x = replace(x, regions=torch.arange(20).view(1, 4, 5) % 6)
    context, pyramid = _context(model, x)
    latents, depths = torch.randn(1, 4, 5, 8), torch.full((1, 4, 5), 2)
    whole = model.decoder(latents, depths, context, pyramid).features
    for later in ((0,), (0, 5), (0, 5, 4), (0, 5, 4, 3)):  # the least important ones
        left_out = torch.isin(x.regions, torch.tensor(later))
        changed = torch.where(left_out[..., None], latents + 2, latents)
        alone = model.decoder(changed, depths, context, pyramid).features
        assert torch.allclose(whole[~left_out], alone[~left_out], atol=1e-5)
        assert not torch.allclose(whole[left_out], alone[left_out], atol=1e-2)


def test_mechanisms_are_left_out_alone() -> None:
    """Each switch makes another network, and the rest still works."""
    off = {
        "state": False,
        "intervals": False,
        "informed": False,
        "early_fusion": False,
        "state_stages": (3, 4),
        "two_way": False,
        "late_fusion": False,
        "modulation": False,
        "region_embedding": False,
        "proximity": False,
        "cross_links": 1.0,
        "hierarchy": False,
        "memory_slots": 0,
        "recurrent_dim": 0,
        "multi_scale": False,
        "adapter_rank": 2,
        "warp": "learned",
        "decoding": "importance",
    }
    assert set(off) == set(Mechanisms.__dataclass_fields__)
    whole = HSTMAE(WHOLE_SMALL)
    for name, value in off.items():
        mechanisms = replace(WHOLE_SMALL.mechanisms, **{name: value})
        model = shake(HSTMAE(replace(WHOLE_SMALL, mechanisms=mechanisms)))
        same = model.state_dict().keys() == whole.state_dict().keys()
        assert same == (name in ("decoding", "cross_links")), name  # these have no weights
        x = _inputs(model)
        context, pyramid = _context(model, x)
        encoded = model.encoder(x.frames, context, pyramid)
        out = model.decoder(encoded, torch.ones(1, 3, 5).long(), context, pyramid)
        assert out.frames.isfinite().all(), name


@pytest.mark.parametrize(("name", "value"), [("cross_links", 1.0), ("decoding", "importance")])
def test_switches_without_weights_change_what_comes_out(name: str, value: object) -> None:
    other = replace(WHOLE_SMALL, mechanisms=replace(WHOLE_SMALL.mechanisms, **{name: value}))
    frames = []
    for config in (WHOLE_SMALL, other):
        model = shake(HSTMAE(config))
        x = _inputs(model, 1, 64, 80)
        context, pyramid = _context(model, x)
        latents = model.encoder(x.frames, context, pyramid)
        frames.append(model.decoder(latents, torch.ones(1, 4, 5).long(), context, pyramid).frames)
    assert not torch.allclose(*frames, atol=1e-4)


@pytest.mark.parametrize(
    ("field", "value"),
    [("decoding", "imporance"), ("warp", "magic"), ("state_stages", (3, 5)), ("cross_links", 0.0)],
)
def test_mechanisms_that_are_none_are_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        Mechanisms(**{field: value})


def test_strip_needs_row_major_order() -> None:
    masked = tube_mask(3, (5, 5), 0.6, torch.Generator().manual_seed(1))
    strip = visible(masked)
    assert isinstance(strip, Strip)
    assert (strip.index.diff(dim=1) > 0).all()
