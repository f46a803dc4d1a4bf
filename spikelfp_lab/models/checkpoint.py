"""Checkpoints: a folder with ``model.safetensors`` and ``config.json``, written atomically. No pickle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch
from torch import Tensor

from spikelfp_lab._files import flush, put, settle, workspace
from spikelfp_lab._guard import reading
from spikelfp_lab.configs import ModelConfig
from spikelfp_lab.errors import CheckpointError, ConfigError
from spikelfp_lab.models.autoencoder import VARIABLES, Autoencoder

FORMAT_VERSION = 1
_LONGEST_CONFIG = 64 << 20  # bytes; a long history takes a thousandth of it
_LONGEST_REACH = 100_000  # time steps that a convolution may look back: it pads by as many


def save(model: Autoencoder, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a model to the folder ``path``.

    Parameters
    ----------
    model : Autoencoder
    path : str or Path
        A folder that does not exist yet, unless ``overwrite``.
    overwrite : bool
        Replace a model that is there. After a process was killed in between, whoever loads or saves here next finds the old model or the new one.

    Returns
    -------
    Path
        The folder, with ``model.safetensors`` (weights) and ``config.json`` (model config, session vocabulary with channel counts, bin size,
        history, provenance).

    Raises
    ------
    CheckpointError
        The folder exists and ``overwrite`` is False.
    DataError
        The disk is full or the folder read-only; what was there before is untouched.
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
    with workspace(path) as folder:
        temporary = folder / "partial"
        temporary.mkdir()
        (temporary / "model.safetensors").write_bytes(safetensors.torch.save(tensors))
        (temporary / "config.json").write_text(json.dumps(config, indent=1))
        flush(temporary)
        put(temporary, path, overwrite=overwrite)
    return path


def _is_model(path: Path) -> bool:
    settle(path)
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
        Missing, damaged, or of another format; nothing in the files is executed, and no memory is taken for weights that are not there.
    """
    path = Path(path)
    if not _is_model(path):
        raise CheckpointError(
            f"{path} is not a saved model: it needs config.json and model.safetensors. Give the folder that save wrote."
        )
    with reading(path, "is damaged, or was not written by this package", "Copy the folder again, or train and save the model again.", kind=CheckpointError):  # fmt: skip
        content = (path / "config.json").read_bytes()
        if len(content) > _LONGEST_CONFIG:
            raise ValueError(f"config.json has {len(content):,} bytes")
        config = json.loads(content)
        if config["format_version"] != FORMAT_VERSION:
            raise CheckpointError(
                f"{path} has format {str(config['format_version'])[:100]}, this version reads {FORMAT_VERSION}. Load it with the "
                "version that wrote it (config.json names it), or copy it again."
            )
        weights = safetensors.torch.load_file(path / "model.safetensors")
        model = build_checked(partial(_build, config, len(weights)), weights)
        wanted = model.state_dict().keys()
        if wanted != weights.keys():
            missing, unknown = sorted(wanted - weights.keys()), sorted(weights.keys() - wanted)
            raise ValueError(f"weights missing {missing[:3]}, unknown {unknown[:3]}"[:300])
        model.load_state_dict(weights)
        model.history = pd.DataFrame(_of_type(config, "history", dict))
        model.info = _of_type(config, "info", dict)
    return model.eval()


def build_checked(make: Callable[[], Autoencoder], weights: Mapping[str, Tensor]) -> Autoencoder:
    """The model that a file describes, once its weights are known to be there in the shapes that it declares.

    Parameters
    ----------
    make : function
        Makes the model of what the file says.
    weights : mapping of str to Tensor
        What the file holds, under the model's names; what the model lacks is not looked at.

    Returns
    -------
    Autoencoder
        Its weights not set yet.

    Raises
    ------
    ValueError
        For weights of another shape, of whole numbers, or not finite.
    """
    with torch.device("meta"):  # where numbers take no memory
        outline = make()
    parameters = dict(outline.named_parameters())
    for name, wanted in outline.state_dict().items():
        if name not in weights:
            continue
        found = weights[name]
        if found.shape != wanted.shape or found.is_floating_point() != wanted.is_floating_point():
            raise ValueError(
                f"{name} is {found.dtype} of shape {tuple(found.shape)}, where {tuple(wanted.shape)} is declared"
            )
        if name in parameters and not bool(torch.isfinite(found).all()):
            raise ValueError(f"{name} holds numbers that are NaN or infinite")
    return make()


def _build(config: dict[str, Any], n_weights: int) -> Autoencoder:
    """The model of a config.json, every value of the type that it should have."""
    fields = _of_type(config, "model", dict)
    for field in dataclasses.fields(ModelConfig):
        if field.name in fields:
            _of_type(fields, field.name, type(field.default))
    try:
        model = ModelConfig.from_dict(fields)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    sessions = {
        name: tuple(size) if isinstance(size, list) else size
        for name, size in _of_type(config, "sessions", dict).items()
    }
    sizes = [n for size in sessions.values() for n in (size if isinstance(size, tuple) else [size])]
    if any(type(n) is not int or n < 1 for n in sizes):
        raise ValueError(
            "a session has a number of units or channels that is no whole number above 0"
        )
    bin_size_s, n_behavior = (
        _of_type(config, "bin_size_s", float),
        _of_type(config, "n_behavior", int),
    )
    if not (0 < bin_size_s < float("inf")) or n_behavior < 0:
        raise ValueError(f"bin_size_s is {bin_size_s} and n_behavior {n_behavior}")
    # each has weights of its own, and to make a billion of them would take forever
    if model.layers + model.predictor_layers + len(sessions) > n_weights:
        raise ValueError(
            f"{model.layers} layers, {model.predictor_layers} of the predictor and {len(sessions)} sessions are declared, with "
            f"{n_weights} weights"
        )
    if (model.kernel - 1) * model.dilation > _LONGEST_REACH:
        raise ValueError(f"dilation is {model.dilation} with a kernel of {model.kernel}")
    modality = _of_type(config, "modality", str)
    if modality not in VARIABLES:
        raise ValueError(f"modality is {modality[:100]!r}")
    return Autoencoder(
        model,
        modality=modality,
        sessions=sessions,  # type: ignore[arg-type]  # a pair for both, checked where it is unpacked
        bin_size_s=bin_size_s,
        n_behavior=n_behavior,
    )


def _of_type(config: dict[str, Any], key: str, kind: type) -> Any:
    value = config[key]
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise ValueError(f"{key} is {str(value)[:100]}, where {kind.__name__} is needed")
    return value
