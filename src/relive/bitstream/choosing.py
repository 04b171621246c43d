"""Entropy-constrained assignment: codes are chosen by what they leave and by what they cost.

```
 CodesWalk ─► features of the next codes ─► bits of every codeword ─┐
                     what each codeword leaves, in bits ────────────┴─► the least ─► is coded next
```

As in entropy-constrained vector quantisation (Chou, Lookabaugh, Gray, IEEE Trans. ASSP 37(1),
1989), under the adaptive nets of the packet instead of fixed lengths. Encoder only.

Shapes: n cubes of a group, V codewords, K stages.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import BitCounter, Ints
from relive.bitstream.context_model import AdaptiveModel, Rows
from relive.bitstream.gop_codes import GopCodes
from relive.bitstream.tables import Tables
from relive.bitstream.walk import CodesWalk

Floats = npt.NDArray[np.float32]


class Remainders(Protocol):
    """What is left of the latents of a step."""

    def costs(self, stage: int, cubes: Ints) -> Floats:
        """What each codeword of a stage would leave of cubes `[n]`, in bits: `[n, V]`."""
        ...

    def take(self, stage: int, cubes: Ints, codes: Ints) -> None:
        """Codewords `[n]` were chosen for cubes `[n]`."""
        ...


class CodeChooser:
    """Chooses the codes of the steps of one GOP, in the order in which they will be coded.

    Args:
        tables: of the model.
        h: rows of cubes.
        w: columns of cubes.
    """

    def __init__(self, tables: Tables, h: int, w: int) -> None:
        self._layout, self._grid = tables.layout, (h, w)
        self._model = _ChoosingModel(tables)
        self._walk = CodesWalk(self._model, tables.layout, h, w)

    def step(
        self,
        depths: npt.NDArray[np.uint8],
        motion: npt.NDArray[np.uint8],
        remainders: Remainders,
    ) -> npt.NDArray[np.int16]:
        """Choose the codes of the next step.

        Args:
            depths: uint8 `[h, w]`.
            motion: uint8 `[2, h, w]`.
            remainders: of the step.

        Returns:
            int16 `[K, h, w]`, 0 beyond the depths.
        """
        h, w = self._grid
        stages = self._layout.num_quantizers
        self._model.remainders = remainders
        # numbers of cubes stand where their codes will: the walk asks for these
        cubes: Any = np.tile(np.arange(h * w, dtype=np.int32), stages).reshape(1, stages, h, w)
        coded = self._walk.step(GopCodes(depths[None], motion[None], cubes)).codes[0]
        used = np.arange(stages)[:, None, None] < depths
        return np.where(used, coded, 0).astype(np.int16)


class _ChoosingModel(AdaptiveModel):
    """Learns as a model that codes, but chooses what codes it codes."""

    def __init__(self, tables: Tables) -> None:
        self._bits = BitCounter()
        super().__init__(tables.nets, self._bits)
        self._stages = tables.layout.num_quantizers
        self.remainders: Remainders | None = None

    def code(self, family: str, net: int, rows: Rows, symbols: Ints) -> Ints:
        """Code symbols `[n]`; of codes, choose them for the cubes of these numbers."""
        if family != "codes" or self.remainders is None:
            return super().code(family, net, rows, symbols)
        stage = net % self._stages
        bits = self._live[family][net].bits(rows)
        bits += self.remainders.costs(stage, symbols)
        codes = bits.argmin(1).astype(np.int32)
        self.remainders.take(stage, symbols, codes)
        return super().code(family, net, rows, codes)
