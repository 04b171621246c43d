"""Joins the line: encode a session, decode any range.

```
 session ──encode──► .relive ──Replay──► frames, states
                        └─────decode──► video, session, pictures, raw
 frames, states ──Encoder──► live packets ──Decoder──► frames, states
```
"""

from relive.bitstream import is_keyframe
from relive.codec.bundle import Bundle, load_bundle, save_bundle
from relive.codec.encoder import encode
from relive.codec.live import LiveFrame
from relive.codec.live_decoder import Decoder, Losses
from relive.codec.live_encoder import Encoder
from relive.codec.output import decode
from relive.codec.replay import Replay
from relive.codec.report import EncodeReport

__all__ = [
    "Bundle",
    "Decoder",
    "EncodeReport",
    "Encoder",
    "LiveFrame",
    "Losses",
    "Replay",
    "decode",
    "encode",
    "is_keyframe",
    "load_bundle",
    "save_bundle",
]
