"""The pictures of a session: every spike, every axis, no line over a gap; its spectra."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import plot_session, plot_spectra, spectra
from spikelfp_lab.plots.session import Grid, View, _reduce, spectrogram
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
    assert behavior.get_ylabel() == "Behavior (cm/s)" and figure.get_suptitle() == "I/s01"
    length = float(np.diff(lfp.lines[-1].get_ydata())[0])  # of the scale bar
    assert lfp.texts[0].get_text() == f"{length:g} µV"


@pytest.mark.parametrize("gaps", [(), (2000, 2500)])
def test_a_long_stretch_keeps_counts_and_extremes_and_breaks_at_gaps(gaps):
    session = make_session(bins=6000, channels=3, nan_lfp=[7, 8], gaps=gaps)
    session["lfp"].values[1234, 1] = 99
    axes = plot_session(session, span_s=1000).axes
    line = axes[1].lines[0].get_ydata()
    assert len(line) < 3 * 1700
    assert np.nanmax(line) - np.nanmedian(line) > 60  # the one sample of 99 is seen
    moved = axes[2].lines[0].get_ydata()
    assert len(moved) < 1700
    assert np.nanmax(moved) == pytest.approx(float(session["behavior"][:, 0].max()), rel=1e-6)
    empty = np.ma.getmaskarray(axes[0].images[0].get_array()).all(axis=0)
    assert empty.any() == bool(gaps) or empty[-1]
    _, start, stop, _ = Grid(session).columns(View(0.0, 1000.0), 700)
    counts = session["spikes"].values
    assert _reduce(np.add, counts, start, stop).sum() == counts.sum()


@settings(max_examples=50, deadline=None)
@given(start=st.floats(0, 11.9), span=st.floats(0.04, 50), most=st.integers(1, 900))
def test_every_bin_has_its_column(start, span, most):
    session = make_session(units=1, channels=0, behavior=())
    time = session["time"].values
    there, first, after, edges = Grid(session).columns(View(start, span), most)
    assert len(edges) - 2 <= most and (np.diff(edges) > 0).all()
    parts = [time[i:j] for i, j in zip(first, after, strict=True)]
    for part, column in zip(parts, there, strict=True):
        assert edges[column] - 1e-6 <= part.min() <= part.max() <= edges[column + 1] + 1e-6
    shown = time[(time >= start) & (time < start + span)]
    assert np.isin(shown, np.concatenate(parts)).all() if shown.size else True


def test_empty_stretch_is_an_error():
    with pytest.raises(DataError, match=r"from 100 to 110 s.*0.01 to 11.99 s"):
        plot_session(make_session(), start_s=100)
    with pytest.raises(DataError, match="no spikes, lfp or behavior"):
        plot_session(make_session().drop_vars(["spikes", "lfp", "behavior"]))


def test_the_spectrogram_finds_a_tone_where_it_is():
    grid, time = Grid(make_session()), np.arange(600) * 0.02
    tone = np.where(time < 6, np.sin(2 * np.pi * 10 * time), np.sin(2 * np.pi * 20 * time))
    frequency, when, power = spectrogram(tone, grid, 0, 600)
    for second, wanted in ((3, 10), (9, 20)):
        column = power[:, np.abs(when - second).argmin()]
        assert abs(frequency[column.argmax()] - wanted) < 0.8
    with pytest.raises(DataError, match="choose traces"):
        spectrogram(tone[:10], Grid(make_session(bins=10)), 0, 10)


@pytest.mark.parametrize(("rate", "peak"), [(100, 20.0), (10, 1.5)])
def test_spectra_find_the_rhythm_at_any_rate(rate, peak):
    session = make_session(bins=3000, bin_size_s=1 / rate, gaps=[900], nan_lfp=[5])
    session["lfp"][:] += 5 * np.sin(2 * np.pi * peak * session["time"])
    power = spectra(session)
    assert power.sizes["channel"] == 4
    np.testing.assert_allclose(power.idxmax("frequency"), peak, atol=2 * rate / 512)
    axes = plot_spectra(session).axes[0]
    assert axes.get_ylabel() == "Power density (µV²/Hz)"
    np.testing.assert_allclose(axes.lines[0].get_ydata(), power.median("channel"))


def test_spectrum_of_white_noise_holds_its_variance():
    session = make_session(bins=5000, channels=1, bin_size_s=0.01)
    session["lfp"][:] = np.random.default_rng(0).normal(size=(5000, 1)) * 3
    assert float(spectra(session).mean() * 50) == pytest.approx(9, rel=0.05)
    with pytest.raises(DataError, match="too short for a spectrum"):
        spectra(make_session(nan_lfp=range(0, 600, 10)))
