"""Tables as cells: means over sessions, and only colors are clipped."""

import pandas as pd
import pytest

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import plot_layers, plot_recovery
from tests.plots.test_bars import make_scores, texts


def test_cells_are_means_over_sessions_whatever_their_seeds():
    keys = ["session", "seed", "value"]
    table = pd.DataFrame([("a", 0, 0.2), ("a", 1, 0.4), ("b", 0, 0.9)], columns=keys)
    parts = [
        table.assign(model=model, layer=layer, teacher_layer=0)
        for model in ("Distilled", "MS-LFP")
        for layer in (0, 1)
    ]
    *panels, bar = plot_layers(pd.concat(parts), cohort="simulated").axes
    assert bar.get_ylabel() == "Linear CKA"
    assert [axes.get_title(loc="left") for axes in panels] == ["MS-LFP", "Distilled"]
    for axes in panels:
        assert texts(axes) == [".60", ".60"] and axes.collections[0].get_clim() == (0, 1)
        assert [tick.get_text() for tick in axes.get_yticklabels()] == ["tokens", "1"]
        assert axes.get_ylim()[0] < axes.get_ylim()[1]  # the first layer at the bottom


def test_recovery_has_a_row_a_model():
    scores = make_scores({"Distilled": 0.6, "MS-LFP": -0.4, "Untrained": 0.1})
    axes, bar = plot_recovery(scores, cohort="simulated").axes
    models = [tick.get_text() for tick in axes.get_yticklabels()]
    assert models == ["MS-LFP", "Distilled", "Untrained"] and bar.get_ylabel() == "R² (test)"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["vx", "vy"]
    assert texts(axes)[0].startswith("−.") and axes.get_ylim()[0] > axes.get_ylim()[1]
    with pytest.raises(DataError, match="read-out 'both'"):
        plot_recovery(scores, readout="both")
