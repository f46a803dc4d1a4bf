"""LFP filtering beside the chain for broadband (whose tests test it too), and references."""

import numpy as np
import pytest

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.signal import broadband_to_lfp, lfp_to_rate
from spikelfp_lab.signal.lfp import flat_channels, referenced


def test_agrees_with_the_chain_for_broadband():
    slow = np.repeat(np.random.default_rng(0).standard_normal((700, 2)), 100, axis=0)
    slow = np.cumsum(slow - slow.mean(axis=0), axis=0) / 100  # at 2000 Hz, most below 20 Hz
    options = {"rate_hz": 2000.0, "band_hz": (0.5, 50.0), "reference": "car"}
    lfp, other = lfp_to_rate(slow, **options), broadband_to_lfp(slow, **options, progress=False)[0]
    assert lfp.shape == other.shape and lfp.dtype == other.dtype
    assert (lfp - other)[200:-200].std() < 0.02 * other.std()  # of 0.1 dB of ripple


@pytest.mark.parametrize(
    "raw, options, message",
    [
        (np.zeros(5000), {}, "samples by channels"),
        (np.zeros((5000, 1)), {"to_rate_hz": 2000.0}, "Lower to_rate_hz"),
        (np.zeros((5000, 1)), {"band_hz": (60.0, 90.0)}, "no pass band"),
        (np.zeros((50, 1)), {}, "too short"),
        (np.zeros((5000, 1)), {"line_hz": 0}, "line_hz is 0: give the mains"),
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
