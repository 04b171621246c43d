"""Text that schemas are packed against: zlib finds in it what the schemas of most games say.

Part of the format (docs/format.md, 1.1): a replay of version 1.7 cannot be read with another text.
"""

from __future__ import annotations


def _field(name: str, unit: str, kind: str, role: str, step: str) -> str:
    return f'{{"name":"{name}","unit":"{unit}","kind":"{kind}","role":"{role}","step":{step}}},'


def _words() -> bytes:
    regions = "".join(
        f'{{"id":{number},"name":"{name}","complexity":"{complexity}","importance":{importance}}},'
        for number, (name, complexity, importance) in enumerate(
            [
                ("wall", "simple", 2),
                ("floor", "simple", 1),
                ("actor", "complex", 4),
                ("thing", "complex", 3),
                ("hud", "critical", 6),
                ("weapon", "complex", 5),
            ]
        )
    )
    names = "food drink energy sapling wood stone coal iron diamond wood_pickaxe stone_pickaxe"
    names += " iron_pickaxe wood_sword stone_sword iron_sword"
    words = [_field(name, "", "counter", "other", "1.0") for name in names.split()]
    words += [
        _field("daylight", "", "linear", "other", "0.00390625"),
        _field("achievements", "", "counter", "score", "1.0"),
        _field("sleeping", "", "category", "mode", "1.0"),
        _field("x", "tile", "linear", "actor.x", "1.0"),
        _field("y", "tile", "linear", "actor.y", "1.0"),
        _field("facing", "", "category", "other", "1.0"),
        _field("reward", "", "linear", "other", "0.0"),
        _field("return", "", "linear", "score", "0.0"),
        _field("episode", "", "counter", "other", "0.0"),
        _field("episode_step", "", "counter", "other", "0.0"),
        _field("ended", "", "category", "other", "0.0"),
        '"kind":"angle","role":"camera.roll","unit":"rad","turn","camera.fov","level"',
        '],"camera":null}',
        '{"regions":[' + regions[:-1] + "]}",
        '{"fields":[',
    ]
    for axis in "xyz":
        words.append(_field(axis, "mapunit", "linear", f"camera.{axis}", "0.0625"))
    for axis in ("yaw", "pitch"):
        words.append(_field(axis, "deg", "angle", f"camera.{axis}", "0.0054931640625"))
    for axis in "xyz":
        words.append(
            _field(f"velocity_{axis}", "mapunit/tic", "linear", f"velocity.{axis}", "0.015625")
        )
    words += [
        _field("health", "percent", "linear", "other", "1.0"),
        _field("ammo", "", "linear", "other", "1.0"),
        _field("armor", "percent", "linear", "other", "1.0"),
        _field("weapon", "", "category", "other", "1.0"),
        _field("kills", "", "counter", "score", "1.0")[:-1],
        '],"camera":{"fov_deg":90.0,"pixel_aspect":1.2,"yaw_positive":"left",',
        '"view":[0,0,320,208]}}',
    ]
    return "".join(words).encode()


WORDS = _words()
