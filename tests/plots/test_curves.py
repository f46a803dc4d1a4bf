"""Curves, pairs, costs and histories: the means of what they are given."""

import io
import itertools

import numpy as np
import pandas as pd
import pytest

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import (
    MODEL_COLORS,
    MODEL_ORDER,
    plot_cost,
    plot_curves,
    plot_history,
    plot_pairs,
)
from tests.plots.test_bars import make_scores, of_test

LEVELS = {"Distilled": 0.6, "MS-LFP": 0.3, "Raw LFP ridge": 0.2}


@pytest.fixture
def lost():
    whole = make_scores(LEVELS)
    return pd.concat([whole.assign(lost=0.0), whole.assign(lost=0.5, r2=whole["r2"] / 2)])


@pytest.mark.parametrize("missing", [None, "MS-LFP"])
def test_curves_are_means_of_test_scores_in_the_model_s_color(lost, missing):
    lost = lost[(lost["model"] != missing) | (lost["lost"] == 0.0)]
    figure = plot_curves(lost, "lost", xlabel="Share lost", cohort="simulated")
    assert figure.get_suptitle() == "simulated: 3 sessions, 2 seeds"
    lines = {line.get_color(): line for line in figure.axes[1].lines if len(line.get_xdata())}
    for model in LEVELS:
        at = [0.0] if model == missing else [0.0, 0.5]
        own = [of_test(lost[lost["lost"] == x], "lagged", model)[0].mean() for x in at]
        np.testing.assert_allclose(lines[MODEL_COLORS[model]].get_data(), [at, own])
    names = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert names == ["MS-LFP", "Distilled", "Raw LFP ridge"]
    with pytest.raises(DataError, match="no column minutes"):
        plot_curves(lost, "minutes", xlabel="Minutes")
    with pytest.raises(DataError, match="read-out 'both'"):
        plot_curves(lost, "lost", xlabel="Share lost", readouts=["both"])


def test_pairs_are_lines_from_model_to_model(lost):
    figure = plot_pairs(lost, ["MS-LFP", "Distilled"], pair=["session", "lost"])
    thin = [line for line in figure.axes[0].lines if line.get_color() == "#999999"]
    assert len(thin) == 3 * 2
    own = lost[lost["lost"] == 0.0]
    first = [of_test(own, "one_frame", model)[0][0] for model in ("MS-LFP", "Distilled")]
    np.testing.assert_allclose(thin[0].get_ydata(), first)
    rows = plot_pairs(lost, ["MS-LFP", "Distilled"], rows="lost").axes
    titles = [axes.get_title(loc="left") for axes in rows[2:]]
    assert titles == ["One-frame read-out, 0.5", "Lagged read-out, 0.5"]
    with pytest.raises(DataError, match="No scores of Teacher"):
        plot_pairs(lost, ["Teacher", "Distilled"])


def costs(levels):
    table = make_scores(levels).query("split == 'test'")
    cost = table["model"].map({"MS-LFP": 40.0}).fillna(4.0)
    return table.assign(parameters=1e5 * cost, mflop_per_s=cost)


def test_points_lie_at_cost_and_mean_score_and_grow_with_parameters():
    table = costs(LEVELS)
    axes = plot_cost(table, cohort="simulated").axes[1]
    assert axes.get_xscale() == "log" and "millions" in axes.get_xlabel()
    points = {c.get_label(): c for c in axes.collections if c.get_label() in LEVELS}
    for model, point in points.items():
        place = [40.0 if model == "MS-LFP" else 4.0, of_test(table, "lagged", model)[0].mean()]
        np.testing.assert_allclose(point.get_offsets()[0], place)
    assert points["MS-LFP"].get_sizes() > points["Distilled"].get_sizes()
    with pytest.raises(DataError, match="not above 0"):
        plot_cost(table.assign(mflop_per_s=0.0))


def test_every_name_is_written_once_none_covers_another_and_pictures_repeat():
    pictures = []
    for _ in range(2):
        figure = plot_cost(costs({m: 0.3 + 0.02 * i for i, m in enumerate(MODEL_ORDER[::2])}))
        figure.savefig(file := io.BytesIO(), format="png")
        pictures.append(file.getvalue())
    assert pictures[0] == pictures[1]
    for axes in figure.axes:
        names = [text for text in axes.texts if text.get_text()]
        assert sorted(text.get_text() for text in names) == sorted(MODEL_ORDER[::2])
        boxes = [text.get_window_extent() for text in names]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def make_history(*, splits=("train", "val"), score=True):
    steps = np.arange(10, 101, 10)
    rows = itertools.product(("loss", "alignment"), splits, steps)
    rows = [(step, split, m, 1 / step + (split == "val")) for m, split, step in rows]
    rows += [(step, "val", "score", abs(step - 70.0)) for step in steps if score]
    return pd.DataFrame(rows, columns=["step", "split", "metric", "value"])


@pytest.mark.parametrize(("score", "best"), [(True, 70), (False, 100)])
def test_histories_mark_the_step_that_was_kept(score, best):
    figure = plot_history(make_history(score=score), title="Teacher")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss", "alignment"]
    for axes in figure.axes:
        train, val, kept = axes.lines
        np.testing.assert_allclose(train.get_ydata() + 1, val.get_ydata())
        assert list(kept.get_xdata()) == [best, best] and axes.get_xlabel() == "Training step"
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == ["train", "val", f"kept: step {best}"]
    alone = plot_history(make_history(splits=["train"], score=False))
    assert [text.get_text() for text in alone.legends[0].get_texts()] == ["train"]
