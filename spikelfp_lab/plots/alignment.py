"""How close the latents of models are to the teacher's: by measure, and layer by layer."""

import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots.heatmap import draw_cells
from spikelfp_lab.plots.palette import in_order
from spikelfp_lab.plots.scores import BAR_STEP, MAX_WIDTH, counted, draw_bars, means, model_places
from spikelfp_lab.plots.style import INK, style


def plot_alignment(table: pd.DataFrame, *, cohort: str = "") -> Figure:
    """Draw measures of alignment with the teacher as bars by model, one panel a measure.

    Bars: mean over sessions of the mean over seeds. Whiskers: bootstrap over sessions. Points: one
    a session and seed.

    Parameters
    ----------
    table : pd.DataFrame
        Tidy: ``session``, ``seed``, ``model``, ``measure`` (as "CKA"; lower is closer where the
        name has "distance" in it), ``value``, and optionally ``chance``: what the measure would be
        by chance, NaN where that is not known.
    cohort : str
        For the title.

    Returns
    -------
    Figure
        Each panel has its own scale, from 0; its label says which way is closer.

    Raises
    ------
    DataError
        A column is missing, there are no rows, or a value is NaN.

    Examples
    --------
    >>> table = pd.DataFrame({
    ...     "session": ["s1", "s2"], "seed": 0, "model": "Distilled", "measure": "CKA",
    ...     "value": [0.7, 0.8],
    ... })
    >>> plot_alignment(table, cohort="simulated").axes[0].get_ylabel()
    'CKA (higher is closer)'
    """
    _check(table, {"session", "seed", "model", "measure", "value"})
    keys = ["measure", "model", "session", "seed"]
    points = means(table, ["value"], by=keys)
    points = points.rename(columns={"value": "r2"})  # what bars are drawn of
    measures = list(dict.fromkeys(points["measure"]))
    places = model_places(in_order(list(points["model"])))
    width = 0.6 + max(BAR_STEP * (max(places.values()) + 1), 1.6)
    columns = max(1, min(len(measures), int(MAX_WIDTH // width)))
    rows = math.ceil(len(measures) / columns)
    columns = math.ceil(len(measures) / rows)
    with style():
        figure, grid = plt.subplots(
            rows, columns, figsize=(max(width * columns, 3.2), 0.4 + 2.8 * rows), squeeze=False
        )
        for axes, measure in zip(grid.flat, measures, strict=False):
            panel = points.loc[points["measure"] == measure]
            low, high = min(panel["r2"].min(), 0.0), max(panel["r2"].max(), 0.0)
            axes.set_ylim(1.1 * low, high + 0.2 * ((high - low) or 1.0))
            draw_bars(axes, panel, places, floor=-np.inf)
            if "chance" in table:
                _chance(axes, table.loc[table["measure"] == measure], places)
            closer = "lower" if "distance" in str(measure).lower() else "higher"
            space = " " if len(str(measure)) < 12 else "\n"
            axes.set(title=measure, ylabel=f"{measure}{space}({closer} is closer)")
        for axes in grid.flat[len(measures) :]:
            axes.set_axis_off()
        lines = [line for axes in grid.flat for line in axes.collections]
        if known := [line for line in lines if line.get_label() == "Chance"]:
            figure.legend(handles=known[:1], loc="outside lower right")
        figure.suptitle(counted(points, cohort), x=0.01, ha="left")
        plt.close(figure)
    return figure


def plot_layers(table: pd.DataFrame, *, cohort: str = "") -> Figure:
    """Draw how alike each layer of a model and each layer of the teacher are, one panel a model.

    Cells: mean over sessions of the mean over seeds.

    Parameters
    ----------
    table : pd.DataFrame
        Tidy: ``session``, ``seed``, ``model``, ``layer`` and ``teacher_layer`` (0 is the tokens),
        ``value`` (linear CKA).
    cohort : str
        For the title.

    Returns
    -------
    Figure
        Up to four panels a row, with one color bar from 0 to 1.

    Raises
    ------
    DataError
        A column is missing, there are no rows, or a value is NaN.

    References
    ----------
    Linear CKA: Kornblith et al., ICML 2019, arXiv 1905.00414.

    Examples
    --------
    >>> table = pd.DataFrame({
    ...     "session": "s1", "seed": 0, "model": "Distilled", "layer": [0, 0, 1, 1],
    ...     "teacher_layer": [0, 1, 0, 1], "value": [0.2, 0.3, 0.4, 0.9],
    ... })
    >>> [text.get_text() for text in plot_layers(table).axes[0].texts]
    ['.20', '.30', '.40', '.90']
    """
    _check(table, {"session", "seed", "model", "layer", "teacher_layer", "value"})
    keys = ["model", "layer", "teacher_layer", "session"]
    by_session = means(table, ["value"], by=keys)
    models = in_order(list(table["model"]))
    shape = [len(set(table[name])) for name in ("layer", "teacher_layer")]
    width, height = max(0.7 + 0.3 * shape[1], 1.8), max(0.7 + 0.28 * shape[0], 1.5)
    rows = math.ceil(len(models) / max(1, min(4, int(MAX_WIDTH // width))))
    columns = math.ceil(len(models) / rows)
    with style():
        figure, grid = plt.subplots(
            rows,
            columns,
            figsize=(max(0.8 + width * columns, 3.2), 0.4 + height * rows),
            squeeze=False,
        )
        for axes, model in zip(grid.flat, models, strict=False):
            own = by_session.loc[by_session["model"] == model]
            cells = own.pivot_table(index="layer", columns="teacher_layer", values="value")
            mesh = draw_cells(axes, cells.to_numpy(dtype=float))
            axes.set_title(model)
            axes.set_xticks(range(cells.shape[1]), _layer_names(cells.columns))
            axes.set_yticks(range(cells.shape[0]), _layer_names(cells.index))
            axes.set(xlabel="Teacher's layer", ylabel="Model's layer")
        for axes in grid.flat[len(models) :]:
            axes.set_axis_off()
        figure.colorbar(mesh, ax=grid, label="Linear CKA", shrink=0.8, pad=0.02)
        figure.suptitle(counted(table, cohort), x=0.01, ha="left")
        plt.close(figure)
    return figure


def _check(table: pd.DataFrame, needed: set[str]) -> None:
    missing = needed - set(table)
    if missing or table.empty:
        raise DataError(
            f"The table has {len(table)} rows and no column {', '.join(sorted(missing)) or '-'}: "
            f"give one with {', '.join(sorted(needed))}."
        )
    if np.isnan(table["value"].to_numpy(dtype=float)).any():
        raise DataError("Some of the values are NaN: leave those sessions out, and say so.")


def _chance(axes: Axes, table: pd.DataFrame, places: dict[str, float]) -> None:
    for model, x in places.items():
        level = table.loc[table["model"] == model, "chance"].to_numpy(dtype=float)
        if np.isfinite(level).any():
            level = float(np.nanmean(level))
            look: dict[str, Any] = {
                "color": INK,
                "linewidth": 1.2,
                "linestyle": (0, (1, 1.2)),
                "zorder": 6,
            }
            axes.hlines(level, x - 0.5, x + 0.5, label="Chance", **look)


def _layer_names(layers: pd.Index) -> list[str]:
    return ["tokens" if layer == 0 else f"{layer:g}" for layer in layers]
