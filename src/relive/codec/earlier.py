"""Models that have grown out of others (`relive.codec.growing`): the model of before, made again.

A grown model holds the networks once, its own tables, and under `earlier.` those of the model it
grew from, whose codebooks are the first entries of its own. Put together they are the file of
before, byte for byte; its hash is the model id that old replays name, so nothing has to be trusted.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import safetensors.torch
from safetensors import safe_open
from torch import Tensor

from relive.codec.bundle import Bundle, bundled_path, load_bundle
from relive.config import ModelConfig
from relive.errors import InputError, ModelMismatchError

EARLIER = "earlier."
OWN = ("tables.", EARLIER)
"""Of a model alone; all else is shared with the one it grew from."""
BOOKS = "quantizer.codebooks"


def read_model(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a model file."""
    with safe_open(path, "pt") as opened:
        names = list(opened.keys())
        return {name: opened.get_tensor(name) for name in names}, dict(opened.metadata() or {})


def earlier(path: Path) -> bytes | None:
    """Make the model file of before out of a grown one, byte for byte.

    Returns:
        None where the model has not grown.

    Raises:
        InputError: It is not a Relive model.
    """
    tensors, metadata = read_model(path)
    if "earlier" not in metadata:
        return None
    try:
        before = {str(k): str(v) for k, v in json.loads(metadata["earlier"]).items()}
        size = ModelConfig.from_dict(json.loads(before["config"])).quantizer.codebook_size
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} does not say what it has grown from: {error}") from error
    kept = {name: t for name, t in tensors.items() if not name.startswith(OWN)}
    own = {n.removeprefix(EARLIER): t for n, t in tensors.items() if n.startswith(EARLIER)}
    kept[BOOKS] = kept[BOOKS][:, :, :size].contiguous()
    return safetensors.torch.save({**kept, **own}, metadata=before)


def load_earlier(model_id: str, path: Path) -> Bundle | None:
    """Load the model of some id that a model has grown from; None where there is none."""
    with TemporaryDirectory(prefix="relive-") as folder:
        while (data := earlier(path)) is not None:
            path = Path(folder) / "model.safetensors"
            path.write_bytes(data)
            bundle = load_bundle(path)
            if bundle.model_id == model_id:
                return bundle
    return None


def load_for(model_id: str, path: Path | str | None = None) -> Bundle:
    """Load the model that a replay needs: that of the file, or one that it has grown from.

    Raises:
        ModelMismatchError: The model is another one.
    """
    bundle = load_bundle(path)
    if bundle.model_id == model_id:
        return bundle
    file = bundled_path() if path is None else Path(path)
    file = file / "model.safetensors" if file.is_dir() else file
    if (before := load_earlier(model_id, file)) is not None:
        return before
    found = "the bundled model" if path is None else f"{path}"
    raise ModelMismatchError(
        f"the replay needs model {model_id}, but {found} is {bundle.model_id}; "
        "name the right one with --model"
    )
