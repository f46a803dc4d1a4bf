"""The generative model at its native rates."""

import numpy as np
import pytest
from scipy import signal

from spikelfp_lab.cohorts.generative import (
    LATENT_NAMES,
    LFP_RATE_HZ,
    SimulationParameters,
    recording,
)
from spikelfp_lab.errors import ConfigError


@pytest.fixture(scope="module")
def raw():
    return recording(duration_s=120.0, n_channels=8)


def test_units_and_rates(raw):
    assert 40 <= len(raw.spike_times) <= 90
    rates = np.array([times.size / 120.0 for times in raw.spike_times])
    assert rates.min() > 2.0 and rates.max() < 40.0
    for times in raw.spike_times:
        assert (np.diff(times) >= 0).all() and times[0] >= 0 and times[-1] < 120.0


def test_native_clocks_and_units(raw):
    assert raw.lfp.shape == (120 * LFP_RATE_HZ, 8) and raw.lfp.dtype == np.float32
    assert np.allclose(np.diff(raw.lfp_times), 1 / LFP_RATE_HZ)
    assert np.allclose(np.diff(raw.behavior_times), 0.01)
    assert raw.velocity.shape == (12_001, 2)
    assert (raw.lfp.std(axis=0) > 40).all() and (raw.lfp.std(axis=0) < 120).all()  # uV
    speed = np.hypot(*raw.velocity.T)
    assert 20 < speed.max() < 80  # cm/s


def test_reaches_start_and_stop(raw):
    speed = np.hypot(*raw.velocity.T)
    assert 0.1 < (speed == 0).mean() < 0.5  # dwells
    assert np.abs(np.diff(raw.velocity, axis=0)).max() < 5  # smooth


def test_neural_activity_leads_behavior_by_100_ms(raw):
    """The latent that spikes and LFP express is the velocity of 100 ms later."""
    expressed = raw.latents[:: LFP_RATE_HZ // 100, LATENT_NAMES.index("vx")]
    velocity = np.interp(raw.lfp_times[::10], raw.behavior_times, raw.velocity[:, 0])
    lags = range(-30, 31)
    match = [np.corrcoef(np.roll(expressed, lag), velocity)[0, 1] for lag in lags]
    assert lags[int(np.argmax(match))] == 10


def test_spikes_lead_behavior_by_100_ms():
    """Measured on the spikes themselves, with units tuned to velocity alone."""
    only_velocity = SimulationParameters(tuning=(0.6, 0.0, 0.0, 0.0, 0.0))
    raw = recording(duration_s=240.0, n_channels=1, n_units=60, parameters=only_velocity)
    counts = np.stack([np.histogram(t, np.arange(24_001) / 100)[0] for t in raw.spike_times], 1)
    weighted = (counts - counts.mean(axis=0)) @ raw.spike_tuning[:, :2]
    center = (raw.velocity[:-1] + raw.velocity[1:]) / 2
    lags = np.arange(-30, 31)
    match = [np.sum(np.roll(weighted, lag, axis=0) * center) for lag in lags]
    assert abs(lags[int(np.argmax(match))] - 10) <= 2


def test_lfp_has_its_rhythms_and_line_noise(raw):
    hz, power = signal.welch(raw.lfp, fs=LFP_RATE_HZ, nperseg=4 * LFP_RATE_HZ, axis=0)
    level = power.mean(axis=1)

    def at(low, high):
        return level[(hz >= low) & (hz <= high)].mean()

    assert at(18, 22) > 2 * at(11, 13)
    assert at(36, 40) > 2 * at(27, 29)
    assert at(59.8, 60.2) > 20 * at(55, 58)
    assert at(1, 2) > 5 * at(5, 6)  # falls as 1/f


def test_envelopes_follow_the_latents():
    quiet = SimulationParameters(envelope_noise=0.0, line_uv=(0.0, 0.0), envelope_gain=0.5)
    raw = recording(duration_s=60.0, n_channels=4, n_units=1, parameters=quiet)
    band = signal.butter(3, (13, 28), "bandpass", fs=LFP_RATE_HZ, output="sos")
    envelope = np.abs(signal.hilbert(signal.sosfiltfilt(band, raw.lfp, axis=0), axis=0))
    blocks = np.log((envelope**2).reshape(-1, 200, 4).mean(axis=1))
    truth = (raw.latents @ raw.beta_weight.T).reshape(-1, 200, 4).mean(axis=1)
    match = [np.corrcoef(blocks[:, c], truth[:, c])[0, 1] for c in range(4)]
    assert min(match) > 0.3


def test_mixing_is_stable_with_a_slow_drift_and_units_are_new():
    sessions = [
        recording(index, duration_s=2.0, n_channels=32, n_units=40, drift=0.1)
        for index in (1, 2, 7)
    ]
    first, second, last = (one.mixing.ravel() for one in sessions)
    assert 0.97 < np.corrcoef(first, second)[0, 1] < 1.0
    assert 0.9 < np.corrcoef(first, last)[0, 1] < np.corrcoef(first, second)[0, 1]
    tunings = [one.spike_tuning.ravel() for one in sessions]
    assert abs(np.corrcoef(tunings[0], tunings[1])[0, 1]) < 0.2
    other = recording(1, subject="C", duration_s=2.0, n_channels=32, n_units=40)
    assert abs(np.corrcoef(first, other.mixing.ravel())[0, 1]) < 0.2


def test_drift_zero_and_one():
    still = [recording(i, duration_s=2.0, n_channels=8, n_units=1, drift=0.0) for i in (1, 5)]
    np.testing.assert_array_equal(still[0].beta_weight, still[1].beta_weight)
    new = [recording(i, duration_s=2.0, n_channels=32, n_units=1, drift=1.0) for i in (1, 2)]
    assert abs(np.corrcoef(new[0].mixing.ravel(), new[1].mixing.ravel())[0, 1]) < 0.2


def test_reproducible_bit_for_bit():
    one, two = (recording(3, duration_s=5.0, n_channels=4, seed=8) for _ in range(2))
    np.testing.assert_array_equal(one.lfp, two.lfp)
    np.testing.assert_array_equal(one.velocity, two.velocity)
    for a, b in zip(one.spike_times, two.spike_times, strict=True):
        np.testing.assert_array_equal(a, b)
    other = recording(3, duration_s=5.0, n_channels=4, seed=9)
    assert not np.array_equal(one.lfp, other.lfp)


def test_out_of_range_options_are_named_in_one_error():
    with pytest.raises(ConfigError, match=r"index.*duration_s.*n_channels.*n_units.*drift"):
        recording(0, duration_s=0.1, n_channels=200, n_units=0, drift=2.0)
