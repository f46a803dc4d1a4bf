"""The widget of a comparison: pictures, links, export, and what it tells its user."""

import threading

import ipywidgets
import pandas as pd
import pytest

from spikelfp_lab import DataError
from spikelfp_lab.widgets import _compare_sources as sources
from spikelfp_lab.widgets.compare import Comparison, compare
from tests.factories import make_session
from tests.widgets.test_compare_state import make_model

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def sessions() -> dict:
    made = [make_session(bins=1400, session=f"s0{i}", seed=i) for i in (1, 2)]
    return {f"I/s0{i}": session for i, session in enumerate(made, 1)}


@pytest.fixture(scope="module")
def models(sessions) -> dict:
    return {
        "Teacher": make_model("spikes", sessions),
        "MS-LFP": make_model("lfp", sessions),
        "Mine": {"I/s01": make_model("lfp", sessions)},
    }


@pytest.fixture
def widget(models, sessions, tmp_path):
    made = compare(models, sessions)
    made._folder.value = str(tmp_path)
    yield made
    made.close()


@pytest.fixture
def computed(widget) -> Comparison:
    widget.compute()
    widget.job.wait()
    assert not widget.job.error
    return widget


def all_widgets(root: ipywidgets.Widget) -> list:
    found = [root]
    for child in getattr(root, "children", ()):
        found += all_widgets(child)
    return found


def find(root: ipywidgets.Widget, description: str) -> ipywidgets.Widget:
    (one,) = [
        w for w in all_widgets(root) if getattr(w, "description", "") == description
    ]  # fmt: skip
    return one


def picture(widget: Comparison, number: int | None = None) -> bytes:
    number = widget._views.selected_index if number is None else number
    return bytes(widget._tabs[number].picture.widget.value)


def text(widget: Comparison) -> str:
    return widget._message.widget.value


def test_it_says_what_is_missing_and_draws_once_computed(widget):
    assert "Press Compute: latents of 3 models on 2 sessions are not there yet" in text(widget)
    assert not widget._message.failed and picture(widget) == b""
    find(widget, "Compute").click()
    widget.job.wait()
    assert picture(widget).startswith(PNG)
    assert "Scores: MS-LFP, Teacher, Mine on I/s01, test split." in text(widget)


def test_only_the_visible_tab_is_drawn(computed):
    assert [picture(computed, i) == b"" for i in range(5)] == [False, True, True, True, True]
    for number in range(5):
        computed._views.selected_index = number
        assert picture(computed).startswith(PNG), text(computed)
        assert not computed._message.failed


def test_a_picture_is_drawn_again_only_when_it_is_out_of_date(computed, monkeypatch):
    drawn = []
    draw = type(computed)._draw
    monkeypatch.setattr(type(computed), "_draw", lambda self, tab: drawn.append(tab.slug) or draw(self, tab))  # fmt: skip
    computed.state.color_by = "speed"  # nothing of it is in the scores
    computed._views.selected_index = 2
    computed._views.selected_index = 0
    computed._views.selected_index = 2
    computed.state.session = "I/s02"  # which also moves the start
    assert drawn == ["latents", "latents"]


@pytest.mark.parametrize(
    "choice",
    [
        {"dimensions": 3},
        {"color_by": "time", "dimensions": 3},
        {"color_by": "speed"},
        {"session": "I/s02"},
        {"split": "train", "readout": "one_frame"},
        {"models": ("Teacher",)},
        {"reference": "MS-LFP", "sessions": ("I/s02",)},
    ],
)
def test_every_choice_can_be_drawn(computed, choice):
    for name, value in choice.items():
        setattr(computed.state, name, value)
    for number in range(5):
        computed._views.selected_index = number
        alone = computed.state.models == ("Teacher",) and number == 4
        assert picture(computed).startswith(PNG) != alone, text(computed)
    assert computed._message.failed == (computed.state.models == ("Teacher",))


