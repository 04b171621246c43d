"""Codes and states ↔ packets: integers left, bytes right, no torch.

```
 GopCodes ── encode_codes ──► packet ── decode_codes ──► GopCodes
 times, present, states ── encode_track ──► packet ── decode_track ──► the same
```
"""

from relive.bitstream.codes_packet import decode_codes, encode_codes
from relive.bitstream.gop_codes import GopCodes
from relive.bitstream.tables import Tables

__all__ = ["GopCodes", "Tables", "decode_codes", "encode_codes"]
