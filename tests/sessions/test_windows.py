"""Windows and splits: properties that must hold for any session."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.sessions import (
    GUARD,
    TEST,
    TRAIN,
    VAL,
    channel_statistics,
    cohort_from_sessions,
    split_session,
    usable_runs,
    window_starts,
)
from tests.factories import make_session

BIN_S = 0.02
PARTS = {"train": TRAIN, "val": VAL, "test": TEST}


@st.composite
def broken_sessions(draw):
    """Sessions with gaps, trials and NaN anywhere."""
    bins = draw(st.integers(60, 900))
    bins_of = st.lists(st.integers(1, bins - 1), max_size=6, unique=True)
    return make_session(
        bins=bins,
        units=2,
        channels=2,
        gaps=sorted(draw(bins_of)),
        nan_lfp=draw(bins_of),
        nan_behavior=draw(bins_of),
        trial_bins=draw(st.none() | st.integers(5, 200)),
        seed=draw(st.integers(0, 5)),
    )


def is_clean(session, start, stop, variables):
    """No gap, trial edge or NaN within the bins; written as plainly as possible."""
    part = session.isel(time=slice(start, stop))
    whole = all(np.isfinite(part[name].values).all() for name in variables)
    steps = np.diff(part["time"].values)
    one_trial = "trial" not in part.coords or np.unique(part["trial"].values).size == 1
    return whole and one_trial and bool((steps < 1.5 * BIN_S).all())


@settings(max_examples=50, deadline=None)
@given(
    session=broken_sessions(),
    variables=st.sets(st.sampled_from(["lfp", "behavior", "spikes"])).map(sorted),
    length=st.integers(1, 30),
    stride=st.integers(1, 30),
)
def test_runs_are_clean_maximal_and_complete_and_no_window_is_forgotten(
    session, variables, length, stride
):
    runs = usable_runs(session, variables=variables)
    windows = [start for a, b in runs for start in range(a, b, stride) if start + length <= b]
    options = {"length": length, "stride": stride, "variables": variables}
    if windows:
        assert window_starts(session, None, "all", **options).tolist() == windows
    else:
        with pytest.raises(DataError, match=r"too short for a window|shorter than a window"):
            window_starts(session, None, "all", **options)
    covered = np.zeros(session.sizes["time"], dtype=int)
    for start, stop in runs:
        covered[start:stop] += 1
        assert is_clean(session, start, stop, variables)
        assert start == 0 or not is_clean(session, start - 1, stop, variables)
        assert stop == covered.size or not is_clean(session, start, stop + 1, variables)
    good = np.ones(covered.size, dtype=bool)
    for name in variables:
        good &= np.isfinite(session[name].values).all(axis=1)
    np.testing.assert_array_equal(covered, good)


@settings(max_examples=50, deadline=None)
@given(
    session=broken_sessions(),
    scheme=st.sampled_from(["blocks", "trials"]),
    length=st.integers(1, 30),
    stride=st.integers(1, 40),
    seed=st.integers(0, 20),
)
def test_windows_cross_nothing_and_parts_keep_their_distance(session, scheme, length, stride, seed):
    options = {"length": length, "stride": stride, "variables": ["lfp", "behavior"]}
    try:
        split = split_session(session, scheme=scheme, window_s=length * BIN_S, seed=seed)
    except DataError:
        assume(False)
    starts = {}
    for part, code in PARTS.items():
        try:
            starts[part] = window_starts(session, split, part, **options)
        except DataError:
            continue
        assert (np.diff(starts[part]) >= 1).all()
        for start in starts[part]:
            assert (split.values[start : start + length] == code).all()
            assert is_clean(session, start, start + length, options["variables"])
    for one, other in combinations(starts.values(), 2):
        apart = np.abs(one[:, None] - other).min()
        # bins between the end of one window and the start of the other: a guard, or none
        assert apart - length >= (length if scheme == "blocks" else 0)


def bare(bins):
    """A session's clock only."""
    return xr.Dataset(coords={"time": np.arange(bins) * BIN_S}, attrs={"bin_size_s": BIN_S})


