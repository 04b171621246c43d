"""Rows of training data ──► Parquet, safetensors, NPZ, or a folder of safetensors shards.

All hold the same arrays under the same names (docs/datasets.md); the suffix decides.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from relive.codec import Replay
from relive.codec.output import write_beside
from relive.datasets.steps import StepData, read_steps
from relive.errors import DamagedError, InputError

Progress = Callable[[int, int], None]
Told = Callable[[int], None]
STEPS_A_SHARD = 4096
SUFFIXES = (".parquet", ".safetensors", ".npz")
_INDEX = "index.json"


def write_steps(
    replay: Replay,
    out: Path | str,
    start: int = 0,
    stop: int | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write codes, states and events of a range; no picture is decoded.

    Args:
        replay: an open replay.
        out: `.parquet`, `.safetensors` or `.npz`; without a suffix, a folder of shards.
        start: first frame.
        stop: one past the last frame; None for all.
        force: overwrite `out`.
        progress: told frames done and frames in all.

    Returns:
        Number of steps written.

    Raises:
        InputError: `out` exists, or is of no such kind.
        DamagedError: Parts of the range were damaged; they were written as unreadable.
    """
    out, written = Path(out), 0
    end = replay.num_frames if stop is None else stop
    if out.suffix.lower() not in (*SUFFIXES, ""):
        raise InputError(f"cannot write {out}: name {', '.join(SUFFIXES)}, or a folder of shards")

    def write(replay: Replay, span: range, part: Path, told: Told) -> None:
        nonlocal written
        written = _write(replay, span, part, told)

    def told(count: int) -> None:
        if progress:
            progress(count, end - start)

    write_beside(write, replay, range(start, end), out, force, told)
    if replay.damaged:
        raise DamagedError(f"{replay.path} is damaged; what is readable is in {out}")
    return written


def _write(replay: Replay, span: range, part: Path, told: Told) -> int:
    if not part.suffix or part.suffix == ".part":
        return _write_shards(replay, span, part, told)
    data = read_steps(replay, span.start, span.stop)
    _WRITERS[part.suffix.lower()](data, part)
    told(len(span))
    return len(data.codes)


def _write_shards(replay: Replay, span: range, folder: Path, told: Told) -> int:
    """Write shards of some thousand steps; memory holds one at a time."""
    folder.mkdir()
    shards: list[dict[str, Any]] = []
    steps, about = 0, {}
    for first in range(span.start, span.stop, 2 * STEPS_A_SHARD):
        last = min(span.stop, first + 2 * STEPS_A_SHARD)
        data = read_steps(replay, first, last, begun=not shards)
        told(last - span.start)
        if not len(data.codes):
            continue  # its one frame is of a step of the shard before
        name = f"{len(shards):05d}.safetensors"
        _write_safetensors(data, folder / name)
        shards.append({"file": name, "steps": len(data.codes)})
        steps, about = steps + len(data.codes), data.about
    text = json.dumps({**about, "shards": shards}, indent=1)
    (folder / _INDEX).write_text(text + "\n", encoding="utf-8")
    return steps


def _write_safetensors(data: StepData, out: Path) -> None:
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(array) for name, array in data.arrays().items()}
    save_file(arrays, out, metadata={"relive": data.about_json()})
    out.chmod(0o644)  # safetensors makes files that nobody else may read


def _write_npz(data: StepData, out: Path) -> None:
    arrays: dict[str, Any] = data.arrays()
    np.savez_compressed(out, about=np.array(data.about_json()), **arrays)


def _write_parquet(data: StepData, out: Path) -> None:
    """One row a step; an array is a list of its length, its shape in the field's metadata.

    States without fields are no column, for Parquet has no lists of nothing: in the metadata alone.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields, columns, empty = [], [], {}
    for name, array in data.arrays().items():
        if 0 in array.shape[1:]:
            empty[name] = [array.dtype.str, array.shape[1:]]
            continue
        column = pa.array(np.ascontiguousarray(array).reshape(-1))
        if array.ndim > 1:
            column = pa.FixedSizeListArray.from_arrays(column, int(np.prod(array.shape[1:])))
        shape = {"shape": json.dumps(array.shape[1:])}
        fields.append(pa.field(name, column.type, metadata=shape))
        columns.append(column)
    about = {"relive": data.about_json(), "empty": json.dumps(empty)}
    schema = pa.schema(fields, metadata=about)
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), out, compression="zstd")


def read_file(path: Path | str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what `write_steps` wrote, but for a folder of shards, whose shards are read one by one.

    Returns:
        The arrays by name, and what else is known, `events` among it.

    Raises:
        InputError: The file is missing, or of another kind.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        raise InputError(f"{path} is no file of {', '.join(SUFFIXES)}")
    try:
        return _READERS[path.suffix.lower()](path)
    except (KeyError, ValueError, OSError) as error:
        raise InputError(f"{path} was not written by relive export: {error}") from error


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it has keys(), and cannot be iterated
        return arrays, json.loads((file.metadata() or {})["relive"])


def _read_npz(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files if name != "about"}
        return arrays, json.loads(str(file["about"]))


def _read_parquet(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    import pyarrow.parquet as pq

    table, arrays = pq.read_table(path), {}
    for name in table.column_names:
        shape = json.loads(table.schema.field(name).metadata[b"shape"])
        column = table[name].combine_chunks()
        flat = column.flatten() if shape else column
        arrays[name] = flat.to_numpy(zero_copy_only=False).reshape(-1, *shape)
    about = table.schema.metadata
    for name, (kind, shape) in json.loads(about.get(b"empty", "{}")).items():
        arrays[name] = np.zeros((table.num_rows, *shape), kind)
    return arrays, json.loads(about[b"relive"])


_WRITERS = {".parquet": _write_parquet, ".safetensors": _write_safetensors, ".npz": _write_npz}
_READERS = {".parquet": _read_parquet, ".safetensors": _read_safetensors, ".npz": _read_npz}
