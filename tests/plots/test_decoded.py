"""True against decoded: the right stretch, the R² of the test split, gray elsewhere."""

import numpy as np
import pytest

from spikelfp_lab.analysis import decode, fit_readout
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import MODEL_COLORS, plot_decoded
from spikelfp_lab.sessions import split_session
from tests.factories import make_session


def predict(latents, session):
    split = split_session(session, window_s=0.5)
    return fit_readout(latents, session, split=split).predict(latents, split=split)


@pytest.fixture(scope="module")
def session():
    return make_session(bins=2000)


@pytest.fixture(scope="module")
def decoded(session):
    return {name: predict(session["lfp"], session) for name in ("Distilled", "run-01")}


def test_r2_in_the_key_is_that_of_decode(session, decoded):
    scores = decode(session["lfp"], session, split=split_session(session, window_s=0.5))
    figure = plot_decoded(session, decoded, span_s=6)
    for axes, name in zip(figure.axes, ("vx", "vy"), strict=True):
        assert axes.get_ylabel() == f"{name} (cm/s)"
        r2 = scores.query("split == 'test' and readout == 'lagged' and axis == @name")["r2"]
        wanted = [f"{model} (R² {float(r2.iloc[0]):.2f})" for model in decoded]
        assert [line.get_label() for line in axes.lines] == ["True", *wanted]
        assert axes.lines[1].get_color() == MODEL_COLORS["Distilled"]
    start = float(session["time"][np.argmax(decoded["run-01"]["split"].values == 2)])
    assert axes.get_xlim() == pytest.approx((start, start + 6))


def test_what_is_not_test_is_gray_and_said_so(session, decoded):
    whole = plot_decoded(session, decoded, start_s=0, span_s=40)
    assert len(whole.axes[0].collections[0].get_paths()) == 3  # train around two test blocks
    assert "gray" in whole.get_suptitle()
    assert plot_decoded(session, decoded, span_s=2).get_suptitle() == "I/s01"


def test_errors_name_the_cure(session, decoded):
    with pytest.raises(DataError, match="'Distilled' is not on the session's clock"):
        plot_decoded(session, {"Distilled": decoded["Distilled"][1:]})
    with pytest.raises(DataError, match="No bin from 90"):
        plot_decoded(session, decoded, start_s=90)
    with pytest.raises(DataError, match="at least one prediction"):
        plot_decoded(session, {})
