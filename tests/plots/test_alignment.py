"""Alignment by measure and by layer: the numbers of the table, and which way is closer."""

import numpy as np
import pandas as pd
import pytest

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import plot_alignment, plot_layers

MEASURES = ("CKA", "Retrieval", "Procrustes distance")
MODELS = {"Untrained": 0.2, "Distilled": 0.8, "MS-LFP": 0.5}


def make_table():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "session": f"s{session}",
            "seed": seed,
            "model": model,
            "measure": measure,
            "value": level + 0.02 * rng.normal(),
            "chance": 0.05 if measure == "Retrieval" else np.nan,
        }
        for measure in MEASURES
        for model, level in MODELS.items()
        for session in range(3)
        for seed in range(2)
    )


def make_layers(models=("Distilled", "MS-LFP"), *, layers=3, teacher_layers=4):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "session": f"s{session}",
            "seed": seed,
            "model": model,
            "layer": layer,
            "teacher_layer": teacher_layer,
            "value": rng.uniform(),
        }
        for model in models
        for layer in range(layers)
        for teacher_layer in range(teacher_layers)
        for session in range(2)
        for seed in range(2)
    )


def test_bars_are_means_and_labels_say_which_way_is_closer():
    table = make_table()
    figure = plot_alignment(table, cohort="simulated")
    assert figure.get_suptitle() == "simulated: 3 sessions, 2 seeds"
    assert [axes.get_title(loc="left") for axes in figure.axes[:3]] == list(MEASURES)
    for axes, measure in zip(figure.axes, MEASURES, strict=False):
        drawn = {bar.get_label(): bar.patches[0].get_height() for bar in axes.containers}
        assert list(drawn) == ["MS-LFP", "Distilled", "Untrained"]
        own = table[table["measure"] == measure].groupby("model")["value"].mean()
        assert drawn == pytest.approx(own.to_dict())
        assert axes.get_ylabel().startswith(measure)
        assert ("lower is closer" in axes.get_ylabel()) == (measure == "Procrustes distance")
        assert ("higher is closer" in axes.get_ylabel()) == (measure != "Procrustes distance")


def test_chance_is_dotted_where_it_is_known():
    figure = plot_alignment(make_table())
    for axes in figure.axes[:3]:
        lines = [c for c in axes.collections if c.get_label() == "Chance"]
        assert len(lines) == (3 if axes.get_title(loc="left") == "Retrieval" else 0)
        for line in lines:
            np.testing.assert_allclose(line.get_segments()[0][:, 1], 0.05)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Chance"]
    assert not plot_alignment(make_table().drop(columns="chance")).legends


def test_cells_are_means_with_the_first_layer_at_the_bottom():
    table = make_layers()
    figure = plot_layers(table, cohort="simulated")
    *panels, bar = figure.axes
    assert bar.get_ylabel() == "Linear CKA"
    assert [axes.get_title(loc="left") for axes in panels] == ["MS-LFP", "Distilled"]
    for axes in panels:
        own = table[table["model"] == axes.get_title(loc="left")]
        expected = own.groupby(["layer", "teacher_layer"])["value"].mean()
        mesh = axes.collections[0]
        np.testing.assert_allclose(mesh.get_array().ravel(), expected)
        assert mesh.get_clim() == (0, 1)
        texts = {text.get_position(): text.get_text() for text in axes.texts}
        assert texts[3, 1] == f"{expected[1, 3]:.2f}"[1:]
        assert [t.get_text() for t in axes.get_yticklabels()] == ["tokens", "1", "2"]
        assert [t.get_text() for t in axes.get_xticklabels()] == ["tokens", "1", "2", "3"]
        assert axes.get_ylim()[0] < axes.get_ylim()[1]


def test_many_models_wrap():
    figure = plot_layers(make_layers([f"model {i}" for i in range(6)], layers=1))
    panels = [axes for axes in figure.axes[:-1] if axes.axison]
    assert len(panels) == 6
    assert {axes.get_subplotspec().rowspan.start for axes in panels} == {0, 1}


def test_a_session_weighs_the_same_however_many_seeds_it_has():
    table = pd.DataFrame(
        {
            "session": ["s1", "s1", "s2"],
            "seed": [0, 1, 0],
            "model": "Distilled",
            "measure": "CKA",
            "layer": 0,
            "teacher_layer": 0,
            "value": [0.2, 0.4, 0.9],
        }
    )
    bar = plot_alignment(table).axes[0].containers[0].patches[0]
    assert bar.get_height() == pytest.approx(0.6)
    assert [text.get_text() for text in plot_layers(table).axes[0].texts] == [".60"]


@pytest.mark.parametrize("plot", [plot_alignment, plot_layers])
def test_errors_name_the_cure(plot):
    table = make_table() if plot is plot_alignment else make_layers()
    with pytest.raises(DataError, match="no column value"):
        plot(table.drop(columns="value"))
    with pytest.raises(DataError, match="0 rows"):
        plot(table[:0])
    with pytest.raises(DataError, match="NaN"):
        plot(table.assign(value=np.nan))
