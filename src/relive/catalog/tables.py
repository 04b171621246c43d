"""The tables of a catalogue.

```
 files ──┬── gops            where every GOP lies, how good it is
         ├── events
         ├── states_…        one row a frame, NULL where its state is unknown; one a schema
         └── descriptors_…   one row a keyframe; a table for every model
```
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from relive.session import StateSchema

VERSION = "2"
CREATE = """
CREATE TABLE meta (key VARCHAR, value VARCHAR);
CREATE TABLE folders (path VARCHAR);
CREATE TABLE files (
    file INTEGER, path VARCHAR, bytes BIGINT, mtime_ns BIGINT, sha256 VARCHAR,
    condition VARCHAR, problems VARCHAR[], verified BOOLEAN, missing BOOLEAN,
    game VARCHAR, map VARCHAR, model_id VARCHAR, width INTEGER, height INTEGER, fps DOUBLE,
    frames BIGINT, start_ns BIGINT, duration_s DOUBLE,
    schema VARCHAR, states VARCHAR, descriptors VARCHAR
);
CREATE TABLE gops (
    file INTEGER, gop BIGINT, first_frame BIGINT, num_frames INTEGER, start_ns BIGINT,
    end_ns BIGINT, psnr_db DOUBLE, codes_at BIGINT, codes_bytes BIGINT, detail_bytes BIGINT
);
CREATE TABLE events (file INTEGER, time_ns BIGINT, frame BIGINT, name VARCHAR, payload VARCHAR);
"""
OF_FILES = ("gops", "events")
RESERVED = ("file", "frame", "time_s", "time_ns", "present")


@dataclass(frozen=True)
class StateTable:
    """The table that the states of one schema go into.

    Attributes:
        name: of the table.
        columns: of the fields, in their order; where two names differ in case alone, or a name is
            one of the table's own, it has an underscore behind it.
    """

    name: str
    columns: tuple[str, ...]

    @classmethod
    def of(cls, schema: StateSchema) -> StateTable:
        """Name table and columns; schemas with the same fields share a table."""
        names = [field.name for field in schema.fields]
        digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:12]
        taken, columns = set(RESERVED), []
        for name in names:
            while name.lower() in taken:
                name += "_"
            taken.add(name.lower())
            columns.append(name)
        return cls(f"states_{digest}", tuple(columns))

    @property
    def create(self) -> str:
        """SQL that makes the table where it is not there."""
        fields = "".join(f", {quoted(name)} FLOAT" for name in self.columns)
        return (
            f"CREATE TABLE IF NOT EXISTS {self.name} "
            f"(file INTEGER, frame BIGINT, time_s DOUBLE, present BOOLEAN{fields})"
        )


def descriptor_table(model_id: str) -> str:
    """Name the table of the descriptors of a model; only these compare with each other."""
    return f"descriptors_{model_id}"


def quoted(name: str) -> str:
    """Write a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def map_of(game: str) -> str:
    """Say the map, level or scenario: what stands last in the name of a game."""
    return game.rsplit("/", 1)[-1].rsplit(":", 1)[-1]
