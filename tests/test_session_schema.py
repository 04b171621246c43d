"""Schemas: what is allowed, and that they come back from dicts and TOML."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relive.errors import InputError
from relive.session import Camera, Region, RegionSchema, StateField, StateSchema

TOML = """
[[field]]
name = "x"
unit = "m"
role = "camera.x"
step = 0.01

[[field]]
name = "yaw"
unit = "deg"
kind = "angle"
role = "camera.yaw"

[camera]
fov_deg = 90
pixel_aspect = 1.2
yaw_positive = "right"
view = [0, 0, 320, 200]
"""
SCHEMA = StateSchema(
    (
        StateField("x", "m", role="camera.x", step=0.01),
        StateField("yaw", "deg", "angle", "camera.yaw"),
    ),
    Camera(90.0, 1.2, "right", (0, 0, 320, 200)),
)


def test_toml(tmp_path):
    (tmp_path / "s.toml").write_text(TOML)
    schema = StateSchema.from_toml(tmp_path / "s.toml")
    assert schema == SCHEMA
    assert schema.width == 2
    assert (schema.index("camera.yaw"), schema.index("score")) == (1, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = [", "not TOML"),
        ("fields = 1", "unknown key 'fields'"),
        ('[field]\nname = "x"', "array of tables"),
        ('[[field]]\nname = "x"\nnam = 1', "field 1: unknown key 'nam'"),
        ('[[field]]\nunit = "m"', "field 1: the key 'name' is missing"),
        ("[[field]]\nname = 3", "field 1: name must be a text, not 3"),
        ('[[field]]\nname = "x"\nkind = "round"', "kind 'round'"),
        ('[[field]]\nname = "x"\nrole = "camera.w"', "unknown role 'camera.w'"),
        ('[[field]]\nname = "x"\nkind = "angle"', "an angle needs a unit"),
        ('[[field]]\nname = "x"\nstep = -1', "step -1"),
        ('[[field]]\nname = "x"\nstep = nan', "step nan"),
        ('[[field]]\nname = "x"\nstep = true', "step must be a number"),
        ('[[field]]\nname = "x"\n[[field]]\nname = "x"', "'x' is there twice"),
        ("[camera]\npixel_aspect = 1", "camera: the key 'fov_deg' is missing"),
        ("[camera]\nfov_deg = 180", "fov_deg 180"),
        ("[camera]\nfov_deg = 90\nfov = 1", "camera: unknown key 'fov'"),
        ('[camera]\nfov_deg = 90\nyaw_positive = "up"', "yaw_positive 'up'"),
        ("[camera]\nfov_deg = 90\nview = [1, 2, 3]", "view must be four whole numbers"),
        ("[camera]\nfov_deg = 90\nview = [0, 0, 0, 5]", "is not \\[x, y, w, h\\]"),
        ("camera = 3", "camera is not a table"),
    ],
)
def test_bad_toml_is_one_line_with_the_file(tmp_path, text, message):
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        StateSchema.from_toml(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_toml_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        StateSchema.from_toml(tmp_path / "none.toml")


@settings(max_examples=30, deadline=None)
@given(
    fields=st.lists(
        st.builds(
            StateField,
            name=st.text(st.characters(categories=("L", "N")), min_size=1),
            unit=st.just("deg"),
            kind=st.sampled_from(["linear", "angle", "category", "counter"]),
            role=st.sampled_from(["other", "score", "actor.x", "velocity.z"]),
            step=st.floats(0, 1e6),
        ),
        unique_by=lambda field: field.name,
    )
)
def test_state_schema_survives_json(fields):
    schema = StateSchema(tuple(fields), Camera(75.5))
    assert StateSchema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


def test_later_keys_in_a_file_are_skipped():
    values = SCHEMA.to_dict()
    values["later"] = 1
    values["fields"][0]["later"] = 2
    assert StateSchema.from_dict(values) == SCHEMA


def test_region_schema():
    schema = RegionSchema((Region(0, "sky", "simple", 1), Region(255, "hud", "critical", 9)))
    assert RegionSchema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(256, "a", "simple", 1)], "0 to 255"),
        ([(1, "", "simple", 1)], "non-empty"),
        ([(1, "a", "hard", 1)], "complexity 'hard'"),
        ([(1, "a", "simple", 1.5)], "importance"),
        ([(1, "a", "simple", 1), (1, "b", "simple", 1)], "id 1 is there twice"),
        ([(1, "a", "simple", 1), (2, "a", "simple", 1)], "name 'a' is there twice"),
    ],
)
def test_bad_regions_are_refused(rows, message):
    with pytest.raises(InputError, match=message):
        RegionSchema(tuple(Region(*row) for row in rows))


def test_region_dicts_are_checked():
    for values in ({"regions": 3}, {"regions": [{"id": 1}]}):
        with pytest.raises(InputError, match="region schema"):
            RegionSchema.from_dict(values)
