"""What a compact enhancement packet says of its frames, before their cubes.

    number of the quantiser step ─► strength of deblocking ─► with or without post-filter ─► pull
    to the colours of the game ─► tint of these

Each is told by what the frame before has; how far, is learned in the packet.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import NOT_WRITTEN, SymbolDecoder, SymbolEncoder
from relive.bitstream.detail import GopDetail
from relive.errors import FormatError

SYMBOLS = 10
"""Of a frame, at most."""


def code_settings(coder: SymbolEncoder | SymbolDecoder, detail: GopDetail) -> None:
    """Code steps, strengths, unfiltered, pulls and tints of all frames; a decoder takes them.

    Raises:
        FormatError: what is decoded was not written by an encoder.
    """
    from relive.bitstream.settings_kernel import code_all  # as array_kernel in context_model

    arrays: list[npt.NDArray[np.uint8]] = [
        detail.steps, detail.strengths, detail.unfiltered, detail.pulls, detail.tints
    ]  # fmt: skip
    if isinstance(coder, SymbolEncoder):
        coder.reserve(SYMBOLS * len(detail.steps))
        arrays = [array.copy() for array in arrays]
    if not code_all(coder.state, coder.words, coder.decodes, *arrays):
        raise FormatError(f"enhancement packet: {NOT_WRITTEN}")
