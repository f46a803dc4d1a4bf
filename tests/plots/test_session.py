"""The pictures of a session: every spike, every axis, no line over a gap, units on the labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import plot_session
from spikelfp_lab.plots.session import View, columns, sum_columns
from tests.factories import make_session


@pytest.mark.parametrize("start_s", [0.0, 1.99])
def test_a_short_stretch_is_shown_bin_by_bin(start_s):
    session = make_session()
    figure = plot_session(session, start_s=start_s, span_s=4, max_channels=4)
    part = session.sel(time=slice(start_s, start_s + 3.985))
    raster, lfp, behavior = figure.axes
    seen = np.ma.filled(raster.images[0].get_array(), np.nan)
    np.testing.assert_array_equal(seen[:, : part.sizes["time"]] > 0, part["spikes"].T > 0)
    for line, name in zip(behavior.lines, ("vx", "vy"), strict=True):
        x, y = (values[: part.sizes["time"]] for values in line.get_data())
        np.testing.assert_allclose(x, part["time"], atol=1e-6)
        np.testing.assert_allclose(y, part["behavior"].sel(behavior_dim=name))
    assert raster.get_ylabel() == "Unit (6)" and lfp.get_ylabel() == "LFP\n(4 of 4 channels)"
    assert figure.get_suptitle() == "I/s01" and behavior.get_xlabel() == "Time (s)"
    assert behavior.get_ylabel() == "Behavior (cm/s)"
    assert [text.get_text() for text in behavior.get_legend().get_texts()] == ["vx", "vy"]
    assert behavior.get_xlim() == (start_s, start_s + 4)


@pytest.mark.parametrize("gaps", [(), (2000, 2500)])
def test_a_long_stretch_keeps_counts_and_extremes_and_breaks_at_gaps(gaps):
    session = make_session(bins=6000, channels=3, nan_lfp=[7, 8], gaps=gaps)
    session["lfp"].values[1234, 1] = 99
    axes = plot_session(session, span_s=1000).axes
    line = axes[1].lines[0].get_ydata()
    assert len(line) < 3 * 1700 and len(axes[2].lines[0].get_xdata()) < 1700
    assert axes[2].lines[0].get_ydata()[np.isfinite(axes[2].lines[0].get_ydata())].max() == (
        pytest.approx(float(session["behavior"][:, 0].max()), rel=1e-6)
    )
    spread = np.nanmax(line) - np.nanmedian(line)
    assert spread > 60  # the one sample of 99 is seen
    empty = np.ma.getmaskarray(axes[0].images[0].get_array()).all(axis=0)
    assert empty.any() == bool(gaps) or empty[-1]
    part, column, edges = columns(session, View(0.0, 1000.0), 700)
    counts = sum_columns(session["spikes"].values[part], column, len(edges) - 1)
    assert np.nansum(counts) == session["spikes"].values.sum()


@settings(max_examples=50, deadline=None)
@given(start=st.floats(0, 11.9), span=st.floats(0.04, 50), most=st.integers(1, 900))
def test_every_bin_has_its_column(start, span, most):
    session = make_session(units=1, channels=0, behavior=())
    part, column, edges = columns(session, View(start, span), most)
    time = session["time"].values[part]
    middle = (edges[column] + edges[column + 1]) / 2
    assert len(edges) - 2 <= most and (np.diff(edges) > 0).all()
    assert (np.abs(time - middle) <= (edges[1] - edges[0]) / 2 + 1e-6).all()


@pytest.mark.parametrize(
    "options", [{"units": 0}, {"channels": 0}, {"behavior": ()}, {"channels": 0, "behavior": ()}]
)
def test_panels_follow_what_the_session_has(options):
    assert len(plot_session(make_session(**options)).axes) == 3 - len(options)


def test_scale_bar_is_as_long_as_it_says_and_long_names_are_wrapped():
    session = make_session()
    session["lfp"].attrs["kind"] = "amplitude of the ultra-high-frequency field potential"
    axes = plot_session(session).axes[1]
    length = float(np.diff(axes.lines[1].get_ydata())[0])
    assert axes.texts[0].get_text() == f"{length:g} µV"
    assert max(map(len, axes.get_ylabel().split("\n"))) <= 24


def test_empty_stretch_is_an_error():
    with pytest.raises(DataError, match=r"from 100 to 110 s.*0.01 to 11.99 s"):
        plot_session(make_session(), start_s=100)
    with pytest.raises(DataError, match="no spikes, lfp or behavior"):
        plot_session(make_session().drop_vars(["spikes", "lfp", "behavior"]))
