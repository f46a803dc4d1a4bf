"""Binning: no spike lost, none counted twice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelfp_lab.errors import DataError
from spikelfp_lab.sessions import session_clock
from spikelfp_lab.signal import bin_spikes

_times = st.lists(st.floats(-2.0, 12.0, allow_nan=False), max_size=60).map(np.array)
_bins = st.sampled_from([0.001, 0.01, 0.02, 0.05, 0.1, 1 / 3])


@settings(max_examples=100, deadline=None)
@given(units=st.lists(_times, min_size=1, max_size=4), bin_size_s=_bins, start=st.floats(-1, 3))
def test_counts_are_conserved(units, bin_size_s, start):
    clock = start + (np.arange(200) + 0.5) * bin_size_s
    counts = bin_spikes([times[::-1] for times in units], clock, bin_size_s=bin_size_s)
    first, last = clock[0] - bin_size_s / 2, clock[-1] + bin_size_s / 2
    inside = [int(((times >= first - 1e-9) & (times < last - 1e-9)).sum()) for times in units]
    assert counts.sum(axis=0).tolist() == inside


@settings(deadline=None)
@given(times=_times, bin_size_s=_bins)
def test_a_gap_in_the_clock_loses_only_what_lies_in_it(times, bin_size_s):
    clock = (np.arange(100) + 0.5) * bin_size_s
    whole = bin_spikes([times], clock, bin_size_s=bin_size_s)
    kept = np.r_[0:40, 60:100]
    # the bin before the gap ends where it would have ended: its own right edge
    counts = bin_spikes([times], clock[kept], bin_size_s=bin_size_s)
    np.testing.assert_allclose(counts[:, 0], whole[kept, 0], atol=1)


@settings(max_examples=60, deadline=None)
@given(
    rate_hz=st.sampled_from([1000.0, 20_000.0, 30_000.0]),
    start_s=st.sampled_from([0.0, 0.1, 17.3, 3600.1, 1.6e9]) | st.integers(0, 10**7).map(float),
    bin_size_s=st.sampled_from([0.001, 0.01, 0.02]),
)
def test_spikes_on_edges_stay_in_the_bin_that_begins_there(rate_hz, start_s, bin_size_s):
    clock = session_clock(start_s, start_s + 1.0, bin_size_s=bin_size_s)
    assert clock.size == round(1 / bin_size_s)
    samples = np.arange(round(rate_hz))
    counts = bin_spikes([start_s + samples / rate_hz], clock, bin_size_s=bin_size_s)
    np.testing.assert_array_equal(counts[:, 0], round(rate_hz * bin_size_s))


def test_a_count_above_255_widens_the_type_and_units_may_be_silent_or_none():
    clock = np.array([0.5, 1.5])
    assert bin_spikes([np.array([0, 1, 1.999, 2])], clock, bin_size_s=1.0).tolist() == [[1], [2]]
    assert bin_spikes([np.full(255, 0.5)], clock, bin_size_s=1.0).dtype == np.uint8
    wide = bin_spikes([np.full(256, 0.5), np.array([])], clock, bin_size_s=1.0)
    assert wide.dtype == np.uint16 and wide.tolist() == [[256, 0], [0, 0]]
    assert bin_spikes([], clock, bin_size_s=1.0).shape == (2, 0)


@pytest.mark.parametrize(
    "times, clock, bin_size_s, message",
    [
        ([0.1], [0.5, 1.0], 1.0, "overlap"),
        ([0.1], [1.5, 0.5], 1.0, "backward"),
        ([0.1, np.nan], [0.5, 1.5], 1.0, "Unit 0"),
        ([0.1], [], 1.0, "clock"),
        (np.full(70_000, 0.5), [0.5, 1.5], 1.0, "in seconds"),
    ],
)
def test_bad_input_is_one_clear_error(times, clock, bin_size_s, message):
    with pytest.raises(DataError, match=message):
        bin_spikes([np.array(times)], np.array(clock), bin_size_s=bin_size_s)
