"""Which state fields a model reads, and how they are normalised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from relive.config import StateInput
from relive.cubes.states import model_states
from relive.cubes.store import SessionStore


def state_inputs(stores: Sequence[SessionStore], names: Sequence[str]) -> tuple[StateInput, ...]:
    """Measure mean and scale of every field that the model will read."""
    rows = []
    roles = {f.name: f.role for store in stores for f in store.schema.fields}
    angles = {f.name for store in stores for f in store.schema.fields if f.kind == "angle"}
    for store in stores:
        for first in range(1, len(store.states) - 2, 16):
            values, known = model_states(store.schema, store.states[first - 1 : first + 2], names)
            rows.append(np.where(known > 0, values[1:], np.nan))
    table = np.concatenate(rows) if rows else np.zeros((1, len(names)))
    inputs = []
    for column, name in zip(table.T, names, strict=True):
        seen = column[np.isfinite(column)]
        mean, scale = (float(seen.mean()), float(seen.std())) if len(seen) else (0.0, 1.0)
        kind = "angle" if name in angles else "linear"
        mean, scale = round(mean, 4), round(max(scale, 1e-2), 4)
        inputs.append(StateInput(name, kind, mean, scale, roles.get(name, "other")))
    return tuple(inputs)
