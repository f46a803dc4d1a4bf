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


@pytest.fixture
def session():
    return make_session(bins=2000)


def test_r2_in_the_key_is_that_of_decode(session):
    decoded = {
        "Teacher": predict(session["spikes"], session),
        "Distilled": predict(session["lfp"], session),
    }
    figure = plot_decoded(session, decoded, span_s=6)
    for axes, name in zip(figure.axes, ("vx", "vy"), strict=True):
        assert axes.get_ylabel() == f"{name} (cm/s)"
        lines = {line.get_label().split(" ")[0]: line for line in axes.lines}
        assert list(lines) == ["True", "Teacher", "Distilled"]
        assert lines["Distilled"].get_color() == MODEL_COLORS["Distilled"]
        for model, variable in (("Teacher", "spikes"), ("Distilled", "lfp")):
            scores = decode(session[variable], session, split=split_session(session, window_s=0.5))
            r2 = scores.query("split == 'test' and readout == 'lagged' and axis == @name")["r2"]
            assert lines[model].get_label() == f"{model} (R² {float(r2.iloc[0]):.2f})"
    test = decoded["Teacher"]["split"].values == 2
    start = float(session["time"][np.argmax(test)])
    assert axes.get_xlim() == pytest.approx((start, start + 6))
    assert axes.get_xlabel() == "Time (s)"


def test_what_is_not_test_is_gray_and_said_so(session):
    decoded = predict(session["lfp"], session)
    whole = plot_decoded(session, {"Distilled": decoded}, start_s=0, span_s=40)
    assert len(whole.axes[0].patches) == 3  # two test blocks, train around them
    assert "gray" in whole.get_suptitle()
    block = plot_decoded(session, {"Distilled": decoded}, span_s=2)
    assert not block.axes[0].patches and block.get_suptitle() == "I/s01"


def test_errors_name_the_cure(session):
    decoded = predict(session["lfp"], session)
    with pytest.raises(DataError, match="'Distilled' is not on the session's clock"):
        plot_decoded(session, {"Distilled": decoded[1:]})
    with pytest.raises(DataError, match="No bin from 90"):
        plot_decoded(session, {"Distilled": decoded}, start_s=90)
    with pytest.raises(DataError, match="at least one prediction"):
        plot_decoded(session, {})
