"""Configs: frozen dataclasses with a JSON round trip.

A preset (see :mod:`spikelfp_lab.presets`) is a named set of them; every verb takes a preset's name and, keyword by keyword, configs that replace its
parts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
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
    """Shape of one model.

    Attributes
    ----------
    width, layers, heads, mlp_ratio : int
        Transformer: d, depth, attention heads, hidden-to-width ratio.
    spike_patch, channel_patch : int
        S, units (channels) in a token's patch. ``width`` must be a multiple of ``spike_patch``.
    max_count : int
        Counts above it are clamped in the spike tokenizer's input.
    kernel, dilation : int
        Of the LFP tokenizer's causal convolution, in time steps.
    affine_space : bool
        A learned map for each session and patch in front of its space row, and a read-out of its own (see
        :class:`~spikelfp_lab.models.tokenizers.Tokenizer`). The paper has the row alone.
    predictor_layers, predictor_width : int
        Transformer that predicts the dropped tokens; 0 layers is a linear read-out of each token's latent (what a student has).
    dropout : float
        On the output of each attention and MLP.
    """

    width: int = 64
    layers: int = 4
    heads: int = 2
    mlp_ratio: int = 4
    spike_patch: int = 64
    channel_patch: int = 32
    max_count: int = 5
    kernel: int = 5
    dilation: int = 2
    affine_space: bool = False
    predictor_layers: int = 1
    predictor_width: int = 64
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "mlp_ratio", "spike_patch", "channel_patch", "kernel", "dilation"):  # fmt: skip
            _require(getattr(self, name) >= 1, self, f"{name} must be at least 1")
        _require(self.width % (2 * self.heads) == 0, self, "width must be a multiple of 2 * heads")
        _require(
            self.predictor_layers == 0 or self.predictor_width % (2 * self.heads) == 0,
            self,
            "predictor_width must be a multiple of 2 * heads",
        )
        _require(
            self.width % self.spike_patch == 0, self, "width must be a multiple of spike_patch"
        )
        _require(0 <= self.dropout < 1, self, "dropout must lie in [0, 1)")


@dataclass(frozen=True)
class MaskConfig(Config):
    """What masked autoencoding hides.

    Attributes
    ----------
    ratio : float
        Share of the tokens dropped, uniformly over time and patches (the paper: 0.6).
    units : float
        Share of the units (channels) of the visible tokens that are hidden from the encoder too, and that a linear read-out of the token's own latent
        must give. A predictor can gather what it needs from many latents; this asks each moment's latent alone to say what all units do then.
        0 for the paper's objective.
    predicted : float
        Share of the dropped tokens that the predictor is asked for in a step, drawn anew each time. The mean loss stays what it is, since each dropped
        token is predicted by itself from the visible ones; a step costs less. 1 for all of them, as in the paper.
    behavior : float
        Weight of a further term, for the supervised setting: squared error of a linear read-out of z-scored behavior from each time step's latent, of
        the input without a mask, where behavior is known. Above 0, the weights that are kept are those with the least such error on validation
        windows. 0 for none: behavior is then never looked at.
    """

    ratio: float = 0.6
    units: float = 0.0
    predicted: float = 1.0
    behavior: float = 0.0

    def __post_init__(self) -> None:
        _require(0 < self.ratio < 1, self, "ratio must lie between 0 and 1")
        _require(self.behavior >= 0, self, "behavior must not be negative")
        _require(0 <= self.units < 1, self, "units must lie in [0, 1)")
        _require(0 < self.predicted <= 1, self, "predicted must lie in (0, 1]")


@dataclass(frozen=True)
class TrainConfig(Config):
    """How one model is trained.

    Attributes
    ----------
    steps : int
        Optimizer steps at most.
    batch : int
        Windows in a batch, all of one session; with shards, over all of these.
    window_s : float
        Length of a window, seconds.
    lr, warmup, final_lr : float
        Peak learning rate; share of ``steps`` over which it rises; factor of the peak that a cosine decay ends at.
    weight_decay, clip : float
        AdamW's decay (matrices only); gradient norm at which gradients are clipped.
    val_every : int
        Steps between validations.
    patience : int or None
        Validations without a better score before training stops; None: never.
    drop_inputs : float
        Largest share of units (channels) silenced in a window's input; each window draws its share uniformly between 0 and this.
    noise : float
        SD of the noise added to a z-scored LFP input, in SDs of a channel.
    scheme : str
        How time is split, see :func:`~spikelfp_lab.split_session`.
    seed : int
        Of weights, batches, masks and the split.
    shards : int
        Groups that sessions are dealt into, of about the same number of windows. A step takes ``batch / shards`` windows of one session of each, and the mean of
        their gradients, weighted by the groups' windows: a batch of several sessions. Up to so many processes can share the work (see
        :mod:`spikelfp_lab.training.shards`); how many do changes nothing but rounding.
    compile : bool
        Compile the transformer's blocks with :func:`torch.compile` in the first step, which takes a minute. Meant for a GPU: on a CPU it gains nothing. Results differ by
        rounding.
    """

    steps: int = 1000
    batch: int = 32
    window_s: float = 2.0
    lr: float = 3e-3
    warmup: float = 0.1
    final_lr: float = 0.02
    weight_decay: float = 0.1
    clip: float = 1.0
    val_every: int = 50
    patience: int | None = None
    drop_inputs: float = 0.0
    noise: float = 0.0
    scheme: Literal["blocks", "trials", "paper"] = "blocks"
    seed: int = 0
    shards: int = 1
    compile: bool = False

    def __post_init__(self) -> None:
        _require(self.steps >= 1 and self.batch >= 1, self, "steps and batch must be at least 1")
        _require(self.window_s > 0, self, "window_s must be positive")
        _require(self.val_every >= 1, self, "val_every must be at least 1")
        _require(0 <= self.drop_inputs < 1, self, "drop_inputs must lie in [0, 1)")
        _require(
            self.scheme in ("blocks", "trials", "paper"), self, "scheme: blocks, trials or paper"
        )
        _require(self.seed >= 0, self, "seed must not be negative")
        _require(self.lr >= 0 and self.noise >= 0, self, "lr and noise must not be negative")
        _require(self.clip > 0, self, "clip must be positive")
        _require(self.patience is None or self.patience >= 1, self, "patience: None or at least 1")
        _require(
            self.shards >= 1 and self.batch % self.shards == 0,
            self,
            f"batch is {self.batch} and shards {self.shards}: batch must be a multiple of shards, which are at least 1",
        )


@dataclass(frozen=True)
class DistillConfig(Config):
    """What the student learns (arXiv 2512.12461, Eqs. 1 and 3).

    Attributes
    ----------
    alignment_weight : float
        Weight of the alignment term, the paper's 5.
    task_weight : float
        Weight of the reconstruction (or behavior) term, the paper's 1.
    center : {"none", "mean", "scale"}
        What is taken from the teacher's latents, per session, before they are the target: nothing (the paper), their mean over training
        time, or mean and standard deviation. A constant makes up most of a latent's norm, so that without centering the cosine is mostly
        about that constant.
    target : {"reconstruct", "behavior"}
        Second term: squared error of the LFP (Eq. 1) or of the behavior (Eq. 3).
    layers : {"last", "all"}
        Align the latents of the last layer (the paper), or those after each block with those after the teacher's of the same number.
    mask_ratio : float
        Share of the time steps that are dropped from the student's input in training; the terms are then of the steps that are left. 0 for the paper.
    frozen : bool
        True for the paper. False: the teacher's weights follow the alignment too, and nothing keeps what it knows.
    """

    alignment_weight: float = 5.0
    task_weight: float = 1.0
    center: Literal["none", "mean", "scale"] = "none"
    target: Literal["reconstruct", "behavior"] = "reconstruct"
    layers: Literal["last", "all"] = "last"
    mask_ratio: float = 0.0
    frozen: bool = True

    def __post_init__(self) -> None:
        _require(
            self.alignment_weight >= 0 and self.task_weight >= 0, self, "weights: not negative"
        )
        _require(self.layers in ("last", "all"), self, "layers: last or all")
        _require(0 <= self.mask_ratio < 1, self, "mask_ratio must lie in [0, 1)")
        _require(
            self.frozen or (self.layers == "last" and self.center == "none"),
            self,
            "a teacher that is not frozen is aligned at its last layer, with center='none'",
        )
        _require(self.center in ("none", "mean", "scale"), self, "center: none, mean or scale")
        _require(
            self.target in ("reconstruct", "behavior"), self, "target: reconstruct or behavior"
        )


def config_hash(*parts: Config | str | int | float | None) -> str:
    """A short, stable name for a set of configs: equal configs, equal hash, on any machine.

    >>> config_hash(MaskConfig()) == config_hash(MaskConfig(ratio=0.6))
    True
    """
    plain = [p.to_dict() if isinstance(p, Config) else p for p in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]
