"""Bars and marks draw the numbers they are given, say how many there are, set controls apart."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from spikelfp_lab import plots
from spikelfp_lab.analysis import bootstrap_interval
from spikelfp_lab.errors import DataError

LEVELS = {"Raw LFP ridge": 0.3, "Distilled": 0.6, "MS-LFP": 0.2, "SS-LFP": 0.1}


def make_scores(levels=LEVELS, *, sessions=3, seeds=2, **columns):
    keys = ["model", "session", "seed", "readout", "split", "axis"]
    values = levels, range(sessions), range(seeds), ["one_frame", "lagged"], ["train", "test"]
    rows = itertools.product(*values, ["vx", "vy"])
    scores = pd.DataFrame(rows, columns=keys).assign(**columns)
    noise = 0.05 * np.random.default_rng(0).normal(size=len(scores)) + (scores["split"] == "train")
    return scores.assign(r2=scores["model"].map(levels) + noise)


def of_test(scores, readout, model):
    """Mean of each session over its seeds, and of each session and seed."""
    own = scores.query("split == 'test' and readout == @readout and model == @model")
    points = own.groupby(["session", "seed"])["r2"].mean()
    return points.groupby("session").mean().to_numpy(), points.to_numpy()


def drawn(axes):
    """Model -> bar."""
    names = [tick.get_text() for tick in axes.get_xticklabels()]
    return {names[round(bar.get_x() + bar.get_width() / 2)]: bar for bar in axes.patches}


def texts(axes):
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("plot", [plots.plot_scores, plots.plot_bound])
def test_bars_whiskers_points_and_hatches(plot):
    scores = make_scores()
    table = scores[scores["split"] == "test"].assign(fraction=scores["r2"])
    figure = plot(table, cohort="sim")
    assert figure.get_suptitle() == "sim: 3 sessions, 2 seeds"
    for axes, readout in zip(figure.axes, ("one_frame", "lagged"), strict=True):
        assert set(drawn(axes)) == set(LEVELS) and "controls" in texts(axes)
        for model, bar in drawn(axes).items():
            by_session, _ = of_test(scores, readout, model)
            assert bar.get_height() == pytest.approx(by_session.mean())
            assert to_hex(bar.get_facecolor()) == plots.MODEL_COLORS[model]
            assert bool(bar.get_hatch()) == (model == "Raw LFP ridge")
            assert f"{by_session.mean():.2f}" in texts(axes)
            ends = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 2]
            assert any(np.allclose(end, bootstrap_interval(by_session)) for end in ends)
        offsets = np.concatenate([c.get_offsets() for c in axes.collections])[:, 1]
        expected = np.concatenate([of_test(scores, readout, model)[1] for model in LEVELS])
        np.testing.assert_allclose(np.sort(offsets), np.sort(expected))


def test_scores_far_below_zero_are_written_at_the_edge():
    scores = make_scores({"Distilled": 0.5, "Shuffled teacher": -3.0})
    axes = plots.plot_scores(scores, readouts=["lagged"]).axes[0]
    assert axes.get_ylim()[0] == pytest.approx(-0.22)
    by_session, points = of_test(scores, "lagged", "Shuffled teacher")
    wanted = {f"lowest\n−{-points.min():.2f}", f"−{-by_session.mean():.2f}"}
    assert wanted <= set(texts(axes))


def test_rows_are_panels_of_their_own_with_the_models_that_are_there():
    some = make_scores({"SS-LFP": 0.3, "Distilled": 0.6}).assign(setting="unsupervised")
    other = make_scores({"Distilled": 0.7, "Linear bound": 0.8}).assign(setting="supervised")
    scores = pd.concat([some, other[other["readout"] == "lagged"]])
    shown = plots.letter_panels(plots.plot_scores(scores, rows="setting")).axes[:3]
    assert [set(drawn(axes)) for axes in shown[1:]] == [*map(set, (some["model"], other["model"]))]
    for axes, letter, title in zip(shown, "ABC", ("One-frame", "Lagged", "Lagged"), strict=True):
        assert axes.get_title(loc="left").startswith(title) and letter in texts(axes)


def test_many_models_go_below_each_other_and_nothing_overlaps():
    levels = {model: 0.3 for model in plots.MODEL_ORDER}
    figure = plots.plot_scores(make_scores(levels, sessions=2, seeds=1))
    assert figure.get_size_inches()[0] < 10.5
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == len(plots.MODEL_ORDER) + 1  # and the word over the controls
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    below = min(tick.get_window_extent().y0 for tick in figure.axes[0].get_xticklabels())
    assert below > figure.axes[1]._left_title.get_window_extent().y1


def test_alignment_says_which_way_is_closer_and_what_chance_is():
    rows = itertools.product(("CKA", "Procrustes distance"), LEVELS, range(3), range(2))
    table = pd.DataFrame(rows, columns=["measure", "model", "session", "seed"])
    table["value"] = np.random.default_rng(0).uniform(size=len(table))
    table["chance"] = np.where(table["measure"] == "CKA", 0.05, np.nan)
    figure = plots.plot_alignment(table, cohort="simulated")
    for axes, closer in zip(figure.axes, ("higher", "lower"), strict=True):
        own = table[table["measure"] == axes.get_title(loc="left")].groupby("model")["value"]
        heights = {model: bar.get_height() for model, bar in drawn(axes).items()}
        assert heights == pytest.approx(own.mean().to_dict())
        assert f"{closer} is closer" in axes.get_ylabel()
        chance = [c for c in axes.collections if c.get_label() == "Chance"]
        assert len(chance) == (len(LEVELS) if closer == "higher" else 0)


def test_ablations_mark_the_own_choice():
    choices = [("Loss", "alignment", 0.5, False), ("Loss", "both", 0.6, True)]
    choices += [("Layers", "1", -2.0, False), ("Layers", "4", 0.6, True)]
    scores = pd.concat(
        make_scores({variant: level}).assign(question=question, variant=variant, own=own)
        for question, variant, level, own in choices
    )
    figure = plots.plot_ablations(scores, cohort="simulated")
    for axes, own in zip(figure.axes, ("both", "4"), strict=True):
        bold = {t.get_text() for t in axes.get_xticklabels() if t.get_fontweight() == "bold"}
        assert bold == {own} and axes.patches
    marks = np.concatenate([np.atleast_1d(line.get_ydata()) for line in figure.axes[0].lines])
    for readout in ("one_frame", "lagged"):
        by_session, _ = of_test(scores[scores["question"] == "Loss"], readout, "both")
        assert np.isclose(marks.astype(float), by_session.mean()).any()


@pytest.mark.parametrize(
    "plot", [plots.plot_scores, plots.plot_ablations, plots.plot_bound, plots.plot_alignment]
)
def test_errors_name_the_cure(plot):
    columns = {"question": "a", "variant": "b", "own": False, "fraction": 1.0, "measure": "CKA"}
    table = make_scores(value=0.5, **columns)
    with pytest.raises(DataError, match="no column seed"):
        plot(table.drop(columns="seed"))
    with pytest.raises(DataError, match="0 rows"):
        plot(table[:0])
    with pytest.raises(DataError, match="NaN"):
        plot(table.assign(r2=np.nan, value=np.nan, fraction=np.nan))


def test_cells_are_means_over_sessions_whatever_their_seeds():
    rows = [("a", 0, 0.2), ("a", 1, 0.4), ("b", 0, 0.9)]
    rows = [(*row, *key) for row in rows for key in itertools.product(["MS-LFP", "A"], [0, 1])]
    table = pd.DataFrame(rows, columns=["session", "seed", "value", "model", "layer"])
    *panels, bar = plots.plot_layers(table.assign(teacher_layer=0), cohort="simulated").axes
    assert bar.get_ylabel() == "Linear CKA" and len(panels) == 2
    for axes in panels:
        assert texts(axes) == [".60", ".60"] and axes.collections[0].get_clim() == (0, 1)
        assert [tick.get_text() for tick in axes.get_yticklabels()] == ["tokens", "1"]


def test_recovery_has_a_row_a_model():
    scores = make_scores({"Distilled": 0.6, "MS-LFP": -0.4, "Untrained": 0.1})
    axes, bar = plots.plot_recovery(scores, cohort="simulated").axes
    models = [tick.get_text() for tick in axes.get_yticklabels()]
    assert models == ["MS-LFP", "Distilled", "Untrained"] and bar.get_ylabel() == "R² (test)"
    assert texts(axes)[0].startswith("−.") and axes.get_ylim()[0] > axes.get_ylim()[1]
