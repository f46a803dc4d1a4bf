"""The state of the session explorer: what is refused, what follows from a change, and the arrays it shows."""

import math
import subprocess
import sys

import numpy as np
import pytest
import traitlets
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelfp_lab.errors import ConfigError, DataError, SchemaError
from spikelfp_lab.sessions import build_session, cohort_from_sessions, session_clock
from spikelfp_lab.widgets.explorer_state import COLUMNS, POINTS, ExplorerState
from tests.factories import make_session


def cohort() -> xr.DataTree:
    return cohort_from_sessions(
        [
            make_session(subject="I", session="s01"),
            make_session(subject="I", session="s02", units=0, bins=900),
            make_session(subject="J", session="s01", channels=2, bins=300, seed=1),
        ]
    )


def with_values(**values: np.ndarray) -> xr.Dataset:
    """The factory's session with other numbers in its variables, in place."""
    session = make_session()
    for name, array in values.items():
        session[name] = session[name].copy(data=array.astype(session[name].dtype))
    return session


def test_the_state_needs_neither_browser_nor_picture():
    code = (
        "import sys, spikelfp_lab.widgets.explorer_state; "
        "print(*(name for name in ('ipywidgets', 'matplotlib') if name in sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


@pytest.mark.parametrize("form", [make_session(), cohort(), {"mine": make_session()}])
def test_sessions_come_in_any_form(form):
    state = ExplorerState(form)
    assert state.subject == "I" and state.name in ("I/s01", "mine")
    assert state.raster().sizes["unit"] == 6


def test_names_that_mean_the_same_stay_apart():
    state = ExplorerState({"I/a": make_session(), "a": make_session(seed=1)})
    assert state.sessions == ("I/a", "a")
    first = state.raster()
    state.session = "a"
    assert state.name == "a" and not state.raster().equals(first)


def test_nothing_to_explore_is_an_error():
    with pytest.raises(DataError, match="No sessions"):
        ExplorerState({})
    with pytest.raises(SchemaError, match="list"):
        ExplorerState([make_session()])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{"start_s": 99}, {"start_s": math.nan}, {"span_s": 0}, {"span_s": -math.inf}]
)
def test_a_bad_beginning_is_a_config_error(options):
    with pytest.raises(ConfigError, match="choose"):
        ExplorerState(make_session(), **options)


def test_the_stretch_stays_within_the_session():
    state = ExplorerState(make_session(), span_s=4)  # 12 s
    state.start_s = 11
    assert (state.start_s, state.span_s) == (8, 4)
    state.span_s = 6
    assert (state.start_s, state.span_s) == (6, 6)
    state.span_s = 1000
    assert (state.start_s, state.span_s) == (0, 12)
    assert state.bins == (0, 600)


@settings(max_examples=50, deadline=None)
@given(start=st.floats(0, 11.99), span=st.floats(0.04, 50), pages=st.integers(-9, 9))
def test_any_stretch_is_one_of_the_session(start, span, pages):
    state = ExplorerState(make_session(units=2, channels=1), start_s=start, span_s=span)
    state.turn(pages)
    assert state.start_s >= 0 and state.start_s + state.span_s <= 12 + 1e-5
    first, last = state.bins
    assert 1 <= last - first <= 600
    assert np.nansum(state.raster()) == state.dataset["spikes"].values[first:last].sum()
    time = state.traces()["time"].values
    assert (np.diff(time) > 0).all() and time[0] >= state.start_s - 0.04


