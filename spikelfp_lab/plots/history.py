"""Training curves."""

import math
from collections.abc import Iterable

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots.style import style

SPLIT_COLORS = {"train": "#8f8f8f", "val": "#d17f41"}


def plot_history(history: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw how training went: one panel a metric, training and validation, the best step marked.

    Parameters
    ----------
    history : pd.DataFrame
        Tidy, as a model's ``history``: ``step``, ``split`` ("train", "val"), ``metric``, ``value``.
        The metric "score" on validation windows is what training minimized; its lowest step is
        the one whose weights were kept. Without it, "loss" takes its place.
    title : str
        Over the figure.

    Returns
    -------
    Figure
        Up to four panels a row.

    Raises
    ------
    DataError
        A column is missing, or there are no rows.

    Examples
    --------
    >>> history = pd.DataFrame({
    ...     "step": [10, 20, 30] * 2,
    ...     "split": ["train"] * 3 + ["val"] * 3,
    ...     "metric": "loss",
    ...     "value": [3.0, 2.0, 1.0, 3.0, 2.5, 2.7],
    ... })
    >>> plot_history(history).axes[0].get_title(loc="left")
    'loss'
    """
    missing = {"step", "split", "metric", "value"} - set(history)
    if missing or history.empty:
        raise DataError(
            f"The history has {len(history)} rows and no column {', '.join(sorted(missing)) or '-'}: "
            "give the tidy history of a trained model."
        )
    metrics = list(dict.fromkeys(history["metric"]))
    score = "score" if "score" in metrics else "loss"
    judged = history.loc[(history["split"] == "val") & (history["metric"] == score)]
    best = None if judged.empty else judged["step"].to_numpy()[judged["value"].to_numpy().argmin()]
    if len(metrics) > 1 and "score" in metrics:  # it repeats one of the others
        metrics.remove("score")

    columns = min(len(metrics), 4)
    rows = math.ceil(len(metrics) / columns)
    with style():
        figure, grid = plt.subplots(
            rows, columns, figsize=(max(0.4 + 2.1 * columns, 3.2), 0.8 + 1.7 * rows), squeeze=False
        )
        for axes, metric in zip(grid.flat, metrics, strict=False):
            curves = history[history["metric"] == metric]
            for split, curve in curves.groupby("split", sort=False):
                axes.plot(
                    curve["step"],
                    curve["value"],
                    color=SPLIT_COLORS.get(str(split), "#0928ad"),
                    label=str(split),
                    marker="." if len(curve) < 3 else None,
                )
            if best is not None:
                axes.axvline(best, color="#222222", linewidth=0.8, linestyle=(0, (3, 2)))
            axes.set_title(metric)
            axes.set_xlabel("Training step")
        for axes in grid.flat[len(metrics) :]:
            axes.set_axis_off()
        handles, labels = _legend(grid.flat[: len(metrics)])
        if best is not None:
            handles.append(Line2D([], [], color="#222222", linewidth=0.8, linestyle=(0, (3, 2))))
            labels.append(f"kept: step {best:g}")
        figure.legend(
            handles, labels, loc="outside lower center", ncols=len(labels), handlelength=1.5
        )
        if title:
            figure.suptitle(title, x=0.01, ha="left")
        plt.close(figure)
    return figure


def _legend(panels: Iterable[Axes]) -> tuple[list, list[str]]:
    """Each split once, from whichever panels show it."""
    found = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)
