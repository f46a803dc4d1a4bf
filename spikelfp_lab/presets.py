"""The three presets: named sets of configs, one set for each kind of training.

``smoke`` shows in seconds that everything runs; ``demo`` trains in minutes on two CPU cores;
``paper`` has the sizes of arXiv 2512.12461."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from spikelfp_lab.configs import DistillConfig, MaskConfig, ModelConfig, TrainConfig
from spikelfp_lab.errors import ConfigError

Role = Literal["spikes", "lfp", "both", "distill"]


@dataclass(frozen=True)
class Preset:
    """Configs of one kind of training; ``finetune`` is how a model of that kind goes on to a new
    session.
    """

    model: ModelConfig
    train: TrainConfig
    finetune: TrainConfig
    mask: MaskConfig
    distill: DistillConfig


def _short(train: TrainConfig, *, steps: int) -> TrainConfig:
    """Fine-tuning: the same training, shorter and gentler."""
    return replace(train, steps=steps, lr=train.lr / 3, val_every=min(train.val_every, steps))


def _preset(
    model: ModelConfig,
    mask: MaskConfig,
    distill: DistillConfig,
    *,
    spikes: TrainConfig,
    lfp: TrainConfig,
    both: TrainConfig,
    student: TrainConfig,
    finetune_steps: int,
) -> dict[Role, Preset]:
    # A student has no predictor (its latents are read out linearly, Eq. 1), and no tables but the
    # paper's: it is to carry over to other sessions.
    linear = replace(model, predictor_layers=0, affine_space=False)
    return {
        "spikes": Preset(model, spikes, _short(spikes, steps=finetune_steps), mask, distill),
        "lfp": Preset(model, lfp, _short(lfp, steps=finetune_steps), mask, distill),
        "both": Preset(model, both, _short(both, steps=finetune_steps), mask, distill),
        "distill": Preset(linear, student, _short(student, steps=finetune_steps), mask, distill),
    }


# Where smoke and demo leave the paper, because it was measured to be better in minutes on a CPU:
# each visible token's latent must give its hidden units (MaskConfig.units), every session has maps
# of its own (affine_space), spikes are read in short windows and LFP in long ones (its information
# is in slow envelopes), and a student's channels are silenced and noised, without which it learns
# its few minutes by heart.
_SMALL = ModelConfig(width=64, layers=4, mlp_ratio=2, affine_space=True)
_HIDE = MaskConfig(units=0.25, predicted=0.5)
_STUDENT = TrainConfig(steps=500, batch=8, window_s=4.0, drop_inputs=0.7, noise=0.5, patience=6)
_QUICK = TrainConfig(steps=120, batch=8, window_s=1.0, val_every=20)
_PAPER = TrainConfig(batch=64, window_s=5.0, lr=6.25e-4, val_every=200, patience=50, scheme="paper")

PRESETS: dict[str, dict[Role, Preset]] = {
    "smoke": _preset(
        replace(_SMALL, layers=2),
        _HIDE,
        DistillConfig(),
        spikes=replace(_QUICK, steps=800, val_every=100),  # enough to have something to teach
        lfp=_QUICK,
        both=_QUICK,
        student=replace(_QUICK, drop_inputs=0.5, noise=0.3),
        finetune_steps=200,
    ),
    "demo": _preset(
        _SMALL,
        _HIDE,
        DistillConfig(),
        spikes=TrainConfig(steps=2800, window_s=1.0),
        lfp=TrainConfig(steps=500, batch=8, window_s=4.0),
        both=TrainConfig(steps=700, batch=16, window_s=2.0),
        student=_STUDENT,
        finetune_steps=400,
    ),
    "paper": _preset(
        ModelConfig(
            width=256, layers=10, heads=8, predictor_layers=4, predictor_width=192, dropout=0.1
        ),
        MaskConfig(),
        DistillConfig(),
        spikes=replace(_PAPER, steps=100_000),
        lfp=replace(_PAPER, steps=50_000),
        both=replace(_PAPER, steps=50_000),
        student=replace(_PAPER, steps=10_000, batch=32),
        finetune_steps=10_000,
    ),
}


def preset_configs(preset: str, role: Role) -> Preset:
    """Configs of a preset for one kind of training; an unknown preset raises :class:`ConfigError`.

    >>> preset_configs("paper", "spikes").model.width
    256
    """
    if preset not in PRESETS:
        raise ConfigError(f"there is no preset {preset!r}; choose one of {list(PRESETS)}")
    if role not in PRESETS[preset]:
        raise ConfigError(f"modality is {role!r}: choose 'spikes', 'lfp' or 'both'")
    return PRESETS[preset][role]
