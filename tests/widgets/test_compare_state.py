"""What a comparison computes: each thing once, and right where the truth is known."""

import numpy as np
import pytest
import torch
import traitlets
import xarray as xr

from spikelfp_lab import ConfigError, DataError, ModelConfig, decode, encode
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.sessions import TEST, TRAIN, cohort_from_sessions, split_session
from spikelfp_lab.widgets import _compare_sources as sources
from spikelfp_lab.widgets.base import Cancelled
from spikelfp_lab.widgets.compare_state import CompareState
from tests.factories import make_session

CONFIG = ModelConfig(width=16, layers=2, heads=2, spike_patch=16, channel_patch=8)
TRAINED = {"train": {"scheme": "blocks", "window_s": 0.4, "seed": 3}}


def make_model(modality: str, sessions: dict) -> Autoencoder:
    torch.manual_seed(0)
    variable = "spikes" if modality == "spikes" else "lfp"
    sizes = {name: session[variable].shape[1] for name, session in sessions.items()}
    model = Autoencoder(CONFIG, modality=modality, sessions=sizes, bin_size_s=0.02)
    model.info = TRAINED
    return model


@pytest.fixture(scope="module")
def sessions() -> dict:
    made = [make_session(bins=1400, session=f"s0{i}", seed=i, units=5 + i) for i in (1, 2)]
    return {f"I/s0{i}": session for i, session in enumerate(made, 1)}


@pytest.fixture
def state(sessions) -> CompareState:
    first = {"I/s01": sessions["I/s01"]}
    models = {
        "Distilled": {"I/s01": make_model("lfp", first)},
        "Teacher": make_model("spikes", sessions),
        "MS-LFP": make_model("lfp", sessions),
    }
    return CompareState(models, sessions)


@pytest.fixture
def encoded(monkeypatch) -> list:
    """(modality, session, layer) of every call of encode."""
    calls = []

    def counted(model, session, *, layer=None, **options):
        calls.append((model.modality, session.attrs["session"], layer))
        return encode(model, session, layer=layer, **options)

    monkeypatch.setattr(sources, "encode", counted)
    return calls


def quiet(share: float, text: str) -> None:
    pass


def latents_of(values: np.ndarray, session: xr.Dataset) -> xr.DataArray:
    return xr.DataArray(
        values,
        dims=("time", "latent"),
        coords={"time": session["time"]},
        attrs=TRAINED["train"],
    )


def signals(session: xr.Dataset, width: int = 4) -> np.ndarray:
    """Latents that tell the behavior, with a mean and unequal variances."""
    noise = np.random.default_rng(1).normal(size=(session.sizes["time"], width))
    noise *= np.arange(width, 0, -1)
    noise[:, :2] += 4 * session["behavior"].values
    return noise + 3


def rotation(width: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(2).normal(size=(width, width)))[0]


def test_starts_with_everything_shown_and_nothing_computed(state, encoded):
    assert state.labels == state.models == ("MS-LFP", "Teacher", "Distilled")  # of the palette
    assert state.sessions == ("I/s01", "I/s02") and state.session == "I/s01"
    assert state.reference == "Teacher"
    assert len(state.missing()) == 5 and state.scores().empty and not encoded
    assert state.alignment_by_layer().empty


def test_start_is_the_first_bin_of_the_split(state, sessions):
    split = split_session(sessions["I/s01"], **TRAINED["train"])
    time = split["time"].values
    assert state.start_s == time[split == TEST][0]
    state.split = "train"
    assert state.start_s == time[split == TRAIN][0]


def test_nothing_is_computed_twice(state, encoded):
    state.models = ("MS-LFP", "Teacher")
    state.compute(quiet)
    whole = [call for call in encoded if call[2] is None]
    assert len(whole) == len(set(whole)) == 4 and not state.missing()
    state.models = ("MS-LFP", "Teacher", "Distilled")
    state.compute(quiet)
    assert len([call for call in encoded if call[2] is None]) == 5
    by_layer = [call for call in encoded if call[2] is not None]
    state.compute(quiet)
    assert len([call for call in encoded if call[2] is not None]) == len(by_layer)


def test_scores_are_those_of_decode(state, sessions):
    state.compute(quiet)
    scores = state.scores()
    assert len(scores) == 5 * 2 * 3 * 2 and set(scores["seed"]) == {3}
    teacher = state._sources["Teacher", "I/s02"]
    expected = decode(encode(teacher, sessions["I/s02"], progress=False), sessions["I/s02"])
    own = scores.query("model == 'Teacher' and session == 'I/s02'")
    np.testing.assert_allclose(np.sort(own["r2"]), np.sort(expected["r2"]))
    state.sessions, state.models = ("I/s01",), ("Distilled",)
    assert set(state.scores()["model"]) == {"Distilled"}


def test_cancelling_keeps_what_is_finished(state, encoded):
    texts = []

    def until_third_model(share, text):
        texts.append(text)
        if sum(t.startswith("encode") for t in texts) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        state.compute(until_third_model)
    assert len(encoded) == 2 and len(state.missing()) == 3
    assert len(state.scores().groupby(["model", "session"])) == 2
    state.compute(quiet)
    whole = [call for call in encoded if call[2] is None]
    assert len(whole) == 5 and not state.missing()


