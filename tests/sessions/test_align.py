"""Alignment: one clock, exact on lines, NaN where there is no data, and clear refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spikelfp_lab.errors import DataError, SchemaError
from spikelfp_lab.io.open import open_session
from spikelfp_lab.io.store import save_session
from spikelfp_lab.sessions import build_session, session_clock


def build(clock, bin_size_s=0.1, **options):
    names = {"subject": "I", "session": "s01", "source": "tests"}
    return build_session(clock, bin_size_s=bin_size_s, **names, **options)


@given(
    start=st.floats(-1e5, 1e5),
    count=st.integers(1, 3000),
    bin_size_s=st.sampled_from([0.001, 0.01, 0.02, 0.05, 0.1, 1 / 3]),
)
def test_a_clock_of_n_bins_has_n_uniform_centers(start, count, bin_size_s):
    clock = session_clock(start, start + count * bin_size_s, bin_size_s=bin_size_s)
    assert clock.dtype == np.float64 and clock.size == count
    assert clock[0] - start == pytest.approx(bin_size_s / 2, abs=1e-9)
    np.testing.assert_allclose(np.diff(clock), bin_size_s, atol=1e-9)


@pytest.mark.parametrize(("stop", "size"), [(0.05, 0.1), (-1, 0.1), (np.nan, 0.1), (1, 0)])
def test_impossible_clocks_are_refused(stop, size):
    with pytest.raises(DataError, match="No bin of"):
        session_clock(0, stop, bin_size_s=size)


@settings(max_examples=50, deadline=None)
@given(
    slope=st.floats(-10, 10),
    offset=st.floats(-0.5, 0.5),
    rate_hz=st.floats(12.0, 200.0),
    seed=st.integers(0, 99),
)
def test_lines_survive_any_rate_offset_and_jitter(slope, offset, rate_hz, seed):
    clock = session_clock(0.0, 5.0, bin_size_s=0.1)
    times = np.arange(-1.0, 6.0, 1 / rate_hz) + offset
    times += np.random.default_rng(seed).uniform(-0.4, 0.4, times.size) / rate_hz
    session = build(clock, lfp=(slope * times[:, None] + 1, times))
    np.testing.assert_allclose(session["lfp"].values[:, 0], slope * clock + 1, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(values=hnp.arrays(np.float32, (20, 2), elements=st.floats(-1e6, 1e6, width=32)))
def test_samples_on_the_clock_pass_unchanged(values):
    clock = session_clock(3.0, 5.0, bin_size_s=0.1)
    session = build(clock, lfp=(values, clock + 1e-9))
    np.testing.assert_array_equal(session["lfp"].values, values)


def test_nan_outside_the_stream_in_gaps_and_in_the_channel_that_has_them():
    clock = session_clock(0.0, 10.0, bin_size_s=0.1)
    times = np.arange(1.0, 9.0, 0.01)
    times = times[(times < 4.0) | (times > 5.0)]
    values = np.stack([times, times], axis=1)
    values[(times > 1.97) & (times < 2.13), 1] = np.nan  # short: bridged
    values[(times > 6.97) & (times < 7.93), 1] = np.nan  # long: stays missing
    lfp = build(clock, lfp=(values, times))["lfp"].values
    missing = (clock < 1.0) | (clock > times[-1]) | ((clock > 4.0) & (clock < 5.0))
    np.testing.assert_array_equal(np.isnan(lfp[:, 0]), missing)
    np.testing.assert_array_equal(np.isnan(lfp[:, 1]), missing | ((clock > 6.96) & (clock < 7.94)))


def test_streams_of_different_rates_meet_on_one_clock(tmp_path):
    clock = session_clock(0.0, 5.0, bin_size_s=0.02)
    lfp_times, behavior_times = np.arange(0, 5.01, 0.001), np.arange(0, 5.01, 0.05)
    session = build(
        clock,
        bin_size_s=0.02,
        spikes=np.full((250, 3), 300),
        lfp=(np.sin(lfp_times)[:, None], lfp_times),
        behavior=(np.stack([behavior_times, -behavior_times], axis=1), behavior_times),
        latent_truth=(np.cos(lfp_times)[:, None], lfp_times),
        trial=np.arange(250.0) // 50,
        attrs={"rates_hz": {"lfp": 1000}, "subject": "cannot hide the name"},
    )
    assert session["spikes"].dtype == np.uint16 and session["trial"].dtype == np.int64
    np.testing.assert_allclose(session["lfp"].values[:, 0], np.sin(clock), atol=1e-5)
    np.testing.assert_allclose(session["latent_truth"].values[:, 0], np.cos(clock), atol=1e-5)
    np.testing.assert_allclose(session["behavior"].values[:, 1], -clock, atol=1e-5)
    assert session.attrs["subject"] == "I"
    assert open_session(save_session(session, tmp_path / "s.zarr")).identical(session)


CLOCK, SAMPLES = session_clock(0.0, 2.0, bin_size_s=0.1), np.arange(0.0, 2.0, 0.01)
SLOW = SAMPLES[::50]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"lfp": (SAMPLES[:, None], SAMPLES + 100)}, "clocks do not overlap: lfp runs from 100 s"),
        ({"lfp": (SAMPLES[:, None], SAMPLES[:-1])}, "give (n, columns) and (n,)"),
        ({"lfp": (SAMPLES[:, None], SAMPLES[::-1])}, "sorted"),
        ({"lfp": (SLOW[:, None], SLOW)}, "0.5 s apart, so every bin would be NaN. Are their times"),
        ({"spikes": np.ones((19, 2))}, "differ in length"),
        ({}, "neither 'spikes' nor 'lfp'"),
        *(({"spikes": np.full((20, 2), bad)}, "counts") for bad in (0.5, np.nan, -1, 70000)),
    ],
)
def test_what_does_not_fit_is_refused_by_name(options, message):
    with pytest.raises((DataError, SchemaError)) as caught:
        build(CLOCK, **options)
    assert message in str(caught.value)
