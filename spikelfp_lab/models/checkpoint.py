"""Checkpoints: a folder with ``model.safetensors`` and ``config.json``, written atomically. No
pickle.

Format 2 keeps the labels of each session's units and channels; format 1 (version 0.1.0) has none.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch

from spikelfp_lab._files import settle, whole_folder
from spikelfp_lab.errors import CheckpointError

if TYPE_CHECKING:
    from spikelfp_lab.models.autoencoder import Autoencoder

FORMAT_VERSION = 2


def save(model: "Autoencoder", path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a model to the folder ``path``; behind :meth:`Autoencoder.save`."""
    path = Path(path)
    if path.exists() and not (overwrite and is_model(path)):
        cure = ", or pass overwrite=True" if is_model(path) else ": this is not a saved model"
        raise CheckpointError(f"{path} exists; choose another folder{cure}")
    with whole_folder(path, overwrite=overwrite) as partial:
        for name, content in contents(model).items():
            (partial / name).write_bytes(content)
    return path


def contents(model: "Autoencoder") -> dict[str, bytes]:
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
