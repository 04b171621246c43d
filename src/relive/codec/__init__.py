"""Joins the line: encode a session, decode any range.

```
 session ──encode──► .relive ──Replay──► frames, states
                        └─────decode──► video, session, pictures, raw
```
"""

from relive.codec.bundle import Bundle, load_bundle, save_bundle
from relive.codec.encoder import EncodeReport, encode
from relive.codec.output import decode
from relive.codec.replay import Replay

__all__ = ["Bundle", "EncodeReport", "Replay", "decode", "encode", "load_bundle", "save_bundle"]
