"""Windows and splits: properties that must hold for any session."""

from itertools import pairwise

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


@settings(max_examples=60, deadline=None)
@given(session=broken_sessions(), variables=st.sets(st.sampled_from(["lfp", "behavior", "spikes"])))
def test_runs_are_clean_disjoint_maximal_and_complete(session, variables):
    variables = sorted(variables)
    runs = usable_runs(session, variables=variables)
    assert runs.dtype == np.int64 and (runs[:, 1] > runs[:, 0]).all()
    assert (runs[1:, 0] >= runs[:-1, 1]).all()
    covered = np.zeros(session.sizes["time"], dtype=bool)
    for start, stop in runs:
        covered[start:stop] = True
        assert is_clean(session, start, stop, variables)
        assert start == 0 or not is_clean(session, start - 1, stop, variables)
        assert stop == covered.size or not is_clean(session, start, stop + 1, variables)
    good = np.ones(covered.size, dtype=bool)
    for name in variables:
        good &= np.isfinite(session[name].values).all(axis=1)
    np.testing.assert_array_equal(covered, good)


@settings(max_examples=60, deadline=None)
@given(
    session=broken_sessions(),
    scheme=st.sampled_from(["blocks", "trials"]),
    length=st.integers(1, 30),
    stride=st.none() | st.integers(1, 40),
    seed=st.integers(0, 20),
)
def test_windows_cross_nothing_and_parts_keep_their_distance(session, scheme, length, stride, seed):
    variables = ["lfp", "behavior"]
    try:
        split = split_session(session, scheme=scheme, window_s=length * BIN_S, seed=seed)
    except DataError:
        assume(False)
    starts = {}
    for part, code in PARTS.items():
        try:
            starts[part] = window_starts(
                session, split, part, length=length, stride=stride, variables=variables
            )
        except DataError:
            continue
        assert starts[part].dtype == np.int64 and (np.diff(starts[part]) > 0).all()
        for start in starts[part]:
            assert (split.values[start : start + length] == code).all()
            assert is_clean(session, start, start + length, variables)
        if stride is None:
            assert (np.diff(starts[part]) >= length).all()
    for one in starts:
        for other in starts:
            if one == other:
                continue
            apart = np.abs(starts[one][:, None] - starts[other][None, :]).min()
            # bins between the end of one window and the start of the other: a guard, or none
            assert apart - length >= (length if scheme == "blocks" else 0)


@settings(max_examples=60, deadline=None)
@given(session=broken_sessions(), length=st.integers(1, 30), stride=st.integers(1, 30))
def test_no_window_is_forgotten(session, length, stride):
    runs = usable_runs(session, variables=["lfp"])
    expected = [start for a, b in runs for start in range(a, b, stride) if start + length <= b]
    if not expected:
        with pytest.raises(DataError, match=r"too short for a window|shorter than a window"):
            window_starts(session, None, "all", length=length, stride=stride, variables=["lfp"])
        return
    starts = window_starts(session, None, "all", length=length, stride=stride, variables=["lfp"])
    assert starts.tolist() == expected


def bare(bins):
    """A session's clock only: enough for a split, and quick to make."""
    return xr.Dataset(coords={"time": np.arange(bins) * BIN_S}, attrs={"bin_size_s": BIN_S})


@settings(max_examples=200, deadline=None)
@given(bins=st.integers(10, 5000), length=st.integers(1, 300), seed=st.integers(0, 1000))
def test_blocks_hold_windows_and_guards_or_say_the_session_is_short(bins, length, seed):
    session = bare(bins)
    try:
        split = split_session(session, window_s=length * BIN_S, seed=seed)
    except DataError as error:
        assert "too short" in str(error)
        assert bins < 50 * length / 3 + 40  # a block may be a bin short of bins / 10
        return
    codes = split.values
    assert codes.dtype == np.int8 and split.attrs == {
        "scheme": "blocks",
        "seed": seed,
        "window_s": pytest.approx(length * BIN_S),
    }
    edges = np.flatnonzero(np.diff(codes)) + 1
    bounds = np.concatenate([[0], edges, [bins]])
    for start, stop in pairwise(bounds):
        code = codes[start]
        # a guard is exactly a window, all else at least one
        assert stop - start == length if code == GUARD else stop - start >= length
        if code == GUARD:
            assert {codes[start - 1], codes[stop]} > {TRAIN}
    # every other boundary is a guard, so different parts never touch
    kinds = codes[bounds[:-1]]
    assert all(GUARD in pair for pair in pairwise(kinds))


