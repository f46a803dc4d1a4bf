"""Training curves: a panel a metric, the kept step where validation was best."""

import numpy as np
import pandas as pd
import pytest

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import plot_history


def make_history(metrics=("loss", "alignment"), *, score=True):
    steps = np.arange(10, 101, 10)
    rows = [
        (step, split, metric, 1 / step + (split == "val"))
        for metric in metrics
        for split in ("train", "val")
        for step in steps
    ]
    if score:
        rows += [(step, "val", "score", abs(step - 70.0)) for step in steps]
    return pd.DataFrame(rows, columns=["step", "split", "metric", "value"])


def test_a_panel_a_metric_and_a_line_a_split():
    figure = plot_history(make_history(), title="Teacher")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss", "alignment"]
    for axes in figure.axes:
        train, val, best = axes.lines
        np.testing.assert_allclose(train.get_ydata(), 1 / np.arange(10, 101, 10))
        np.testing.assert_allclose(val.get_ydata(), 1 + 1 / np.arange(10, 101, 10))
        assert list(best.get_xdata()) == [70, 70]
        assert axes.get_xlabel() == "Training step"
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["train", "val", "kept: step 70"]
    assert figure.get_suptitle() == "Teacher"


def test_without_a_score_the_validation_loss_decides():
    figure = plot_history(make_history(["loss"], score=False))
    assert list(figure.axes[0].lines[2].get_xdata()) == [100, 100]


def test_training_that_was_never_validated_has_no_kept_step():
    history = make_history(["loss"], score=False).query("split == 'train'")
    figure = plot_history(history)
    assert len(figure.axes[0].lines) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["train"]


def test_many_metrics_wrap_into_rows():
    figure = plot_history(make_history([f"metric {i}" for i in range(6)]))
    assert sum(axes.axison for axes in figure.axes) == 6
    assert len({round(axes.get_subplotspec().rowspan.start) for axes in figure.axes}) == 2


def test_not_a_history_is_an_error():
    with pytest.raises(DataError, match="no column value"):
        plot_history(make_history().drop(columns="value"))
    with pytest.raises(DataError, match="0 rows"):
        plot_history(make_history()[:0])
