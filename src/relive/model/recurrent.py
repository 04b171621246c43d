"""What a cube remembers from step to step: a gated recurrent unit on every cube.

Shapes: B batch, h w cube grid, D width of the features, R width of the recurrent state.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from relive.model.parts import PointLinear, in_float32


class RecurrentCell(nn.Module):
    """Gated recurrent unit (arXiv 1406.1078) whose weights all cubes share.

    Recurrent state propagation of the specification, section "Session-level consistency". The reset
    gate acts on the product with the state, as in `torch.nn.GRUCell`, so that one layer a side does
    all three gates. A new state is a mean of the old one and of a tanh, so a chain that starts at
    zero stays within -1..1 however long it is. float32 also under autocast: errors of half
    precision would add up from step to step (reading.md, 19).
    """

    def __init__(self, dim: int, recurrent_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)  # gates must not saturate where features are large
        self.from_features = PointLinear(dim, 3 * recurrent_dim)
        self.from_recurrent = PointLinear(recurrent_dim, 3 * recurrent_dim)

    def forward(self, recurrent: Tensor, features: Tensor) -> Tensor:
        """Take one step.

        Args:
            recurrent: state after the step before `[B, h, w, R]`, within -1..1; zero at a keyframe.
            features: what this step shows `[B, h, w, D]`.

        Returns:
            State after this step, float32 `[B, h, w, R]`, within -1..1.
        """
        with in_float32(features):
            return self._step(recurrent.float(), features.float())

    def _step(self, recurrent: Tensor, features: Tensor) -> Tensor:
        reset_x, keep_x, new_x = self.from_features(self.norm(features)).chunk(3, -1)
        reset_r, keep_r, new_r = self.from_recurrent(recurrent).chunk(3, -1)
        new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_r) * new_r)
        return torch.lerp(new, recurrent, torch.sigmoid(keep_x + keep_r))
