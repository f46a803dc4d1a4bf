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
    rng = np.random.default_rng(0)
    values = np.nan_to_num(behavior.values) @ [[3, 1, 0.0], [0, 1, 0.5]]
    values = values + 0.05 * rng.normal(size=values.shape)
    turn = ortho_group.rvs(3, random_state=0) @ np.diag([1, 1, -1])
    dims, coords = ("time", "latent"), {"time": behavior["time"]}
    return {
        "Teacher": xr.DataArray(values, dims=dims, coords=coords),
        "Distilled": xr.DataArray(4 * values @ turn + 9, dims=dims, coords=coords),
    }


def drawn(axes):
    """(n, 2) places of the bins that are in color."""
    return np.asarray(axes.collections[1].get_offsets())


def test_one_panel_a_model_with_the_colors_of_the_direction(latents, behavior):
    figure = plot_latents(latents, behavior, title="I/s01")
    assert [a.get_title(loc="left") for a in figure.axes] == ["Teacher", "Distilled"]
    assert figure.axes[0].get_xlabel() == "PC 1" and figure.axes[0].get_ylabel() == "PC 2"
    rest, moving = figure.axes[0].collections
    assert len(rest.get_offsets()) + len(moving.get_offsets()) == 895
    known = behavior.values[5:]
    fast = np.hypot(*known.T) >= 0.2 * np.quantile(np.hypot(*known.T), 0.95)
    angle = np.arctan2(known[fast, 1], known[fast, 0]) % (2 * np.pi)
    np.testing.assert_allclose(moving.get_facecolors(), DIRECTIONS(angle / (2 * np.pi)))


def test_alignment_undoes_rotation_and_mirror(latents, behavior):
    teacher, student = plot_latents(latents, behavior, align_to="Teacher").axes[:2]
    np.testing.assert_allclose(drawn(student), drawn(teacher), atol=1e-6)
    assert student.get_xlabel() == "Turned onto Teacher"
    assert np.diff(student.get_xlim()) == pytest.approx(np.diff(teacher.get_xlim()))


def test_numbers_of_latents_may_differ_and_nan_bins_are_left_out(latents, behavior):
    narrow = latents["Distilled"][:, :1].copy()
    narrow[100:110] = np.nan
    figure = plot_latents({"Teacher": latents["Teacher"], "SS-LFP": narrow}, behavior)
    assert sum(len(c.get_offsets()) for c in figure.axes[0].collections) == 885


def test_long_sessions_are_thinned():
    behavior = make_session(bins=3 * MAX_POINTS, channels=1, units=1)["behavior"]
    figure = plot_latents({"Teacher": behavior.rename(behavior_dim="latent")}, behavior)
    assert sum(len(c.get_offsets()) for c in figure.axes[0].collections) <= MAX_POINTS


def test_key_is_a_wheel_for_two_axes_and_a_bar_for_one(latents, behavior):
    wheel = plot_latents(latents, behavior).axes[-1].child_axes[0]
    assert [text.get_text() for text in wheel.texts] == ["vx", "vy", "gray: rest"]
    bar = plot_latents(latents, behavior[:, :1]).axes[-1]
    assert bar.get_ylabel() == "vx (cm/s)"


def test_no_note_on_rest_where_there_is_none(latents, behavior):
    angle = np.linspace(0, 30, behavior.sizes["time"])
    track = behavior.copy(data=np.stack([np.cos(angle), np.sin(angle)], axis=1))
    assert plot_latents(latents, track).axes[-1].child_axes[0].texts[-1].get_text() == ""


def test_errors_name_the_cure(latents, behavior):
    with pytest.raises(DataError, match="not at the times"):
        plot_latents(latents, behavior[1:])
    with pytest.raises(DataError, match="align_to is 'Best'"):
        plot_latents(latents, behavior, align_to="Best")
    with pytest.raises(DataError, match="no latents"):
        plot_latents({}, behavior)
    three = make_session(behavior=("x", "y", "z"))["behavior"]
    with pytest.raises(DataError, match="one or two axes"):
        plot_latents(latents, three)
