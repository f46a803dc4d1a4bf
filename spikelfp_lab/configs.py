"""Configs: frozen dataclasses with a JSON round trip.

A preset (see :mod:`spikelfp_lab.presets`) is a named set of them; every verb takes a preset's name
and, keyword by keyword, configs that replace its parts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any, Literal, Self

from spikelfp_lab.errors import ConfigError


def _require(condition: bool, config: object, cure: str) -> None:
    if not condition:
        raise ConfigError(f"{type(config).__name__}: {cure}")


class Config:
    """JSON round trip and hash for the dataclasses below."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Build from :meth:`to_dict`'s result; an unknown field raises :class:`ConfigError`."""
        known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if unknown := sorted(set(fields) - known):
            raise ConfigError(f"{cls.__name__} has no field {unknown}; it has {sorted(known)}")
        return cls(**fields)


@dataclass(frozen=True)
class ModelConfig(Config):
    """Shape of one model."""

    width: int = 64  # d, numbers in a token; a multiple of spike_patch and of 2 * heads
    layers: int = 4
    heads: int = 2
    mlp_ratio: int = 4  # hidden width of the MLP / width
    spike_patch: int = 64  # S, units in a token
    channel_patch: int = 32  # S, channels in a token
    max_count: int = 5  # larger counts are clamped in the tokenizer's input
    kernel: int = 5  # taps of the LFP tokenizer's causal convolution
    dilation: int = 2  # time steps between taps
    affine_space: bool = False  # a learned map a session and patch; the paper has a row alone
    predictor_layers: int = 1  # predicts dropped tokens; 0: a linear read-out, as students have
    predictor_width: int = 64
    dropout: float = 0.0  # on the output of each attention and MLP

    def __post_init__(self) -> None:
        names = ("width", "layers", "heads", "mlp_ratio", "spike_patch", "channel_patch", "kernel")
        for name in (*names, "dilation", "max_count", "predictor_width"):
            _require(getattr(self, name) >= 1, self, f"{name} must be at least 1")
        _require(self.predictor_layers >= 0, self, "predictor_layers must not be negative")
        two = 2 * self.heads
        _require(self.width % two == 0, self, "width must be a multiple of 2 * heads")
        fits = self.predictor_layers == 0 or self.predictor_width % two == 0
        _require(fits, self, "predictor_width must be a multiple of 2 * heads")
        fits = self.width % self.spike_patch == 0
        _require(fits, self, "width must be a multiple of spike_patch")
        _require(0 <= self.dropout < 1, self, "dropout must lie in [0, 1)")


@dataclass(frozen=True)
class MaskConfig(Config):
    """What masked autoencoding hides, and what else it learns."""

    ratio: float = 0.6  # share of the tokens dropped, over time and patches
    # Share of the visible tokens' units (channels) that are hidden too, and that a linear read-out
    # of the token's own latent must give; 0 in the paper. A predictor can gather from many latents:
    # this asks each moment's latent alone to say what all units do then.
    units: float = 0.0
    predicted: float = 1.0  # share of the dropped tokens asked for in a step: the same mean loss
    behavior: float = 0.0  # weight of a read-out of behavior (supervised); then it ranks weights

    def __post_init__(self) -> None:
        _require(0 < self.ratio < 1, self, "ratio must lie between 0 and 1")
        _require(0 <= self.behavior < math.inf, self, "behavior must not be negative")
        _require(0 <= self.units < 1, self, "units must lie in [0, 1)")
        _require(0 < self.predicted <= 1, self, "predicted must lie in (0, 1]")


