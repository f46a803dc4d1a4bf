"""The session explorer, without a browser: its state, and the view that follows it."""

import gc
import itertools
import weakref

import numpy as np
import pytest
import traitlets
import xarray as xr
from ipywidgets.widgets import widget as registry

from spikelfp_lab.errors import ConfigError, SchemaError
from spikelfp_lab.plots.session import SessionPicture
from spikelfp_lab.sessions import cohort_from_sessions
from spikelfp_lab.widgets.explorer import ExplorerState, explore
from tests.factories import make_session


def cohort(**last) -> xr.DataTree:
    """Two sessions of subject I, the second without spikes, and a short one of subject J."""
    second = make_session(session="s02", units=0, bins=900, seed=2)
    third = make_session(subject="J", bins=300, seed=1, **last)
    return cohort_from_sessions([make_session(), second, third])


def test_names_that_mean_the_same_stay_apart():
    state = ExplorerState({"I/a": make_session(), "a": make_session(seed=1)})
    assert state.sessions == ("I/a", "a")
    first, state.session = state.dataset, "a"
    assert state.name == "a" and not state.dataset.equals(first)


def test_a_bad_beginning_is_an_error():
    for options in ({"start_s": 99}, {"start_s": np.nan}, {"span_s": -np.inf}):
        with pytest.raises(ConfigError, match="choose"):
            ExplorerState(make_session(), **options)
    with pytest.raises(SchemaError, match="list"):
        ExplorerState([make_session()])  # type: ignore[arg-type]


def test_the_stretch_stays_within_the_session():
    state = ExplorerState(make_session(), span_s=4)  # 12 s
    steps = (("start_s", 11, (8, 4)), ("span_s", 6, (6, 6)), ("span_s", 1000, (0, 12)))
    for trait, value, wanted in steps:
        setattr(state, trait, value)
        assert (state.start_s, state.span_s) == wanted


