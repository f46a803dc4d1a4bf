"""Configs: frozen dataclasses with a JSON round trip, of which presets are named sets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

from spikelfp_lab.errors import ConfigError

Count = Annotated[int, "[1, inf)"]
Positive = Annotated[float, "(0, inf)"]
Weight = Annotated[float, "[0, inf)"]
Share = Annotated[float, "[0, 1)"]


class Config:
    """JSON round trip, hash and checks for the dataclasses below."""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self), include_extras=True).items():
            value, limits, fits = getattr(self, name), get_args(kind), True
            if get_origin(kind) is Literal:
                fits = value in limits
            elif get_origin(kind) is Annotated:
                limits = limits[1]
                low, high = map(float, limits[1:-1].split(","))
                closed = (value == low and "[" in limits) or (value == high and "]" in limits)
                fits = closed or low < value < high
            self._require(fits, f"{name} is {value!r}, it must be in {limits}")

    def _require(self, condition: bool, cure: str) -> None:
        if not condition:
            raise ConfigError(f"{type(self).__name__}: {cure}")

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

    width: Count = 64  # d, numbers in a token; a multiple of spike_patch and of 2 * heads
    layers: Count = 4
    heads: Count = 2
    mlp_ratio: Count = 4  # hidden width of the MLP / width
    spike_patch: Count = 64  # S, units in a token
    channel_patch: Count = 32  # S, channels in a token
    max_count: Count = 5  # larger counts are clamped in the tokenizer's input
    kernel: Count = 5  # taps of the LFP tokenizer's causal convolution
    dilation: Count = 2  # time steps between taps
    # Bands (lower, upper edge in Hz) whose log power an LFP model reads, and reconstructs, beside
    # each channel's potential: information in envelopes is beyond its first, linear layer.
    bands_hz: tuple[tuple[float, float], ...] = ()
    affine_space: bool = False  # a learned map a session and patch; the paper has a row alone
    predictor_layers: Annotated[int, "[0, inf)"] = 1  # 0: a linear read-out, as students have
    predictor_width: Count = 64
    dropout: Share = 0.0  # on the output of each attention and MLP
    # Latents of the past alone, as a live decoder needs: a layer attends to the last context_s (so
    # the reach is layers * context_s), and band power is filtered causally.
    causal: bool = False
    context_s: Positive = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "bands_hz", tuple((low, high) for low, high in self.bands_hz))
        fits = all(0 < low < high for low, high in self.bands_hz)
        self._require(fits, f"bands_hz is {self.bands_hz}: a lower and a higher edge each, in Hz")
        two = 2 * self.heads
        fits = self.width % two == 0 and self.width % self.spike_patch == 0
        self._require(fits, "width must be a multiple of 2 * heads, and of spike_patch")
        fits = not self.predictor_layers or self.predictor_width % two == 0
        self._require(fits, "predictor_width must be a multiple of 2 * heads")

    @property
    def per_channel(self) -> int:
        """Numbers that an LFP model reads of a channel in each bin: its potential, then powers."""
        return 1 + len(self.bands_hz)


@dataclass(frozen=True)
class MaskConfig(Config):
    """What masked autoencoding hides, and what else it learns."""

    ratio: Annotated[float, "(0, 1)"] = 0.6  # share of the tokens dropped, over time and patches
    # Share of the visible tokens' units (channels) that are hidden too, and that a linear read-out
    # of the token's own latent must give; 0 in the paper.
    units: Share = 0.0
    predicted: Annotated[float, "(0, 1]"] = 1.0  # share of the dropped tokens asked for in a step
    behavior: Weight = 0.0  # weight of a read-out of behavior (supervised); then it ranks weights


@dataclass(frozen=True)
class TrainConfig(Config):
    """How one model is trained."""

    steps: Count = 1000  # at most
    batch: Count = 32  # windows, all of one session; with shards, over all of these
    window_s: Positive = 2.0  # seconds
    lr: Weight = 3e-3  # peak learning rate of AdamW
    warmup: Annotated[float, "[0, 1]"] = 0.1  # share of the steps over which it rises
    final_lr: Annotated[float, "[0, 1]"] = 0.02  # factor of the peak that a cosine decay ends at
    weight_decay: Weight = 0.1  # of matrices only
    clip: Annotated[float, "(0, inf]"] = 1.0  # gradient norm at which gradients are clipped
    val_every: Count = 50  # steps between validations
    patience: int | None = None  # validations without a better score before it stops
    drop_inputs: Share = 0.0  # a window's silenced share of units: uniform up to this
    noise: Weight = 0.0  # SD added to a z-scored LFP input
    scheme: Literal["blocks", "trials", "paper"] = "blocks"  # see split_session
    seed: Annotated[int, "[0, inf)"] = 0  # of weights, batches, masks and the split
    # Groups that sessions are dealt into; a step takes batch / shards windows of one session of
    # each. As many processes can share the work (training/shards.py).
    shards: Count = 1
    tables_only: bool = False  # fine-tuning: shared weights, and other sessions, stay as they are
    compile: bool = False  # torch.compile the blocks: on a GPU; takes a minute at the first step

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.patience is None or self.patience >= 1, "patience: None or at least 1")
        self._require(self.batch % self.shards == 0, "batch must be a multiple of shards")


@dataclass(frozen=True)
class DistillConfig(Config):
    """What the student learns (arXiv 2512.12461, Eqs. 1 and 3)."""

    alignment_weight: Weight = 5.0  # of 1 - cosine with the teacher's latents
    task_weight: Weight = 1.0  # of the second term
    # Taken from the teacher's latents, a session: nothing (the paper), their mean over training
    # time, or mean and SD. A constant is most of a latent's norm.
    center: Literal["none", "mean", "scale"] = "none"
    target: Literal["reconstruct", "behavior"] = "reconstruct"  # squared error of LFP or behavior
    layers: Literal["last", "all"] = "last"  # aligned: the last (the paper), or each with its own
    mask_ratio: Share = 0.0  # share of time steps dropped from the input in training; paper: 0
    # A linear map a session from the student's latents, one space for all sessions, to those of its
    # teacher, whose sessions share none. The paper: none, the two are the same space.
    maps: bool = False
    frozen: bool = True  # False: the teacher's weights follow the alignment too

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.frozen or (self.layers == "last" and self.center == "none" and not self.maps)
        cure = "a teacher that is not frozen takes layers='last', center='none' and no maps"
        self._require(fits, cure)
        self._require(not (self.maps and self.layers == "all"), "maps are of the last layer alone")
