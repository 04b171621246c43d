"""Weights that go on learning from another game: its state fields join those that the model knows.

Shapes: S state fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from relive.cubes.store import SessionStore
from relive.model.hst_mae import HSTMAE
from relive.model.state import FEATURES
from relive.quantizer.rvq import ResidualVQ
from relive.train.inputs import state_inputs

MOST_FIELDS = 24  # that join
PLACES = {f"{who}.{axis}" for who in ("camera", "actor") for axis in ("x", "y", "z", "yaw")}
"""Roles of fields that say nothing on another map."""


def new_fields(model: HSTMAE, stores: Sequence[SessionStore]) -> tuple[str, ...]:
    """Names of the fields of sessions that a model does not read yet, the most common first."""
    known = {s.name for s in model.config.state_inputs}
    counts: dict[str, int] = {}
    for store in stores:
        for field in store.schema.fields:
            if field.name not in known and field.role not in PLACES:
                counts[field.name] = counts.get(field.name, 0) + 1
    return tuple(sorted(counts, key=lambda name: -counts[name])[:MOST_FIELDS])


def with_fields(
    weights: tuple[HSTMAE, ResidualVQ], stores: Sequence[SessionStore]
) -> tuple[HSTMAE, ResidualVQ]:
    """Let a model read the fields of sessions too; with what it knew it gives what it gave.

    Args:
        weights: networks and codebooks.
        stores: sessions of the game that it shall learn.
    """
    model, quantizer = weights
    names = new_fields(model, stores)
    if not names or not model.config.mechanisms.state:
        return weights
    # what modulates the decoder is chosen by role; it stays as it was trained
    added = tuple(replace(s, role="other") for s in state_inputs(stores, names))
    old = model.config.state_inputs
    wider = HSTMAE(replace(model.config, state_inputs=(*old, *added)))
    tensors = model.state_dict()
    name = "state.project.weight"
    fresh = torch.zeros(len(tensors[name]), len(added) * FEATURES)
    tensors[name] = torch.cat([tensors[name][:, : len(old) * FEATURES], fresh], 1)
    wider.load_state_dict(tensors)
    return wider, quantizer
