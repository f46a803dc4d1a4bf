"""Curves, pairs, costs and histories: the means of what they are given."""

import io
import itertools

import numpy as np
import pandas as pd
import pytest

from spikelfp_lab import plots
from spikelfp_lab.errors import DataError
from tests.plots.test_bars import make_scores, of_test

LEVELS = {"Distilled": 0.6, "MS-LFP": 0.3, "Raw LFP ridge": 0.2}


@pytest.fixture
def lost():
    whole = make_scores(LEVELS)
    return pd.concat([whole.assign(lost=0.0), whole.assign(lost=0.5, r2=whole["r2"] / 2)])


def test_curves_are_means_of_test_scores_in_the_model_s_color(lost):
    lost = lost[(lost["model"] != "MS-LFP") | (lost["lost"] == 0.0)]
    figure = plots.plot_curves(lost, "lost", xlabel="Share lost", cohort="simulated")
    assert figure.get_suptitle() == "simulated: 3 sessions, 2 seeds"
    lines = {line.get_color(): line for line in figure.axes[1].lines if len(line.get_xdata())}
    for model in LEVELS:
        at = [0.0] if model == "MS-LFP" else [0.0, 0.5]
        own = [of_test(lost[lost["lost"] == x], "lagged", model)[0].mean() for x in at]
        np.testing.assert_allclose(lines[plots.MODEL_COLORS[model]].get_data(), [at, own])
    with pytest.raises(DataError, match="no column minutes"):
        plots.plot_curves(lost, "minutes", xlabel="Minutes")


def test_pairs_are_lines_from_model_to_model(lost):
    figure = plots.plot_pairs(lost, ["MS-LFP", "Distilled"], pair=["session", "lost"])
    thin = [line for line in figure.axes[0].lines if line.get_color() == "#999999"]
    assert len(thin) == 3 * 2
    own = lost[lost["lost"] == 0.0]
    first = [of_test(own, "one_frame", model)[0][0] for model in ("MS-LFP", "Distilled")]
    np.testing.assert_allclose(thin[0].get_ydata(), first)
    with pytest.raises(DataError, match="No scores of Teacher"):
        plots.plot_pairs(lost, ["Teacher", "Distilled"])
    with pytest.raises(DataError, match="read-out 'both'"):
        plots.plot_pairs(lost, ["MS-LFP", "Distilled"], readouts=["both"])


def costs(levels):
    table = make_scores(levels).query("split == 'test'")
    cost = table["model"].map({"MS-LFP": 40.0}).fillna(4.0)
    return table.assign(parameters=1e5 * cost, mflop_per_s=cost)


def test_points_lie_at_cost_and_mean_score_and_grow_with_parameters():
    table = costs(LEVELS)
    axes = plots.plot_cost(table, cohort="simulated").axes[1]
    points = {c.get_label(): c for c in axes.collections if c.get_label() in LEVELS}
    for model, point in points.items():
        place = [40.0 if model == "MS-LFP" else 4.0, of_test(table, "lagged", model)[0].mean()]
        np.testing.assert_allclose(point.get_offsets()[0], place)
    assert points["MS-LFP"].get_sizes() > points["Distilled"].get_sizes()
    with pytest.raises(DataError, match="not above 0"):
        plots.plot_cost(table.assign(mflop_per_s=0.0))


def test_every_name_is_written_once_none_covers_another_and_pictures_repeat():
    levels, pictures = {m: 0.3 + 0.02 * i for i, m in enumerate(plots.MODEL_ORDER[::2])}, []
    for _ in range(2):
        figure = plots.plot_cost(costs(levels))
        figure.savefig(file := io.BytesIO(), format="png")
        pictures.append(file.getvalue())
    assert pictures[0] == pictures[1]
    for axes in figure.axes:
        names = [text for text in axes.texts if text.get_text()]
        assert sorted(text.get_text() for text in names) == sorted(levels)
        boxes = [text.get_window_extent() for text in names]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.parametrize(("score", "best"), [(True, 70), (False, 100)])
def test_histories_mark_the_step_that_was_kept(score, best):
    steps = np.arange(10, 101, 10)
    rows = itertools.product(("loss", "alignment"), ("train", "val"), steps)
    rows = [(step, split, m, 1 / step + (split == "val")) for m, split, step in rows]
    rows += [(step, "val", "score", abs(step - 70.0)) for step in steps if score]
    history = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    figure = plots.plot_history(history, title="Teacher")
    for axes in figure.axes:
        train, val, kept = axes.lines
        np.testing.assert_allclose(train.get_ydata() + 1, val.get_ydata())
        assert list(kept.get_xdata()) == [best, best]
    assert len(figure.axes) == 2