@settings(max_examples=200, deadline=None)
@given(bins=st.integers(10, 5000), length=st.integers(1, 300), seed=st.integers(0, 1000))
def test_blocks_hold_windows_and_guards_or_say_the_session_is_short(bins, length, seed):
    try:
        codes = split_session(bare(bins), window_s=length * BIN_S, seed=seed).values
    except DataError as error:
        assert "too short" in str(error)
        assert bins < 50 * length / 3 + 40  # a block may be a bin short of bins / 10
        return
    bounds = np.concatenate([[0], np.flatnonzero(np.diff(codes)) + 1, [bins]])
    for start, stop in pairwise(bounds):
        # a guard is exactly a window, all else at least one
        guard = codes[start] == GUARD
        assert stop - start == length if guard else stop - start >= length
        assert not guard or {codes[start - 1], codes[stop]} > {TRAIN}
    # every other boundary is a guard, so different parts never touch
    assert all(GUARD in pair for pair in pairwise(codes[bounds[:-1]]))


def test_blocks_are_seven_one_two_spread_and_rotated_by_the_seed():
    splits = [split_session(bare(10_000), window_s=0.2, seed=seed).values for seed in range(11)]
    for codes in splits:
        assert np.sum(codes == VAL) == 1000 and np.sum(codes == TEST) == 2000
        assert np.ptp(np.flatnonzero(codes == TEST)) > 3000
    np.testing.assert_array_equal(splits[0], splits[10])
    # over the ten rotations every bin (but guards) is tested twice and validated once
    assert (np.sum([codes == TEST for codes in splits[:10]], axis=0) == 2).all()
    assert (np.sum([codes == VAL for codes in splits[:10]], axis=0) == 1).all()
    with pytest.raises(DataError, match="about 1017"):
        split_session(bare(1000), window_s=61 * BIN_S)


