"""The view of the session explorer, without a browser."""

import gc
import itertools
import weakref

import matplotlib
import pytest
from ipywidgets.widgets import widget as registry

from spikelfp_lab.plots.session import SessionPicture
from spikelfp_lab.widgets.explorer import explore
from tests.factories import make_session
from tests.widgets.test_explorer_state import cohort


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


def test_it_shows_the_first_session(explorer):
    said = "I/s01: 0.0 to 4.0 s of 12.0 s; 6 units, 4 of 4 channels"
    assert picture(explorer)[1:4] == b"PNG" and said in explorer.message.widget.value
    assert len(explorer.controls) == 11
    assert all(widget.description and widget.tooltip for widget in explorer.controls.values())


CHANGES = {
    "start_s": 5.0, "span_s": 7.0, "unit_order": "rate", "lfp_view": "spectrogram",
    "first_channel": 2, "n_channels": 2, "axes": ("vy",), "session": "s02", "subject": "J",
}  # fmt: skip


@pytest.mark.parametrize("trait", CHANGES)
@pytest.mark.parametrize("side", ["state", "control"])
def test_a_change_of_either_side_changes_the_other_and_draws_once(explorer, drawn, trait, side):
    before, status = picture(explorer), explorer.message.widget.value
    target = explorer.state if side == "state" else explorer.controls[trait]
    setattr(target, trait if side == "state" else "value", CHANGES[trait])
    assert getattr(explorer.state, trait) == explorer.controls[trait].value == CHANGES[trait]
    assert picture(explorer) != before and len(drawn) == 1 and not explorer.message.failed
    if trait in ("start_s", "span_s", "n_channels", "session", "subject"):
        assert explorer.message.widget.value != status


def test_pages_turn_up_to_the_ends(explorer):
    previous, following = explorer.controls["previous"], explorer.controls["next"]
    assert previous.disabled and not following.disabled
    for wanted in (4.0, 8.0):
        following.click()
        assert explorer.state.start_s == explorer.controls["start_s"].value == wanted
    assert following.disabled and not previous.disabled
    previous.click()
    assert explorer.state.start_s == 4.0


@pytest.mark.parametrize(
    "trait, value, says",
    [
        ("span_s", -1.0, "at least two bins"),
        ("n_channels", 0, "choose 1 to 4"),
        ("axes", (), "one or more"),
    ],
)
def test_a_wrong_input_is_explained_and_taken_back(explorer, drawn, trait, value, says):
    control = explorer.controls[trait]
    before, control.value = control.value, value
    assert explorer.message.failed and says in explorer.message.widget.value
    assert control.value == getattr(explorer.state, trait) == before and not drawn
    explorer.controls["start_s"].value = 3.0
    assert not explorer.message.failed


def test_a_span_beyond_the_session_is_the_session_also_twice(explorer):
    for _ in range(2):
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
    session = session.assign_attrs(source="<script>")
    for name in ("lfp", "behavior"):
        session[name].attrs.update(kind=bad, units=bad)
    explorer = explore(session)
    explorer.state.lfp_view = "spectrogram"
    open_tabs(explorer)
    assert not any("<script>" in table.value for _, table, _ in explorer.pages)
    explorer.close()


def test_close_frees_all_widgets_and_the_figure():
    font, before = matplotlib.rcParams["font.size"], set(registry._instances)
    explorer = explore(cohort())
    open_tabs(explorer)
    figure, state = weakref.ref(explorer._drawing.figure), explorer.state
    explorer.close()
    assert set(registry._instances) == before
    explorer.close()  # twice does no harm
    state.start_s = 2
    assert state.view.start_s == 2  # the state can still be used
    del explorer
    gc.collect()
    assert figure() is None and matplotlib.rcParams["font.size"] == font


def test_what_is_missing_is_grey(explorer):
    c = explorer.controls
    assert not any(widget.disabled for name, widget in c.items() if name != "previous")
    explorer.state.session = "s02"
    assert c["unit_order"].disabled and not c["axes"].disabled and not c["lfp_view"].disabled
    explorer.state.lfp_view = "spectrogram"
    assert c["n_channels"].disabled and not c["first_channel"].disabled
    explorer.state.subject = "J"
    assert all(c[n].disabled for n in ("lfp_view", "first_channel", "n_channels", "axes"))
    assert "no LFP" in explorer.message.widget.value


def test_hard_sessions_are_drawn_too():
    for without in ({"units": 0}, {"channels": 0}, {"behavior": ()}):
        explorer = explore(make_session(**without))
        open_tabs(explorer)
        assert picture(explorer)[1:4] == b"PNG"
        explorer.close()
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
    made, whole = [], type(explorer.state).quality
    counted = lambda self: made.append(self.name) or whole(self)  # noqa: E731
    monkeypatch.setattr(type(explorer.state), "quality", counted)
    explorer.state.start_s = 2
    assert made == [] and "made by the test factory" in explorer.pages[0][1].value
    explorer.tabs.selected_index = 1
    explorer.state.start_s = 3
    explorer.state.subject = "J"  # has no LFP
    explorer.tabs.selected_index = 2
    assert made == ["I/s01", "J/s01"] and "no LFP" in explorer.pages[2][0].widget.value


def test_sessions_of_other_clocks_follow_each_other():
    late = make_session(session="s02")
    late = late.assign_coords(time=late["time"] + 1000)
    explorer = explore({"early": make_session(), "late": late}, span_s=2)
    explorer.state.start_s = 5
    slider = explorer.controls["start_s"]
    for name, begin in (("late", 1000), ("early", 0), ("late", 1000)):
        explorer.controls["session"].value = name
        assert slider.value == explorer.state.start_s == slider.min == begin
        assert slider.max == begin + 10
    explorer.close()