def test_blocks_are_seven_one_two_spread_and_rotated_by_the_seed():
    session = bare(10_000)
    splits = [split_session(session, window_s=0.2, seed=seed).values for seed in range(11)]
    for codes in splits:
        assert np.sum(codes == VAL) == 1000 and np.sum(codes == TEST) == 2000
        assert np.sum(codes == TRAIN) == 7000 - np.sum(codes == GUARD)
        centers = np.flatnonzero(codes == TEST)
        assert np.ptp(centers) > 3000
    np.testing.assert_array_equal(splits[0], splits[10])
    assert all((splits[0] != codes).any() for codes in splits[1:10])
    # over the ten rotations every bin (but guards) is tested twice and validated once
    tested = np.sum([codes == TEST for codes in splits[:10]], axis=0)
    validated = np.sum([codes == VAL for codes in splits[:10]], axis=0)
    assert (tested == 2).all() and (validated == 1).all()


def test_the_guard_comes_from_train_where_it_can_and_from_the_other_side_where_it_must():
    roomy = split_session(bare(1000), window_s=10 * BIN_S).values
    assert np.sum(roomy == TEST) == 200 and np.sum(roomy == VAL) == 100
    tight = split_session(bare(1000), window_s=55 * BIN_S).values
    assert 2 * 55 <= np.sum(tight == TEST) < 200
    with pytest.raises(DataError, match="needs about 1017 bins"):
        split_session(bare(1000), window_s=61 * BIN_S)


def test_trials_stay_whole_in_seventy_ten_twenty():
    session = make_session(bins=2000, trial_bins=20)
    split = split_session(session, scheme="trials", window_s=0.2, seed=3)
    by_trial = split.values.reshape(100, 20)
    assert (by_trial == by_trial[:, :1]).all()
    counts = [int(np.sum(by_trial[:, 0] == code)) for code in (TRAIN, VAL, TEST)]
    assert counts == [70, 10, 20]
    other = split_session(session, scheme="trials", window_s=0.2, seed=4)
    assert (split.values != other.values).any()
    assert split.identical(split_session(session, scheme="trials", window_s=0.2, seed=3))


def test_a_trial_number_that_returns_is_another_trial():
    session = make_session(bins=600, trial_bins=50)
    session = session.assign_coords(trial=("time", session["trial"].values % 3))
    split = split_session(session, scheme="trials", window_s=0.2)
    by_trial = split.values.reshape(12, 50)
    assert (by_trial == by_trial[:, :1]).all() and set(by_trial[:, 0]) == {TRAIN, VAL, TEST}
    assert usable_runs(session, variables=[]).shape == (12, 2)


def test_time_between_trials_is_in_no_split():
    session = make_session(bins=2000, trial_bins=20)
    trial = session["trial"].values // 2 * np.where(session["trial"].values % 2, 1, 0)
    trial = np.where(session["trial"].values % 2, trial, -1)
    session = session.assign_coords(trial=("time", trial))
    split = split_session(session, scheme="trials", window_s=0.2)
    assert ((split.values == GUARD) == (trial < 0)).all()
    shares = [int(np.sum(split.values == code)) // 20 for code in (TRAIN, VAL, TEST)]
    assert shares == [35, 5, 10]
    with pytest.raises(DataError, match=r"assign_coords\(trial="):
        split_session(make_session(), scheme="trials", window_s=0.2)
    with pytest.raises(DataError, match="has 2 trials, and at least 3"):
        split_session(make_session(trial_bins=300), scheme="trials", window_s=0.2)


def test_trials_shorter_than_the_window_are_said_with_both_cures():
    session = make_session(bins=600, trial_bins=40)
    with pytest.raises(DataError, match=r"Trials are shorter .*window_s.*trials=False") as caught:
        window_starts(session, None, "all", length=50, variables=["lfp"])
    assert "50 bins (1 s)" in str(caught.value) and "40 bins (0.8 s)" in str(caught.value)
    free = session.drop_vars("trial")
    assert window_starts(free, None, "all", length=50, variables=["lfp"]).size == 12


def test_a_split_of_the_same_clock_fits_and_one_of_bins_later_does_not():
    session = make_session()
    session = session.assign_coords(time=session["time"] + 3600.0)
    split = split_session(session, window_s=0.2)
    near = split.assign_coords(time=split["time"] + 1e-7)
    assert window_starts(session, near, "val", length=5, variables=[]).size
    with pytest.raises(DataError, match="does not belong"):
        late = split.assign_coords(time=split["time"] + BIN_S)
        window_starts(session, late, "val", length=5, variables=[])


def test_the_papers_windows_are_ten_seconds_whatever_the_seed():
    session = bare(50 * 105 + 7 * 50)  # 11 windows of 10 s and 2 s
    split = split_session(session, scheme="paper", window_s=5.0, seed=7)
    assert split.attrs["seed"] == 42
    by_window = split.values[:5500].reshape(11, 500)
    assert (by_window == by_window[:, :1]).all()
    assert [int(np.sum(by_window[:, 0] == code)) for code in (TRAIN, VAL, TEST)] == [9, 1, 1]
    assert (split.values[5500:] == GUARD).all()
    with pytest.raises(DataError, match="at most 10 s"):
        split_session(session, scheme="paper", window_s=11.0)
    with pytest.raises(DataError, match="2 windows of 10 s"):
        split_session(bare(1200), scheme="paper", window_s=5.0)


def test_unknown_or_impossible_requests_are_refused():
    session = make_session()
    split = split_session(session, window_s=0.2)
    with pytest.raises(ConfigError, match="'blocks', 'trials' or 'paper'"):
        split_session(session, scheme="random", window_s=0.2)
    for window_s in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ConfigError, match="above 0 s"):
            split_session(session, window_s=window_s)
    with pytest.raises(ConfigError, match="Unknown part"):
        window_starts(session, split, "validation", length=10, variables=[])
    with pytest.raises(ConfigError, match="at least 1 bin"):
        window_starts(session, split, "all", length=0, variables=[])
    with pytest.raises(ConfigError, match="at least 1 bin"):
        window_starts(session, split, "all", length=5, stride=0, variables=[])
    with pytest.raises(DataError, match="does not belong to this session"):
        window_starts(session.isel(time=slice(1, None)), split, "val", length=5, variables=[])
    with pytest.raises(DataError, match="does not belong to this session"):
        window_starts(session, None, "val", length=5, variables=[])
    with pytest.raises(DataError, match=r"no 'gamma', it has .*lfp"):
        usable_runs(session, variables=["gamma"])


