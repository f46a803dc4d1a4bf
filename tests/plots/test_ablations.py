"""Ablations: a panel a question, the means of the table, the study's own choice set apart."""

import io

import numpy as np
import pandas as pd
import pytest

from spikelfp_lab.analysis import bootstrap_interval
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import plot_ablations

VARIANTS = {
    "Loss terms": {"alignment only": 0.5, "both": 0.6},
    "Student layers": {"1": 0.4, "2": 0.55, "4": 0.6},
}
OWN = {"both", "4"}


def make_scores(variants=VARIANTS, *, own=OWN):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "question": question,
            "variant": variant,
            "own": variant in own,
            "session": f"s{session}",
            "seed": seed,
            "readout": readout,
            "split": split,
            "axis": axis,
            "r2": level - 0.1 * (readout == "one_frame") + 0.02 * rng.normal() + (split == "train"),
        }
        for question, levels in variants.items()
        for variant, level in levels.items()
        for session in range(3)
        for seed in range(2)
        for readout in ("one_frame", "lagged")
        for split in ("train", "test")
        for axis in ("vx", "vy")
    )


def marks(axes, label):
    return next(line for line in axes.lines if line.get_label() == label)


def test_marks_are_means_over_sessions_in_the_order_of_the_table():
    scores = make_scores()
    test = scores[scores["split"] == "test"]
    figure = plot_ablations(scores, cohort="simulated")
    assert figure.get_suptitle() == "simulated: 3 sessions, 2 seeds"
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(VARIANTS)
    for axes, (question, levels) in zip(figure.axes, VARIANTS.items(), strict=True):
        assert [tick.get_text() for tick in axes.get_xticklabels()] == list(levels)
        for title, readout in (("One-frame", "one_frame"), ("Lagged", "lagged")):
            own = test[(test["question"] == question) & (test["readout"] == readout)]
            expected = own.groupby(["variant", "session"])["r2"].mean().groupby("variant").mean()
            drawn = marks(axes, f"{title} read-out")
            np.testing.assert_allclose(drawn.get_ydata(), expected[list(levels)])
    first, second = (marks(figure.axes[0], f"{name} read-out") for name in ("One-frame", "Lagged"))
    assert first.get_marker() != second.get_marker()
    assert (second.get_xdata() > first.get_xdata()).all()


def test_points_and_whiskers_are_those_of_the_table():
    scores = make_scores()
    axes = plot_ablations(scores, readouts=["lagged"]).axes[0]
    points = [c.get_offsets() for c in axes.collections if not hasattr(c, "get_segments")]
    own = scores.query("split == 'test' and readout == 'lagged' and variant == 'both'")
    np.testing.assert_allclose(
        np.sort(points[1][:, 1]), np.sort(own.groupby(["session", "seed"])["r2"].mean())
    )
    whisker = [c for c in axes.collections if hasattr(c, "get_segments")][1]
    expected = bootstrap_interval(own.groupby("session")["r2"].mean().to_numpy())
    np.testing.assert_allclose(whisker.get_segments()[0][:, 1], expected)


def test_the_own_choice_has_a_bold_name_and_a_band():
    for axes in plot_ablations(make_scores()).axes:
        bold = [t.get_text() for t in axes.get_xticklabels() if t.get_fontweight() == "bold"]
        assert len(bold) == 1 and bold[0] in OWN
        (band,) = axes.patches
        place = [t.get_text() for t in axes.get_xticklabels()].index(bold[0])
        assert band.get_x() < place < band.get_x() + band.get_width()
    assert not plot_ablations(make_scores(own=())).axes[0].patches


def test_many_questions_wrap_on_one_axis():
    figure = plot_ablations(make_scores({f"Question {i}": {"a": 0.1 * i} for i in range(6)}))
    panels = [axes for axes in figure.axes if axes.axison]
    assert len(panels) == 6 and len({axes.get_ylim() for axes in panels}) == 1
    assert {axes.get_subplotspec().rowspan.start for axes in panels} == {0, 1}


def test_what_is_far_below_zero_is_written_at_the_edge():
    figure = plot_ablations(make_scores({"Loss terms": {"none": -2.0, "both": 0.5}}))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert [round(float(text.replace("−", "-")), 1) for text in texts] == [-2.1, -2.0]
    assert figure.axes[0].get_ylim()[0] > -0.3


def test_the_same_table_gives_the_same_picture():
    first, second = io.BytesIO(), io.BytesIO()
    for file in (first, second):
        plot_ablations(make_scores()).savefig(file, format="png")
    assert first.getvalue() == second.getvalue()


def test_errors_name_the_cure():
    scores = make_scores()
    with pytest.raises(DataError, match="no column own"):
        plot_ablations(scores.drop(columns="own"))
    with pytest.raises(DataError, match="'lagged'"):
        plot_ablations(scores[scores["readout"] == "one_frame"])
    with pytest.raises(DataError, match="NaN"):
        plot_ablations(scores.assign(r2=np.nan))
    with pytest.raises(DataError, match="'Loss terms' has 2 own choices"):
        plot_ablations(scores.assign(own=True))
