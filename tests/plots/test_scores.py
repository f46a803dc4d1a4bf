"""The bar figure draws the numbers it is given, and says how many there are."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from spikelfp_lab.analysis import bootstrap_interval
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import MODEL_COLORS, MODEL_ORDER, plot_scores

LEVELS = {"Raw LFP ridge": 0.3, "Distilled": 0.6, "MS-LFP": 0.2, "SS-LFP": 0.1}


def make_scores(levels=LEVELS, *, sessions=3, seeds=2):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "model": model,
            "session": f"I/s{session:02d}",
            "seed": np.nan if "ridge" in model else seed,
            "readout": readout,
            "split": split,
            "axis": axis,
            "r2": level + 0.05 * rng.normal() + (split == "train"),
        }
        for model, level in levels.items()
        for session in range(sessions)
        for seed in range(1 if "ridge" in model else seeds)
        for readout in ("one_frame", "lagged")
        for split in ("train", "test")
        for axis in ("vx", "vy")
    )


def bars(axes):
    return {bar.get_label(): bar.patches[0] for bar in axes.containers}


def test_bars_are_means_over_sessions_in_the_order_and_colors_of_the_palette():
    scores = make_scores()
    figure = plot_scores(scores, cohort="simulated")
    test = scores.query("split == 'test'")
    for axes, readout in zip(figure.axes, ("one_frame", "lagged"), strict=True):
        drawn = bars(axes)
        assert list(drawn) == ["SS-LFP", "MS-LFP", "Distilled", "Raw LFP ridge"]
        assert [t.get_text() for t in axes.get_xticklabels()] == list(drawn)
        for model, bar in drawn.items():
            own = test[(test["model"] == model) & (test["readout"] == readout)]
            assert bar.get_height() == pytest.approx(own.groupby("session")["r2"].mean().mean())
            assert to_hex(bar.get_facecolor()) == MODEL_COLORS[model]
            assert bool(bar.get_hatch()) == (model == "Raw LFP ridge")
        centers = [bar.get_x() + bar.get_width() / 2 for bar in drawn.values()]
        assert centers[3] - centers[2] > centers[1] - centers[0]
    assert figure.axes[0].get_title(loc="left") == "One-frame read-out"
    assert "R²" in figure.axes[0].get_ylabel() and "vx, vy" in figure.axes[0].get_ylabel()


def test_every_session_and_seed_is_a_point_and_whiskers_are_the_interval():
    scores = make_scores()
    axes = plot_scores(scores).axes[1]
    points = [c for c in axes.collections if len(c.get_offsets()) and hasattr(c, "get_sizes")]
    assert sum(len(c.get_offsets()) for c in points) == 3 * 6 + 3
    own = scores.query("split == 'test' and readout == 'lagged' and model == 'SS-LFP'")
    expected = bootstrap_interval(own.groupby("session")["r2"].mean().to_numpy())
    whisker = next(c for c in axes.collections if hasattr(c, "get_segments"))
    np.testing.assert_allclose(whisker.get_segments()[0][:, 1], expected)


@pytest.mark.parametrize(
    ("sessions", "seeds", "text"),
    [(3, 2, "rats: 3 sessions, 2 seeds"), (1, 1, "rats: 1 session, 1 seed")],
)
def test_title_counts_sessions_and_seeds(sessions, seeds, text):
    figure = plot_scores(make_scores(sessions=sessions, seeds=seeds), cohort="rats")
    assert figure.get_suptitle() == text


def test_few_bars_and_long_names_leave_room_for_the_text():
    scores = make_scores({"Teacher": 0.6}).replace({"axis": {"vx": "cos_position_on_the_track"}})
    figure = plot_scores(scores, cohort="simulated, demo preset, held-out sessions")
    figure.draw_without_rendering()
    panels = [axes.get_window_extent() for axes in figure.axes]
    texts = [axes._left_title.get_window_extent() for axes in figure.axes]
    assert texts[0].x1 < panels[1].x0  # the first panel's title ends before the second panel
    label = figure.axes[0].yaxis.label.get_window_extent()
    for text in (figure._suptitle.get_window_extent(), label):
        assert text.x0 >= 0 and text.x1 <= figure.bbox.x1 and text.y1 <= figure.bbox.y1


def test_scores_far_below_zero_are_written_at_the_edge():
    scores = make_scores({"Distilled": 0.5, "Shuffled teacher": -3.0})
    axes = plot_scores(scores, readouts=["lagged"]).axes[0]
    assert axes.get_ylim()[0] == pytest.approx(-0.22)
    lowest = scores.query("model == 'Shuffled teacher' and readout == 'lagged' and split == 'test'")
    lowest = lowest.groupby(["session", "seed"])["r2"].mean()
    texts = [text.get_text() for text in axes.texts]
    assert f"lowest\n−{-lowest.min():.2f}" in texts
    assert f"−{-lowest.groupby('session').mean().mean():.2f}" in texts
    assert bars(axes)["Shuffled teacher"].get_height() < -2.5


def test_small_negative_scores_are_within_the_axes_and_positive_ones_start_at_zero():
    low, high = plot_scores(make_scores({"Distilled": -0.08}, seeds=1)).axes[0].get_ylim()
    assert -0.22 <= low < -0.08 and high > 0
    assert plot_scores(make_scores({"Distilled": 0.9})).axes[0].get_ylim()[0] == 0


def test_lines_join_sessions_but_not_across_the_gap():
    axes = plot_scores(make_scores(), lines=True).axes[0]
    joined = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert len(joined) == 3
    plain = plot_scores(make_scores()).axes[0]
    assert not [line for line in plain.lines if len(line.get_xdata()) == 3]


def test_errors_name_the_cure():
    scores = make_scores()
    with pytest.raises(DataError, match="no column seed"):
        plot_scores(scores.drop(columns="seed"))
    with pytest.raises(DataError, match="'lagged' in the split 'test'"):
        plot_scores(scores.query("readout == 'one_frame'"))
    with pytest.raises(DataError, match="NaN"):
        plot_scores(scores.assign(r2=np.nan))


def test_rows_are_panels_of_their_own_with_the_models_that_are_there():
    some = make_scores({"SS-LFP": 0.3, "Distilled": 0.6}).assign(setting="unsupervised")
    other = make_scores({"Distilled": 0.7, "Linear bound": 0.8}).assign(setting="supervised")
    scores = pd.concat([some, other[other["readout"] == "lagged"]])
    figure = plot_scores(scores, rows="setting")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == [
        "One-frame read-out, unsupervised",
        "Lagged read-out, unsupervised",
        "Lagged read-out, supervised",
    ]
    assert [list(bars(axes)) for axes in shown[1:]] == [
        ["SS-LFP", "Distilled"],
        ["Distilled", "Linear bound"],
    ]
    for axes, part in ((shown[1], some), (shown[2], other)):
        own = part.query("split == 'test' and readout == 'lagged' and model == 'Distilled'")
        height = bars(axes)["Distilled"].get_height()
        assert height == pytest.approx(own.groupby("session")["r2"].mean().mean())
    assert [bool(axes.get_ylabel()) for axes in shown] == [True, False, True]
    widths = {round(bars(axes)["Distilled"].get_window_extent().width, 3) for axes in shown[1:]}
    assert len(widths) == 1
    with pytest.raises(DataError, match="no column place"):
        plot_scores(scores, rows="place")
    with pytest.raises(DataError, match="no 'setting'"):
        plot_scores(scores.assign(setting=None), rows="setting")


def test_many_models_go_below_each_other_and_nothing_overlaps():
    scores = make_scores({model: 0.3 for model in MODEL_ORDER}, sessions=2, seeds=1)
    figure = plot_scores(scores)
    assert figure.get_size_inches()[0] < 10.5
    assert [axes.get_subplotspec().rowspan.start for axes in figure.axes] == [0, 1]
    figure.draw_without_rendering()
    axes = figure.axes[0]
    note = next(text for text in axes.texts if "controls" in text.get_text())
    assert note.get_text() == "controls and references"
    numbers = [text.get_window_extent() for text in axes.texts if text is not note]
    assert len(numbers) == len(MODEL_ORDER)
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(numbers))
    assert not any(note.get_window_extent().overlaps(number) for number in numbers)
    below = min(tick.get_window_extent().y0 for tick in axes.get_xticklabels())
    assert below > figure.axes[1]._left_title.get_window_extent().y1
