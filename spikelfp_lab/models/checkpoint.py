"""Checkpoints: a folder with ``model.safetensors`` and ``config.json``, written atomically. No
pickle.

Format 2 keeps the labels of each session's units and channels; format 1 (version 0.1.0) has none.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from torch import Tensor

from spikelfp_lab._files import settle, whole_folder
from spikelfp_lab.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from spikelfp_lab.models.autoencoder import Autoencoder

FORMAT_VERSION = 2
DAMAGED = "is damaged, or was not written by this package"
CURE = "Copy the folder again, or train and save the model again."


def save(model: Autoencoder, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a model to the folder ``path``; behind :meth:`Autoencoder.save`."""
    path = Path(path)
    if path.exists() and not (overwrite and is_model(path)):
        cure = ", or pass overwrite=True" if is_model(path) else ": this is not a saved model"
        raise CheckpointError(f"{path} exists; choose another folder{cure}")
    with whole_folder(path, overwrite=overwrite) as partial:
        for name, content in contents(model).items():
            (partial / name).write_bytes(content)
    return path


def contents(model: Autoencoder) -> dict[str, bytes]:
    """File name -> content of a checkpoint."""
    tensors = {key: tensor.contiguous().cpu() for key, tensor in model.state_dict().items()}
    config = {
        "format_version": FORMAT_VERSION,
        "versions": {name: version(name) for name in ("spikelfp_lab", "torch", "xarray")},
        "model": model.config.to_dict(),
        "modality": model.modality,
        "sessions": model.sessions,
        "labels": model.labels,
        "bin_size_s": model.bin_size_s,
        "n_behavior": model.behavior_head.out_features if model.behavior_head else 0,
        "info": model.info,
        "history": model.history.to_dict(orient="list"),
    }
    return {
        "model.safetensors": safetensors.torch.save(tensors),
        "config.json": json.dumps(config, indent=1).encode(),
    }


def is_model(path: Path) -> bool:
    """Whether both files of a checkpoint are there."""
    settle(path)
    return (path / "config.json").is_file() and (path / "model.safetensors").is_file()


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and the weights of a checkpoint."""
    settle(path)
    config = json.loads((path / "config.json").read_bytes())
    if config["format_version"] not in (1, FORMAT_VERSION):
        raise CheckpointError(
            f"{path} has format {str(config['format_version'])[:100]}, this version reads 1 and "
            f"{FORMAT_VERSION}. Load it with the version that wrote it (config.json names it)."
        )
    return config, safetensors.torch.load_file(path / "model.safetensors")


def build(
    make: Callable[[], Autoencoder], weights: dict[str, Tensor], *, optional: tuple[str, ...] = ()
) -> Autoencoder:
    """The model that a file describes, made once its weights are known to fit: a damaged file may
    declare one that no memory holds. Names that begin like ``optional`` need not be there.
    """
    try:
        with torch.device("meta"):  # where numbers take no memory
            outline = make()
    except ConfigError as error:
        raise ValueError(str(error)) from error
    parameters, declared = dict(outline.named_parameters()), outline.state_dict()
    odd = sorted(name for name in {*declared} ^ {*weights} if not name.startswith(optional))
    if odd:
        raise ValueError(f"{odd[:3]} are missing, or there and not declared")
    for name, found in weights.items():
        shape = tuple(declared[name].shape)
        if found.shape != shape or not found.is_floating_point():
            raise ValueError(f"{name} is {found.dtype} of {tuple(found.shape)}, declared {shape}")
        if name in parameters and not bool(torch.isfinite(found).all()):
            raise ValueError(f"{name} holds numbers that are NaN or infinite")
    model = make()
    model.load_state_dict(weights, strict=False)
    return model.eval()
