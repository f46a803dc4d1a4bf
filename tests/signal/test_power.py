"""Band power: recovers a known envelope, and nothing leaks across gaps, trials or NaN."""

import numpy as np
import pytest
import xarray as xr

from spikelfp_lab.errors import DataError
from spikelfp_lab.signal import band_power, mains_left


def _lfp(values, *, rate_hz=100.0, **coords):
    time = (np.arange(len(values)) + 0.5) / rate_hz
    names = [f"ch{channel:02d}" for channel in range(values.shape[1])]
    coords = {"time": time, "channel": names, **coords}
    return xr.DataArray(values.astype(np.float32), coords, ("time", "channel"))


def test_recovers_a_known_envelope_in_its_own_band():
    time = np.arange(6000) / 100
    log_envelope = 0.5 * np.sin(2 * np.pi * 0.3 * time)
    values = 10 * np.exp(log_envelope) * np.sin(2 * np.pi * 20 * time)
    power = band_power(_lfp(values[:, None]))[100:-100]
    expected = 2 * (np.log(10) + log_envelope[100:-100])
    assert np.abs(power.sel(feature="ch00_beta").values - expected).max() < 0.1
    others = power.mean("time").drop_sel(feature="ch00_beta")
    assert others.max() < expected.mean() - 4


@pytest.mark.parametrize("edge", ["gap", "trial", "nan"])
def test_nothing_leaks_across(edge):
    rng = np.random.default_rng(4)
    before, after = rng.standard_normal((500, 1)), 100 * rng.standard_normal((500, 1))
    lfp = _lfp(np.concatenate([before, after]))
    if edge == "gap":
        lfp = lfp.assign_coords(time=lfp.time.values + np.repeat([0.0, 5.0], 500))
    elif edge == "trial":
        lfp = lfp.assign_coords(trial=("time", np.repeat([1, 2], 500)))
    else:
        lfp[500, 0] = np.nan
    alone, together = band_power(_lfp(before)), band_power(lfp)
    np.testing.assert_allclose(together.values[:500], alone.values, rtol=1e-4)


def test_nan_in_one_channel_leaves_the_others_alone_and_short_stretches_are_nan():
    values = np.random.default_rng(5).standard_normal((1000, 3))
    whole = band_power(_lfp(values))
    values[20:320, 1] = np.nan  # leaves 0.2 s before it
    power = band_power(_lfp(values))
    others = [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    np.testing.assert_array_equal(power.values[:, others], whole.values[:, others])
    holes = np.isnan(power.sel(feature="ch01_delta").values)
    assert np.flatnonzero(holes).tolist() == list(range(320))


def test_bad_input_is_one_clear_error():
    lfp = _lfp(np.zeros((100, 1)))
    with pytest.raises(DataError, match="dims"):
        band_power(lfp.transpose("channel", "time"))
    with pytest.raises(DataError, match="No band"):
        band_power(lfp, bands_hz={"fast": (80.0, 120.0)})


@pytest.mark.parametrize("rate_hz", [250.0, 1000.0, 24414.0625])
@pytest.mark.parametrize("mains_hz, line_hz, high_hz, left", [
    (50, 60.0, 50.0, True), (60, 50.0, 90.0, True), (50, None, 90.0, True),
    (50, 50.0, 50.0, False), (60, None, 50.0, False), (60, 60.0, 90.0, False),
])  # fmt: skip
def test_mains_that_a_filter_leaves_are_found(rate_hz, mains_hz, line_hz, high_hz, left):
    time = np.arange(int(20 * rate_hz))[:, None] / rate_hz
    data = np.random.default_rng(11).standard_normal((time.size, 2)).cumsum(axis=0)
    data[:, 1:] += data.std() * np.sin(2 * np.pi * (mains_hz + 0.05) * time)
    found = mains_left(data, rate_hz=rate_hz, high_hz=high_hz, line_hz=line_hz)
    assert list(found) == ([mains_hz] if left else [])
    if left:
        assert found[mains_hz][1] > 0.2 and found[mains_hz][0] < 0.02
