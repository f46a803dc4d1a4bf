"""The state of the session explorer: what is refused, and what follows from a change."""

import math

import numpy as np
import pytest
import traitlets
import xarray as xr

from spikelfp_lab.errors import ConfigError, DataError, SchemaError
from spikelfp_lab.sessions import cohort_from_sessions
from spikelfp_lab.widgets.explorer_state import ExplorerState
from tests.factories import make_session


def cohort(**last) -> xr.DataTree:
    """Two sessions of subject I, the second without spikes, and a short one of subject J."""
    second = make_session(session="s02", units=0, bins=900, seed=2)
    third = make_session(subject="J", bins=300, seed=1, **last)
    return cohort_from_sessions([make_session(), second, third])


def test_names_that_mean_the_same_stay_apart():
    state = ExplorerState({"I/a": make_session(), "a": make_session(seed=1)})
    assert state.sessions == ("I/a", "a")
    first = state.dataset
    state.session = "a"
    assert state.name == "a" and not state.dataset.equals(first)
    assert ExplorerState(make_session()).name == "I/s01"


@pytest.mark.parametrize(
    "options", [{"start_s": 99}, {"start_s": math.nan}, {"span_s": 0}, {"span_s": -math.inf}]
)
def test_a_bad_beginning_is_an_error(options):
    with pytest.raises(ConfigError, match="choose"):
        ExplorerState(make_session(), **options)
    with pytest.raises(SchemaError, match="list"):
        ExplorerState([make_session()])  # type: ignore[arg-type]


def test_the_stretch_stays_within_the_session():
    state = ExplorerState(make_session(), span_s=4)  # 12 s
    for trait, value, wanted in (("start_s", 11, (8, 4)), ("span_s", 6, (6, 6))):
        setattr(state, trait, value)
        assert (state.start_s, state.span_s) == wanted
    state.span_s = 1000
    assert (state.start_s, state.span_s) == (0, 12)


@pytest.mark.parametrize(
    "trait, value, cure",
    [
        ("start_s", 12.0, "from 0 to 12 s"),
        ("start_s", math.nan, "from 0 to 12 s"),
        ("span_s", 0.03, "at least two bins .0.04 s."),
        ("subject", "K", "one of 'I', 'J'"),
        ("session", "s09", "subject I: choose one of 's01', 's02'"),
        ("unit_order", "depth", "in I/s01: choose one of 'as recorded', 'rate', 'preferred"),
        ("lfp_view", "bars", "one of 'traces', 'spectrogram'"),
        ("first_channel", 4, "choose 0 to 3"),
        ("n_channels", 0, "choose 1 to 4"),
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
    state, revisions = ExplorerState(cohort(channels=2), span_s=8), []
    state.observe(lambda change: revisions.append(state.name), "revision")
    state.session = "s02"
    state.start_s = 9
    state.subject = "J"  # 6 s
    assert revisions == ["I/s02", "I/s02", "J/s01"]
    assert (state.sessions, state.start_s, state.span_s, state.n_channels) == (("s01",), 0, 6, 2)
    state.subject = "I"  # the same label, another session
    assert revisions[3:] == ["I/s01"] and state.view.channels == (0, 1)


def test_an_order_that_the_next_session_lacks_is_given_up_aloud():
    state = ExplorerState(cohort())
    state.unit_order = "rate"
    state.session = "s02"  # no spikes
    assert state.unit_order == "as recorded" and "no data for 'rate'" in state.status
    assert state.missing == ("spikes",) and "no spikes, 4 of 4 channels" in state.status
    state.session = "s01"
    assert "no data" not in state.status


def test_orders_by_rate_and_depth():
    session = make_session()
    deep = session.assign_coords(depth=("unit", [5.0, 1.0, np.nan, 3.0, 2.0, 4.0]))
    state = ExplorerState(deep)
    state.unit_order = "rate"
    assert (np.diff(session["spikes"].mean("time").values[[*state.view.order]]) <= 0).all()
    state.unit_order = "depth"
    assert state.view.order == (1, 4, 3, 5, 0, 2) and state.view.order_name == "by depth"
    for depth in (["deep"] * 6, [np.nan] * 6):
        assert "depth" not in ExplorerState(session.assign_coords(depth=("unit", depth))).orders


def test_the_preferred_direction_of_tuned_units_is_recovered():
    rng = np.random.default_rng(0)
    session = make_session(bins=4000, units=12, nan_behavior=range(0, 4000, 50))
    angles, shuffled = np.linspace(-3, 3, 12), rng.permutation(12)
    moved = np.nan_to_num(session["behavior"].values)
    drive = moved @ np.stack([np.cos(angles), np.sin(angles)])[:, shuffled]
    session["spikes"].values[:] = rng.poisson(np.exp(0.5 + 0.5 * drive))
    state = ExplorerState(session)
    state.unit_order = "preferred direction"
    assert shuffled[[*state.view.order]].tolist() == list(range(12))
    for behavior in ((), ("speed",)):  # no plane, no directions
        state = ExplorerState(make_session(behavior=behavior))
        assert "preferred direction" not in state.orders


def test_spectra_leave_out_what_is_not_finite():
    state = ExplorerState(make_session(nan_lfp=range(100, 400)))
    assert state.spectra().attrs["left_out"] == ["ch00"] and len(state.spectra()) == 3
    with pytest.raises(DataError, match="no LFP"):
        ExplorerState(make_session(channels=0)).spectra()
