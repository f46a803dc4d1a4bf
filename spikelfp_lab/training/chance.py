"""Is a spike model better than chance? What does not know a session's spikes has nothing to teach."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import xarray as xr

from spikelfp_lab.configs import MaskConfig, TrainConfig
from spikelfp_lab.errors import DataError
from spikelfp_lab.models.autoencoder import Autoencoder
from spikelfp_lab.models.device import autocast
from spikelfp_lab.training.batches import SessionWindows, add_behavior, prepare, some_validation

LEAST_RATE = 1e-4
"""Counts a bin that a unit is given which is silent in all of training time: its log-rate must stay finite."""


def bits_per_spike(model: Autoencoder, windows: SessionWindows) -> float:
    """How much better a spike model predicts dropped counts than each unit's mean rate does.

    Both predict the same dropped tokens of the session's validation windows; the rates are those of its training time. The difference of the Poisson log-likelihoods is
    given a spike, in bits, as is usual for models of spike counts (Pei et al. 2021, arXiv 2109.04463, "co-bps").

    Parameters
    ----------
    model : Autoencoder
        Of spikes, with a predictor, that knows the session. On the windows' device.
    windows : SessionWindows
        Of the model's modality.

    Returns
    -------
    float
        0 is chance; below it, the model is worse than no model.

    Examples
    --------
    >>> from spikelfp_lab import ModelConfig, TrainConfig, open_cohort
    >>> from spikelfp_lab.training.batches import prepare
    >>> session = open_cohort("simulated", n_sessions=1, duration_s=30, progress=False)["I/s01"]
    >>> windows = prepare(
    ...     session.to_dataset(), "I/s01", modality="spikes", train=TrainConfig(window_s=0.5), device=torch.device("cpu")
    ... )
    >>> untrained = Autoencoder(ModelConfig(), modality="spikes", sessions={"I/s01": windows.size}, bin_size_s=0.01)
    >>> bits_per_spike(untrained, windows) < 0
    True
    """
    was_training = model.training
    model.eval()
    values = windows.cut(windows.values, some_validation(windows))
    name, mask = windows.name, MaskConfig()

    def generator() -> torch.Generator:  # the same mask for both
        return torch.Generator(values.device).manual_seed(0)

    with torch.inference_mode(), autocast(values.device):
        _, dropped = model.draw_mask(values, name, mask=mask, generator=generator())
        table = windows.cut(windows.values, windows.train[:: windows.length])
        rates = table.flatten(0, 1).mean(dim=0).clamp(min=LEAST_RATE).log()
        rates = model.tokenizer.patches(rates[None, None], name, fill=0.0)[0, 0]  # (P, S)
        place = dropped % len(rates)
        wanted = model.tokenizer.patches(values, name, fill=0.0).flatten(1, 2)
        wanted = wanted.gather(1, dropped.unsqueeze(-1).expand(-1, -1, wanted.shape[2]))
        chance = model.mean_loss(rates[place], wanted, name, place)
        own = model.masked_loss(values, name, mask=mask, generator=generator())
        asked = model.tokenizer.real(name, values.device)[place].sum()
    model.train(was_training)
    spikes = wanted.sum() / asked  # a dropped entry
    return float((chance - own) / spikes.clamp(min=1e-9)) / math.log(2)


def behavior_r2(model: Autoencoder, windows: SessionWindows) -> float:
    """R² of the behavior that a model with a read-out of it gives on validation windows; the windows have the target "behavior", z-scored by training time."""
    was_training = model.training
    model.eval()
    starts = some_validation(windows)
    wanted = windows.cut(windows.targets["behavior"], starts)
    with torch.inference_mode(), autocast(windows.values.device):
        latents = model.latents(windows.cut(windows.values, starts), windows.name)
        error = model.behavior_loss(latents, wanted)
    model.train(was_training)
    known = wanted[torch.isfinite(wanted).all(dim=-1)]
    return float(1 - error / known.square().mean().clamp(min=1e-9))


def refuse_chance(
    teacher: Autoencoder,
    session: xr.Dataset,
    name: str,
    *,
    train: TrainConfig,
    device: torch.device,
) -> None:
    """Raise a :class:`DataError` for a teacher that knows no more of a session's spikes than their rates, nor, if it learned behavior, of that.

    A model without a predictor cannot be asked. Time is split as in the teacher's own training, or else as ``train`` says.
    """
    if teacher.predictor is None:
        return
    own = teacher.info.get("train", {})
    train = replace(
        train, **{key: own[key] for key in ("window_s", "scheme", "seed") if key in own}
    )
    windows = prepare(session, name, modality="spikes", train=train, device=device)
    bits = bits_per_spike(teacher.to(device), windows)
    if bits > 0:
        return
    if teacher.behavior_head is not None and "behavior" in session:
        add_behavior(windows, session, train=train)
        if behavior_r2(teacher, windows) > 0:
            return
    raise DataError(
        f"the teacher is no better than chance on session {name}: it predicts dropped spikes {-bits:.3f} bits a spike worse than each "
        "unit's mean rate does, so it has nothing to teach. Train it longer, finetune(teacher, session), or distill(..., force=True)."
    )