def test_controls_and_state_are_linked(computed):
    find(computed, "In focus").value = "I/s02"
    assert computed.state.session == "I/s02" and "on I/s02" in text(computed)
    assert computed._start.value == computed.state.start_s
    assert computed._start.max == computed.state.extent()[1]
    computed._start.value = 5.0
    assert computed.state.start_s == 5.0
    find(computed, "Models").value = ("Teacher",)
    assert computed.state.models == ("Teacher",)
    computed.state.models = ()
    assert find(computed, "Models").value == () and computed._message.failed
    computed.state.models = computed.state.labels
    assert not computed._message.failed


def test_layers_of_another_session_are_asked_for(computed):
    computed._views.selected_index = 3
    computed.state.session = "I/s02"
    assert "Press Compute: layers of 1 model on I/s02 are not compared yet" in text(computed)
    computed.compute()
    computed.job.wait()
    assert "Alignment: MS-LFP, Teacher on I/s02" in text(computed)


def test_export_writes_three_files_and_refuses_to_overwrite(computed, tmp_path):
    find(computed, "Export").click()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["scores_I-s01.csv", "scores_I-s01.png", "scores_I-s01.svg"]
    table = pd.read_csv(tmp_path / "scores_I-s01.csv")
    assert set(table["split"]) == {"test"} and len(table) == 5 * 2 * 2
    before = (tmp_path / "scores_I-s01.csv").stat().st_mtime_ns
    find(computed, "Export").click()
    assert computed._message.failed and "tick &#x27;Overwrite&#x27;" in text(computed)
    with pytest.raises(DataError, match="exists already"):
        computed.export()
    assert (tmp_path / "scores_I-s01.csv").stat().st_mtime_ns == before
    find(computed, "Overwrite").value = True
    find(computed, "Export").click()
    assert not computed._message.failed and "Wrote scores_I-s01" in text(computed)
    find(computed, "Name").value = "../up"
    find(computed, "Export").click()
    assert computed._message.failed and not (tmp_path.parent / "up.csv").exists()


def test_export_of_every_tab(computed, tmp_path):
    for number in range(5):
        computed._views.selected_index = number
        computed.export()
    made = {path.name.split("_")[0] for path in tmp_path.iterdir()}
    assert made == {"scores", "decoded", "latents", "alignment", "why-worse"}
    assert len(list(tmp_path.iterdir())) == 15


def test_nothing_to_export_before_computing(widget, tmp_path):
    find(widget, "Export").click()
    assert widget._message.failed and not list(tmp_path.iterdir())


def test_models_that_cannot_read_are_explained(widget):
    notes = widget.children[2].value
    assert "Mine cannot read I/s02: no model was given for this session." in notes


def test_controls_have_labels_and_tooltips(widget):
    kinds = (
        ipywidgets.Button, ipywidgets.Dropdown, ipywidgets.SelectMultiple, ipywidgets.Text,
        ipywidgets.Checkbox, ipywidgets.FloatSlider, ipywidgets.BoundedFloatText,
    )  # fmt: skip
    controls = [w for w in all_widgets(widget) if isinstance(w, kinds)]
    assert len(controls) == 17
    assert all(w.description and w.tooltip for w in controls)
    assert "spikelfp-compare" in widget._dom_classes


def test_two_comparisons_are_independent(computed, models, sessions):
    other = compare({"Teacher": models["Teacher"]}, sessions)
    other.state.session = "I/s02"
    assert computed.state.session == "I/s01" and "Press Compute" in text(other)
    assert computed.state.models != other.state.models
    other.close()
    assert not computed.state.missing() and picture(computed).startswith(PNG)


def test_cancel_keeps_what_is_finished(widget, monkeypatch):
    encode, second = sources.encode, threading.Event()
    calls = []

    def slow(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            widget.job.cancel()
            second.set()
        return encode(*arguments, **options)

    monkeypatch.setattr(sources, "encode", slow)
    widget.compute()
    assert second.wait(60)
    widget.job.wait()
    assert widget.job.text == "cancelled" and not widget.job.error
    assert len(widget.state.missing()) == 4  # the second was encoded, not decoded
    assert picture(widget).startswith(PNG) and "Press Compute" in text(widget)


def test_closing_ends_the_job_and_frees_the_latents(models, sessions):
    widget = compare(models, sessions)
    widget.compute()
    widget.close()
    widget.job.wait()
    assert widget.state.scores().empty and len(widget.state.missing()) == 5
