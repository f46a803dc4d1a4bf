"""Broadband to LFP: what passes, what does not, when, and that chunks leave no trace."""

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.signal import broadband, broadband_to_lfp, lfp_to_rate

RATE_HZ = 24414.0625


def to_lfp(data, *, reference="none", progress=False, **options):
    return broadband_to_lfp(data, reference=reference, progress=progress, **options)


def by_rate(data, *, rate_hz):
    """The chain for potentials at LFP rates, with the times of its samples."""
    lfp = lfp_to_rate(data, rate_hz=rate_hz)
    return lfp, np.arange(len(lfp)) / 100


def _amplitude(lfp, times, frequency_hz):
    """Of the rhythm (complex) at a frequency for each channel, away from the edges."""
    inner = slice(lfp.shape[0] // 5, -lfp.shape[0] // 5)
    window = np.hanning(len(times[inner]))[:, None]
    carrier = np.exp(-2j * np.pi * times[inner, None] * np.atleast_1d(frequency_hz))
    return 2 * (lfp[inner] * carrier * window).sum(axis=0) / window.sum()


def _tones(frequency_hz, rate_hz, seconds):
    """(n, C), channel c a cosine at frequency c."""
    time = np.arange(round(seconds * rate_hz))[:, None] / rate_hz
    return np.cos(2 * np.pi * time * np.asarray(frequency_hz)).astype(np.float32)


@pytest.mark.parametrize("convert", [to_lfp, by_rate])
@pytest.mark.parametrize("rate_hz", [130.0, 1000.0, RATE_HZ])
def test_passband_is_flat_within_half_a_decibel_and_has_no_delay(convert, rate_hz):
    frequency_hz = np.array([0.5, 1.0, 4.0, 12.0, 20.0, 30.0, 40.0, 45.0])
    lfp, times = convert(_tones(frequency_hz, rate_hz, 30), rate_hz=rate_hz)
    found = _amplitude(lfp, times, frequency_hz)
    assert np.abs(20 * np.log10(np.abs(found))).max() < 0.5
    assert np.abs(np.angle(found) / (2 * np.pi * frequency_hz)).max() < 1e-4  # seconds


@pytest.mark.parametrize("convert", [to_lfp, by_rate])
@pytest.mark.parametrize("rate_hz", [1000.0, RATE_HZ])
def test_above_the_band_60_db_are_lost_wherever_they_would_alias_to(convert, rate_hz):
    frequency_hz = np.array([55.0, 57.0, 60.0, 75.0, 101.0, 120.0, 333.0, rate_hz / 3])
    lfp, _ = convert(_tones(frequency_hz, rate_hz, 20), rate_hz=rate_hz)
    assert np.abs(lfp[300:-300]).max() < 10 ** (-60 / 20)


@pytest.mark.parametrize("rate_hz", [2000.0, RATE_HZ])
@pytest.mark.parametrize(
    "line_hz, to_rate_hz, upper_hz",
    [(60.0, 100.0, 50.0), (50.0, 100.0, 50.0), (60.0, 400.0, 150.0)],
)
def test_line_noise_and_harmonics_are_40_db_down(rate_hz, line_hz, to_rate_hz, upper_hz):
    frequency_hz = np.append(line_hz + np.array([-0.1, 0.0, 0.1]), 2 * line_hz)
    options = {"rate_hz": rate_hz, "to_rate_hz": to_rate_hz, "band_hz": (0.05, upper_hz)}
    tones = _tones(frequency_hz, rate_hz, 12)
    found = _amplitude(*to_lfp(tones, line_hz=line_hz, **options), frequency_hz)
    assert np.abs(found).max() < 10 ** (-40 / 20)
    if upper_hz > 100:  # and they would have passed
        passed = _amplitude(*to_lfp(tones, line_hz=None, **options), frequency_hz)
        assert np.abs(passed).min() > 0.9


@settings(max_examples=12, deadline=None)
@given(chunk_s=st.floats(0.01, 15.0), holes=st.booleans())
def test_chunked_equals_whole(chunk_s, holes):
    data = np.random.default_rng(1).standard_normal((24_000, 3)).cumsum(axis=0)
    if holes:
        data[3000:3010, 0] = data[8000:12_500, 1] = np.nan
        data[:, 2] = np.nan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broadband, "_CHUNK_S", 100.0)
        whole, _ = to_lfp(data, rate_hz=2000.0)
        patch.setattr(broadband, "_CHUNK_S", chunk_s)
        lfp, _ = to_lfp(data, rate_hz=2000.0)
    np.testing.assert_allclose(lfp, whole, atol=1e-4 * np.nanstd(whole))


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32])
def test_any_number_type_and_a_large_offset(dtype):
    rng = np.random.default_rng(2)
    slow = 2000 * np.sin(2 * np.pi * 7 * np.arange(40_000)[:, None] / 2000 + rng.uniform(0, 6, 3))
    lfp, _ = to_lfp((slow + 20_000).astype(dtype), rate_hz=2000.0, scale=0.5)
    plain, _ = to_lfp(slow, rate_hz=2000.0)
    np.testing.assert_allclose(lfp, 0.5 * plain, atol=0.5)