def test_too_short_says_what_is_there_and_what_is_needed():
    session = make_session(bins=600, gaps=range(50, 600, 50), nan_lfp=[20])
    split = split_session(session, window_s=0.2)
    with pytest.raises(DataError) as caught:
        window_starts(session, split, "val", length=51, variables=["lfp"])
    for said in ("51 bins (1.02 s)", "finite lfp", "the val part", "is 50 bins (1 s)", "Take"):
        assert said in str(caught.value)
    session["lfp"][:] = np.nan
    with pytest.raises(DataError, match="is 0 bins"):
        window_starts(session, split, "train", length=5, variables=["lfp"])


def test_a_leaf_of_a_cohort_is_as_good_as_a_session():
    session = make_session()
    leaf = cohort_from_sessions([session])["I/s01"]
    split = split_session(leaf, window_s=0.2)
    assert split.identical(split_session(session, window_s=0.2))
    assert window_starts(leaf, split, "test", length=10, variables=["lfp"]).size


def test_huge_finite_values_are_not_taken_for_missing():
    session = make_session(bins=100)
    session["lfp"][10] = np.finfo("float32").max
    assert usable_runs(session, variables=["lfp"]).tolist() == [[0, 100]]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 99), scale=st.sampled_from([1e-6, 1.0, 1e3]))
def test_statistics_match_numpy_ignoring_nan(seed, scale):
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=(300, 3)) * scale + 3 * scale).astype("float32")
    values[rng.random(values.shape) < 0.1] = np.nan
    use = rng.random(300) < 0.6
    mean, std = channel_statistics(values, use)
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, np.nanmean(values[use].astype(float), axis=0), rtol=1e-5)
    np.testing.assert_allclose(std, np.nanstd(values[use].astype(float), axis=0), rtol=1e-5)


def test_constant_and_empty_channels_have_statistics_too():
    values = np.full((70_000, 3), 0.1, dtype="float32")
    values[:, 1] = np.nan
    values[:, 2] = np.arange(70_000) % 2
    mean, std = channel_statistics(values, np.ones(70_000, dtype=bool))
    np.testing.assert_allclose(mean, [0.1, 0.0, 0.5], rtol=1e-6)
    np.testing.assert_allclose(std, [1.0, 1.0, 0.5], rtol=1e-6)


def test_statistics_refuse_no_bins_and_wrong_shapes():
    values = np.zeros((5, 2))
    with pytest.raises(DataError, match="No bin is used"):
        channel_statistics(values, np.zeros(5, dtype=bool))
    with pytest.raises(DataError, match=r"\(T,\) bool"):
        channel_statistics(values, np.ones(4, dtype=bool))
    with pytest.raises(DataError, match=r"\(T,\) bool"):
        channel_statistics(values, np.arange(5))
