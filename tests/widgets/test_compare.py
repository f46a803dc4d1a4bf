"""The comparison: each thing computed once, right where the truth is known, drawn and exported."""

import numpy as np
import pytest
import torch
import xarray as xr
from ipywidgets.widgets import widget as registry

from spikelfp_lab import ConfigError, DataError, ModelConfig, decode, encode
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.sessions import TEST, split_session
from spikelfp_lab.widgets import compare_state
from spikelfp_lab.widgets.base import Cancelled
from spikelfp_lab.widgets.compare import TABS, CompareState, compare
from tests.factories import make_session

CONFIG = ModelConfig(width=16, layers=2, heads=2, spike_patch=16, channel_patch=8)
SPLIT = {"scheme": "blocks", "window_s": 0.4, "seed": 3}


def make_model(modality: str, sessions: dict) -> Autoencoder:
    torch.manual_seed(0)
    sizes = {name: session[modality].shape[1] for name, session in sessions.items()}
    model = Autoencoder(CONFIG, modality=modality, sessions=sizes, bin_size_s=0.02)
    model.info = {"train": SPLIT}
    return model


@pytest.fixture(scope="module")
def sessions() -> dict:
    return {f"I/s0{i}": make_session(bins=1400, session=f"s0{i}", seed=i) for i in (1, 2)}


@pytest.fixture(scope="module")
def models(sessions) -> dict:
    own = {"I/s01": make_model("lfp", {"I/s01": sessions["I/s01"]})}
    made = {"Distilled": own, "Teacher": make_model("spikes", sessions)}
    return made | {"MS-LFP": make_model("lfp", sessions)}


@pytest.fixture
def state(models, sessions) -> CompareState:
    return CompareState(models, sessions)


@pytest.fixture
def widget(models, sessions, tmp_path):
    made = compare(models, sessions)
    made._folder.value = str(tmp_path)
    yield made
    made.close()


def quiet(share: float, text: str) -> None:
    pass


def latents_of(values: np.ndarray, session: xr.Dataset) -> xr.DataArray:
    return xr.DataArray(values, {"time": session["time"]}, ("time", "latent"), attrs=SPLIT)


def signals(session: xr.Dataset) -> np.ndarray:
    """Latents that tell the behavior, with a mean and unequal variances."""
    noise = np.random.default_rng(1).normal(size=(session.sizes["time"], 4)) * [4, 3, 2, 1]
    noise[:, :2] += 4 * session["behavior"].values
    return noise + 3


def test_nothing_is_encoded_before_compute_and_nothing_twice(state, monkeypatch, sessions):
    layers = []

    def counted(model, session, *, layer=None, **options):
        layers.append(layer)
        return encode(model, session, layer=layer, **options)

    monkeypatch.setattr(compare_state, "encode", counted)
    assert state.labels == state.models == ("MS-LFP", "Teacher", "Distilled")  # of the palette
    assert state.reference == "Teacher" and state.session == "I/s01"
    time = split_session(sessions["I/s01"], **SPLIT)
    assert state.start_s == time["time"].values[time == TEST][0]
    assert len(state.missing()) == 5 and state.scores().empty and not layers
    for models in (("MS-LFP", "Teacher"), state.labels, state.labels):
        state.models = models
        state.compute(quiet)
        assert not state.missing()
    assert layers.count(None) == len(state._sources) == 5 and not state.to_make()
    by_layer = state.alignment_by_layer().groupby("model").size()
    assert by_layer.to_dict() == {"MS-LFP": 9, "Distilled": 9}


def test_scores_are_those_of_decode(state, sessions, models):
    state.compute(quiet)
    scores = state.scores()
    assert len(scores) == 5 * 2 * 3 * 2 and set(scores["seed"]) == {3}
    session = sessions["I/s02"]
    expected = decode(encode(models["Teacher"], session, progress=False), session)
    own = scores.query("model == 'Teacher' and session == 'I/s02'")
    np.testing.assert_allclose(np.sort(own["r2"]), np.sort(expected["r2"]))
    tests = state.tests()  # over the sessions that both have
    assert set(tests["b"]) == {"MS-LFP"} and set(tests["n"]) == {2}


