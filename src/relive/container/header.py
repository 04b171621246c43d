"""What a replay says about itself before its first GOP (docs/format.md, 1.1)."""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import dataclass, field
from typing import Any

from relive.container.words import WORDS
from relive.errors import FormatError

VERSION_MAJOR = 1
_MINOR_BY_TIERS = {1: 0, 2: 3}
_MINOR_WITH_ADAPTER = 4
_MINOR_WITH_PALETTES = 5
_MINOR_WITH_PULLS = 6
_MINOR_COMPACT = 7
MAX_ADAPTER_BYTES = 1 << 18
MAX_MEMORY_BYTES = 1 << 17
METADATA_NAME = "relive"
_MAX_JSON_BYTES = 1 << 20
_MAX_PACKED = 5 * (1 << 20) // 4
_LONGEST = {"adapter": 5 * MAX_ADAPTER_BYTES // 4, "memory": 5 * MAX_MEMORY_BYTES // 4}
"""Characters of a packet as text: base 85 makes five of four."""
_EXTRA = "x."
_RANGES = {
    "profile": (0, 255),
    "width": (1, 16384),
    "height": (1, 16384),
    "num_quantizers": (1, 32),
    "codebook_size": (2, 32768),
    "keyframe_interval": (1, 2048),
    "quality": (0, 100),
}
_USUAL = {"profile": 0, "num_quantizers": 6, "codebook_size": 512, "keyframe_interval": 32}
"""Not written where the replay is compact."""


@dataclass(frozen=True)
class ReplayHeader:
    """The header of a replay.

    Attributes:
        version: format version, `major.minor`; by default the lowest that has all it needs.
        model_id: hash of the weights that coded it, lower-case hexadecimal.
        width: pixels of a frame across, 1 … 16384.
        height: pixels of a frame down, 1 … 16384.
        num_quantizers: quantiser stages, 1 … 32.
        codebook_size: entries of a codebook, 2 … 32768.
        keyframe_interval: frames of a whole GOP.
        quality: the encoder's setting.
        game: name of the game, may be empty.
        state_schema: `StateSchema.to_dict()`.
        region_schema: `RegionSchema.to_dict()`, or None.
        profile: coding profile of the packets.
        tiers: 1, codes alone, or 2, with the enhancement layer.
        adapter: packet that changes the probability tables of the model; empty if none does.
        memory: packet of the cubes that the session shows again and again; empty if there are none.
            A replay that has one is compact.
        light: deltas without codes run no network; their base pictures are the frames before,
            warped.
        palettes: enhancement packets may have profile 3; not in the file but by its version.
        pulls: they may have profile 4, likewise.
        compact: packets leave out what the messages around them say, likewise; it may have all of
            the above.
        extra: further text of the encoder.
    """

    model_id: str
    width: int
    height: int
    num_quantizers: int = 6
    codebook_size: int = 512
    keyframe_interval: int = 32
    quality: int = 5
    game: str = ""
    state_schema: dict[str, Any] = field(default_factory=dict)
    region_schema: dict[str, Any] | None = None
    profile: int = 0
    tiers: int = 1
    adapter: bytes = b""
    memory: bytes = b""
    light: bool = False
    palettes: bool = False
    pulls: bool = False
    compact: bool = False
    extra: dict[str, str] = field(default_factory=dict)
    version: str = ""

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise FormatError(f"replay header: {name} must lie in {low} … {high}, not {value}")

        if self.tiers not in _MINOR_BY_TIERS:
            raise FormatError(f"replay header: tiers must be 1 or 2, not {self.tiers}")
        if len(self.adapter) > MAX_ADAPTER_BYTES:
            raise FormatError(
                f"replay header: an adapter of {len(self.adapter)} bytes, over {MAX_ADAPTER_BYTES}"
            )
        if len(self.memory) > MAX_MEMORY_BYTES:
            raise FormatError(
                f"replay header: a memory of {len(self.memory)} bytes, over {MAX_MEMORY_BYTES}"
            )
        if (
            self.compact
            or self.memory
            or (self.version and _minor_of(self.version) >= _MINOR_COMPACT)
        ):
            for name in ("compact", "palettes", "pulls"):
                object.__setattr__(self, name, True)
        if not self.version:
            object.__setattr__(self, "version", f"{VERSION_MAJOR}.{self._minor()}")

    def _minor(self) -> int:
        if self.compact:
            return _MINOR_COMPACT
        if self.pulls:
            return _MINOR_WITH_PULLS
        if self.light or self.palettes:
            return _MINOR_WITH_PALETTES
        return _MINOR_WITH_ADAPTER if self.adapter else _MINOR_BY_TIERS[self.tiers]

    def to_metadata(self) -> dict[str, str]:
        """Return the key-value pairs of the Metadata record, checksum included."""
        pairs = {"version": self.version, "model_id": self.model_id, "game": self.game}
        usual = _USUAL if self.compact else {}
        for name in _RANGES:
            if getattr(self, name) != usual.get(name):
                pairs[name] = str(getattr(self, name))
        if self.tiers > 1:
            pairs["tiers"] = str(self.tiers)
        words = WORDS if self.compact else b""
        pairs["state_schema"] = _pack_json(self.state_schema, words)
        if self.region_schema is not None:
            pairs["region_schema"] = _pack_json(self.region_schema, words)
        if self.adapter:
            pairs["adapter"] = base64.b85encode(self.adapter).decode()
        if self.memory:
            pairs["memory"] = base64.b85encode(self.memory).decode()
        if self.light:
            pairs["light"] = "1"
        pairs |= {_EXTRA + name: value for name, value in self.extra.items()}
        return pairs | {"crc32": _checksum(pairs)}

    @classmethod
    def from_metadata(cls, pairs: dict[str, str]) -> ReplayHeader:
        """Check and read the key-value pairs of the Metadata record.

        Raises:
            FormatError: damage, a missing key, a value out of range or another major version.
        """
        pairs = dict(pairs)
        if pairs.pop("crc32", None) != _checksum(pairs):
            raise FormatError("replay header is damaged: its checksum differs")
        version = _text(pairs, "version")
        minor = _minor_of(version)
        if version.partition(".")[0] != str(VERSION_MAJOR):
            raise FormatError(
                f"replay of format version {version}; this program reads version {VERSION_MAJOR}: "
                f"update relive"
            )
        regions = pairs.get("region_schema")
        words = WORDS if minor >= _MINOR_COMPACT else b""
        if words:
            pairs = {name: str(usual) for name, usual in _USUAL.items()} | pairs
        return cls(
            version=version,
            model_id=_text(pairs, "model_id"),
            game=_text(pairs, "game"),
            state_schema=_unpack_json(_text(pairs, "state_schema"), words),
            tiers=_number(pairs, "tiers") if "tiers" in pairs else 1,
            adapter=_unpack_bytes(pairs, "adapter"),
            memory=_unpack_bytes(pairs, "memory") if minor >= _MINOR_COMPACT else b"",
            light=_flag(pairs, "light"),
            palettes=minor >= _MINOR_WITH_PALETTES,
            pulls=minor >= _MINOR_WITH_PULLS,
            compact=minor >= _MINOR_COMPACT,
            region_schema=None if regions is None else _unpack_json(regions, words),
            extra={k[len(_EXTRA) :]: v for k, v in pairs.items() if k.startswith(_EXTRA)},
            **{name: _number(pairs, name) for name in _RANGES},
        )


def _minor_of(version: str) -> int:
    found = re.fullmatch(r"[0-9]{1,4}\.([0-9]{1,4})", version)
    if found is None:
        raise FormatError(f"replay header: {version[:20]!r} is no version")
    return int(found[1])


def _checksum(pairs: dict[str, str]) -> str:
    text = "".join(f"{key}\0{pairs[key]}\0" for key in sorted(pairs))
    return f"{zlib.crc32(text.encode()):08x}"


def _text(pairs: dict[str, str], name: str) -> str:
    if name not in pairs:
        raise FormatError(f"replay header lacks {name!r}")
    return pairs[name]


def _number(pairs: dict[str, str], name: str) -> int:
    text = _text(pairs, name)
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise FormatError(f"replay header: {name} is not a number: {text[:20]!r}")
    return int(text)


def _flag(pairs: dict[str, str], name: str) -> bool:
    if pairs.get(name, "1") != "1":
        raise FormatError(f"replay header: {name} is not 1: {pairs[name][:20]!r}")
    return name in pairs


def _pack_json(value: dict[str, Any], words: bytes) -> str:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    packer = zlib.compressobj(9, zdict=words) if words else zlib.compressobj(9)
    return base64.b85encode(packer.compress(text.encode()) + packer.flush()).decode()


def _unpack_bytes(pairs: dict[str, str], name: str) -> bytes:
    text = pairs.get(name, "")
    if len(text) > _LONGEST[name]:
        raise FormatError(f"replay header: a {name} of {len(text)} characters")
    try:
        return base64.b85decode(text)
    except ValueError as error:
        raise FormatError(f"replay header: the {name} cannot be unpacked ({error})") from error


def _unpack_json(packed: str, words: bytes) -> dict[str, Any]:
    try:
        unpacker = zlib.decompressobj(zdict=words) if words else zlib.decompressobj()
        text = unpacker.decompress(base64.b85decode(packed[:_MAX_PACKED]), _MAX_JSON_BYTES)
        whole = unpacker.eof and not unpacker.unused_data
        value = json.loads(text.decode()) if whole else None
    except (ValueError, zlib.error, RecursionError) as error:
        raise FormatError(f"replay header: a schema cannot be unpacked ({error})") from error
    if not isinstance(value, dict):
        raise FormatError(f"replay header: a schema is not one JSON object of {_MAX_JSON_BYTES} B")
    return value
