"""Latents, aligned on request and colored by where the behavior goes; true against decoded."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import ortho_group

from spikelfp_lab.analysis import decode, fit_readout
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import MODEL_COLORS, plot_decoded, plot_latents
from spikelfp_lab.plots.latents import DIRECTIONS, MAX_POINTS
from spikelfp_lab.sessions import split_session
from tests.factories import make_session


@pytest.fixture
def behavior():
    return make_session(bins=900, nan_behavior=range(5))["behavior"]


@pytest.fixture
def latents(behavior):
    """A teacher and a rotated, mirrored copy of it."""
    values = np.nan_to_num(behavior.values) @ [[3, 1, 0.0], [0, 1, 0.5]]
    values = values + 0.05 * np.random.default_rng(0).normal(size=values.shape)
    turn = ortho_group.rvs(3, random_state=0) @ np.diag([1, 1, -1])
    both = {"Teacher": values, "Distilled": 4 * values @ turn + 9}
    coords = {"time": behavior["time"]}
    return {m: xr.DataArray(v, coords, ("time", "latent")) for m, v in both.items()}


def count(axes):
    return sum(len(points.get_offsets()) for points in axes.collections)


def test_one_panel_a_model_with_the_colors_of_the_direction(latents, behavior):
    figure = plot_latents(latents, behavior, title="I/s01")
    assert [a.get_title(loc="left") for a in figure.axes] == ["Teacher", "Distilled"]
    assert figure.axes[0].get_xlabel() == "PC 1" and count(figure.axes[0]) == 895
    known = behavior.values[5:]
    speed = np.hypot(*known.T)
    fast = known[speed >= 0.2 * np.quantile(speed, 0.95)]
    angle = np.arctan2(fast[:, 1], fast[:, 0]) % (2 * np.pi)
    moving = figure.axes[0].collections[1].get_facecolors()
    np.testing.assert_allclose(moving, DIRECTIONS(angle / (2 * np.pi)))
    assert plot_latents(latents, behavior[:, :1]).axes[-1].get_ylabel() == "vx (cm/s)"


def test_alignment_undoes_rotation_and_mirror(latents, behavior):
    teacher, student = plot_latents(latents, behavior, align_to="Teacher").axes[:2]
    places = [np.asarray(axes.collections[1].get_offsets()) for axes in (teacher, student)]
    np.testing.assert_allclose(*places, atol=1e-6)
    assert student.get_xlabel() == "Turned onto Teacher"


def test_nan_bins_are_left_out_and_long_sessions_thinned(latents, behavior):
    narrow = latents["Distilled"][:, :1].copy()
    narrow[100:110] = np.nan
    figure = plot_latents({"Teacher": latents["Teacher"], "A": narrow}, behavior)
    assert count(figure.axes[0]) == 885
    long = make_session(bins=3 * MAX_POINTS, channels=1, units=1)["behavior"]
    figure = plot_latents({"Teacher": long.rename(behavior_dim="latent")}, long)
    assert count(figure.axes[0]) <= MAX_POINTS


def test_errors_of_latents_name_the_cure(latents, behavior):
    three = make_session(bins=900, behavior=("x", "y", "z"))["behavior"]
    for given, of, options, problem in (
        (latents, behavior[1:], {}, "not at the times"),
        (latents, behavior, {"align_to": "Best"}, "align_to is 'Best'"),
        ({}, behavior, {}, "latents are none"),
        (latents, three, {}, "one or two axes"),
    ):
        with pytest.raises(DataError, match=problem):
            plot_latents(given, of, **options)


def predict(latents, session):
    split = split_session(session, window_s=0.5)
    return fit_readout(latents, session, split=split).predict(latents, split=split)


@pytest.fixture(scope="module")
def session():
    return make_session(bins=2000)


@pytest.fixture(scope="module")
def decoded(session):
    return {name: predict(session["lfp"], session) for name in ("Distilled", "run-01")}


@pytest.mark.parametrize(("split", "code"), [("test", 2), ("train", 0)])
def test_r2_in_the_key_is_that_of_decode(session, decoded, split, code):
    scores = decode(session["lfp"], session, split=split_session(session, window_s=0.5))
    figure = plot_decoded(session, decoded, span_s=6, split=split)
    for axes, name in zip(figure.axes, ("vx", "vy"), strict=True):
        assert axes.get_ylabel() == f"{name} (cm/s)"
        r2 = scores.query("split == @split and readout == 'lagged' and axis == @name")["r2"]
        wanted = [f"{model} (R² {float(r2.iloc[0]):.2f})" for model in decoded]
        assert [line.get_label() for line in axes.lines] == ["True", *wanted]
        assert axes.lines[1].get_color() == MODEL_COLORS["Distilled"]
    start = float(session["time"][np.argmax(decoded["run-01"]["split"].values == code)])
    assert axes.get_xlim() == pytest.approx((start, start + 6))


def test_what_is_not_test_is_gray_and_said_so(session, decoded):
    whole = plot_decoded(session, decoded, start_s=0, span_s=40)
    assert len(whole.axes[0].collections[0].get_paths()) == 3  # train around two test blocks
    assert "gray" in whole.get_suptitle()
    assert plot_decoded(session, decoded, span_s=2).get_suptitle() == "I/s01"


def test_errors_of_decoded_name_the_cure(session, decoded):
    with pytest.raises(DataError, match="'Distilled' is not on the session's clock"):
        plot_decoded(session, {"Distilled": decoded["Distilled"][1:]})
    with pytest.raises(DataError, match="no split 'tests': give one of train, val, test"):
        plot_decoded(session, decoded, split="tests")
    with pytest.raises(DataError, match="No bin from 90"):
        plot_decoded(session, decoded, start_s=90)
