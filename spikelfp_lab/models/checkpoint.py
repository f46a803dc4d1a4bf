"""Checkpoints: a folder with ``model.safetensors`` and ``config.json``, written atomically. No
pickle.

Format 2 keeps the labels of each session's units and channels; format 1 (version 0.1.0) has none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import safetensors.torch
import torch
from torch import Tensor

from spikelfp_lab._files import flush, put, settle, workspace
from spikelfp_lab.errors import CheckpointError

if TYPE_CHECKING:
    from spikelfp_lab.models.autoencoder import Autoencoder

FORMAT_VERSION = 2
DAMAGED = "is damaged, or was not written by this package"
CURE = "Copy the folder again, or train and save the model again."


def save(model: Autoencoder, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a model to the folder ``path``; behind :meth:`Autoencoder.save`."""
    path = Path(path)
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} exists: choose another folder, or pass overwrite=True")
    if path.exists() and not is_model(path):
        raise CheckpointError(f"{path} is not a saved model, so it is not overwritten")
    with workspace(path) as folder:
        temporary = folder / "partial"
        temporary.mkdir()
        for name, content in contents(model).items():
            (temporary / name).write_bytes(content)
        flush(temporary)
        put(temporary, path, overwrite=overwrite)
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
    if not is_model(path):
        raise CheckpointError(
            f"{path} is not a saved model: it needs config.json and model.safetensors. "
            "Give the folder that save wrote."
        )
    config = json.loads((path / "config.json").read_bytes())
    if config["format_version"] not in (1, FORMAT_VERSION):
        raise CheckpointError(
            f"{path} has format {str(config['format_version'])[:100]}, this version reads 1 and "
            f"{FORMAT_VERSION}. Load it with the version that wrote it (config.json names it)."
        )
    return config, safetensors.torch.load_file(path / "model.safetensors")


def build(make: Callable[[], Autoencoder], weights: Mapping[str, Tensor]) -> Autoencoder:
    """The model that a file describes, made once its weights are known to have these shapes."""
    with torch.device("meta"):  # where numbers take no memory
        outline = make()
    parameters = dict(outline.named_parameters())
    for name, wanted in outline.state_dict().items():
        found = weights.get(name, wanted)
        if found.shape != wanted.shape or found.is_floating_point() != wanted.is_floating_point():
            raise ValueError(
                f"{name} is {found.dtype} of shape {tuple(found.shape)}, "
                f"where {tuple(wanted.shape)} is declared"
            )
        if name in parameters and name in weights and not bool(torch.isfinite(found).all()):
            raise ValueError(f"{name} holds numbers that are NaN or infinite")
    return make()


def history_of(config: Mapping[str, Any]) -> pd.DataFrame:
    """The tidy record of the training."""
    return pd.DataFrame(dict(config["history"]))
