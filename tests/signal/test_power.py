"""Band power: recovers a known envelope, and nothing leaks across gaps, trials or NaN."""

import numpy as np
import pytest
import xarray as xr

from spikelfp_lab.errors import DataError
from spikelfp_lab.signal import DEFAULT_BANDS_HZ, band_power


def _lfp(values, *, rate_hz=100.0, **coords):
    time = (np.arange(len(values)) + 0.5) / rate_hz
    names = [f"ch{channel:02d}" for channel in range(values.shape[1])]
    return xr.DataArray(
        values.astype(np.float32),
        dims=("time", "channel"),
        coords={"time": time, "channel": names, **coords},
        attrs={"units": "uV"},
    )


def test_recovers_a_known_envelope():
    time = np.arange(6000) / 100
    log_envelope = 0.5 * np.sin(2 * np.pi * 0.3 * time)
    values = 10 * np.exp(log_envelope) * np.sin(2 * np.pi * 20 * time)
    power = band_power(_lfp(values[:, None])).sel(feature="ch00_beta").values
    expected = 2 * (np.log(10) + log_envelope)
    assert np.abs(power[100:-100] - expected[100:-100]).max() < 0.1


def test_power_is_in_its_own_band():
    time = np.arange(2000) / 100
    power = band_power(_lfp(np.sin(2 * np.pi * 20 * time)[:, None]))[500:1500].mean("time")
    assert power.feature.values[power.values.argmax()] == "ch00_beta"
    assert float(power.max() - np.sort(power.values)[-2]) > 4


def test_features_are_named_channel_after_channel():
    power = band_power(_lfp(np.random.default_rng(0).standard_normal((500, 2))))
    assert power.dims == ("time", "feature") and power.dtype == np.float32
    expected = [f"ch{channel:02d}_{band}" for channel in range(2) for band in DEFAULT_BANDS_HZ]
    assert power.feature.values.tolist() == expected
    assert power.attrs["units"] == "log(uV^2)"


def test_numbered_channels_are_named_too():
    lfp = _lfp(np.random.default_rng(0).standard_normal((500, 2))).assign_coords(channel=[3, 12])
    names = band_power(lfp, bands_hz={"beta": (13, 30)}).feature.values.tolist()
    assert names == ["ch03_beta", "ch12_beta"]


def test_bands_above_nyquist_are_left_out():
    lfp = _lfp(np.random.default_rng(0).standard_normal((500, 1)), rate_hz=50.0)
    names = band_power(lfp).feature.values.tolist()
    assert names == ["ch00_delta", "ch00_theta", "ch00_alpha"]


@pytest.mark.parametrize("edge", ["gap", "trial", "nan"])
def test_nothing_leaks_across_an_edge(edge):
    rng = np.random.default_rng(4)
    before, after = rng.standard_normal((500, 1)), 100 * rng.standard_normal((500, 1))
    lfp = _lfp(np.concatenate([before, after]))
    if edge == "gap":
        time = lfp.time.values + np.repeat([0.0, 5.0], 500)
        lfp = lfp.assign_coords(time=time)
    elif edge == "trial":
        lfp = lfp.assign_coords(trial=("time", np.repeat([1, 2], 500)))
    else:
        lfp[500, 0] = np.nan
    alone = band_power(_lfp(before))
    np.testing.assert_allclose(band_power(lfp).values[:500], alone.values, rtol=1e-4)


def test_nan_in_one_channel_leaves_the_others_alone():
    values = np.random.default_rng(5).standard_normal((1000, 3))
    whole = band_power(_lfp(values))
    values[300:320, 1] = np.nan
    power = band_power(_lfp(values))
    others = [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    np.testing.assert_array_equal(power.values[:, others], whole.values[:, others])
    holes = np.isnan(power.sel(feature="ch01_beta").values)
    assert np.flatnonzero(holes).tolist() == list(range(300, 320))


def test_too_short_a_stretch_is_nan():
    lfp = _lfp(np.random.default_rng(6).standard_normal((300, 1)))
    lfp[20, 0] = np.nan  # leaves 0.2 s before it
    power = band_power(lfp)
    assert np.isnan(power.sel(feature="ch00_delta").values[:20]).all()
    assert np.isfinite(power.values[21:]).all()


def test_bad_input_is_one_clear_error():
    lfp = _lfp(np.zeros((100, 1)))
    with pytest.raises(DataError, match="dims"):
        band_power(lfp.transpose("channel", "time"))
    with pytest.raises(DataError, match="No band"):
        band_power(lfp, bands_hz={"fast": (80.0, 120.0)})
