"""Online: the causal chain sees no future, lags as it says, and does not care about pieces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.signal import LFPStream, broadband_to_lfp, causal_delay_s

RATE_HZ = 24414.0625


def _causal(data, **options):
    return broadband_to_lfp(
        data, causal=True, progress=False, **{"reference": "none", "rate_hz": 2000.0, **options}
    )


@pytest.mark.parametrize("rate_hz", [1000.0, RATE_HZ])
def test_no_output_depends_on_a_later_sample(rate_hz):
    n = int(4 * rate_hz)
    data = np.random.default_rng(0).standard_normal((n, 1))
    changed = data.copy()
    change = n // 2 + 17
    changed[change:] += 1000
    before, times = _causal(data, rate_hz=rate_hz)
    after, _ = _causal(changed, rate_hz=rate_hz)
    same = times < change / rate_hz
    np.testing.assert_array_equal(before[same], after[same])
    assert np.abs(before - after)[~same].max() > 100


@pytest.mark.parametrize("frequency_hz", [3.0, 10.0, 25.0, 40.0])
def test_the_delay_is_the_one_that_is_stated(frequency_hz):
    time = np.arange(int(16 * RATE_HZ)) / RATE_HZ
    burst = np.exp(-(((time - 8) / 1.5) ** 2)) * np.sin(2 * np.pi * frequency_hz * time)
    lfp, times = _causal(burst[:, None], rate_hz=RATE_HZ, to_rate_hz=400.0, band_hz=(0.05, 50.0))
    power = lfp[:, 0].astype(float) ** 2
    delay = (power * times).sum() / power.sum() - 8
    stated = float(
        causal_delay_s(frequency_hz, rate_hz=RATE_HZ, to_rate_hz=400.0, band_hz=(0.05, 50.0))
    )
    assert delay == pytest.approx(stated, abs=1e-3)
    assert 0.02 < stated < 0.1


def test_gain_in_the_band_above_it_and_at_the_line():
    frequency_hz = np.array([1.0, 10.0, 30.0, 45.0, 55.0, 60.0, 120.0, 333.0])
    time = np.arange(int(20 * RATE_HZ))[:, None] / RATE_HZ
    lfp, _ = _causal(np.sin(2 * np.pi * time * frequency_hz).astype(np.float32), rate_hz=RATE_HZ)
    gain_db = 20 * np.log10(np.sqrt(2) * lfp[1000:].std(axis=0))
    assert np.abs(gain_db[:4]).max() < 0.5
    assert gain_db[4:].max() < -60


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 7999), max_size=20), to_rate_hz=st.sampled_from([100.0, 130.0]))
def test_pieces_give_what_the_whole_gives(cuts, to_rate_hz):
    data = np.random.default_rng(1).standard_normal((8000, 3)).cumsum(axis=0)
    data[3000:3040, 1] = np.nan
    options = {"rate_hz": 2000.0, "to_rate_hz": to_rate_hz, "scale": 0.5, "reference": "car"}
    whole, times = _causal(data, start_s=7.0, **options)
    stream = LFPStream(3, start_s=7.0, **options)
    pieces = [stream.push(piece) for piece in np.split(data, sorted(cuts))]
    assert np.isnan(whole).any()
    np.testing.assert_allclose(
        np.concatenate([lfp for lfp, _ in pieces]), whole, atol=1e-4 * np.nanstd(whole)
    )
    np.testing.assert_allclose(np.concatenate([at for _, at in pieces]), times, atol=1e-9)


def test_each_output_comes_with_the_sample_of_its_time():
    stream, seen = LFPStream(2, rate_hz=1000.0), 0
    for _ in range(100):
        _, times = stream.push(np.zeros((7, 2)))
        seen += 7
        if times.size:
            assert times[-1] * 1000 <= seen - 1 + 1e-6
            assert times[-1] * 1000 > seen - 1 - 10 - 2  # and no more than an output step late


def test_a_large_offset_is_no_transient():
    data = np.random.default_rng(2).standard_normal((20_000, 1))
    lfp, _ = _causal(data + 1e4)
    plain, _ = _causal(data)
    np.testing.assert_allclose(lfp, plain, atol=0.01)


def test_bipolar_online():
    data = np.random.default_rng(3).standard_normal((4000, 3))
    stream = LFPStream(3, rate_hz=2000.0, reference="bipolar")
    lfp, _ = stream.push(data)
    plain, _ = _causal(data)
    np.testing.assert_allclose(lfp, plain[:, :-1] - plain[:, 1:], atol=1e-5)


def test_bad_input_is_one_clear_error():
    stream = LFPStream(2, rate_hz=1000.0)
    with pytest.raises(DataError, match="3 channels, the stream has 2"):
        stream.push(np.zeros((10, 3)))
    with pytest.raises(DataError, match="samples by channels"):
        stream.push(np.zeros(10))
    with pytest.raises(DataError, match="object"):
        stream.push(np.zeros((10, 2), object))
    with pytest.raises(DataError, match="Check rate_hz"):
        LFPStream(2, rate_hz=90.0)
    with pytest.raises(DataError, match="leaves nothing"):
        LFPStream(1, rate_hz=1000.0)
    with pytest.raises(ConfigError, match="car, none, bipolar"):
        LFPStream(2, rate_hz=1000.0, reference="mean")  # pyright: ignore[reportArgumentType]
