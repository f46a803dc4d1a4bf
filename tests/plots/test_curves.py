"""Curves and pairs draw the means they are given, model by model, and say how many there are."""

import numpy as np
import pandas as pd
import pytest

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import MODEL_COLORS, plot_curves, plot_pairs


def make_scores(levels, *, sessions=3, seeds=2):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "model": model,
            "session": f"s{session}",
            "seed": seed,
            "readout": readout,
            "split": split,
            "axis": axis,
            "lost": lost,
            "r2": level * (1 - lost) + 0.02 * rng.normal() + (split == "train"),
        }
        for model, level in levels.items()
        for session in range(sessions)
        for seed in range(seeds)
        for readout in ("one_frame", "lagged")
        for split in ("train", "test")
        for axis in ("vx", "vy")
        for lost in (0.0, 0.5)
    )


LEVELS = {"Distilled": 0.6, "MS-LFP": 0.3, "Raw LFP ridge": 0.2}


def test_curves_are_means_of_test_scores_in_the_model_s_color():
    scores = make_scores(LEVELS)
    figure = plot_curves(scores, "lost", xlabel="Share lost", cohort="simulated")
    assert figure.get_suptitle() == "simulated: 3 sessions, 2 seeds"
    test = scores[(scores["split"] == "test") & (scores["readout"] == "lagged")]
    lines = {line.get_label(): line for line in figure.axes[1].lines}
    for model in LEVELS:
        expected = test[test["model"] == model].groupby("lost")["r2"].mean()
        np.testing.assert_allclose(lines[model].get_ydata(), expected)
        np.testing.assert_allclose(lines[model].get_xdata(), [0.0, 0.5])
        assert lines[model].get_color() == MODEL_COLORS[model]
    assert lines["Distilled"].get_linestyle() == "-" != lines["Raw LFP ridge"].get_linestyle()


def test_a_model_without_some_of_the_values_is_drawn_where_it_has_them():
    scores = make_scores(LEVELS)
    scores = scores[(scores["model"] != "MS-LFP") | (scores["lost"] == 0.0)]
    figure = plot_curves(scores, "lost", xlabel="Share lost")
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines["MS-LFP"].get_xdata()) == [0.0]


def test_pairs_are_lines_from_model_to_model():
    scores = make_scores(LEVELS)
    figure = plot_pairs(scores, ["MS-LFP", "Distilled"], pair=["session", "lost"])
    thin = [line for line in figure.axes[0].lines if line.get_linewidth() < 1][:-1]  # less the 0
    assert len(thin) == 3 * 2
    test = scores[(scores["split"] == "test") & (scores["readout"] == "one_frame")]
    first = test[(test["session"] == "s0") & (test["lost"] == 0.0)].groupby("model")["r2"].mean()
    np.testing.assert_allclose(thin[0].get_ydata(), first[["MS-LFP", "Distilled"]])


def test_what_is_missing_is_named():
    scores = make_scores(LEVELS)
    with pytest.raises(DataError, match="no column minutes"):
        plot_curves(scores, "minutes", xlabel="Minutes")
    with pytest.raises(DataError, match="No scores of Teacher"):
        plot_pairs(scores, ["Teacher", "Distilled"])
    with pytest.raises(DataError, match="read-out 'both'"):
        plot_curves(scores, "lost", xlabel="Share lost", readouts=["both"])
