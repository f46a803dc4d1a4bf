"""Timelines: drift is followed, jitter is not, gaps keep their place, and time never runs back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelfp_lab.errors import DataError
from spikelfp_lab.signal.timeline import timeline_from_timestamps, uniform_timeline

RATE_HZ = 24414.3378


def test_an_exact_rate_is_a_line():
    line = uniform_timeline(5000, rate_hz=RATE_HZ, start_s=7.0)
    rows = np.array([0.0, 0.5, 4999.0])
    np.testing.assert_allclose(line.times_at(rows), 7.0 + rows / RATE_HZ, rtol=1e-12)
    np.testing.assert_allclose(line.rows_at(7.0 + rows / RATE_HZ), rows, atol=1e-6)
    assert np.isnan(line.rows_at(np.array([6.9, 8.0]))).all()


@pytest.mark.parametrize("jitter_samples", [0.0, 0.2, 0.45])
def test_jitter_is_averaged_out(jitter_samples):
    rng = np.random.default_rng(0)
    true = 3.0 + np.arange(700_000) / RATE_HZ
    jitter = rng.uniform(-jitter_samples, jitter_samples, true.size) / RATE_HZ
    line = timeline_from_timestamps(true + jitter, true.size)
    assert len(line.spans) == 1
    assert np.abs((line.times_at(np.arange(true.size)) - true) * RATE_HZ).max() < 0.02


def test_a_coarse_clock_has_no_gaps():
    times = np.floor(np.arange(500_000) / 24_000 * 1000) / 1000  # ticks of 1 ms
    line = timeline_from_timestamps(times, times.size)
    assert len(line.gaps_s) == 0 and line.n_rows == times.size
    off = line.times_at(np.arange(times.size)) - np.arange(times.size) / 24_000
    assert np.abs(off + 0.0005).max() < 2e-4  # half a tick early, as its stamps are


@pytest.mark.parametrize("missing", [1, 500, 30_000])
@pytest.mark.parametrize("where", [1, 262_144, 262_145, 299_999])
def test_a_gap_of_any_length_keeps_its_place(missing, where):
    rows = np.concatenate([np.arange(where), np.arange(where, 300_000) + missing])
    line = timeline_from_timestamps(2.0 + rows / RATE_HZ, rows.size)
    assert line.n_rows == 300_000 + missing
    assert line.spans.tolist() == [[0, 0, where], [where + missing, where, 300_000 - where]]
    np.testing.assert_allclose(line.times_at(rows), 2.0 + rows / RATE_HZ, atol=1e-7)
    assert line.gaps_s[0, 1] - line.gaps_s[0, 0] == pytest.approx((missing + 1) / RATE_HZ)


@settings(max_examples=50, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.integers(20, 400), st.integers(1, 300)), min_size=2, max_size=6),
    start=st.floats(-1e4, 1e4),
)
def test_rows_and_times_invert_each_other(pieces, start):
    ends = np.cumsum([length + gap for length, gap in pieces])
    rows = np.concatenate(
        [
            np.arange(end - sum(piece), end - piece[1])
            for end, piece in zip(ends, pieces, strict=True)
        ]
    )
    line = timeline_from_timestamps(start + rows / 1000, rows.size)
    np.testing.assert_allclose(line.rows_at(start + rows / 1000), rows, atol=1e-4)
    np.testing.assert_allclose(line.times_at(rows), start + rows / 1000, atol=1e-7)
    assert line.n_rows == rows[-1] + 1
    assert (np.diff(line.knot_rows) > 0).all() and (np.diff(line.knot_times_s) > 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_samples_lie_at_their_stamps(seed):
    """To 1 ms, but for the few beside a lost sample that jitter hides."""
    rng = np.random.default_rng(seed)
    times = np.arange(120_000) / 1000
    jitter = np.sort(times + rng.normal(scale=3e-4, size=times.size))
    kept = rng.random(times.size) > 0.005
    lost = np.delete(np.arange(times.size), rng.integers(0, times.size - 3, 60)[:, None] + range(3))
    fast = [np.arange(0, 20, 1e-3), 20 + 1.01e-3 * np.arange(20_000), 40.2 + np.arange(0, 20, 1e-3)]
    night = times + np.where(times < 50, 0, 40_000)
    fast, exact = np.concatenate(fast), times[rng.random(times.size) > 1e-3]
    wandering = {
        "jitter": (jitter, times),
        "1 lost in 200, jitter": (jitter[kept], times[kept]),
        "3 lost, 60 times, jitter": (jitter[lost], times[lost]),
        "1 in 1000 lost": (exact, exact),
        "1 % fast for a while": (fast, fast),
        "a night": (night, night),
        "rounded to ms at 625 Hz": (np.round(np.arange(50_000) / 625, 3), np.arange(50_000) / 625),
    }
    for name, (stamps, true) in wandering.items():
        line = timeline_from_timestamps(stamps, stamps.size)
        off = np.abs(line.sample_times() - true)
        assert np.quantile(off, 0.999) < 1e-3 and off.max() < 3.5e-3, name


def _with(index, value, n=1000):
    times = np.arange(n) / 500
    times[index] = value
    return times


_MINUTE, _HALF = np.arange(0, 60, 1e-3), np.arange(0, 30, 1e-3)


@pytest.mark.parametrize(
    "times, n_samples, rate_hz, message",
    [
        (np.arange(999) / 500, 1000, None, r"\(999,\) for 1000 samples"),
        (_with(700, np.nan), 1000, None, "sample 700 is nan"),
        (_with(700, 0.1), 1000, None, "backward at sample 700"),
        (_with(slice(262_144, None), 1.0, 300_000), 300_000, None, "backward at sample 262144"),
        (np.arange(1000) / 500, 1000, 1000.0, "500 samples a second, rate_hz says 1000"),
        (np.r_[_HALF, 30 + np.arange(0, 30, 2e-3)], 45_000, None, "breaks at sample 30001 "),
        (np.r_[_HALF, 30 + np.arange(0, 30, 1.2e-3)], 55_001, None, "breaks at sample (299|300)"),
        (np.minimum(_MINUTE, 50), 60_000, None, "stands still at sample 50000 "),
    ],
)
def test_bad_timestamps_are_one_clear_error(times, n_samples, rate_hz, message):
    with pytest.raises(DataError, match=message):
        timeline_from_timestamps(times, n_samples, rate_hz=rate_hz)
