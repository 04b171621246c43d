"""Replays ──► a Minari dataset, and a Minari dataset with pictures ──► a session.

Needs the extra `data`. Datasets lie where Minari keeps them (`MINARI_DATASETS_PATH`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from relive.codec import Bundle, Replay
from relive.datasets.episodes import Episode, action_names, episodes, write_session
from relive.datasets.rows import refuse_damage, refuse_unsaid
from relive.errors import InputError, MissingExtraError, ReliveError


def _load() -> Any:
    try:
        import minari
    except ModuleNotFoundError as error:
        raise MissingExtraError("minari", "data") from error
    return minari


def to_minari(
    replays: Sequence[Path | str],
    dataset_id: str,
    *,
    actions: Sequence[str] | None = None,
    pixels: bool = True,
    model: Bundle | Path | str | None = None,
    author: str | None = None,
) -> Any:
    """Make a Minari dataset of the episodes of replays.

    Observations are `{"frame": uint8 [H, W, 3], "state": float32 [S]}`, the names of the states
    stand in the description.

    Args:
        replays: of one size and one schema.
        dataset_id: such as `doom/map01-v0`.
        actions: names of state fields that are actions; None for `action`, `action.…` and the like.
        pixels: put the decoded pictures in; without, observations have states alone.
        model: weights; None for the bundled ones.
        author: whom the dataset names.

    Returns:
        The `minari.MinariDataset`.

    Raises:
        InputError: The replays do not go together, frames were generated or their state is not
            known, or Minari refuses the id.
        DamagedError: A replay is damaged.
    """
    minari = _load()
    from gymnasium import spaces
    from minari.data_collector import EpisodeBuffer

    buffers: list[Any] = []
    shape: tuple[Any, ...] | None = None
    game = ""
    for path in replays:
        with Replay.open(path, model) as replay:
            acted = action_names(replay, actions)
            names = [f.name for f in replay.schema.fields if f.name not in acted]
            found = (replay.height, replay.width, tuple(names), acted)
            if shape not in (None, found):
                raise InputError(f"{path}: other size or fields than {replays[0]}")
            shape, game = found, replay.header.game
            refuse_damage(replay)
            refuse_unsaid(replay)
            buffers += [
                _buffer(EpisodeBuffer, len(buffers) + n, episode)
                for n, episode in enumerate(episodes(replay, acted, pixels))
            ]
            refuse_damage(replay)  # some is only found by decoding
    if shape is None or not buffers:
        raise InputError("no replay with an episode of two frames")
    height, width, names_, acted_ = shape
    observed: dict[str, Any] = {"state": spaces.Box(-np.inf, np.inf, (len(names_),), np.float32)}
    if pixels:
        observed["frame"] = spaces.Box(0, 255, (height, width, 3), np.uint8)
    try:
        with warnings.catch_warnings():  # on what a dataset should tell, and its maker does not
            warnings.simplefilter("ignore", UserWarning)
            return minari.create_dataset_from_buffers(
                dataset_id,
                buffers,
                observation_space=spaces.Dict(observed),
                action_space=spaces.Box(-np.inf, np.inf, (len(acted_),), np.float32),
                author=author,
                description=f"{game}; states: {', '.join(names_)}; actions: {', '.join(acted_)}",
                data_format="arrow",
                jpeg_encoding=False,
            )
    except ValueError as error:
        raise InputError(f"Minari refuses {dataset_id!r}: {error}") from error


def _buffer(kind: Any, number: int, episode: Episode) -> Any:
    observations: dict[str, Any] = {"state": episode.states}
    if episode.frames is not None:
        observations["frame"] = episode.frames
    return kind(
        id=number,
        observations=observations,
        actions=episode.actions,
        rewards=episode.rewards.tolist(),
        terminations=episode.terminations.tolist(),
        truncations=episode.truncations.tolist(),
    )


def from_minari(
    dataset: Any, out: Path | str, *, frame: str | None = None, fps: float = 30.0,
    force: bool = False,
) -> int:  # fmt: skip
    """Write the episodes of a Minari dataset as a session.

    Args:
        dataset: a `minari.MinariDataset`, or the id of one that is on this machine.
        out: `.mcap` to write.
        frame: key of the pictures among the observations; None where these are the pictures.
        fps: frames a second.
        force: overwrite `out`.

    Returns:
        Number of frames written.

    Raises:
        InputError: There is no such dataset, or its observations hold no pictures.
    """
    minari = _load()
    if isinstance(dataset, str):
        try:
            dataset = minari.load_dataset(dataset)
        except (FileNotFoundError, ValueError, KeyError) as error:
            raise InputError(f"no Minari dataset {dataset!r} on this machine: {error}") from error
    game = f"minari:{dataset.spec.dataset_id}"
    return write_session(_episodes(dataset, frame), out, game=game, fps=fps, force=force)


def _episodes(dataset: Any, frame: str | None) -> Iterator[Episode]:
    for episode in dataset.iterate_episodes():
        seen = episode.observations
        if frame is not None and (not isinstance(seen, dict) or frame not in seen):
            raise InputError(f"observations of the dataset have no {frame!r}")
        pictures = np.asarray(seen if frame is None else seen[frame])
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
            raise InputError(
                "observations are no pictures (uint8 [n, H, W, 3]); name their key: frame=…"
            )
        others = [seen[key] for key in sorted(seen) if key != frame] if frame else []
        flat = [np.asarray(v, np.float32).reshape(len(pictures), -1) for v in others]
        states = np.concatenate(flat, 1) if flat else np.zeros((len(pictures), 0), np.float32)
        count = len(pictures) - 1
        if count < 1:
            raise ReliveError(f"episode {episode.id} has no action")
        yield Episode(
            pictures,
            states,
            np.asarray(episode.actions, np.float32).reshape(count, -1),
            np.asarray(episode.rewards, np.float32),
            bool(episode.terminations[-1]),
            np.arange(len(pictures), dtype=np.int64),
        )
