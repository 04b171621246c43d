"""The network that mixes candidates: what it may do, whatever its weights are."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from relive.restore.network import SEEN, SOFT, FillNet

FEATURES = 7


def _frame(candidates: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    features = torch.rand(candidates, FEATURES, height, width)
    features[:, SEEN] = 1
    colours = torch.rand(candidates, 3, height, width) * 255
    return features, colours, torch.zeros(3, height, width), torch.zeros(height, width)


def _net() -> FillNet:
    torch.manual_seed(1)
    net = FillNet(FEATURES).eval()
    for part in net.parameters():
        part.data *= 3  # far from where learning starts: nothing here may depend on that
    return net


@torch.inference_mode()
@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 17), (48, 33)])
def test_every_pixel_is_a_mean_of_candidates_around_it(height: int, width: int) -> None:
    features, colours, own, known = _frame(4, height, width)
    mixed, weights = _net()(features, colours, own, known)
    torch.testing.assert_close(weights.sum(0), torch.ones(height, width))
    most = F.max_pool2d(colours.amax(0), SOFT, 1, SOFT // 2)
    least = -F.max_pool2d(-colours.amin(0), SOFT, 1, SOFT // 2)
    assert bool(((mixed <= most + 1e-3) & (mixed >= least - 1e-3)).all())


@torch.inference_mode()
def test_order_of_candidates_does_not_matter() -> None:
    features, colours, own, known = _frame(5, 20, 24)
    order = torch.tensor([3, 0, 4, 2, 1])
    mixed, weights = _net()(features, colours, own, known)
    again, other = _net()(features[order], colours[order], own, known)
    torch.testing.assert_close(again, mixed, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(other, weights[order], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_what_is_not_seen_has_no_say() -> None:
    features, colours, own, known = _frame(3, 20, 24)
    features[1, SEEN] = 0
    mixed, weights = _net()(features, colours, own, known)
    assert float(weights[1].max()) == 0
    colours[1] = 255 - colours[1]
    changed, _ = _net()(features, colours, own, known)
    torch.testing.assert_close(changed, mixed)


@torch.inference_mode()
def test_what_is_known_of_the_frame_is_what_pixels_beside_it_may_be_made_of() -> None:
    features, colours, own, known = _frame(2, 12, 12)
    colours[:] = 10
    known[:, :6] = 1
    own[:, :, :6] = 200
    mixed, _ = _net()(features, colours, own, known)
    assert float(mixed[:, :, 8:].max()) <= 10 + 1e-3
    assert float(mixed[:, :, 6].min()) > 10
