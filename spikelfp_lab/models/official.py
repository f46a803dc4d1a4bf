"""The authors' published checkpoints, read into our model without running code from the file."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from spikelfp_lab._guard import reading
from spikelfp_lab.configs import ModelConfig
from spikelfp_lab.errors import CheckpointError, ConfigError
from spikelfp_lab.models.autoencoder import Autoencoder, build

_WRONG = "is damaged, holds objects other than tensors, or has not the published layout"
_CURE = "Get the file again, or save the state_dict of such a model alone, as .safetensors."
_ROWS, _LAST = "tokenizer.patch_embeddings.", "backbone.norm.weight"
_LAYER = "backbone.layers.0."
_RENAMED = {  # theirs -> ours
    "tokenizer.embedder.conv": "tokenizer.conv",
    "tokenizer.embedder.weight": "tokenizer.table",
    "backbone.layers": "transformer.blocks",
    "backbone.norm": "transformer.norm",
    **{"qkv_proj": "qkv", "o_proj": "out", "down_proj": "down", "gate_proj": "gate_up"},
}


def load_official(
    path: str | Path, *, sizes: Mapping[str, int] | None = None, bin_size_s: float = 0.01
) -> Autoencoder:
    """Read a checkpoint of the code that the method's authors published (arXiv 2512.12461).

    Sizes and sessions are read off the parameters. Latents are those of the authors' code but for
    their scale: its pooling over P patches divides by P + 1, ours by P.

    Parameters
    ----------
    path : str or Path
        ``.safetensors``, ``.npz``, or a file of ``torch.save``; parameters may lie in a dict under
        a key, and their names may have a prefix.
    sizes : mapping of str to int, optional
        Session name -> units or channels, where the session's last patch is padded.
    bin_size_s : float
        Width of the bins the model was trained on, seconds (10 ms in the paper).

    Returns
    -------
    Autoencoder
        On the CPU, in eval mode, for ``encode(model, session, as_session=name)``; what else the
        file had is named in ``info["left_out"]``.

    Raises
    ------
    CheckpointError, ConfigError
        Missing, damaged, not of this layout, or objects other than tensors; ``sizes`` do not fit.

    Examples
    --------
    >>> load_official("student.pt")
    Traceback (most recent call last):
    ...
    spikelfp_lab.errors.CheckpointError: student.pt does not exist, or is no file. Check the path.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist, or is no file. Check the path.")
    with reading(path, _WRONG, _CURE, kind=CheckpointError):
        weights = _parameters(_read(path))
        conv, table = (weights.get(f"tokenizer.embedder.{n}weight") for n in ("conv.", ""))
        width, own = len(weights[_LAST]), ModelConfig()
        shape: dict[str, Any] = {
            "width": width,
            "layers": len({k.split(".")[2] for k in weights if k.startswith("backbone.layers.")}),
            # one frequency for each pair of dimensions of a head
            "heads": width // (2 * len(weights[f"{_LAYER}attention.rotary_emb.inv_freq"])),
            "mlp_ratio": len(weights[f"{_LAYER}mlp.gate_proj.weight"]) // width,
            "channel_patch": own.channel_patch if conv is None else conv.shape[1],
            "kernel": own.kernel if conv is None else conv.shape[2],
            "spike_patch": width if table is None else width // table.shape[1],
            "max_count": own.max_count if table is None else len(table) - 2,  # 0, ..., and padding
            "predictor_layers": 0,
        }
        patch = shape["spike_patch" if conv is None else "channel_patch"]
        sessions = _sessions(weights, patch, sizes or {})
        fields = {"modality": "spikes" if conv is None else "lfp", "bin_size_s": bin_size_s}
        state, optional = _state(weights, list(sessions)), ("read_out.", "mean_", "std_")
        model = build(shape, state, optional, sessions=sessions, **fields)
    model.by_place = True
    model.info = {
        "source": path.name,
        "train": {"scheme": "paper", "window_s": 5.0, "seed": 0},
        "left_out": sorted(k for k in weights if not k.startswith((_ROWS, *_RENAMED))),
    }
    return model


def _read(path: Path) -> Any:
    """What the file holds, by readers that execute nothing."""
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected pickle protocol")
        return torch.load(path, map_location="cpu", weights_only=True)


def _parameters(content: Any) -> dict[str, Tensor]:
    """The dict of tensors, itself or under a key; names without a prefix."""
    todo = [content]
    while todo:  # no recursion: what a file nests has no limit
        each = todo.pop()
        if not isinstance(each, Mapping):
            continue
        tensors = {str(key): value for key, value in each.items() if isinstance(value, Tensor)}
        prefixes = [key.removesuffix(_LAST) for key in tensors if key.endswith(_LAST)]
        if len(prefixes) > 1:
            raise ValueError(f"it holds {len(prefixes)} models, under {str(prefixes)[:300]}")
        if prefixes:
            return {key.removeprefix(prefixes[0]): value for key, value in tensors.items()}
        todo += each.values()
    raise ValueError(f"it has no parameter named ...{_LAST}")


def _sessions(weights: dict[str, Tensor], patch: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """Session -> units or channels, in the order of the checkpoint."""
    rows = {k[len(_ROWS) : -len(".weight")]: v for k, v in weights.items() if k.startswith(_ROWS)}
    most = {name: len(table) * patch for name, table in rows.items()}
    if not most or not all(most.values()):
        raise ValueError(f"its sessions have {str(list(most.values()))[:100]} units or channels")
    for name, size in sizes.items():
        if not most.get(name, 0) - patch < size <= most.get(name, 0):
            fits = {known: f"{n - patch + 1} to {n}" for known, n in most.items()}
            raise ConfigError(f"sizes gives {name} {size}; the sessions there have {fits}")
    return most | dict(sizes)


def _state(weights: dict[str, Tensor], sessions: list[str]) -> dict[str, Tensor]:
    """Their parameters under our names."""
    state = {f"tokenizer.space.{i}": weights[f"{_ROWS}{n}.weight"] for i, n in enumerate(sessions)}
    for key, value in weights.items():
        if not key.startswith(tuple(_RENAMED)) or ".rotary_emb." in key or ".up_proj." in key:
            continue
        if ".gate_proj." in key:
            value = torch.cat([value, weights[key.replace(".gate_", ".up_")]])
        for theirs, ours in _RENAMED.items():
            key = key.replace(theirs, ours)
        state[key] = value
    return state
