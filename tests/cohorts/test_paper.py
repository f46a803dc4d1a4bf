"""The parts of the paper's protocol that belong to loading."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelfp_lab.cohorts import paper_protocol as _paper
from spikelfp_lab.errors import DataError
from tests.factories import make_session


def _gain(bring, frequency_hz, rate_hz):
    """Of a wave in the first of nine channels, whose average takes a ninth of it: the others' waves
    cancel."""
    time = np.arange(round(20 * rate_hz)) / rate_hz
    raw = np.zeros((time.size, 9), np.float32)
    raw[:, 0] = np.sin(2 * np.pi * frequency_hz * time)
    raw[:, 1:] = np.sin(2 * np.pi * 7 * time)[:, None] * np.tile([1, -1], 4)
    lfp = bring(raw, rate_hz=rate_hz, to_rate_hz=100.0)[200:-200, 0]
    at = np.exp(2j * np.pi * frequency_hz * (np.arange(lfp.size) + 200) / 100)
    return np.vdot(at, lfp) / lfp.size * 2j / (8 / 9)


@pytest.mark.parametrize("frequency_hz", [1.0, 10.0, 25.0, 45.0])
def test_both_chains_are_butterworth_of_order_2_without_a_shift(frequency_hz):
    expected = 1 / (1 + (frequency_hz / 50) ** 4)  # run forward and backward
    assert abs(_gain(_paper.makin_lfp, frequency_hz, 24414.0625 / 32) - expected) < 0.03
    assert abs(_gain(_paper.flint_lfp, frequency_hz, 2000.0) - expected) < 0.03


def test_the_line_and_the_offset_are_gone_and_the_average_is_zero():
    rate_hz = 24414.0625 / 32
    time = np.arange(round(60 * rate_hz)) / rate_hz
    line = sum(np.sin(2 * np.pi * 60 * k * time) for k in (1, 2, 3))
    own = np.random.default_rng(0).normal(size=(time.size, 4))
    raw = 500 + 100 * line[:, None] * np.arange(4) + own
    lfp = _paper.makin_lfp(raw, rate_hz=rate_hz, to_rate_hz=100.0)
    assert lfp.dtype == np.float32 and lfp.shape == (6000, 4)
    np.testing.assert_allclose(lfp.sum(axis=1), 0, atol=1e-3)
    # mains was 100 times as large as the own noise; far from the ends, where their filters drift
    assert lfp[2500:-2500].std() < 1.0


@pytest.mark.parametrize("bring", [_paper.makin_lfp, _paper.flint_lfp])
def test_missing_samples_are_missing_again_and_harm_nothing_else(bring):
    raw = np.sin(2 * np.pi * 5 * np.arange(10_000) / 1000)[:, None] * np.array([1.0, 2.0, 3.0])
    holed = raw.copy()
    holed[4000:4500] = np.nan
    whole, found = (bring(each, rate_hz=1000.0, to_rate_hz=100.0) for each in (raw, holed))
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == list(range(400, 450))
    away = np.r_[100:300, 550:900]
    np.testing.assert_allclose(found[away], whole[away], atol=0.1)


def test_units_of_exactly_one_spike_a_second_stay():
    counts = np.zeros((100, 3), np.uint8)
    counts[:10, 0], counts[:9, 1], counts[:50, 2] = 1, 1, 1
    session = make_session(bins=100, bin_size_s=0.1, units=3)
    session["spikes"].values[:] = counts
    assert _paper.drop_slow_units(session)["unit"].values.tolist() == ["u000", "u002"]
    with pytest.raises(DataError, match="All 1 units"):
        _paper.drop_slow_units(session.isel(unit=[1]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.1, 10.0), min_size=1, max_size=20))
def test_windows_beyond_the_fence_are_left_out_whole(spreads):
    wave = np.sin(2 * np.pi * np.arange(100) / 10)[None, :] * np.asarray(spreads)[:, None]
    values = np.append(wave.ravel(), np.full(30, 99.0))  # and 3 s more
    session = make_session(bins=values.size, bin_size_s=0.1)
    session["behavior"].values[:] = values[:, None]
    kept = _paper.within_fences(session)
    low, high = np.percentile(spreads, [25, 75])
    fence = high + 1.5 * (high - low)
    sure = [i for i, spread in enumerate(spreads) if abs(spread - fence) > 1e-3 * fence]
    windows, sizes = np.unique((kept["time"].values // 10).astype(int), return_counts=True)
    assert set(sizes.tolist()) == {100}
    for index in sure:
        assert (index in windows) == (spreads[index] <= fence)
    with pytest.raises(DataError, match="shorter than 10 s"):
        _paper.within_fences(make_session(bins=400))


def test_velocity_is_resampled_from_the_first_time_on():
    time = 7.0 + np.arange(2500) / 250
    position = np.stack([np.sin(2 * np.pi * time), np.cos(2 * np.pi * time)], axis=1)
    velocity, times = _paper.makin_velocity(position, time, bin_size_s=0.01)
    assert times[0] == 7.0 and np.diff(times) == pytest.approx(0.01, rel=2e-3)
    expected = 2 * np.pi * np.stack([np.cos(2 * np.pi * times), -np.sin(2 * np.pi * times)], axis=1)
    np.testing.assert_allclose(velocity[20:-20], expected[20:-20], atol=0.05)
    late = np.where(np.arange(2500) < 1000, time, time + 1)
    with pytest.raises(DataError, match="The position has gaps"):
        _paper.makin_velocity(position, late, bin_size_s=0.01)
