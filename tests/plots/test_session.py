"""The pictures of a session: every spike, every axis, no line over a gap, units on the labels."""

import numpy as np
import pytest

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import plot_session, plot_spectra, spectra
from spikelfp_lab.plots.style import break_at_gaps, label_with_units
from tests.factories import make_session


def test_raster_has_a_tick_for_every_bin_with_spikes():
    session = make_session()
    axes = plot_session(session, span_s=4).axes[0]
    ticks = axes.collections[0].get_segments()
    assert len(ticks) == int((session["spikes"][:200] > 0).sum())
    assert axes.get_ylabel() == "Unit (6)"


def test_panels_follow_what_the_session_has():
    assert len(plot_session(make_session(units=0)).axes) == 2
    assert len(plot_session(make_session(channels=0, behavior=())).axes) == 1


def test_labels_units_and_limits():
    figure = plot_session(make_session(channels=20), start_s=2, span_s=5, max_channels=8)
    _, lfp, behavior = figure.axes
    assert lfp.get_ylabel() == "LFP\n(8 of 20 channels)"
    assert len([line for line in lfp.lines if len(line.get_xdata()) > 2]) == 8
    assert lfp.texts[0].get_text().endswith("µV")
    assert behavior.get_ylabel() == "Behavior (cm/s)"
    assert [text.get_text() for text in behavior.get_legend().get_texts()] == ["vx", "vy"]
    assert behavior.get_xlim() == (2, 7) and behavior.get_xlabel() == "Time (s)"
    assert figure.get_suptitle() == "I/s01"


def test_no_line_crosses_a_gap_or_nan():
    session = make_session(gaps=[100], nan_lfp=range(30, 40))
    lfp = plot_session(session).axes[1].lines[0]
    x, y = lfp.get_data()
    assert np.isnan(x[100]) and np.isnan(y[30:40]).all()
    time, values = break_at_gaps(np.array([0, 1, 2.0]), np.ones((3, 2)), bin_size_s=1)
    assert len(time) == 3 and np.isfinite(values).all()


def test_scale_bar_is_as_long_as_it_says():
    session = make_session()
    axes = plot_session(session).axes[1]
    bar = next(line for line in axes.lines if len(line.get_xdata()) == 2)
    length = float(np.diff(bar.get_ydata())[0])
    assert axes.texts[0].get_text() == f"{length:g} µV"


def test_long_names_are_wrapped():
    session = make_session()
    session["lfp"].attrs["kind"] = "amplitude of the ultra-high-frequency field potential"
    label = plot_session(session).axes[1].get_ylabel()
    assert max(map(len, label.split("\n"))) <= 24


def test_empty_stretch_is_an_error():
    with pytest.raises(DataError, match=r"from 100 to 110 s.*0.01 to 11.99 s"):
        plot_session(make_session(), start_s=100)
    with pytest.raises(DataError, match="no spikes, lfp or behavior"):
        plot_session(make_session().drop_vars(["spikes", "lfp", "behavior"]))


@pytest.mark.parametrize(("rate", "peak"), [(100, 20.0), (10, 1.5)])
def test_spectra_find_the_rhythm_at_any_rate(rate, peak):
    session = make_session(bins=3000, bin_size_s=1 / rate, gaps=[900], nan_lfp=[5])
    session["lfp"][:] += 5 * np.sin(2 * np.pi * peak * session["time"])
    power = spectra(session)
    assert power.sizes["channel"] == 4
    np.testing.assert_allclose(power.idxmax("frequency"), peak, atol=2 * rate / 512)
    axes = plot_spectra(session).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xlim() == pytest.approx((rate / 512, rate / 2 * 255 / 256))
    assert axes.get_ylabel() == "Power density (µV²/Hz)"
    np.testing.assert_allclose(axes.lines[0].get_ydata(), power.median("channel"))


def test_spectrum_of_white_noise_holds_its_variance():
    session = make_session(bins=5000, channels=1, bin_size_s=0.01)
    session["lfp"][:] = np.random.default_rng(0).normal(size=(5000, 1)) * 3
    assert float(spectra(session).mean() * 50) == pytest.approx(9, rel=0.05)


def test_spectra_need_lfp_and_a_stretch():
    with pytest.raises(DataError, match="no 'lfp'"):
        plot_spectra(make_session(channels=0))
    with pytest.raises(DataError, match="too short for a spectrum"):
        spectra(make_session(nan_lfp=range(0, 600, 10)))


def test_label_without_units_or_kind():
    assert label_with_units("behavior", {}) == "Behavior"