def test_trials_stay_whole_in_seventy_ten_twenty_and_time_between_is_a_guard():
    session = make_session(bins=2000, trial_bins=20)
    number = session["trial"].values
    split = split_session(session, scheme="trials", window_s=0.2, seed=3)
    by_trial = split.values.reshape(100, 20)
    assert (by_trial == by_trial[:, :1]).all()
    assert [int(np.sum(by_trial[:, 0] == code)) for code in (TRAIN, VAL, TEST)] == [70, 10, 20]
    assert split.identical(split_session(session, scheme="trials", window_s=0.2, seed=3))
    assert (split != split_session(session, scheme="trials", window_s=0.2, seed=4)).any()

    # five seeds test every trial once
    splits = [split_session(session, scheme="trials", window_s=0.2, seed=s) for s in range(5, 10)]
    assert (sum((each == TEST).astype(int) for each in splits) == 1).all()

    # every other trial is time between trials, and numbers return: each is a trial of its own
    between = np.where(number % 2, number % 6, -1)
    session = session.assign_coords(trial=("time", between))
    split = split_session(session, scheme="trials", window_s=0.2)
    assert ((split.values == GUARD) == (between < 0)).all()
    counts = [int(np.sum(split.values == code)) // 20 for code in (TRAIN, VAL, TEST)]
    assert counts == [35, 5, 10] and usable_runs(session, variables=[]).shape == (100, 2)


def test_trials_shorter_than_the_window_are_said_with_both_cures():
    session = make_session(bins=600, trial_bins=40)
    with pytest.raises(DataError, match=r"Trials are shorter .*window_s.*trials=False") as caught:
        window_starts(session, None, "all", length=50, variables=["lfp"])
    assert "50 bins (1 s)" in str(caught.value) and "40 bins (0.8 s)" in str(caught.value)
    free = session.drop_vars("trial")
    assert window_starts(free, None, "all", length=50, variables=["lfp"]).size == 12


def test_a_split_fits_the_same_clock_and_a_leaf_of_a_cohort_but_no_other_session():
    session = make_session()
    session = session.assign_coords(time=session["time"] + 3600.0)
    leaf = cohort_from_sessions([session])["I/s01"]
    split = split_session(leaf, window_s=0.2)
    near, late = (split.assign_coords(time=split["time"] + by) for by in (1e-7, BIN_S))
    assert window_starts(leaf, near, "val", length=5, variables=[]).size
    for other in (late, split.isel(time=slice(1, None)), None):
        with pytest.raises(DataError, match="does not belong to this session"):
            window_starts(session, other, "val", length=5, variables=[])


def test_the_papers_windows_are_ten_seconds_whatever_the_seed():
    session = bare(50 * 105 + 7 * 50)  # 11 windows of 10 s and 2 s
    split = split_session(session, scheme="paper", window_s=5.0, seed=7)
    assert split.attrs["seed"] == 42
    by_window = split.values[:5500].reshape(11, 500)
    assert (by_window == by_window[:, :1]).all()
    assert [int(np.sum(by_window[:, 0] == code)) for code in (TRAIN, VAL, TEST)] == [9, 1, 1]
    assert (split.values[5500:] == GUARD).all()


def test_unknown_or_impossible_requests_are_refused():
    session = make_session(bins=600, gaps=range(50, 600, 50), nan_lfp=[20])
    split = split_session(session, window_s=0.2)
    for options, kind, problem in (
        ({"scheme": "random"}, ConfigError, "'blocks', 'trials' or 'paper'"),
        ({"window_s": np.nan}, ConfigError, "above 0 s"),
        ({"scheme": "trials"}, DataError, r"assign_coords\(trial="),
    ):
        with pytest.raises(kind, match=problem):
            split_session(session, **{"window_s": 0.2} | options)
    for part, length in (("validation", 10), ("all", 0)):
        with pytest.raises(ConfigError, match="at least 1 bin"):
            window_starts(session, split, part, length=length, variables=[])
    with pytest.raises(DataError, match=r"51 bins \(1.02 s\).*part 'val'.*'lfp'.* 50 bins \(1 s\)"):
        window_starts(session, split, "val", length=51, variables=["lfp"])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 99), scale=st.sampled_from([1e-6, 1.0, 1e3]))
def test_statistics_match_numpy_ignoring_nan(seed, scale):
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=(300, 3)) * scale + 3 * scale).astype("float32")
    values[rng.random(values.shape) < 0.1] = np.nan
    use = rng.random(300) < 0.6
    used = values[use].astype(float)
    mean, std = channel_statistics(values, use)
    np.testing.assert_allclose(mean, np.nanmean(used, axis=0), rtol=1e-5)
    np.testing.assert_allclose(std, np.nanstd(used, axis=0), rtol=1e-5)


def test_constant_and_empty_channels_have_statistics_too():
    values = np.full((70_000, 3), [0.1, np.nan, 0], dtype="float32")
    values[::2, 2] = 1
    mean, std = channel_statistics(values, np.ones(70_000, dtype=bool))
    np.testing.assert_allclose([mean, std], [[0.1, 0.0, 0.5], [1.0, 1.0, 0.5]], rtol=1e-6)


def test_time_in_which_no_unit_was_observed_is_in_no_window_of_spikes():
    session = make_session(bins=1000)
    observed = np.ones(session["spikes"].shape, bool)
    observed[300:500] = False
    observed[700:800, 1:] = False  # one unit was
    session = session.assign_coords(observed=(("time", "unit"), observed))
    assert usable_runs(session, variables=["spikes"]).tolist() == [[0, 300], [500, 1000]]
    assert usable_runs(session, variables=["lfp"]).tolist() == [[0, 1000]]
