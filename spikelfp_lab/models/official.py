"""The authors' published checkpoints: their parameter names and shapes read into our model, without
running code from the file.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from spikelfp_lab._guard import reading, reason
from spikelfp_lab.configs import ModelConfig
from spikelfp_lab.errors import CheckpointError, ConfigError
from spikelfp_lab.models.autoencoder import Autoencoder
from spikelfp_lab.models.checkpoint import build

_CURE = "Get the file again, or save the state_dict of such a model alone, as .safetensors."
_ROWS = "tokenizer.patch_embeddings."
_BLOCKS = "backbone.layers."
_LAST = "backbone.norm.weight"


def load_official(
    path: str | Path, *, sizes: Mapping[str, int] | None = None, bin_size_s: float = 0.01
) -> Autoencoder:
    """Read a checkpoint of the code that the method's authors published.

    Width, depth, heads, patch sizes and sessions are read off the shapes of the parameters.
    Tokenizer and transformer become those of ours, and give the same tokens and latents (see
    ``tests/models/test_official.py``), but for the scale of the latents: their pooling over P
    patches divides by P + 1, ours by P. What a checkpoint has beside them (decoders, mask tokens)
    is left out and named in ``info["left_out"]``.

    Parameters
    ----------
    path : str or Path
        ``.safetensors``, ``.npz``, or a file of ``torch.save``, of which tensors and plain
        containers are read and nothing is executed. Parameters may lie in a dict under a key such
        as "state_dict", and their names may have a prefix.
    sizes : mapping of str to int, optional
        Session name -> number of its units or channels, where that is not a multiple of the patch:
        the checkpoint does not tell how much of a session's last patch is padding.
    bin_size_s : float
        Width of the bins the model was trained on, seconds (10 ms in the paper).

    Returns
    -------
    Autoencoder
        On the CPU, in eval mode, of modality "lfp" or "spikes". Sessions have the names the
        checkpoint gives them: ``encode(model, session, as_session=name)`` reads one of yours as one
        of those, with LFP z-scored by its own statistics, since the checkpoint has none.

    Raises
    ------
    CheckpointError
        Missing, damaged, not of this layout, or it holds objects other than tensors.
    ConfigError
        ``sizes`` names an unknown session, or a size that does not fit its number of patches.

    References
    ----------
    Erturk et al., NeurIPS 2025, arXiv 2512.12461.

    Examples
    --------
    >>> load_official("student.pt")
    Traceback (most recent call last):
    ...
    spikelfp_lab.errors.CheckpointError: student.pt does not exist, or is no file. Check the path.
    """
    path = Path(path)
    weights = _strip_prefix(_parameters(_read(path), path), path)
    lfp = "tokenizer.embedder.conv.weight" in weights
    with reading(path, "has not the layout of the published models", _CURE, kind=CheckpointError):
        config = _config(weights, lfp)
        patch = config.channel_patch if lfp else config.spike_patch
        sessions = _sessions(weights, patch, sizes or {})
        state = _state(weights, config, list(sessions), lfp)
        make = partial(
            Autoencoder,
            config,
            modality="lfp" if lfp else "spikes",
            sessions=sessions,
            bin_size_s=bin_size_s,
        )
        model = build(make, state)
        missing, unexpected = model.load_state_dict(state, strict=False)
        untouched = [key for key in missing if key.startswith(("tokenizer.", "transformer."))]
        if untouched or unexpected:
            raise KeyError(f"what would become {[*untouched, *unexpected][:3]}")
    model.by_place = True
    model.info = {
        "source": path.name,
        "train": {"scheme": "paper", "window_s": 5.0, "seed": 0},
        "left_out": sorted(
            key for key in weights if not key.startswith(("tokenizer.", "backbone."))
        ),
    }
    return model.eval()


def _read(path: Path) -> Any:
    """What the file holds, by readers that execute nothing."""
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist, or is no file. Check the path.")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {key: torch.from_numpy(arrays[key]) for key in arrays.files}
        with warnings.catch_warnings():
            # Other pickle protocols are read too, or end in the error below.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each reader has errors of its own
        raise CheckpointError(
            f"{path} is damaged, or holds objects other than tensors, whose reading could run "
            "code; so it is not read. "
            f"If you trust it, save its state_dict alone, as .safetensors. ({reason(error)})"
        ) from error


def _parameters(content: Any, path: Path) -> dict[str, Tensor]:
    """The dict of tensors, itself or under a key."""
    todo = [content]
    while todo:  # no recursion: what a file nests has no limit
        each = todo.pop()
        if isinstance(each, Mapping):
            tensors = {str(key): value for key, value in each.items() if isinstance(value, Tensor)}
            if any(key.endswith(_LAST) for key in tensors):
                return tensors
            todo += [value for value in each.values() if isinstance(value, Mapping)]
    raise CheckpointError(
        f"{path} has no parameter named ...{_LAST}: it is not of the published code, or damaged. "
        f"{_CURE}"
    )


def _strip_prefix(weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Names without what comes before "tokenizer." and "backbone."."""
    prefixes = sorted({key.removesuffix(_LAST) for key in weights if key.endswith(_LAST)})
    if len(prefixes) > 1:
        raise CheckpointError(
            f"{path} holds {len(prefixes)} models, under {str(prefixes)[:300]}. Save the one that "
            "is wanted alone."
        )
    return {key.removeprefix(prefixes[0]): value for key, value in weights.items()}


