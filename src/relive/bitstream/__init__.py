"""Codes and states ↔ packets: integers left, bytes right, no torch (docs/format.md).

```
 GopCodes ── encode_codes ──► packet ── decode_codes ──► GopCodes
 GopDetail, codes ── encode_detail ──► packet ── decode_detail ──► GopDetail
 times, states, codes, detail of a step ── StepWriter ──► live packet ── StepReader ──► the same
 GOPs of a session, tables ── fit_adapter ──► packet ── apply_adapter ──► tables of that session
 times, present, states ── encode_track ──► packet ── decode_track ──► the same
```
"""

from relive.bitstream.adapter import apply_adapter
from relive.bitstream.choosing import CodeChooser
from relive.bitstream.codes_packet import decode_codes, decode_keyframe, encode_codes
from relive.bitstream.detail import GopDetail, cube_steps, has_levels, step_size
from relive.bitstream.detail_packet import (
    DetailReader,
    DetailTables,
    decode_detail,
    encode_detail,
)
from relive.bitstream.fit_adapter import LEAST_GOPS, fit_adapter
from relive.bitstream.gop_codes import GopCodes
from relive.bitstream.live_packet import StepHead, StepLayout, StepReader, StepWriter, is_keyframe
from relive.bitstream.memory import MAX_TILES, decode_memory, encode_memory
from relive.bitstream.tables import Tables
from relive.bitstream.track_packet import Clock, decode_track, encode_track

__all__ = [
    "LEAST_GOPS",
    "MAX_TILES",
    "Clock",
    "CodeChooser",
    "DetailReader",
    "DetailTables",
    "GopCodes",
    "GopDetail",
    "StepHead",
    "StepLayout",
    "StepReader",
    "StepWriter",
    "Tables",
    "apply_adapter",
    "cube_steps",
    "decode_codes",
    "decode_detail",
    "decode_keyframe",
    "decode_memory",
    "decode_track",
    "encode_codes",
    "encode_detail",
    "encode_memory",
    "encode_track",
    "fit_adapter",
    "has_levels",
    "is_keyframe",
    "step_size",
]
