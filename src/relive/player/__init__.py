"""The player: replays on a web page, decoded on this machine as they are watched.

```
 .relive ──► catalogue ──► frames ──► routes ──► page
 files       opaque ids    decoded    FastAPI    HTML, CSS,
                           ahead                 ES modules
```
"""