def _config(weights: dict[str, Tensor], lfp: bool) -> ModelConfig:
    width = len(weights[_LAST])
    numbers = {
        key.removeprefix(_BLOCKS).split(".")[0] for key in weights if key.startswith(_BLOCKS)
    }
    layers = len(numbers)
    if numbers != {str(layer) for layer in range(layers)}:
        raise ValueError(f"its layers are numbered {str(sorted(numbers))[:100]}")
    # One frequency for each pair of dimensions of a head.
    pairs = len(weights[f"{_BLOCKS}0.attention.rotary_emb.inv_freq"])
    hidden = len(weights[f"{_BLOCKS}0.mlp.gate_proj.weight"])
    own = ModelConfig()
    conv = weights.get("tokenizer.embedder.conv.weight")
    table = weights.get("tokenizer.embedder.weight")
    fields: dict[str, Any] = dict(
        width=width,
        layers=layers,
        heads=width // (2 * pairs),
        mlp_ratio=hidden // width,
        channel_patch=own.channel_patch if conv is None else conv.shape[1],
        kernel=own.kernel if conv is None else conv.shape[2],
        spike_patch=width
        if table is None
        else width // table.shape[1],  # no matter to a model of LFP
        # One row for each count, and one for padding.
        max_count=own.max_count if table is None else len(table) - 2,
        predictor_layers=0,
    )
    try:
        return ModelConfig(**fields)
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _sessions(weights: dict[str, Tensor], patch: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """Session -> units or channels, in the order of the checkpoint."""
    patches = {
        key.removeprefix(_ROWS).removesuffix(".weight"): len(value)
        for key, value in weights.items()
        if key.startswith(_ROWS)
    }
    if not patches or not all(patches.values()):
        raise ValueError(f"its sessions have {str(list(patches.values()))[:100]} patches")
    if unknown := sorted({*sizes} - {*patches}):
        raise ConfigError(f"sizes names {unknown}; the checkpoint knows {sorted(patches)}")
    for name, size in sizes.items():
        if -(-size // patch) != patches[name]:
            raise ConfigError(
                f"sizes gives {name} {size} units or channels; its {patches[name]} patches of "
                f"{patch} "
                f"hold {(patches[name] - 1) * patch + 1} to {patches[name] * patch}"
            )
    return {name: sizes.get(name, count * patch) for name, count in patches.items()}


def _state(
    weights: dict[str, Tensor], config: ModelConfig, sessions: list[str], lfp: bool
) -> dict[str, Tensor]:
    """Their parameters under our names."""
    state = {
        f"tokenizer.space.{index}": weights[f"{_ROWS}{name}.weight"]
        for index, name in enumerate(sessions)
    }
    if lfp:
        for part in ("weight", "bias"):
            state[f"tokenizer.conv.{part}"] = weights[f"tokenizer.embedder.conv.{part}"]
    else:
        state["tokenizer.table"] = weights["tokenizer.embedder.weight"]
    for layer in range(config.layers):
        theirs, ours = f"{_BLOCKS}{layer}", f"transformer.blocks.{layer}"
        for norm in ("norm1", "norm2"):
            state[f"{ours}.{norm}.weight"] = weights[f"{theirs}.{norm}.weight"]
        for part in ("weight", "bias"):
            attention, mlp = f"{theirs}.attention", f"{theirs}.mlp"
            state[f"{ours}.attention.qkv.{part}"] = weights[f"{attention}.qkv_proj.{part}"]
            state[f"{ours}.attention.out.{part}"] = weights[f"{attention}.o_proj.{part}"]
            state[f"{ours}.mlp.gate_up.{part}"] = torch.cat(
                (weights[f"{mlp}.gate_proj.{part}"], weights[f"{mlp}.up_proj.{part}"])
            )
            state[f"{ours}.mlp.down.{part}"] = weights[f"{mlp}.down_proj.{part}"]
    state["transformer.norm.weight"] = weights[_LAST]
    return state