def test_progress_rises_to_one(state):
    shares = []
    state.compute(lambda share, text: shares.append(share))
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1


def test_layers_are_compared_with_those_of_the_reference(state):
    assert state.missing_layers() == ["MS-LFP", "Distilled"]
    state.compute(quiet)
    table = state.alignment_by_layer()
    assert not state.missing_layers()
    assert table.groupby("model").size().to_dict() == {"MS-LFP": 9, "Distilled": 9}
    assert table["value"].between(0, 1).all()
    state.reference = "MS-LFP"
    assert state.missing_layers() == ["Teacher", "Distilled"]


def test_a_model_is_aligned_with_itself(state):
    state.compute(quiet)
    own = state.alignment_over_time().query("model == 'Teacher'")
    assert len(own) >= 3
    np.testing.assert_allclose(own["alignment"], 1)


def test_a_turned_copy_is_recovered(sessions):
    session = sessions["I/s01"]
    values = signals(session)
    turned = 0.2 * values @ rotation(4) - 5
    models = {"Teacher": latents_of(values, session), "Mine": latents_of(turned, session)}
    state = CompareState(models, session)
    state.dimensions = 3
    state.compute(quiet)
    table = state.latents()
    places = ["pc1", "pc2", "pc3"]
    teacher, mine = (table.query(f"model == '{name}'")[places] for name in ("Teacher", "Mine"))
    np.testing.assert_allclose(mine, teacher, atol=1e-9)
    assert (np.diff(teacher.var()) < 0).all()
    np.testing.assert_allclose(state.alignment_over_time()["alignment"], 1)
    state.dimensions = 2
    assert "pc3" not in state.latents()


def test_latents_of_other_widths_are_aligned(sessions):
    session = sessions["I/s01"]
    values = signals(session, width=5)
    values[:, 4] = 3.0  # nothing is lost without it
    narrow = latents_of(values[:, :4] @ rotation(4), session)
    models = {"Teacher": latents_of(values, session), "Mine": narrow}
    for reference in models:
        state = CompareState(models, session, reference=reference)
        state.compute(quiet)
        np.testing.assert_allclose(state.alignment_over_time()["alignment"], 1)


