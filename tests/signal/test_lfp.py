"""LFP filtering: what must pass, what must not, and when."""

import numpy as np
import pytest

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.signal import broadband_to_lfp, lfp_to_rate
from spikelfp_lab.signal.lfp import flat_channels, referenced


def _gain_db(frequency_hz, *, rate_hz, seen_at_hz=None, seconds=40):
    """Amplitude of a filtered unit sine away from the edges, in dB."""
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    lfp = lfp_to_rate(np.sin(2 * np.pi * frequency_hz * time)[:, None], rate_hz=rate_hz)[:, 0]
    inner = slice(1000, -1000)
    seen = np.arange(lfp.size)[inner] / 100
    seen_at_hz = frequency_hz if seen_at_hz is None else seen_at_hz
    amplitude = 2 * np.abs(np.mean(lfp[inner] * np.exp(-2j * np.pi * seen_at_hz * seen)))
    return 20 * np.log10(max(amplitude, 1e-9))


@pytest.mark.parametrize("rate_hz", [250.0, 1000.0, 24414.0625])
@pytest.mark.parametrize("frequency_hz", [0.5, 4.0, 20.0, 38.0, 45.0])
def test_passband_is_flat_within_half_a_decibel(rate_hz, frequency_hz):
    assert abs(_gain_db(frequency_hz, rate_hz=rate_hz)) < 0.5


@pytest.mark.parametrize(
    "frequency_hz, alias_hz", [(60.0, 40.0), (70.0, 30.0), (110.0, 10.0), (333.0, 33.0)]
)
def test_line_noise_and_fast_rhythms_do_not_alias(frequency_hz, alias_hz):
    assert _gain_db(frequency_hz, rate_hz=1000.0, seen_at_hz=alias_hz) < -40


def test_zero_delay():
    time, rate_hz = np.arange(20_000) / 1000, 1000.0
    pulse = np.exp(-((time - 10.0) ** 2) / (2 * 0.02**2))
    lfp = lfp_to_rate(pulse[:, None], rate_hz=rate_hz)[:, 0]
    assert np.argmax(lfp) == 1000
    np.testing.assert_allclose(lfp[990:1000], lfp[1010:1000:-1], atol=2e-3)


def test_agrees_with_the_chain_for_broadband():
    slow = np.repeat(np.random.default_rng(0).standard_normal((700, 2)), 100, axis=0)
    slow = np.cumsum(slow - slow.mean(axis=0), axis=0) / 100  # at 2000 Hz, most below 20 Hz
    options = {"rate_hz": 2000.0, "band_hz": (0.5, 50.0), "reference": "car"}
    lfp, other = lfp_to_rate(slow, **options), broadband_to_lfp(slow, **options, progress=False)[0]
    assert lfp.shape == other.shape and lfp.dtype == other.dtype
    assert (lfp - other)[200:-200].std() < 0.02 * other.std()  # of 0.1 dB of ripple


def test_missing_samples_and_offsets_spoil_nothing_else():
    raw = np.random.default_rng(2).standard_normal((20_000, 11)).astype(np.float32)
    whole = lfp_to_rate(raw, rate_hz=1000.0)
    raw[5000:5500, 0] = raw[:, 2] = np.nan
    raw[:, 1] += 1e4
    lfp = lfp_to_rate(raw, rate_hz=1000.0)
    assert np.flatnonzero(np.isnan(lfp[:, 0])).tolist() == list(range(500, 551))
    assert np.isnan(lfp[:, 2]).all()
    np.testing.assert_allclose(lfp[:, 1], whole[:, 1], atol=0.02)
    np.testing.assert_array_equal(lfp[:, 3:], whole[:, 3:])


@pytest.mark.parametrize(
    "raw, options, message",
    [
        (np.zeros(5000), {}, "samples by channels"),
        (np.zeros((5000, 1)), {"to_rate_hz": 2000.0}, "Lower to_rate_hz"),
        (np.zeros((5000, 1)), {"band_hz": (60.0, 90.0)}, "no pass band"),
        (np.zeros((50, 1)), {}, "too short"),
        (np.zeros((5000, 1)), {"line_hz": 0}, "line_hz is 0: give the mains"),
        (np.zeros((5000, 1)), {"line_hz": np.nan}, "line_hz is nan"),
        (np.zeros((5000, 2)), {"reference": "CAR"}, "No reference 'CAR'"),
    ],
)
def test_bad_input_is_one_clear_error(raw, options, message):
    with pytest.raises((DataError, ConfigError), match=message):
        lfp_to_rate(raw, rate_hz=1000.0, **options)


@pytest.mark.parametrize("flat", [0.0, 250.0])
def test_a_flat_channel_is_taken_out_before_the_average(flat):
    """It would dilute the average and come out as the negative of the others."""
    rng = np.random.default_rng(0)
    lfp = rng.normal(scale=30, size=(500, 4)).astype(np.float32)
    lfp[:, 2] = flat + 1e-4 * rng.normal(size=500)  # what filters leave of a constant
    others = [0, 1, 3]
    expected = lfp[:, others] - lfp[:, others].mean(axis=1, keepdims=True)
    assert flat_channels(lfp).tolist() == [False, False, True, False]
    lfp[:, flat_channels(lfp)] = np.nan
    np.testing.assert_allclose(referenced(lfp.copy(), "car")[:, others], expected, atol=1e-4)
    pairs = referenced(lfp.copy(), "bipolar")
    assert np.isnan(pairs[:, 1:]).all() and np.isfinite(pairs[:, 0]).all()
    assert not flat_channels(np.full((5, 2), np.nan)).any()