@pytest.mark.parametrize("jitter, gap_s", [(0.0, 0.0), (0.6, 0.0), (0.3, 3.7)])
@pytest.mark.filterwarnings("ignore:.*1 gap:spikelfp_lab.errors.SpikeLFPWarning")
def test_timestamps_are_right_to_half_a_raw_sample_after_an_hour(jitter, gap_s):
    rate_hz, true_hz = RATE_HZ / 10, 2441.43378  # an hour takes a second then
    rows = np.arange(int(3600 * true_hz))
    true_s = 100.0 + rows / true_hz + gap_s * (rows > rows.size // 2)
    data = np.cos(2 * np.pi * 20 * true_s).astype(np.float32)[:, None]
    stamps = true_s + jitter * np.random.default_rng(0).uniform(-0.5, 0.5, rows.size) / true_hz
    clock = np.arange(true_s[-1] - 8.0, true_s[-1] - 0.1, 0.01)
    found = _amplitude(*to_lfp(data, clock=clock, timestamps=stamps, rate_hz=rate_hz), 20.0)[0]
    assert abs(np.angle(found)) / (2 * np.pi * 20) < 0.5 / rate_hz


def test_a_clock_with_gaps_gives_what_the_whole_clock_gives():
    data = np.random.default_rng(3).standard_normal((60_000, 2)).cumsum(axis=0)
    clock = 5.005 + np.arange(3000) / 100
    whole, _ = to_lfp(data, rate_hz=2000.0, clock=clock, start_s=1.0)
    np.testing.assert_array_equal(np.isfinite(whole[:, 0]), clock < 31.0001)  # not beyond the end
    kept = np.r_[0:300, 750:3000]
    lfp, times = to_lfp(data, rate_hz=2000.0, clock=clock[kept], start_s=1.0)
    np.testing.assert_array_equal(times, clock[kept])
    np.testing.assert_allclose(lfp, whole[kept], atol=1e-4 * np.nanstd(whole))


def test_a_gap_is_nan_and_what_follows_is_in_time():
    true_s = np.arange(40_000) / 2000
    kept = (true_s < 6.0) | (true_s >= 8.5)
    data = 1000 * np.sin(2 * np.pi * 10 * true_s[kept])[:, None]  # 0 at the edges of the gap
    with pytest.warns(SpikeLFPWarning, match=r"1 gap\(s\), 2.5.* s in all, the first after 6.0"):
        lfp, times = to_lfp(data.astype(np.int16), timestamps=true_s[kept], scale=1e-3)
    assert times.size == 2000
    missing = np.isnan(lfp[:, 0])
    assert np.flatnonzero(missing).tolist() == list(range(600, 851))  # as lfp_to_rate rounds
    far = ~missing & (np.abs(times - 7.25) > 1.6) & (np.abs(times - 10) < 9.5)
    np.testing.assert_allclose(lfp[far, 0], np.sin(2 * np.pi * 10 * times[far]), atol=0.02)


def test_missing_samples_stay_missing_and_spoil_nothing_else():
    data = np.random.default_rng(5).standard_normal((40_000, 4))
    (whole, _), other = to_lfp(data, rate_hz=2000.0), lfp_to_rate(data, rate_hz=2000.0)
    data[10_000:11_000, 0] = data[:, 2] = np.nan
    data[33_333, 3] = np.inf
    lfp, _ = to_lfp(data, rate_hz=2000.0)
    again = lfp_to_rate(data, rate_hz=2000.0)
    np.testing.assert_array_equal(np.isnan(lfp), np.isnan(again))
    np.testing.assert_allclose(again[:, 1], other[:, 1], atol=1e-6)
    assert np.flatnonzero(np.isnan(lfp[:, 0])).tolist() == list(range(500, 551))
    np.testing.assert_allclose(lfp[:, 1], whole[:, 1], atol=1e-6)
    np.testing.assert_allclose(lfp[700:, 0], whole[700:, 0], atol=0.02)


def test_scale_channels_and_hdf5(tmp_path):
    data = np.random.default_rng(8).integers(-500, 500, (8000, 4)).astype(np.int16)
    times, scale = 2.0 + np.arange(8000) / 1000, np.array([0.1, 0.2, 0.3, 0.4])
    plain, _ = to_lfp(data, timestamps=times)
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file.create_dataset("data", data=data, chunks=(1000, 3), compression="gzip")
        file["timestamps"] = times
        for channels in ([3, 1], np.array([False, True, False, True]), slice(1, 4, 2), 2):
            options = {"timestamps": file["timestamps"], "scale": scale, "channels": channels}
            lfp, at = to_lfp(file["data"], **options)
            columns = np.atleast_1d(np.arange(4)[channels])
            expected = plain[:, columns] * scale[columns]
            np.testing.assert_allclose(lfp, expected, rtol=1e-4, atol=1e-4)
    assert at[0] == pytest.approx(2.0)


_GOOD = np.zeros((5000, 2), np.int16)


@pytest.mark.parametrize(
    "data, options, message",
    [
        ([["a", "b"]] * 10, {}, "numbers"),
        (_GOOD.T, {}, "transpose"),
        (_GOOD, {"rate_hz": 90.0}, "check rate_hz"),
        (_GOOD, {"rate_hz": np.nan}, "rate_hz"),
        (_GOOD, {"clock": np.arange(100.0, 200.0, 0.01)}, "does not overlap"),
        (_GOOD, {"clock": np.array([1.0, 0.5])}, "increasing"),
        (_GOOD, {"channels": []}, "leaves nothing"),
        (_GOOD, {"clock": np.arange(5.0), "to_rate_hz": 50.0}, "not both"),
        (_GOOD, {"rate_hz": None}, "rate_hz or timestamps"),
    ],
)
def test_bad_input_is_one_clear_error(data, options, message):
    with pytest.raises((DataError, ConfigError), match=message):
        to_lfp(data, **{"rate_hz": 1000.0, **options})