def test_cancelling_keeps_what_is_finished(state):
    def until_third_model(share, text):
        if len(state.missing()) == 3 and text.startswith("encode"):
            raise Cancelled

    with pytest.raises(Cancelled):
        state.compute(until_third_model)
    assert len(state.missing()) == 3
    assert len(state.scores().groupby(["model", "session"])) == 2


def test_a_turned_copy_is_recovered(sessions):
    session, values = sessions["I/s01"], signals(sessions["I/s01"])
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(4, 4)))[0]
    turned = latents_of(0.2 * values @ rotation - 5, session)
    state = CompareState({"Teacher": latents_of(values, session), "Mine": turned}, session)
    state.compute(quiet)
    places, color = state.latents()
    np.testing.assert_allclose(places["Mine"], places["Teacher"], atol=1e-6)
    assert color.dims == ("time", "behavior_dim") and len(color) == len(places["Mine"])
    np.testing.assert_allclose(state.alignment_over_time()["alignment"], 1)


def test_windows_with_more_noise_are_less_aligned_and_decoded_worse(sessions):
    session, values = sessions["I/s01"], signals(sessions["I/s01"])
    test = split_session(session, **SPLIT) == TEST  # what is fitted on training time is clean
    loud = np.where(test & (np.sin(3 * test["time"]) > 0), 12.0, 0.1)[:, None]
    noise = loud * np.random.default_rng(3).normal(size=values.shape)
    mine = latents_of(values + noise, session)
    state = CompareState({"Teacher": latents_of(values, session), "Mine": mine}, session)
    state.window_s, state.readout = 0.5, "one_frame"
    state.compute(quiet)
    table = state.errors_by_window()
    assert set(table["model"]) == {"Mine"} and (table["rho"] < -0.3).all()
    scores = state.scores().query("model == 'Mine' and split == 'test' and readout == 'one_frame'")
    error = np.sqrt(np.average(table["error"] ** 2, weights=table["bins"]))
    assert error == pytest.approx(np.sqrt(1 - scores["r2"].mean()), rel=0.1)


def test_what_cannot_be_read_is_noted(sessions, models):
    bad = make_session(bins=1400, channels=7, session="s02")
    state = CompareState(models, {"I/s01": sessions["I/s01"], "I/s02": bad})
    assert "Distilled cannot read I/s02: no model was given for this session." in state.notes()
    state.compute(quiet)  # the others are computed all the same
    assert not state.missing() and "channels" in state.reasons["MS-LFP", "I/s02"]
    own = latents_of(signals(sessions["I/s01"]), sessions["I/s01"])
    late = bad.assign_coords(time=bad["time"] + 0.02)
    for given, of, options, kind, problem in (
        (models, sessions, {"reference": "Nobody"}, ConfigError, "reference"),
        ({"Mine": own}, sessions, {}, ConfigError, "of one session"),  # of the same clock
        ({"Mine": latents_of(signals(bad), late)}, bad, {}, DataError, "clock"),
        ({"Mine": models["MS-LFP"]}, make_session(session="s9"), {}, DataError, "vocabulary"),
    ):
        with pytest.raises(kind, match=problem):
            CompareState(given, of, **options)


def find(root, description: str):
    """The control of that label."""
    if getattr(root, "description", "") == description:
        return root
    found = (find(child, description) for child in getattr(root, "children", ()))
    return next((each for each in found if each), None)


def drawn(widget, name: str) -> int:
    return sum(bool(picture.widget.value) for picture in widget.pictures[name])


def each_tab(widget):
    for number, name in enumerate(TABS):
        widget.tabs.selected_index = number
        yield name