@dataclass(frozen=True)
class TrainConfig(Config):
    """How one model is trained."""

    steps: int = 1000  # at most
    batch: int = 32  # windows, all of one session; with shards, over all of these
    window_s: float = 2.0  # seconds
    lr: float = 3e-3  # peak learning rate of AdamW
    warmup: float = 0.1  # share of the steps over which it rises
    final_lr: float = 0.02  # factor of the peak that a cosine decay ends at
    weight_decay: float = 0.1  # of matrices only
    clip: float = 1.0  # gradient norm at which gradients are clipped
    val_every: int = 50  # steps between validations
    patience: int | None = None  # validations without a better score before it stops
    drop_inputs: float = 0.0  # a window's silenced share of units: uniform up to this
    noise: float = 0.0  # SD added to a z-scored LFP input
    scheme: Literal["blocks", "trials", "paper"] = "blocks"  # see split_session
    seed: int = 0  # of weights, batches, masks and the split
    # Groups that sessions are dealt into; a step takes batch / shards windows of one session of
    # each. As many processes can share the work (training/shards.py): that changes rounding alone.
    shards: int = 1
    compile: bool = False  # torch.compile the blocks: on a GPU; takes a minute at the first step

    def __post_init__(self) -> None:
        _require(self.steps >= 1 and self.batch >= 1, self, "steps and batch must be at least 1")
        _require(0 < self.window_s < math.inf, self, "window_s must be positive")
        _require(self.val_every >= 1, self, "val_every must be at least 1")
        _require(0 <= self.drop_inputs < 1, self, "drop_inputs must lie in [0, 1)")
        schemes = ("blocks", "trials", "paper")
        _require(self.scheme in schemes, self, "scheme: blocks, trials or paper")
        _require(self.seed >= 0, self, "seed must not be negative")
        for name in ("lr", "noise", "weight_decay"):
            _require(0 <= getattr(self, name) < math.inf, self, f"{name} must not be negative")
        for name in ("warmup", "final_lr"):
            _require(0 <= getattr(self, name) <= 1, self, f"{name} must lie in [0, 1]")
        _require(self.clip > 0, self, "clip must be positive")
        _require(self.patience is None or self.patience >= 1, self, "patience: None or at least 1")
        fits = self.shards >= 1 and self.batch % self.shards == 0
        text = "batch must be a multiple of shards, which are at least 1"
        _require(fits, self, f"batch is {self.batch} and shards {self.shards}: {text}")


@dataclass(frozen=True)
class DistillConfig(Config):
    """What the student learns (arXiv 2512.12461, Eqs. 1 and 3)."""

    alignment_weight: float = 5.0  # of 1 - cosine with the teacher's latents
    task_weight: float = 1.0  # of the second term
    # Taken from the teacher's latents, a session, before they are the target: nothing (the paper),
    # their mean over training time, or mean and SD. A constant makes up most of a latent's norm.
    center: Literal["none", "mean", "scale"] = "none"
    target: Literal["reconstruct", "behavior"] = "reconstruct"  # squared error of LFP or behavior
    layers: Literal["last", "all"] = "last"  # aligned: the last (the paper), or each with its own
    mask_ratio: float = 0.0  # share of time steps dropped from the input in training; paper: 0
    frozen: bool = True  # False: the teacher's weights follow the alignment too

    def __post_init__(self) -> None:
        for name in ("alignment_weight", "task_weight"):
            _require(0 <= getattr(self, name) < math.inf, self, f"{name} must not be negative")
        _require(self.layers in ("last", "all"), self, "layers: last or all")
        _require(0 <= self.mask_ratio < 1, self, "mask_ratio must lie in [0, 1)")
        fits = self.frozen or (self.layers == "last" and self.center == "none")
        text = "a teacher that is not frozen is aligned at its last layer, with center='none'"
        _require(fits, self, text)
        _require(self.center in ("none", "mean", "scale"), self, "center: none, mean or scale")
        targets = ("reconstruct", "behavior")
        _require(self.target in targets, self, "target: reconstruct or behavior")


def config_hash(*parts: Config | str | int | float | None) -> str:
    """A short, stable name for a set of configs: equal configs, equal hash, on any machine.

    >>> config_hash(MaskConfig()) == config_hash(MaskConfig(ratio=0.6))
    True
    """
    plain = [p.to_dict() if isinstance(p, Config) else p for p in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]