@pytest.mark.parametrize(
    "trait, value, cure",
    [
        ("start_s", 12.0, "from 0 to 12 s"),
        ("span_s", 0.03, "at least two bins .0.04 s."),
        ("session", "s09", "in I/s01: choose one of 's01', 's02'"),
        ("unit_order", "depth", "in I/s01: choose one of 'as recorded', 'rate', 'preferred"),
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


def test_orders_by_rate_and_depth():
    session = make_session()
    state = ExplorerState(session.assign_coords(depth=("unit", [5.0, 1.0, np.nan, 3.0, 2.0, 4.0])))
    state.unit_order = "rate"
    assert (np.diff(session["spikes"].mean("time").values[[*state.view.order]]) <= 0).all()
    state.unit_order = "depth"
    assert state.view.order == (1, 4, 3, 5, 0, 2) and state.view.order_name == "by depth"
    assert "depth" not in ExplorerState(session).orders


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
    # one axis has no plane, and no directions
    assert "preferred direction" not in ExplorerState(make_session(behavior=("vx",))).orders


@pytest.fixture
def explorer():
    made = explore(cohort(channels=0, behavior=()), span_s=4)
    yield made
    made.close()


@pytest.fixture
def drawn(monkeypatch):
    """One entry for each time that a picture was brought up to date."""
    calls, draw = [], SessionPicture.draw

    def counted(self, dataset, view):
        calls.append(view)
        draw(self, dataset, view)

    monkeypatch.setattr(SessionPicture, "draw", counted)
    return calls


def picture(explorer) -> bytes:
    return bytes(explorer.picture.widget.value)


def open_tabs(explorer) -> None:
    for tab in range(3):
        explorer.tabs.selected_index = tab


CHANGES = {
    "start_s": 5.0, "span_s": 7.0, "unit_order": "rate", "lfp_view": "spectrogram",
    "first_channel": 2, "n_channels": 2, "axes": ("vy",), "session": "s02", "subject": "J",
}  # fmt: skip


@pytest.mark.parametrize("trait", CHANGES)
@pytest.mark.parametrize("side", ["state", "control"])
def test_a_change_of_either_side_changes_the_other_and_draws_once(explorer, drawn, trait, side):
    before = picture(explorer)
    target = explorer.state if side == "state" else explorer.controls[trait]
    setattr(target, trait if side == "state" else "value", CHANGES[trait])
    assert getattr(explorer.state, trait) == explorer.controls[trait].value == CHANGES[trait]
    assert picture(explorer) != before and len(drawn) == 1 and not explorer.message.failed


def test_pages_turn_up_to_the_ends(explorer):
    said = "I/s01: 0.0 to 4.0 s of 12.0 s; 6 units, 4 of 4 channels"
    previous, following = explorer.controls["previous"], explorer.controls["next"]
    assert previous.disabled and not following.disabled and said in explorer.message.widget.value
    for button, wanted in ((following, 4.0), (following, 8.0), (previous, 4.0)):
        button.click()
        assert explorer.state.start_s == explorer.controls["start_s"].value == wanted
        assert following.disabled == (wanted == 8.0) and not previous.disabled


def test_play_goes_on_by_tenths_of_a_page_and_stops_at_the_end(explorer):
    play, state = explorer.controls["play"], explorer.state
    play.playing = True
    play.value = 1
    assert state.start_s == pytest.approx(0.4) and play.playing
    state.start_s = 7.9
    play.value = 2
    assert state.start_s == 8.0 and not play.playing


def test_a_wrong_input_is_explained_and_taken_back(explorer, drawn):
    control = explorer.controls["span_s"]
    before, control.value = control.value, -1.0
    assert explorer.message.failed and "at least two bins" in explorer.message.widget.value
    assert control.value == explorer.state.span_s == before and not drawn
    explorer.controls["start_s"].value = 3.0
    assert not explorer.message.failed


def test_a_span_beyond_the_session_is_the_session(explorer):
    explorer.controls["span_s"].value = 1e6
    assert explorer.controls["span_s"].value == explorer.state.span_s == 12.0
    slider = explorer.controls["start_s"]
    assert slider.disabled and slider.max > slider.min  # of no length it would fail in the browser


def test_a_picture_that_cannot_be_made_says_why_and_the_next_one_is_made():
    explorer = explore(make_session(bins=10))
    explorer.controls["lfp_view"].value = "spectrogram"
    assert explorer.message.failed and "choose traces" in explorer.message.widget.value
    assert picture(explorer) == b""
    explorer.controls["lfp_view"].value = "traces"
    assert not explorer.message.failed and picture(explorer)[1:4] == b"PNG"
    explorer.close()


def test_names_from_a_file_are_text_and_not_markup():
    bad = "$x^$"  # as mathematics, an error
    session = make_session(units=1, channels=2, behavior=("vx", bad))
    session = session.assign_coords(channel=[bad, "<b>a</b>"], unit=[bad])
    for name in ("lfp", "behavior"):
        session[name].attrs.update(kind=bad, units=bad)
    explorer = explore(session.assign_attrs(source="<script>"))
    explorer.state.lfp_view = "spectrogram"
    open_tabs(explorer)
    assert not any("<script>" in table.value for _, table, _ in explorer.pages)
    explorer.close()


def test_close_frees_all_widgets_and_the_figure():
    before = set(registry._instances)
    explorer = explore(cohort())
    open_tabs(explorer)
    figure, state = weakref.ref(explorer._drawing.figure), explorer.state
    for _ in range(2):  # twice does no harm
        explorer.close()
    assert set(registry._instances) == before
    state.start_s = 2
    assert state.view.start_s == 2  # the state can still be used
    del explorer
    gc.collect()
    assert figure() is None


def test_hard_sessions_are_drawn_too():
    hard = make_session(gaps=[300], nan_lfp=range(600), nan_behavior=range(600))
    hard["lfp"].values[:, 1] = 7
    hard["spikes"].values[:] = 0
    explorer = explore(hard)
    for start in (0, 6.2, 3):
        explorer.state.span_s = 0.5
        explorer.state.start_s = start
        assert ("Nothing was recorded" in explorer.state.status) == (start == 6.2)
        for channel, view in itertools.product((0, 1), ("spectrogram", "traces")):
            explorer.state.first_channel, explorer.state.lfp_view = channel, view
            assert not explorer.message.failed
    open_tabs(explorer)
    assert "dead" in explorer.pages[1][1].value
    explorer.close()


def test_tabs_are_made_when_they_are_opened_and_once_a_session(explorer, monkeypatch):
    made, whole = [], ExplorerState.quality
    counted = lambda self: made.append(self.name) or whole(self)  # noqa: E731
    monkeypatch.setattr(ExplorerState, "quality", counted)
    assert made == [] and "made by the test factory" in explorer.pages[0][1].value
    explorer.tabs.selected_index = 1
    explorer.state.start_s = 3
    explorer.state.subject = "J"  # has no LFP
    explorer.tabs.selected_index = 2
    assert made == ["I/s01", "J/s01"] and "no LFP" in explorer.pages[2][0].widget.value
    assert explorer.controls["lfp_view"].disabled and not explorer.controls["unit_order"].disabled


def test_sessions_of_other_clocks_follow_each_other():
    late = make_session(session="s02")
    late = late.assign_coords(time=late["time"] + 1000)
    explorer = explore({"early": make_session(), "late": late}, span_s=2)
    for name, begin in (("late", 1000), ("early", 0), ("late", 1000)):
        explorer.controls["session"].value = name
        slider = explorer.controls["start_s"]
        assert slider.value == explorer.state.start_s == slider.min == slider.max - 10 == begin
    explorer.close()