def computed(widget):
    find(widget, "Compute").click()
    widget.job.wait()
    assert not widget.job.error


def test_panels_are_drawn_once_computed_when_visible_and_out_of_date(widget):
    assert "Press Compute: latents of Distilled, MS" in widget.message.widget.value
    computed(widget)
    assert [drawn(widget, name) for name in TABS] == [1, 0, 0, 0, 0]
    assert "<table" in widget.tables["Scores"].value
    for name in each_tab(widget):
        assert drawn(widget, name) == (2 if name == "Alignment" else 1), widget.message.widget.value
    before = {name: widget.pictures[name][0].widget.value for name in TABS}
    widget.state.color_by = "speed"
    after = {name: widget.pictures[name][0].widget.value for name in each_tab(widget)}
    assert [name for name in TABS if after[name] is not before[name]] == ["Latents"]


def test_a_click_on_a_point_brings_its_session_into_focus(widget):
    computed(widget)
    points, names = widget.scores.children[1:], widget.state.names
    rows = widget.state.scores().query("split == 'test'").groupby(["session", "model", "readout"])
    r2, tops = rows["r2"].mean(), []
    for name in names:  # from the top of the picture, in percents of its width
        own = [p.layout.margin.split("%")[0][len("calc(") :] for p in points if p.tooltip == name]
        tops += sorted(map(float, own))
    high = [n for name in names for n in sorted(r2[name], reverse=True)]
    assert len(points) == 10 and np.corrcoef(tops, high)[0, 1] < -0.9999
    for point in points:
        point.click()
        assert widget.state.session == find(widget, "In focus").value == point.tooltip
        ringed = {p.tooltip for p in points if "spikelfp-focus" in p._dom_classes}
        assert ringed == {point.tooltip}


def test_every_choice_can_be_drawn(widget):
    computed(widget)
    for choice in (
        {"color_by": "time", "session": "I/s02", "split": "train", "readout": "one_frame"},
        {"reference": "MS-LFP", "sessions": ("I/s02",)},
        {"reference": "Teacher", "models": ("Teacher",)},
    ):
        for name, value in choice.items():
            setattr(widget.state, name, value)
        for name in each_tab(widget):  # there is nothing that one model could be worse than
            assert widget.message.failed == ("models" in choice and name == "Why worse?")


def test_controls_follow_the_state_also_to_another_clock(models, sessions):
    late = sessions["I/s02"].assign_coords(time=sessions["I/s02"]["time"] + 1000)
    widget = compare({"Teacher": models["Teacher"]}, {"I/s01": sessions["I/s01"], "I/s02": late})
    for name in ("I/s02", "I/s01", "I/s02"):
        find(widget, "In focus").value = name
        assert widget.state.session == name
        slider = widget.controls["start_s"]
        assert slider.min <= slider.value == widget.state.start_s
        assert (slider.min, slider.max) == widget.state.extent()
    widget.close()


def test_export_writes_every_panel_and_overwrites_only_when_asked(widget, tmp_path):
    find(widget, "Export").click()
    assert widget.message.failed and not list(tmp_path.iterdir())  # nothing computed
    computed(widget)
    for _ in each_tab(widget):
        widget.export()
    names = {path.name.split("_")[0] for path in tmp_path.iterdir()}
    figures = {"scores", "decoded", "latents", "alignment", "layers", "why-worse"}
    assert names == figures | {"paired-tests"} and len(list(tmp_path.iterdir())) == 6 * 3 + 1
    for overwrite in (False, True):
        find(widget, "Overwrite").value = overwrite
        find(widget, "Export").click()
        assert widget.message.failed != overwrite


def test_closing_ends_the_job_and_frees_the_latents_and_all_widgets(models, sessions):
    before = set(registry._instances)
    widget = compare(models, sessions)
    widget.compute()
    widget.close()
    widget.job.wait()
    assert not widget.state._made and set(registry._instances) == before
