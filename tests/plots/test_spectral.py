"""Spectra and spectrograms find the rhythm that is there."""

import numpy as np
import pytest

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import plot_spectra, spectra
from spikelfp_lab.plots.spectral import spectrogram
from tests.factories import make_session


def test_the_spectrogram_finds_a_tone_where_it_is():
    time = np.arange(600) * 0.02
    tone = np.where(time < 6, np.sin(2 * np.pi * 10 * time), np.sin(2 * np.pi * 20 * time))
    frequency, when, power = spectrogram(tone, np.arange(600), 0, 600, rate=50.0, most=350)
    for second, wanted in ((3, 10), (9, 20)):
        column = power[:, np.abs(when - second).argmin()]
        assert abs(frequency[column.argmax()] - wanted) < 0.8
    with pytest.raises(DataError, match="choose traces"):
        spectrogram(tone[:10], np.arange(10), 0, 10, rate=50.0, most=350)


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
