"""A model whose codebooks have grown: the same networks, new entries behind the old ones.

```
 new sessions ─► remainders ─► entries added to every stage ─┐
 new and known sessions ─► GOPs ─► probability tables anew ──┴─► model file, a new id
 model file of before ─► its tables, under `earlier.` ──────────────┘
```

The networks, the layer's tables and the first entries of every codebook are the same to the bit, so
the file of before can be made again out of the new one (`relive.codec.earlier`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from relive.bitstream import GopCodes, Tables
from relive.bitstream.gop_codes import MAX_CODEBOOK
from relive.codec.bundle import Bundle, bundled_path, load_bundle
from relive.codec.earlier import BOOKS, EARLIER, OWN, load_earlier, read_model
from relive.codec.gop import encode_gop, start_step, step_rows, try_codes
from relive.codec.novelty import NEW, misfit
from relive.codec.rate import QUALITIES
from relive.codec.replay import Replay
from relive.codec.step import Geometry, StepCoder
from relive.codec.track import gop_track
from relive.container import ReplayReader
from relive.errors import InputError
from relive.model.context import Carry
from relive.model.motion import NUM_MOTION
from relive.quantizer.growing import grown
from relive.session import Session

ENTRIES = 256
GOP_FRAMES, WINDOWS = 32, 6
STEPS = 5
"""Of a window, from which remainders are taken: a keyframe and deltas."""
TABLE_QUALITIES = (1, 1, 4, 7)
Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class GrowReport:
    """What came of it.

    Attributes:
        model_id: of the new model.
        earlier_id: of the model of before.
        entries: of every codebook now.
        misfits: `novelty.misfit` of every session of the data, by its path.
        used: the sessions that were new.
    """

    model_id: str
    earlier_id: str
    entries: int
    misfits: dict[Path, float]
    used: tuple[Path, ...]


def grow(
    data: Sequence[Path],
    out: Path,
    *,
    known: Sequence[Path] = (),
    model: Path | None = None,
    entries: int = ENTRIES,
    limit: float = NEW,
    force: bool = False,
    told: Told | None = None,
) -> GrowReport:
    """Add entries for what is new, and write the model that has them.

    Args:
        data: sessions; those that are new to the model are learned from.
        out: the model file to write.
        known: sessions of games that the model knew, so that its probability tables go on fitting
            them.
        model: the file to start from; None for the bundled one.
        entries: added to every stage.
        limit: `novelty.misfit` over which a session is new.
        force: overwrite `out`.
        told: the stage, and how much is done of how much.

    Raises:
        InputError: Nothing is new, a number is out of range, or `out` exists.
    """
    source = model or bundled_path()
    source = source / "model.safetensors" if source.is_dir() else source
    _check_output(out, source, force)
    bundle = load_bundle(source)
    before = bundle.config.quantizer.codebook_size
    if not 1 <= entries <= MAX_CODEBOOK - before:
        raise InputError(f"{entries} entries are not between 1 and {MAX_CODEBOOK - before}")
    told = told or _nobody
    misfits = {}
    for number, path in enumerate(data):
        told("looking", number, len(data))
        with Session.open(path, verify=True) as session:
            misfits[path] = misfit(bundle, session)
    used = [path for path in data if misfits[path] > limit]
    if not used:
        most = max(misfits.values(), default=0.0)
        raise InputError(
            f"nothing is new to model {bundle.model_id}: of {len(data)} sessions the greatest "
            f"misfit is {most:.4f}, new is over {limit}"
        )
    larger = _with_books(bundle, _grown_books(bundle, used, entries, told))
    gops = list(_gops(larger, [*used, *known], told))
    sizes = (larger.config.quantizer.num_quantizers, larger.config.quantizer.codebook_size)
    told("fitting", 0, 1)
    tables = Tables.fit(gops, *sizes, NUM_MOTION)
    _write(out, source, larger, tables)
    made = load_bundle(out)
    return GrowReport(made.model_id, bundle.model_id, sizes[1], misfits, tuple(used))


def bundle_for(model_id: str, bundle: Bundle) -> Bundle | None:
    """Find the model of some id: a model itself or, once loaded and kept, one that it grew from.

    Returns:
        None where it is neither.
    """
    if bundle.model_id == model_id:
        return bundle
    if bundle.path is None or not bundle.path.is_file():
        return None
    return _earlier(model_id, bundle.path, bundle.model_id)


@lru_cache(maxsize=32)
def _earlier(model_id: str, path: Path, _grown_id: str) -> Bundle | None:
    return load_earlier(model_id, path)


def open_replay(path: Path | str, bundle: Bundle, tiers: int | None = None) -> Replay:
    """Open a replay with a model, or with the one that it grew from, as the replay needs it.

    Args:
        path: of the file.
        bundle: the model; where the replay needs another one, it says so when codes or frames are
            asked for.
        tiers: as in `Replay.open`.

    Raises:
        InputError: The file is missing or is not a replay.
    """
    reader = ReplayReader.open(path)
    try:
        return Replay(reader, bundle_for(reader.header.model_id, bundle) or bundle, tiers)
    except BaseException:
        reader.close()
        raise


def _check_output(out: Path, source: Path, force: bool) -> None:
    """Refuse, before any work, what could not be written.

    Raises:
        InputError: There is no such folder, it exists, or it is the model that is to grow.
    """
    if not out.parent.is_dir():
        raise InputError(f"cannot write {out}: there is no folder {out.parent}")
    if out.exists() and source.exists() and out.samefile(source):
        raise InputError(f"{out} is the model itself; old replays need it, choose another name")
    if out.exists() and not force:
        raise InputError(f"{out} exists; add --force to overwrite it")


def _nobody(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


def _windows(session: Session) -> list[int]:
    """First frames of windows spread over a session."""
    last = max(session.num_frames - GOP_FRAMES, 0)
    return sorted(set(np.linspace(0, last, WINDOWS).astype(int).tolist()))


@torch.inference_mode()
def _grown_books(bundle: Bundle, paths: Sequence[Path], entries: int, told: Told) -> Tensor:
    """Codebooks of keyframes and deltas, grown: `[2, K, V + A, D]`."""
    seen: tuple[list[Tensor], list[Tensor]] = ([], [])
    for number, path in enumerate(paths):
        told("reading", number, len(paths))
        with Session.open(path, verify=True) as session:
            for kind, vectors in _remainders(bundle, session):
                seen[kind].append(vectors)
    generator = torch.Generator().manual_seed(0)
    books = []
    for kind, rows in enumerate(seen):
        told("growing", kind, len(seen))
        books.append(grown(bundle.quantizer.codebooks[kind], torch.cat(rows), entries, generator))
    return torch.stack(books)


def _remainders(bundle: Bundle, session: Session) -> Iterator[tuple[int, Tensor]]:
    """Kind and remainders `[N, D]` of the first steps of windows, coded to full depth."""
    coder = StepCoder(bundle, session.schema, Geometry(session.width, session.height))
    for first in _windows(session):
        stop = min(first + 2 * STEPS, session.num_frames)
        track, frames = gop_track(session, first, stop), session.frames(first, stop)
        padded = coder.geometry.pad(frames)
        carry: Carry | None = None
        for index in range(-(-len(frames) // 2)):
            start = start_step(coder, carry, padded, track, step_rows(index, len(frames)))
            trial = try_codes(coder, carry, start)
            yield trial.step.kind, trial.remainder.flatten(0, 2)
            depths = torch.full(trial.codes.shape[:2], trial.codes.shape[-1])
            carry = coder.finish(trial.step, trial.codes, depths)


def _with_books(bundle: Bundle, books: Tensor) -> Bundle:
    """The model with other codebooks, tables that know nothing yet."""
    quantizer = replace(bundle.config.quantizer, codebook_size=books.shape[2])
    config = replace(bundle.config, quantizer=quantizer)
    larger = type(bundle.quantizer)(quantizer)
    larger.codebooks.copy_(books.half().float())
    tables = Tables.uniform(quantizer.num_quantizers, quantizer.codebook_size, NUM_MOTION)
    return replace(bundle, config=config, quantizer=larger.eval(), tables=tables)


def _gops(bundle: Bundle, paths: Sequence[Path], told: Told) -> Iterator[GopCodes]:
    """Codes of GOPs spread over sessions, at changing quality."""
    for number, path in enumerate(paths):
        told("encoding", number, len(paths))
        with Session.open(path, verify=True) as session:
            coder = StepCoder(bundle, session.schema, Geometry(session.width, session.height))
            for turn, first in enumerate(_windows(session)):
                stop = min(first + GOP_FRAMES, session.num_frames)
                setting = QUALITIES[TABLE_QUALITIES[turn % len(TABLE_QUALITIES)] - 1]
                track = gop_track(session, first, stop)
                with torch.inference_mode():
                    yield encode_gop(coder, session.frames(first, stop), track, setting).codes


def _write(out: Path, source: Path, bundle: Bundle, tables: Tables) -> None:
    """Write the model beside its name, with what makes the file of before again."""
    tensors, metadata = read_model(source)
    kept = {name: t for name, t in tensors.items() if not name.startswith(OWN)}
    earlier = {EARLIER + name: t for name, t in tensors.items() if name.startswith(OWN)}
    arrays = tables.to_arrays().items()
    own = {f"tables.{name}": torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays}
    books = bundle.quantizer.codebooks.half()
    size = tensors[BOOKS].shape[2]
    books[:, :, :size] = tensors[BOOKS]
    config = json.dumps(bundle.config.to_dict())
    part = out.with_name(out.name + ".part")
    data = safetensors.torch.save(
        {**kept, **own, **earlier, BOOKS: books.contiguous()},
        metadata={"config": config, "earlier": json.dumps(metadata)},
    )
    try:
        part.write_bytes(data)
        part.rename(out)
    finally:
        part.unlink(missing_ok=True)
