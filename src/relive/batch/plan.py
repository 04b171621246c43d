"""What a batch has to do: which sessions, by which settings, with which model."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from relive.batch.task import Settings
from relive.errors import InputError, refuse_folder

SUFFIX = ".mcap"


def find_sessions(folder: Path) -> list[str]:
    """List the sessions of a folder and below, sorted; hidden ones are none.

    Raises:
        InputError: There is none, or a folder cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; --batch encodes the sessions below one")
    found: list[str] = []
    for place, below, names in os.walk(folder, onerror=refuse_folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            if name.endswith(SUFFIX) and not name.startswith("."):
                found.append((Path(place) / name).relative_to(folder).as_posix())
    if not found:
        raise InputError(f"there is no session (*{SUFFIX}) in {folder} or below")
    return found


def settle(settings: Settings) -> tuple[Settings, str]:
    """Check settings before any session is opened, and fill in what is left out.

    Returns:
        The settings, and the id of the model.

    Raises:
        InputError: A setting cannot work with any session.
        ModelMismatchError: The model is missing.
    """
    from relive.codec import load_bundle
    from relive.codec.effort import effort_of
    from relive.codec.encoder import DEFAULT_QUALITY
    from relive.codec.refusals import check_values, target_of

    bundle = load_bundle(settings.model)
    effort_of(settings.preset)
    target = target_of(settings.quality, settings.bitrate, settings.psnr, settings.depth)
    quality = settings.quality
    if target is None:
        quality = DEFAULT_QUALITY if quality is None else quality
    stages = bundle.config.quantizer.num_quantizers
    check_values(quality or DEFAULT_QUALITY, settings.keyframe_interval, settings.depth, stages)
    model = None if settings.model is None else settings.model.resolve()
    return replace(settings, quality=quality, model=model), bundle.model_id
