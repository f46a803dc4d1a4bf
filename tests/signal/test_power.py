"""Band power: recovers a known envelope, and nothing leaks across gaps, trials or NaN."""

import numpy as np
import pytest
import xarray as xr

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.signal import DEFAULT_BANDS_HZ, band_power, mains_left


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


def test_multitaper_recovers_a_slow_envelope_and_varies_less():
    time = np.arange(6000) / 100
    log_envelope = 0.5 * np.sin(2 * np.pi * 0.1 * time)
    values = 10 * np.exp(log_envelope) * np.sin(2 * np.pi * 20 * time)
    power = band_power(_lfp(values[:, None]), method="multitaper").sel(feature="ch00_beta").values
    expected = 2 * (np.log(10) + log_envelope)
    assert np.abs(power[100:-100] - expected[100:-100]).max() < 0.1
    noise = _lfp(np.random.default_rng(7).standard_normal((6000, 1)))
    spread = {m: band_power(noise, method=m).std("time").values for m in ("hilbert", "multitaper")}
    assert (spread["multitaper"] < 0.6 * spread["hilbert"]).all()


def test_multitaper_agrees_with_the_variance_of_white_noise():
    values = 3 * np.random.default_rng(8).standard_normal((60_000, 2))
    power = np.exp(band_power(_lfp(values), method="multitaper")).mean("time").values
    width = np.array([high - low for low, high in DEFAULT_BANDS_HZ.values()])
    np.testing.assert_allclose(power, np.tile(2 * 9 * width / 50, 2), rtol=0.15)


@pytest.mark.parametrize("frequency_hz, band", [(2, 0), (6, 1), (10.5, 2), (20, 3), (38, 4)])
def test_multitaper_power_is_in_its_own_band(frequency_hz, band):
    time = np.arange(2000) / 100
    lfp = _lfp(3 * np.sin(2 * np.pi * frequency_hz * time)[:, None])
    power = np.exp(band_power(lfp, method="multitaper").values[1000])
    assert power.argmax() == band
    assert power[band] == pytest.approx(9, rel=0.05)


def test_multitaper_of_a_narrow_band_uses_the_nearest_frequency():
    lfp = _lfp(np.random.default_rng(10).standard_normal((500, 1)))
    narrow = band_power(lfp, bands_hz={"line": (20.1, 20.2)}, method="multitaper")
    assert np.isfinite(narrow).all()


def test_power_is_in_its_own_band():
    time = np.arange(2000) / 100
    power = band_power(_lfp(np.sin(2 * np.pi * 20 * time)[:, None]))[500:1500].mean("time")
    assert power.feature.values[power.values.argmax()] == "ch00_beta"
    assert float(power.max() - np.sort(power.values)[-2]) > 4


def test_numbered_channels_are_named_too():
    lfp = _lfp(np.random.default_rng(0).standard_normal((500, 2))).assign_coords(channel=[3, 12])
    power = band_power(lfp, bands_hz={"beta": (13, 30)})
    assert power.feature.values.tolist() == ["ch03_beta", "ch12_beta"]
    assert power.dims == ("time", "feature") and power.dtype == np.float32
    assert power.attrs["units"] == "log(uV^2)"


def test_bands_above_nyquist_are_left_out():
    lfp = _lfp(np.random.default_rng(0).standard_normal((500, 1)), rate_hz=50.0)
    names = band_power(lfp).feature.values.tolist()
    assert names == ["ch00_delta", "ch00_theta", "ch00_alpha"]


@pytest.mark.parametrize("method", ["hilbert", "multitaper"])
@pytest.mark.parametrize("edge", ["gap", "trial", "nan"])
def test_nothing_leaks_across_an_edge(edge, method):
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
    alone = band_power(_lfp(before), method=method)
    together = band_power(lfp, method=method)
    np.testing.assert_allclose(together.values[:500], alone.values, rtol=1e-4)


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
    with pytest.raises(ConfigError, match="hilbert, multitaper"):
        band_power(lfp, method="welch")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="window_s"):
        band_power(lfp, method="multitaper", window_s=0.02)


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