def test_windows_that_leave_the_reference_are_those_that_decode_badly(sessions):
    """Latents that are the more noise, the later a window is in its block."""
    session = sessions["I/s01"]
    values, rng = signals(session), np.random.default_rng(5)
    window = (session["time"].values // 0.8).astype(int) % 5
    mixed = values.copy()
    mixed += window[:, None] * rng.normal(size=values.shape) * 2
    models = {"Teacher": latents_of(values, session), "Mine": latents_of(mixed, session)}
    state = CompareState(models, session)
    state.window_s = 0.8
    state.compute(quiet)
    table = state.errors_by_window()
    assert set(table["model"]) == {"Mine"} and (table["error"] > 0).all()
    (rho,) = state.rank_correlations(table)["rho"]
    assert rho < -0.3
    assert state.rank_correlations()["n"].tolist() == [len(table)]


def test_error_is_one_minus_r2(sessions):
    session = sessions["I/s01"]
    models = {
        "Teacher": latents_of(signals(session), session),
        "Mine": latents_of(signals(session)[:, 1:], session),
    }
    state = CompareState(models, session)
    state.readout, state.window_s = "one_frame", 0.1
    state.compute(quiet)
    table = state.errors_by_window()
    mean = np.average(table["error"] ** 2, weights=table["bins"])
    r2 = state.scores().query("model == 'Mine' and readout == 'one_frame' and split == 'test'")
    assert mean == pytest.approx(1 - r2["r2"].mean(), abs=0.02)


def test_decoded_stretch(state, sessions):
    state.compute(quiet)
    state.span_s = 1.0
    table = state.decoded()
    assert set(table["model"]) == {"True", "MS-LFP", "Teacher", "Distilled"}
    assert table["time"].min() == state.start_s and table["time"].nunique() == 50
    true = table.query("model == 'True' and axis == 'vx'")
    behavior = sessions["I/s01"]["behavior"].sel(behavior_dim="vx", time=true["time"].values)
    np.testing.assert_array_equal(true["value"], behavior)
    assert table["in_split"].all()


@pytest.mark.parametrize("color_by", ["direction", "speed", "time"])
def test_colors(state, sessions, color_by):
    state.compute(quiet)
    state.color_by = color_by
    table = state.latents(max_points=50).query("model == 'Teacher'")
    vx, vy = sessions["I/s01"]["behavior"].sel(time=table["time"].values).values.T
    expected = {
        "direction": np.arctan2(vy, vx) % (2 * np.pi),
        "speed": np.hypot(vx, vy),
        "time": table["time"],
    }
    np.testing.assert_allclose(table["color"], expected[color_by], rtol=1e-5)
    assert len(table) <= 50 and table["rest"].any() == (color_by == "direction")


def test_models_that_cannot_read_are_explained(sessions):
    short = make_session(bins=1400, session="s02", units=0, channels=3, seed=2)
    named = {"I/s01": sessions["I/s01"], "I/s02": short}
    models = {
        "Teacher": make_model("spikes", sessions),
        "Distilled": {"I/s01": make_model("lfp", {"I/s01": sessions["I/s01"]})},
        "MS-LFP": make_model("lfp", sessions),
        "SS-LFP": make_model("lfp", {"I/s01": sessions["I/s01"]}),
    }
    state = CompareState(models, named)
    assert state.names == ("I/s01",)
    notes = " ".join(state.notes())
    assert "Teacher cannot read I/s02: it reads spikes" in notes
    assert "Distilled cannot read I/s02: no model was given" in notes
    assert "MS-LFP cannot read I/s02: it knows 4 channels" in notes
    assert "SS-LFP cannot read I/s02: the session is not in its vocabulary (I/s01)" in notes


def test_a_reference_that_cannot_read_the_session(sessions):
    lfp_only = make_session(bins=1400, session="s02", units=0, seed=2)
    named = {"I/s01": sessions["I/s01"], "I/s02": lfp_only}
    models = {
        "Teacher": make_model("spikes", sessions),
        "MS-LFP": make_model("lfp", named),
    }
    state = CompareState(models, named)
    state.compute(quiet)
    state.session = "I/s02"
    assert state.readable() == ["MS-LFP"]
    with pytest.raises(DataError, match="choose another reference"):
        state.latents()
    assert set(state.errors_by_window()["session"]) == {"I/s01"}
    state.reference = "MS-LFP"
    assert set(state.latents()["model"]) == {"MS-LFP"}


def test_a_session_without_behavior_has_latents_only(sessions):
    still = make_session(bins=1400, behavior=())
    models = {"Teacher": make_model("spikes", {"I/s01": still})}
    state = CompareState(models, still)
    state.compute(quiet)
    assert not state.missing() and state.scores().empty
    with pytest.raises(DataError, match="no behavior to decode"):
        state.decoded()
    with pytest.raises(DataError, match="color by time"):
        state.latents()
    state.color_by = "time"
    assert len(state.latents())


def test_one_axis_has_no_direction(sessions):
    session = make_session(bins=1400, behavior=("vx",))
    state = CompareState({"Teacher": make_model("spikes", {"I/s01": session})}, session)
    state.compute(quiet)
    with pytest.raises(DataError, match="color by speed or time"):
        state.latents()
    state.color_by = "speed"
    assert (state.latents()["color"] >= 0).all()


def test_a_cohort_and_names_of_its_own(sessions, encoded):
    tree = cohort_from_sessions(sessions.values())
    model = make_model("lfp", {"mine": sessions["I/s01"]})
    assert CompareState({"MS-LFP": make_model("lfp", sessions)}, tree).names == ("I/s01", "I/s02")
    state = CompareState({"MS-LFP": model}, {"mine": sessions["I/s01"]})
    state.compute(quiet)
    assert state.names == ("mine",) and len(state.scores())


def test_clear_frees_and_keeps_nothing_more(state):
    state.compute(quiet)
    state.clear()
    assert len(state.missing()) == 5 and state.scores().empty
    state.compute(quiet)
    assert len(state.missing()) == 5


def test_wrong_input_says_the_cure(state, sessions):
    model = make_model("lfp", sessions)
    with pytest.raises(ConfigError, match="label -> model"):
        CompareState({}, sessions)
    with pytest.raises(ConfigError, match="'Mine' is a int: give a model"):
        CompareState({"Mine": 3}, sessions)
    with pytest.raises(ConfigError, match="is a str: give a model"):
        CompareState({"Mine": {"I/s01": "path"}}, sessions)
    with pytest.raises(ConfigError, match="give one of MS-LFP"):
        CompareState({"MS-LFP": model}, sessions, reference="Teacher")
    with pytest.raises(DataError, match="None of the models can read"):
        CompareState({"Mine": {"I/s09": model}}, sessions)
    latents = latents_of(np.ones((1400, 2)), sessions["I/s01"])
    with pytest.raises(ConfigError, match="session name: latents"):
        CompareState({"Mine": latents}, sessions)
    with pytest.raises(DataError, match="on the clock of the session"):
        CompareState({"Mine": latents[:9]}, sessions["I/s01"])
    with pytest.raises(traitlets.TraitError, match="choose from I/s01, I/s02"):
        state.session = "I/s07"
    with pytest.raises(traitlets.TraitError, match="'PSID' cannot be shown"):
        state.models = ("PSID",)
    with pytest.raises(traitlets.TraitError, match="runs from"):
        state.start_s = 1e6
    with pytest.raises(traitlets.TraitError):
        state.readout = "kalman"
    with pytest.raises(DataError, match="press Compute"):
        state.latents()
    with pytest.raises(DataError, match="press Compute"):
        state.errors_by_window()
    assert state.session == "I/s01" and len(state.models) == 3
