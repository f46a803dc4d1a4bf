"""Cost, bound and recovery: the table's numbers, and names that do not cover each other."""

import io
import itertools

import numpy as np
import pandas as pd
import pytest

from spikelfp_lab.analysis import bootstrap_interval
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import MODEL_ORDER, plot_bound, plot_cost, plot_recovery

MODELS = {"Untrained": 0.0, "Distilled": 0.6, "MS-LFP": 0.4}
COSTS = {"Untrained": 4.0, "Distilled": 4.0, "MS-LFP": 40.0}
SIZES = {"Untrained": 2e5, "Distilled": 2e5, "MS-LFP": 8e5}


def make_table(levels=MODELS, *, sessions=3, seeds=2):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "session": f"s{session}",
            "seed": seed,
            "model": model,
            "readout": readout,
            "split": "test",
            "axis": axis,
            "r2": level + 0.02 * rng.normal(),
            "parameters": SIZES.get(model, 1e5),
            "mflop_per_s": COSTS.get(model, 1.0),
        }
        for model, level in levels.items()
        for session in range(sessions)
        for seed in range(seeds)
        for readout in ("one_frame", "lagged")
        for axis in ("theta", "speed")
    )


def test_points_lie_at_cost_and_mean_score_and_grow_with_parameters():
    table = make_table()
    figure = plot_cost(table, cohort="simulated")
    assert figure.get_suptitle() == "simulated: 3 sessions, 2 seeds"
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "One-frame read-out",
        "Lagged read-out",
    ]
    axes = figure.axes[1]
    assert axes.get_xscale() == "log" and "millions" in axes.get_xlabel()
    points = {c.get_label(): c for c in axes.collections if c.get_label() in MODELS}
    for model in MODELS:
        own = table[(table["model"] == model) & (table["readout"] == "lagged")]
        (place,) = points[model].get_offsets()
        np.testing.assert_allclose(place, [COSTS[model], own["r2"].mean()])
    assert points["MS-LFP"].get_sizes() > points["Distilled"].get_sizes()
    whisker = next(c for c in axes.collections if hasattr(c, "get_segments"))
    own = table[(table["model"] == "MS-LFP") & (table["readout"] == "lagged")]
    expected = bootstrap_interval(own.groupby("session")["r2"].mean().to_numpy())
    np.testing.assert_allclose(whisker.get_segments()[0][:, 1], expected)
    assert [t.get_text() for t in figure.legends[0].get_texts()][-2:] == [
        "800 k",
        "control or\nreference",
    ]


def test_every_name_is_written_once_and_none_covers_another():
    levels = {model: 0.3 + 0.02 * i for i, model in enumerate(MODEL_ORDER)}
    figure = plot_cost(make_table(levels, sessions=2, seeds=1))
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert sorted(text.get_text() for text in axes.texts) == sorted(MODEL_ORDER)
        boxes = [super(type(t), t).get_window_extent() for t in axes.texts]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        assert all(box.x0 >= axes.bbox.x0 and box.x1 <= axes.bbox.x1 for box in boxes)


def test_the_same_table_gives_the_same_picture():
    first, second = io.BytesIO(), io.BytesIO()
    for file in (first, second):
        plot_cost(make_table()).savefig(file, format="png")
    assert first.getvalue() == second.getvalue()


def test_bars_are_fractions_of_the_bound():
    table = make_table().rename(columns={"r2": "fraction"})
    figure = plot_bound(table, cohort="simulated")
    for axes, readout in zip(figure.axes, ("one_frame", "lagged"), strict=True):
        drawn = {bar.get_label(): bar.patches[0] for bar in axes.containers}
        assert list(drawn) == ["MS-LFP", "Distilled", "Untrained"]
        for model, bar in drawn.items():
            own = table[(table["model"] == model) & (table["readout"] == readout)]
            assert bar.get_width() == pytest.approx(own["fraction"].mean())
            number = f"{own['fraction'].mean():.2f}".replace("-0.00", "0.00").replace("-", "−")
            assert number in [text.get_text() for text in axes.texts]
        lines = {line.get_xdata()[0]: line.get_linestyle() for line in axes.lines}
        assert lines[1.0] == "-" and lines[0.9] != "-"
        points = [c for c in axes.collections if not hasattr(c, "get_segments")]
        assert sum(len(c.get_offsets()) for c in points) == 3 * 3 * 2
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == list(drawn)
    low, high = figure.axes[0].get_ylim()
    assert low > high  # the first model at the top


def test_fractions_far_below_zero_are_marked_at_the_edge():
    table = make_table({"Distilled": 0.8, "Shuffled teacher": -3.0})
    axes = plot_bound(table.rename(columns={"r2": "fraction"})).axes[0]
    assert axes.get_xlim()[0] == pytest.approx(-0.22)
    assert [line for line in axes.lines if line.get_marker() == "<"]
    assert any(text.get_text().startswith(("−3.0", "−2.9")) for text in axes.texts)


def test_cells_are_means_and_only_colors_are_clipped():
    table = make_table({"Distilled": 0.6, "MS-LFP": -0.4, "Untrained": 0.1})
    figure = plot_recovery(table, cohort="simulated")
    axes, bar = figure.axes
    assert bar.get_ylabel() == "R² (test)"
    models = ["MS-LFP", "Distilled", "Untrained"]
    assert [t.get_text() for t in axes.get_yticklabels()] == models
    assert [t.get_text() for t in axes.get_xticklabels()] == ["theta", "speed"]
    own = table[table["readout"] == "lagged"].groupby(["model", "axis"])["r2"].mean()
    expected = own.unstack().loc[models, ["theta", "speed"]].to_numpy()
    np.testing.assert_allclose(axes.collections[0].get_array(), expected)
    assert axes.collections[0].get_clim() == (0, 1)
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts[1, 0] == f"{expected[0, 1]:.2f}".replace("-0", "−")
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_errors_name_the_cure():
    table = make_table()
    with pytest.raises(DataError, match="no column parameters"):
        plot_cost(table.drop(columns="parameters"))
    with pytest.raises(DataError, match="not above 0"):
        plot_cost(table.assign(mflop_per_s=0.0))
    with pytest.raises(DataError, match="'r2' are NaN"):
        plot_cost(table.assign(r2=np.nan))
    with pytest.raises(DataError, match="no column fraction"):
        plot_bound(table)
    with pytest.raises(DataError, match="0 rows"):
        plot_bound(table[:0].assign(fraction=1.0))
    with pytest.raises(DataError, match="read-out 'both'"):
        plot_recovery(table, readout="both")
    with pytest.raises(DataError, match="'r2' are NaN"):
        plot_recovery(table.assign(r2=np.nan))
