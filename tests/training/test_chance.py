"""What is chance, and what is better, for a teacher of spikes."""

import math

import numpy as np
import pytest
import torch

from spikelfp_lab import MaskConfig, ModelConfig, TrainConfig, pretrain
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.training.batches import add_behavior, prepare
from spikelfp_lab.training.chance import behavior_r2, bits_per_spike
from tests.factories import make_session

MODEL = ModelConfig(width=32, layers=1, spike_patch=16, channel_patch=8, predictor_width=32)
TRAIN = TrainConfig(steps=150, batch=8, window_s=0.4, val_every=50)
CPU = torch.device("cpu")


def session_of_rates(rates: np.ndarray, seed: int = 0):
    """A session whose units fire at these rates, (time, unit) counts a bin."""
    session = make_session(bins=len(rates), units=rates.shape[1])
    session["spikes"].values = np.random.default_rng(seed).poisson(rates)
    session["spikes"] = session["spikes"].astype("uint8")
    return session


def windows_of(session, **options):
    return prepare(session, "I/s01", modality="spikes", train=TRAIN, device=CPU)


class Fixed(Autoencoder):
    """A model that gives every unit one log-rate at all times."""

    log_rate = 0.0

    def masked_loss(self, values, name, *, mask, generator=None, targets=None):
        _, dropped = self.draw_mask(values, name, mask=mask, generator=generator)
        patch = dropped % len(self.tokenizer.rows(name))
        wanted = self.tokenizer.patches(values, name, fill=0.0).flatten(1, 2)
        wanted = wanted.gather(1, dropped.unsqueeze(-1).expand(-1, -1, wanted.shape[2]))
        return self.mean_loss(torch.full_like(wanted, self.log_rate), wanted, name, patch)


@pytest.mark.parametrize("units", [16, 10, 37])  # full, padded, and more than one patch
def test_mean_rates_are_chance_and_wrong_rates_are_worse_by_what_theory_says(units):
    rate, windows = 0.5, windows_of(session_of_rates(np.full((4000, units), 0.5)))
    model = Fixed(MODEL, modality="spikes", sessions={"I/s01": units}, bin_size_s=0.01)
    model.log_rate = math.log(rate)
    assert bits_per_spike(model, windows) == pytest.approx(0, abs=0.01)
    model.log_rate = math.log(2 * rate)  # E of the log-likelihood: r log r - r
    expected = ((rate * math.log(2 * rate) - 2 * rate) - (rate * math.log(rate) - rate)) / rate
    assert bits_per_spike(model, windows) == pytest.approx(expected / math.log(2), abs=0.1)


def test_a_model_that_learned_rates_that_move_is_better_than_chance():
    together = 0.6 * (1 + 0.9 * np.sin(np.arange(4000) / 15))
    session = session_of_rates(np.repeat(together[:, None], 16, axis=1))
    model = pretrain(session, "spikes", model=MODEL, train=TRAIN, progress=False)
    assert bits_per_spike(model, windows_of(session)) > 0.1


def test_it_leaves_the_model_and_random_numbers_as_they_are():
    windows = windows_of(session_of_rates(np.full((2000, 16), 0.5)))
    model = Autoencoder(MODEL, modality="spikes", sessions={"I/s01": 16}, bin_size_s=0.01).train()
    state, digest = torch.get_rng_state(), model.digest()
    first = bits_per_spike(model, windows)
    assert model.training and model.digest() == digest
    assert torch.equal(torch.get_rng_state(), state)
    assert bits_per_spike(model, windows) == first < 0


def test_silent_units_and_silent_validation_windows_are_finite():
    rates = np.zeros((3000, 16))
    rates[:, 0] = 0.5
    windows = windows_of(session_of_rates(rates))
    model = Autoencoder(MODEL, modality="spikes", sessions={"I/s01": 16}, bin_size_s=0.01)
    assert math.isfinite(bits_per_spike(model, windows))
    windows.values.zero_()
    assert not bits_per_spike(model, windows) > 0


def test_behavior_r2_is_that_of_the_read_out():
    session = make_session(bins=3000, units=16)
    mask = MaskConfig(behavior=1.0)
    model = pretrain(session, "spikes", model=MODEL, mask=mask, train=TRAIN, progress=False)
    windows = windows_of(session)
    add_behavior(windows, session, train=TRAIN)
    assert model.behavior_head is not None
    learned = behavior_r2(model, windows)
    with torch.no_grad():
        model.behavior_head.weight.zero_()
        model.behavior_head.bias.zero_()
    assert behavior_r2(model, windows) == pytest.approx(0, abs=1e-6)
    assert learned != 0
