"""The generative model at its native rates."""

import numpy as np
import pytest
from scipy import signal

from spikelfp_lab.cohorts.generative import LFP_RATE_HZ, Drift, SimulationParameters, recording
from spikelfp_lab.errors import ConfigError


@pytest.fixture(scope="module")
def raw():
    return recording(duration_s=120.0, n_channels=8)


def test_rates_clocks_units_and_reaches(raw):
    assert 40 <= len(raw.spike_times) <= 90
    rates = np.array([times.size / 120.0 for times in raw.spike_times])
    assert rates.min() > 2.0 and rates.max() < 40.0
    for times in raw.spike_times:
        assert (np.diff(times) >= 0).all() and times[0] >= 0 and times[-1] < 120.0
    assert raw.lfp.shape == (120 * LFP_RATE_HZ, 8) and raw.lfp.dtype == np.float32
    assert np.allclose(np.diff(raw.lfp_times), 1 / LFP_RATE_HZ)
    assert np.allclose(np.diff(raw.behavior_times), 0.01) and raw.velocity.shape == (12_001, 2)
    assert (raw.lfp.std(axis=0) > 40).all() and (raw.lfp.std(axis=0) < 120).all()  # uV
    speed = np.hypot(*raw.velocity.T)
    assert 20 < speed.max() < 80 and 0.1 < (speed == 0).mean() < 0.5  # cm/s; dwells
    assert np.abs(np.diff(raw.velocity, axis=0)).max() < 5  # smooth


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
    for (low, high), times, (low_other, high_other) in (
        ((18, 22), 2, (11, 13)),
        ((36, 40), 2, (27, 29)),
        ((59.8, 60.2), 20, (55, 58)),
        ((1, 2), 5, (5, 6)),  # falls as 1/f
    ):
        here, other = (hz >= low) & (hz <= high), (hz >= low_other) & (hz <= high_other)
        assert level[here].mean() > times * level[other].mean()


def test_mixing_drifts_and_units_are_new():
    def made(index, **options):
        return recording(index, duration_s=2.0, n_channels=32, n_units=40, **options)

    def match(one, other, what="mixing"):
        return np.corrcoef(getattr(one, what).ravel(), getattr(other, what).ravel())[0, 1]

    first, second, last = (made(index, drift=0.1) for index in (1, 2, 7))
    assert 0.97 < match(first, second) < 1.0 and 0.9 < match(first, last) < match(first, second)
    assert abs(match(first, second, "spike_tuning")) < 0.2
    assert abs(match(first, made(1, subject="C"))) < 0.2
    assert abs(match(first, made(2, drift=1))) < 0.2
    np.testing.assert_array_equal(first.beta_weight, made(5, drift=0.0).beta_weight)


def test_an_array_ages_by_days():
    """Sites by the formula, units that stay are the same, electrodes die, gains move."""
    drift = Drift(mixing=0.1, units_lost=0.01, electrodes_lost=0.01, gain=0.02)
    first, later = (
        recording(day, duration_s=5, n_channels=96, n_units=60, drift=drift) for day in (0, 30)
    )
    for name in ("mixing", "beta_weight", "gamma_weight"):
        one, other = (getattr(each, name).ravel() for each in (first, later))
        assert abs(np.corrcoef(one, other)[0, 1] - (1 - 0.1**2) ** 15) < 0.05
    left = [unit for unit in first.units if unit in later.units]
    assert 0.55 < len(left) / 60 < 0.9 and len(later.units) == 60  # 0.99^30 = .74; all replaced
    of = [[each.units.index(unit) for unit in left] for each in (first, later)]
    np.testing.assert_array_equal(first.spike_tuning[of[0]], later.spike_tuning[of[1]])
    dead = later.lfp.std(axis=0) < 25  # uV: line and sensor noise alone
    assert 0.1 < dead.mean() < 0.45 and not (first.lfp.std(axis=0) < 25).any()  # 1 - 0.99^30 = .26
    ratio = np.log(later.lfp.std(axis=0) / first.lfp.std(axis=0))[~dead]
    assert 0.04 < ratio.std() < 0.2


def test_reproducible_bit_for_bit_and_out_of_range_options_are_named():
    one, two, other = (recording(3, duration_s=5, n_channels=4, seed=seed) for seed in (8, 8, 9))
    np.testing.assert_array_equal(one.lfp, two.lfp)
    np.testing.assert_array_equal(np.concatenate(one.spike_times), np.concatenate(two.spike_times))
    assert not np.array_equal(one.lfp, other.lfp)
    with pytest.raises(ConfigError, match=r"index.*duration_s.*n_channels.*n_units.*drift"):
        recording(0, duration_s=0.1, n_channels=200, n_units=0, drift=2.0)
    with pytest.raises(ConfigError, match=r"days from 0.*drift is"):
        recording(-1, drift=Drift(mixing=2.0))
