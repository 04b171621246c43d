"""A model as it ships: one safetensors file with weights, codebooks, tables and configuration.

The model id is a hash of the file, so a replay names exactly the weights that it needs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from relive.bitstream import DetailTables, Tables
from relive.bitstream.gop_codes import MAX_CODEBOOK, MAX_QUANTIZERS
from relive.bitstream.layout import Layout
from relive.config import ModelConfig
from relive.enhancement.game_colours import MAX_COLOURS, MIN_COLOURS, GameColours
from relive.enhancement.post_filter import PostFilter
from relive.enhancement.search import LevelCosts
from relive.errors import InputError, ModelMismatchError
from relive.model.hst_mae import HSTMAE
from relive.model.motion import NUM_MOTION
from relive.quantizer.rvq import ResidualVQ

BUNDLED = "tiny"
ID_CHARACTERS = 16
BIT_UNITS = 12  # of the costs of levels, in a bit
MAX_WIDTH = 4096
"""Largest number in the configuration of a model; widths of the largest size are below 2048."""


@dataclass(frozen=True)
class Bundle:
    """Everything that encoder and decoder must share."""

    model_id: str
    config: ModelConfig
    model: HSTMAE
    quantizer: ResidualVQ
    tables: Tables
    sensitivity: Tensor  # pixel error per latent error, [keyframe/delta, D, D]; encoder only
    detail: DetailTables  # of the enhancement layer
    level_costs: LevelCosts  # of the enhancement layer; encoder only
    post_filter: PostFilter | None  # of the enhancement layer
    colours: GameColours | None = None  # that the game draws in
    adapter: bytes = b""  # that has changed the tables
    memory: bytes = b""  # of a session, which its GOPs begin with
    plain: Bundle | None = None  # without both
    path: Path | None = None  # of the file, if it came from one


def bundled_path(name: str = BUNDLED) -> Path:
    """Path of the weights that come with the package."""
    return Path(str(resources.files("relive"))) / "weights" / f"{name}.safetensors"


def save_bundle(
    path: Path,
    model: HSTMAE,
    quantizer: ResidualVQ,
    tables: Tables | None = None,
    factors: Tensor | None = None,
    detail: DetailTables | None = None,
    level_costs: LevelCosts | None = None,
    post_filter: PostFilter | None = None,
    colours: GameColours | None = None,
) -> None:
    """Write a model: networks and codebooks in FP16, tables as integers."""
    tensors = {f"model.{k}": v.half().contiguous() for k, v in model.state_dict().items()}
    tensors["quantizer.codebooks"] = quantizer.codebooks.half().contiguous()
    if factors is not None:
        tensors["rate.factors"] = factors.float().contiguous()
    if tables is not None:
        for name, array in tables.to_arrays().items():
            tensors[f"tables.{name}"] = torch.from_numpy(np.ascontiguousarray(array))
    if detail is not None:
        for name, array in detail.to_arrays().items():
            tensors[f"detail.{name}"] = torch.from_numpy(np.ascontiguousarray(array))
    if level_costs is not None:
        units = (level_costs.bits * BIT_UNITS).round().clamp(0, 255)
        tensors["rate.levels"] = units.to(torch.uint8).contiguous()
    if post_filter is not None:
        filters = post_filter.state_dict().items()
        tensors |= {f"filter.{k}": v.half().contiguous() for k, v in filters}
    if colours is not None:
        tensors["colours"] = torch.from_numpy(colours.colours.copy())
    part = path.with_name(path.name + ".part")
    save_file(tensors, part, metadata={"config": json.dumps(model.config.to_dict())})
    part.chmod(0o644)  # safetensors makes files that nobody else may read
    part.rename(path)


_RENAMED = (
    (".norm_state.", ".cross.norm."),
    ("encoder.fuse", "encoder.fusion.fuse"),
    *((f"decoder.{part}", f"decoder.head.{part}") for part in ("up", "mix", "refine", "heads")),
)
_DROPPED = ("encoder.hidden_patch",)  # hidden cubes were replaced then; now they are left out


def current_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of models made before 0.2, whose layers had other names, under today's names."""
    if _DROPPED[0] not in weights:
        return weights
    renamed = {}
    for name, tensor in weights.items():
        for old, new in _RENAMED:
            name = name.replace(old, new)
        renamed[name] = tensor
    return {name: tensor for name, tensor in renamed.items() if name not in _DROPPED}


