"""Latents in two dimensions: aligned on request, colored by where the behavior goes."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import ortho_group

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import plot_latents
from spikelfp_lab.plots.latents import DIRECTIONS, MAX_POINTS
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
    fast = np.hypot(*known.T) >= 0.2 * np.quantile(np.hypot(*known.T), 0.95)
    angle = np.arctan2(known[fast, 1], known[fast, 0]) % (2 * np.pi)
    moving = figure.axes[0].collections[1].get_facecolors()
    np.testing.assert_allclose(moving, DIRECTIONS(angle / (2 * np.pi)))
    wheel = figure.axes[-1].child_axes[0]
    assert [text.get_text() for text in wheel.texts] == ["vx", "vy", "gray: rest"]
    assert plot_latents(latents, behavior[:, :1]).axes[-1].get_ylabel() == "vx (cm/s)"


def test_alignment_undoes_rotation_and_mirror(latents, behavior):
    teacher, student = plot_latents(latents, behavior, align_to="Teacher").axes[:2]
    places = [np.asarray(axes.collections[1].get_offsets()) for axes in (teacher, student)]
    np.testing.assert_allclose(*places, atol=1e-6)
    assert student.get_xlabel() == "Turned onto Teacher"
    assert np.diff(student.get_xlim()) == pytest.approx(np.diff(teacher.get_xlim()))


def test_numbers_of_latents_may_differ_nan_bins_are_left_out_and_long_sessions_thinned(latents):
    behavior = make_session(bins=900, nan_behavior=range(5))["behavior"]
    narrow = latents["Distilled"][:, :1].copy()
    narrow[100:110] = np.nan
    assert (
        count(plot_latents({"Teacher": latents["Teacher"], "A": narrow}, behavior).axes[0]) == 885
    )
    long = make_session(bins=3 * MAX_POINTS, channels=1, units=1)["behavior"]
    figure = plot_latents({"Teacher": long.rename(behavior_dim="latent")}, long)
    assert count(figure.axes[0]) <= MAX_POINTS


def test_errors_name_the_cure(latents, behavior):
    with pytest.raises(DataError, match="not at the times"):
        plot_latents(latents, behavior[1:])
    with pytest.raises(DataError, match="align_to is 'Best'"):
        plot_latents(latents, behavior, align_to="Best")
    with pytest.raises(DataError, match="latents are none"):
        plot_latents({}, behavior)
    with pytest.raises(DataError, match="one or two axes"):
        plot_latents(latents, make_session(behavior=("x", "y", "z"))["behavior"])
