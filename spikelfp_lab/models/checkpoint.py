"""Checkpoints: a folder with ``model.safetensors`` and ``config.json``, written atomically. No pickle."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import safetensors.torch
from safetensors import SafetensorError

from spikelfp_lab.configs import ModelConfig
from spikelfp_lab.errors import CheckpointError, ConfigError
from spikelfp_lab.models.autoencoder import Autoencoder

FORMAT_VERSION = 1


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new one, never half: temporary file, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save(model: Autoencoder, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a model to the folder ``path``.

    Parameters
    ----------
    model : Autoencoder
    path : str or Path
        A folder that does not exist yet, unless ``overwrite``.
    overwrite : bool
        Replace a model that is there.

    Returns
    -------
    Path
        The folder, with ``model.safetensors`` (weights) and ``config.json`` (model config, session vocabulary with channel counts, bin size,
        history, provenance).

    Raises
    ------
    CheckpointError
        The folder exists and ``overwrite`` is False.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} exists: choose another folder, or pass overwrite=True")
    if path.exists() and not _is_model(path):
        raise CheckpointError(f"{path} is not a saved model, so it is not overwritten")
    config = {
        "format_version": FORMAT_VERSION,
        "versions": {name: version(name) for name in ("spikelfp_lab", "torch", "xarray")},
        "model": model.config.to_dict(),
        "modality": model.modality,
        "sessions": model.sessions,
        "bin_size_s": model.bin_size_s,
        "n_behavior": model.behavior_head.out_features if model.behavior_head else 0,
        "info": model.info,
        "history": model.history.to_dict(orient="list"),
    }
    tensors = {key: tensor.contiguous().cpu() for key, tensor in model.state_dict().items()}
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        write_atomic(temporary / "model.safetensors", safetensors.torch.save(tensors))
        write_atomic(temporary / "config.json", json.dumps(config, indent=1).encode())
        aside = temporary.with_suffix(".old")
        if path.exists():
            os.replace(path, aside)
        os.replace(temporary, path)
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path


def _is_model(path: Path) -> bool:
    return (path / "config.json").is_file() and (path / "model.safetensors").is_file()


def load(path: str | Path) -> Autoencoder:
    """Read a model that :func:`save` wrote.

    Parameters
    ----------
    path : str or Path
        The folder.

    Returns
    -------
    Autoencoder
        On the CPU, in eval mode.

    Raises
    ------
    CheckpointError
        Missing, damaged, or of another format; nothing in the files is executed.
    """
    path = Path(path)
    if not _is_model(path):
        raise CheckpointError(
            f"{path} is not a saved model: it needs config.json and model.safetensors"
        )
    try:
        config = json.loads((path / "config.json").read_text())
        if config["format_version"] != FORMAT_VERSION:
            raise CheckpointError(
                f"{path} has format {config['format_version']}, this version reads {FORMAT_VERSION}"
            )
        model = Autoencoder(
            ModelConfig.from_dict(config["model"]),
            modality=config["modality"],
            sessions={
                name: tuple(size) if isinstance(size, list) else size
                for name, size in config["sessions"].items()
            },
            bin_size_s=config["bin_size_s"],
            n_behavior=config["n_behavior"],
        )
        model.load_state_dict(safetensors.torch.load_file(path / "model.safetensors"))
        model.history = pd.DataFrame(config["history"])
        model.info = config["info"]
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
        SafetensorError,
        ConfigError,
    ) as error:
        raise CheckpointError(
            f"{path} is damaged or was not written by this package: {error}"
        ) from error
    return model.eval()