def load_bundle(path: Path | str | None = None) -> Bundle:
    """Load a model for inference; without a path, the bundled one.

    Raises:
        ModelMismatchError: The file is missing.
        InputError: It is not a Relive model.
    """
    file = bundled_path() if path is None else Path(path)
    if file.is_dir():
        file = file / "model.safetensors"
    if not file.is_file():
        raise ModelMismatchError(f"model {file} is missing; name one with --model")
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:ID_CHARACTERS]
        with safe_open(file, "pt") as opened:
            config = ModelConfig.from_dict(json.loads((opened.metadata() or {})["config"]))
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118  it has keys(), and cannot be iterated
    except (SafetensorError, KeyError, ValueError, OSError, RecursionError) as error:
        raise InputError(f"{file} is not a Relive model: {error}") from error
    model, quantizer = _build(file, config)
    weights = {k[6:]: v.float() for k, v in tensors.items() if k.startswith("model.")}
    try:
        model.load_state_dict(current_names(weights))
        books = tensors["quantizer.codebooks"]
        _check_shape("codebooks", books, quantizer.codebooks.shape)
        quantizer.codebooks.copy_(books)
    except (RuntimeError, KeyError) as error:
        raise InputError(f"{file} does not fit its configuration: {error}") from error
    arrays = {k[7:]: v.numpy() for k, v in tensors.items() if k.startswith("tables.")}
    sizes = (config.quantizer.num_quantizers, config.quantizer.codebook_size, NUM_MOTION)
    tables = Tables.from_arrays(arrays) if arrays else Tables.uniform(*sizes)
    if tables.layout != Layout(*sizes):
        raise InputError(
            f"{file} does not fit its configuration: its tables are of other alphabets"
        )
    factors = tensors.get("rate.factors", torch.tensor([[0.0, 1.0]] * 2))
    _check_shape("rate.factors", factors, (2, 2))
    sensitivity = pixel_sensitivity(model, factors.float())
    arrays = {k[7:]: v.numpy() for k, v in tensors.items() if k.startswith("detail.")}
    detail = DetailTables.from_arrays(arrays) if arrays else DetailTables.uniform()
    costs = LevelCosts.guess()
    if "rate.levels" in tensors:
        _check_shape("rate.levels", tensors["rate.levels"], costs.bits.shape)
        costs = LevelCosts(tensors["rate.levels"].float() / BIT_UNITS)
    networks = (model.eval(), quantizer.eval())
    post_filter = _load_filter({k[7:]: v for k, v in tensors.items() if k.startswith("filter.")})
    colours = _load_colours(tensors.get("colours"))
    return Bundle(
        digest,
        config,
        *networks,
        tables,
        sensitivity,
        detail,
        costs,
        post_filter,
        colours,
        path=file,
    )


def linear_sensitivity(model: HSTMAE) -> Tensor:
    """G of the decoder's linear path alone `[D, D]`: squared pixel error by latent error."""
    weight = model.decoder.linear.weight.flatten(1)  # [2*3*256, D]
    return weight.T @ weight / 3


def pixel_sensitivity(model: HSTMAE, factors: Tensor) -> Tensor:
    """G of keyframes and deltas `[2, D, D]`.

    Args:
        model: gives the linear path.
        factors: of that, and of the length of the latent error, `[2, 2]`.
    """
    linear = linear_sensitivity(model)
    of_linear, of_length = factors[..., None, None].unbind(1)
    return of_linear * linear + of_length * torch.eye(len(linear))


def _check_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise InputError(f"{name} of the model has the shape {tuple(tensor.shape)}, not {shape}")


def _numbers(values: object) -> Iterator[float]:
    """List every number in a tree of plain values."""
    if isinstance(values, int | float):
        yield values
    elif isinstance(values, dict | list | tuple):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _numbers(value)


def _build(file: Path, config: ModelConfig) -> tuple[HSTMAE, ResidualVQ]:
    """Build the networks of a configuration, whatever the file says."""
    sizes = config.to_dict() | {"state_inputs": (), "quantizer": (config.quantizer.codebook_dim,)}
    if any(not 0 <= number <= MAX_WIDTH for number in _numbers(sizes)):
        raise InputError(f"{file} has a configuration with a number outside 0 … {MAX_WIDTH}")
    quantizer = config.quantizer
    for name, top in (("num_quantizers", MAX_QUANTIZERS), ("codebook_size", MAX_CODEBOOK)):
        if type(value := getattr(quantizer, name)) is not int or not 1 <= value <= top:
            raise InputError(f"{file} has {name} {str(value)[:40]}, not a number in 1 … {top}")
    try:
        return HSTMAE(config), ResidualVQ(config.quantizer)
    except Exception as error:  # whatever torch says of a width that is none
        reason = str(error).partition("\n")[0][:200]
        raise InputError(f"{file} has a configuration that cannot be built: {reason}") from error


def _load_colours(colours: Tensor | None) -> GameColours | None:
    if colours is None:
        return None
    count = len(colours) if colours.ndim else 0
    _check_shape("colours", colours, (count, 3))
    if colours.dtype != torch.uint8 or not MIN_COLOURS <= count <= MAX_COLOURS:
        raise InputError(
            f"colours of the model are {count} of {colours.dtype}, "
            f"not {MIN_COLOURS} to {MAX_COLOURS} of torch.uint8"
        )
    return GameColours(colours.numpy())


def _load_filter(weights: dict[str, Tensor]) -> PostFilter | None:
    if not weights:
        return None
    post_filter = PostFilter()
    try:
        post_filter.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    except RuntimeError as error:
        raise InputError(f"the post-filter of the model does not fit: {error}") from error
    return post_filter.eval().requires_grad_(False)