@pytest.mark.parametrize(
    "trait, value, cure",
    [
        ("start_s", 12.0, "from 0 to 12 s"),
        ("start_s", -1.0, "from 0 to 12 s"),
        ("start_s", math.nan, "from 0 to 12 s"),
        ("span_s", 0.03, "at least two bins .0.04 s."),
        ("span_s", math.inf, "at most the session .12 s."),
        ("subject", "K", "one of 'I', 'J'"),
        ("session", "s09", "subject I: choose one of 's01', 's02'"),
        ("unit_order", "depth", "in I/s01: choose one of 'as recorded', 'rate', 'preferred"),
        ("lfp_view", "bars", "one of 'traces', 'spectrogram'"),
        ("first_channel", 4, "choose 0 to 3"),
        ("n_channels", 0, "choose 1 to 4"),
        ("axes", (), "one or more of vx, vy"),
        ("axes", ("z",), "one or more of vx, vy"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_a_cure(trait, value, cure):
    state = ExplorerState(cohort())
    before, revision = getattr(state, trait), state.revision
    with pytest.raises(traitlets.TraitError, match=cure):
        setattr(state, trait, value)
    assert getattr(state, trait) == before and state.revision == revision


def test_sessions_follow_the_subject_and_a_change_is_told_once():
    state = ExplorerState(cohort(), span_s=8)
    revisions = []
    state.observe(lambda change: revisions.append(state.name), "revision")
    state.session = "s02"
    state.start_s = 9
    state.subject = "J"  # 6 s
    assert revisions == ["I/s02", "I/s02", "J/s01"]
    assert (state.sessions, state.session, state.name) == (("s01",), "s01", "J/s01")
    assert (state.start_s, state.span_s, state.n_channels) == (0, 6, 2)
    state.subject = "I"  # the same label, another session
    assert revisions[3:] == ["I/s01"] and state.traces().sizes["channel"] == 2


def test_a_session_without_one_of_them_says_so():
    state = ExplorerState(make_session(units=0, behavior=()))
    assert state.missing == ("spikes", "behavior")
    assert state.orders == ("as recorded",) and state.axes == ()
    assert "no spikes, 4 of 4 channels, no behavior" in state.status
    for show in (state.raster, state.order, state.behavior):
        with pytest.raises(DataError, match="choose another session"):
            show()
    assert set(state.quality()["kind"]) == {"channel"}
    bare = ExplorerState(make_session(channels=0))
    assert "no LFP" in bare.status
    for show in (bare.traces, bare.spectrogram, bare.spectra):
        with pytest.raises(DataError, match="lfp"):
            show()


def test_an_order_that_the_next_session_lacks_is_given_up_aloud():
    state = ExplorerState(cohort())
    state.unit_order = "rate"
    state.session = "s02"  # no spikes
    assert state.unit_order == "as recorded" and "no data for 'rate'" in state.status
    state.session = "s01"
    assert "no data" not in state.status


def test_orders_by_rate_and_depth():
    session = make_session()
    deep = session.assign_coords(depth=("unit", [5.0, 1.0, np.nan, 3.0, 2.0, 4.0]))
    state = ExplorerState(deep)
    state.unit_order = "rate"
    rates = session["spikes"].mean("time").values[state.order()]
    assert (np.diff(rates) <= 0).all()
    state.unit_order = "depth"
    assert state.order().tolist() == [1, 4, 3, 5, 0, 2]
    assert state.raster()["unit"].values.tolist() == session["unit"].values[state.order()].tolist()


def test_depths_that_are_words_or_unknown_give_no_order():
    session = make_session(units=2)
    for depth in (["deep", "deeper"], [np.nan, np.nan]):
        assert "depth" not in ExplorerState(session.assign_coords(depth=("unit", depth))).orders


def test_the_preferred_direction_of_tuned_units_is_recovered():
    rng = np.random.default_rng(0)
    angles = np.linspace(-3, 3, 12)
    shuffled = rng.permutation(12)
    moved = rng.normal(size=(4000, 2))
    drive = moved @ np.stack([np.cos(angles), np.sin(angles)])[:, shuffled]
    moved[::50] = np.nan  # left out of the regression
    clock = session_clock(0.0, 80.0, bin_size_s=0.02)
    session = build_session(
        clock, bin_size_s=0.02, subject="I", session="s01", source="tests",
        spikes=rng.poisson(np.exp(0.5 + 0.5 * drive)), behavior=(moved, clock),
        behavior_names=("vx", "vy"), max_gap_s=0.024,
    )  # fmt: skip
    state = ExplorerState(session)
    state.unit_order = "preferred direction"
    assert shuffled[state.order()].tolist() == list(range(12))
    assert state.order() is state.order()  # computed once


@pytest.mark.parametrize("behavior", [(), ("speed",)])
def test_directions_need_a_plane(behavior):
    assert "preferred direction" not in ExplorerState(make_session(behavior=behavior)).orders
    copied = np.repeat(np.random.default_rng(0).normal(size=(600, 1)), 2, axis=1)
    assert "preferred direction" not in ExplorerState(with_values(behavior=copied)).orders


@pytest.mark.parametrize("gaps", [(), (2000, 2500)])
def test_decimation_keeps_extrema_and_is_not_longer_than_can_be_seen(gaps):
    session = make_session(bins=6000, channels=3, nan_lfp=[7, 8], gaps=gaps)
    lfp = session["lfp"].values
    lfp[1234, 1], lfp[4321, 2] = 99, -77
    state = ExplorerState(session, span_s=1000)
    traces = state.traces()
    assert traces.sizes["time"] <= POINTS + 2
    np.testing.assert_array_equal(np.nanmax(traces, axis=0), np.nanmax(lfp, axis=0))
    np.testing.assert_array_equal(np.nanmin(traces, axis=0), np.nanmin(lfp, axis=0))
    where = float(traces["time"][int(np.nanargmax(traces[:, 1].values))])
    assert abs(where - float(session["time"][1234])) < 0.3
    assert state.raster().sizes["time"] <= COLUMNS + 1
    # A gap of a second is a break in the line, and no count.
    assert bool(np.isnan(traces[:, 2]).any()) == bool(gaps)
    assert bool(np.isnan(state.raster()).any()) == bool(gaps)


def test_a_short_stretch_is_shown_bin_by_bin():
    session = make_session()
    state = ExplorerState(session, start_s=2, span_s=3)
    part = session.isel(time=slice(100, 250))
    np.testing.assert_array_equal(state.traces(), part["lfp"])
    np.testing.assert_array_equal(state.raster(), part["spikes"].T)
    np.testing.assert_allclose(state.traces()["time"], part["time"])
    state.axes = ("vy",)
    np.testing.assert_array_equal(state.behavior()[:, 0], part["behavior"][:, 1])
    state.first_channel, state.n_channels = 3, 4
    assert state.traces()["channel"].values.tolist() == ["ch03"]


def test_columns_stay_where_they_are_while_the_stretch_moves():
    state = ExplorerState(make_session(bins=6000), span_s=60)
    here = state.raster()
    state.start_s = 0.5
    both = np.intersect1d(here["time"].values.round(6), state.raster()["time"].values.round(6))
    assert both.size > 550


def test_a_stretch_within_a_gap_is_empty():
    session = make_session(gaps=[300])
    state = ExplorerState(session, start_s=6.2, span_s=0.5)
    first, last = state.bins
    assert first == last
    assert np.isnan(state.raster()).all() and np.isnan(state.traces()).all()
    assert np.isnan(state.spectrogram()).all()


def test_the_spectrogram_finds_a_tone_where_it_is():
    time = np.arange(600) * 0.02
    tone = np.where(time < 6, np.sin(2 * np.pi * 10 * time), np.sin(2 * np.pi * 20 * time))
    state = ExplorerState(with_values(lfp=np.repeat(tone[:, None], 4, axis=1)), span_s=12)
    power = state.spectrogram()
    for when, wanted in ((3, 10), (9, 20)):
        found = float(power.sel(time=when, method="nearest").idxmax())
        assert abs(found - wanted) < 0.8
    low, high = state.spectrogram_limits()
    assert low < high


def test_a_spectrogram_of_too_little_says_what_to_do():
    state = ExplorerState(make_session(bins=10))
    with pytest.raises(DataError, match="choose traces"):
        state.spectrogram()


def test_spectra_leave_out_what_is_not_finite_and_are_computed_once():
    state = ExplorerState(make_session(nan_lfp=range(100, 400)))
    power = state.spectra()
    assert power["channel"].values.tolist() == ["ch01", "ch02", "ch03"]
    assert power.attrs["left_out"] == ["ch00"] and state.spectra() is power
    state.forget()
    assert state.spectra() is not power


def test_quality_flags_what_is_wrong():
    session = make_session(channels=6, nan_lfp=range(300))
    lfp, spikes = session["lfp"].values, session["spikes"].values
    lfp[:, 2] = 3.0
    lfp[:, 4] = -2 * lfp[:, 3] + 1
    lfp[:, 5] = np.nan
    spikes[:, 1] = 0
    spikes[:, 4] = spikes[:, 3]
    table = ExplorerState(session).quality().set_index("name")
    flags = table["flag"]
    assert flags[["ch01", "ch03", "u000", "u003"]].tolist() == [""] * 4
    assert flags["ch00"] == "not finite" and flags["ch02"] == "flat"
    assert flags["ch04"] == "copy of ch03" and flags["ch05"] == "not finite"
    assert flags["u001"] == "silent" and flags["u004"] == "copy of u003"
    assert table.loc["ch00", "nonfinite_share"] == 0.5
    np.testing.assert_allclose(
        table.loc["u000", "rate_hz"], session["spikes"].values[:, 0].mean() / 0.02
    )
    np.testing.assert_allclose(table.loc["ch01", "sd"], lfp[:, 1].std(), rtol=1e-4)
    assert table["line_db"].isna().all()  # 50 Hz bins resolve no mains


def test_quality_measures_known_processes():
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.2, size=(20_000, 6))
    counts[10_000:, 0] = 0
    clock = session_clock(0.0, 40.0, bin_size_s=0.002)
    lfp = rng.normal(size=(20_000, 2))
    lfp[:, 1] += np.sin(2 * np.pi * 60 * clock)
    session = build_session(
        clock, bin_size_s=0.002, subject="I", session="s01", source="tests", spikes=counts,
        lfp=(lfp, clock), max_gap_s=0.0024,
    )  # fmt: skip
    table = ExplorerState(session).quality()
    units = table[table["kind"] == "unit"]
    assert units["fano"][1:].between(0.5, 1.7).all() and units["fano"][0] > 5
    assert units["drift"][0] == 0 and units["drift"][1:].between(0.9, 1.1).all()
    assert abs(units["empty_share"][1] - math.exp(-0.2)) < 0.02
    channels = table[table["kind"] == "channel"].reset_index()
    assert channels["line_db"][0] < 6 < channels["line_db"][1]
    assert channels["flag"].tolist() == ["", "line noise"]
