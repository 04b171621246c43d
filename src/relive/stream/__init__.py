"""Live streams over WebSockets: a sender that many may watch, and a receiver.

```
 session ──► Encoder ──► outbox of each receiver ──► WebSocket ──► Decoder ──► session, report
             in time     bounded; drops to the
                         next keyframe
```
"""

from relive.stream.receiver import ReceiveReport, receive
from relive.stream.sender import Sender, SendReport, send

__all__ = ["ReceiveReport", "SendReport", "Sender", "receive", "send"]
