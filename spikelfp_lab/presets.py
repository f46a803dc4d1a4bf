"""The three presets: named sets of configs, one set for each kind of training.

``smoke`` shows in seconds that everything runs; ``demo`` trains in minutes on two CPU cores; ``paper`` has the sizes of arXiv 2512.12461.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from spikelfp_lab.configs import DistillConfig, MaskConfig, ModelConfig, TrainConfig
from spikelfp_lab.errors import ConfigError

Role = Literal["spikes", "lfp", "finetune", "distill"]


@dataclass(frozen=True)
class Preset:
    """Configs of one kind of training."""

    model: ModelConfig
    train: TrainConfig
    mask: MaskConfig = MaskConfig()
    distill: DistillConfig = DistillConfig()


def _student(model: ModelConfig) -> ModelConfig:
    """A student has no predictor: its latents are read out linearly (Eq. 1)."""
    return replace(model, predictor_layers=0)


_SMOKE = ModelConfig(width=64, layers=2)
_DEMO = ModelConfig(width=64, layers=4)
_PAPER = ModelConfig(
    width=256, layers=10, heads=8, predictor_layers=4, predictor_width=192, dropout=0.1
)

PRESETS: dict[str, dict[Role, Preset]] = {
    "smoke": {
        "spikes": Preset(_SMOKE, TrainConfig(steps=60, batch=8, window_s=1.0, val_every=20)),
        "lfp": Preset(_SMOKE, TrainConfig(steps=40, batch=8, window_s=1.0, val_every=20)),
        "finetune": Preset(_SMOKE, TrainConfig(steps=20, batch=8, window_s=1.0, val_every=20)),
        "distill": Preset(_student(_SMOKE), TrainConfig(steps=60, batch=8, window_s=1.0, val_every=20)),
    },
    "demo": {
        "spikes": Preset(_DEMO, TrainConfig(steps=1400)),
        "lfp": Preset(_DEMO, TrainConfig(steps=500)),
        "finetune": Preset(_DEMO, TrainConfig(steps=200, lr=1e-3)),
        "distill": Preset(_student(_DEMO), TrainConfig(steps=400)),
    },
    "paper": {
        "spikes": Preset(_PAPER, TrainConfig(steps=100_000, batch=64, window_s=5.0, lr=6.25e-4, scheme="paper")),
        "lfp": Preset(_PAPER, TrainConfig(steps=50_000, batch=64, window_s=5.0, lr=6.25e-4, scheme="paper")),
        "finetune": Preset(_PAPER, TrainConfig(steps=5_000, batch=32, window_s=5.0, lr=2e-4, scheme="paper")),
        "distill": Preset(_student(_PAPER), TrainConfig(steps=5_000, batch=32, window_s=5.0, lr=6.25e-4, scheme="paper")),
    },
}  # fmt: skip


def preset_configs(preset: str, role: Role) -> Preset:
    """Configs of a preset for one kind of training; an unknown preset raises :class:`ConfigError`.

    >>> preset_configs("paper", "spikes").model.width
    256
    """
    if preset not in PRESETS:
        raise ConfigError(f"there is no preset {preset!r}; choose one of {list(PRESETS)}")
    if role not in PRESETS[preset]:
        raise ConfigError(f"modality is {role!r}: choose 'spikes' or 'lfp'")
    return PRESETS[preset][role]
