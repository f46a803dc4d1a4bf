"""Scores against a quantity, and scores of the same sessions by two models."""

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikelfp_lab.analysis import bootstrap_interval
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots.palette import CONTROLS, in_order, model_color
from spikelfp_lab.plots.scores import READOUT_TITLES, counted
from spikelfp_lab.plots.style import INK, style

_DASHES = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1, 1.5)))
_MARKERS = "osD^vPX"


def plot_curves(
    scores: pd.DataFrame,
    x: str,
    *,
    xlabel: str,
    cohort: str = "",
    readouts: Sequence[str] = ("one_frame", "lagged"),
    log: bool = False,
) -> Figure:
    """Draw test R² of each model against a column of the scores.

    Lines: mean over sessions of the mean over seeds and axes. Bands: bootstrap interval over sessions. Controls are dashed.

    Parameters
    ----------
    scores : pd.DataFrame
        Tidy, as of :func:`spikelfp_lab.plots.plot_scores`, and the column ``x``.
    x : str
        Name of a column of numbers.
    xlabel : str
        With the unit.
    cohort : str
        For the title.
    readouts : sequence of str
        One panel each.
    log : bool
        Whether the x axis is logarithmic.

    Returns
    -------
    Figure

    Raises
    ------
    DataError
        There is no such column, or no test scores of a read-out.

    Examples
    --------
    >>> scores = pd.DataFrame({
    ...     "model": "Distilled", "session": ["s1", "s2"] * 2, "seed": 0, "readout": "lagged",
    ...     "split": "test", "axis": "vx", "r2": [0.6, 0.7, 0.4, 0.5], "lost": [0.0, 0.0, 0.5, 0.5],
    ... })
    >>> figure = plot_curves(scores, "lost", xlabel="Channels lost", readouts=["lagged"])
    >>> figure.axes[0].get_ylabel()
    'Decoding R² (test; mean of vx)'
    """
    points = _points(scores, readouts, also=[x])
    models = in_order(list(points["model"]))
    with style():
        figure, grid = plt.subplots(
            1,
            len(readouts),
            figsize=(1.6 + 2.4 * len(readouts), 2.8),
            sharey=True,
            squeeze=False,
        )
        for axes, readout in zip(grid[0], readouts, strict=True):
            panel = points.loc[points["readout"] == readout]
            for number, model in enumerate(models):
                own = panel[panel["model"] == model]
                by_session = own.pivot_table(index=x, columns="session", values="r2")
                if by_session.empty:
                    continue
                at = by_session.index.to_numpy(float)
                dashes = _DASHES[1 + number % 3] if model in CONTROLS else "-"
                marker = _MARKERS[number % len(_MARKERS)]
                axes.plot(
                    at,
                    np.nanmean(by_session.to_numpy(dtype=float), axis=1),
                    color=model_color(model),
                    linestyle=dashes,
                    marker=marker,
                    markersize=3.5,
                    label=model,
                )
                rows = by_session.to_numpy(dtype=float)
                spans = [bootstrap_interval(row[np.isfinite(row)]) for row in rows]
                low, high = np.array(spans).T
                axes.fill_between(at, low, high, color=model_color(model), alpha=0.15, linewidth=0)
            axes.axhline(0, color=INK, linewidth=0.6)
            axes.set(xlabel=xlabel, title=READOUT_TITLES.get(readout, readout))
            if log:
                axes.set_xscale("log")
                ticks = np.unique(points[x].to_numpy(dtype=float))
                axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks], minor=False)
                axes.minorticks_off()
        means = points.pivot_table(index="model", columns=x, values="r2").to_numpy(dtype=float)
        low = max(-0.25, min(0.0, float(np.nanmin(means))))
        grid[0, 0].set_ylim(low - 0.02, 1.0)
        grid[0, 0].set_ylabel(_r2_label(scores))
        grid[0, -1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), handlelength=2.4)
        figure.suptitle(counted(points, cohort), x=0.01, ha="left")
        plt.close(figure)
    return figure


def plot_pairs(
    scores: pd.DataFrame,
    models: Sequence[str],
    *,
    pair: Sequence[str] = ("session",),
    cohort: str = "",
    readouts: Sequence[str] = ("one_frame", "lagged"),
    rows: str | None = None,
) -> Figure:
    """Draw a line for each pair of scores, from model to model: the paper's figure of generalization.

    Parameters
    ----------
    scores : pd.DataFrame
        Tidy, as of :func:`spikelfp_lab.plots.plot_scores`.
    models : sequence of str
        In the order of the axis.
    pair : sequence of str
        Columns that tell what one line is; means are taken over all others.
    cohort : str
        For the title.
    readouts : sequence of str
        One panel each.
    rows : str, optional
        A column, such as where scores are from: one row of panels for each of its values.

    Returns
    -------
    Figure
        Thin lines, one a pair; thick marks, the means.

    Raises
    ------
    DataError
        A column or a model is missing.

    References
    ----------
    Fig. 5 of Erturk et al., NeurIPS 2025, arXiv 2512.12461.

    Examples
    --------
    >>> scores = pd.DataFrame({
    ...     "model": ["MS-LFP", "MS-LFP", "Distilled", "Distilled"], "session": ["s1", "s2"] * 2,
    ...     "seed": 0, "readout": "one_frame", "split": "test", "axis": "vx",
    ...     "r2": [0.3, 0.4, 0.6, 0.7],
    ... })
    >>> figure = plot_pairs(scores, ["MS-LFP", "Distilled"], readouts=["one_frame"])
    >>> len(figure.axes[0].lines)
    5
    """
    points = _points(scores, readouts, also=[*pair, *([] if rows is None else [rows])])
    if unknown := [model for model in models if model not in set(points["model"])]:
        raise DataError(f"No scores of {', '.join(unknown)}; there are {set(points['model'])}.")
    values = [None] if rows is None else list(dict.fromkeys(scores[rows]))
    with style():
        figure, grid = plt.subplots(
            len(values),
            len(readouts),
            figsize=(0.9 + (0.7 + 0.55 * len(models)) * len(readouts), 3.2 * len(values)),
            sharey=True,
            squeeze=False,
        )
        for line, value in zip(grid, values, strict=True):
            own = points if value is None else points.loc[points[rows] == value]
            for axes, readout in zip(line, readouts, strict=True):
                _draw_pairs(axes, own.loc[own["readout"] == readout], list(models), list(pair))
                name = READOUT_TITLES.get(readout, readout)
                axes.set_title(name if value is None else f"{name}, {value}")
        r2 = points["r2"].to_numpy(dtype=float)
        low = max(-0.25, min(0.0, float(r2.min())))
        grid[0, 0].set_ylim(low - 0.02, min(1.0, float(r2.max())) + 0.05)
        for line in grid:
            line[0].set_ylabel(_r2_label(scores))
        figure.suptitle(counted(points, cohort), x=0.01, ha="left")
        plt.close(figure)
    return figure


def _draw_pairs(axes: Axes, points: pd.DataFrame, models: list[str], pair: list[str]) -> None:
    table = points.pivot_table(index=pair, columns="model", values="r2")
    values = table.reindex(columns=models).to_numpy(dtype=float)
    places = np.arange(len(models))
    for row in values:
        axes.plot(places, row, color="#999999", linewidth=0.6, zorder=1)
    for place, model in enumerate(models):
        color, own = model_color(model), values[:, place]
        axes.scatter(np.full(len(own), place), own, s=9, color=color, zorder=2)
        mean = float(np.nanmean(own))
        axes.plot([place - 0.25, place + 0.25], [mean, mean], color=color, linewidth=2.5, zorder=3)
        axes.text(place + 0.28, mean, f"{mean:.2f}", va="center", fontsize=6.5, zorder=4)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set_xticks(places, models, rotation=40, ha="right")
    axes.set_xlim(-0.5, len(models) - 0.3)


def _points(scores: pd.DataFrame, readouts: Sequence[str], *, also: list[str]) -> pd.DataFrame:
    """Test R² of each session and seed, mean over the axes of behavior."""
    missing = {"model", "session", "seed", "readout", "split", "axis", "r2", *also} - set(scores)
    if missing:
        raise DataError(f"The scores have no column {', '.join(sorted(missing))}.")
    shown = scores.loc[(scores["split"] == "test") & scores["readout"].isin(list(readouts))]
    for readout in readouts:
        if readout not in set(shown["readout"]):
            raise DataError(f"No test scores of the read-out {readout!r}.")
    keys = list(dict.fromkeys(["readout", "model", "session", "seed", *also]))
    return shown.groupby(keys, as_index=False)[["r2"]].mean()


def _r2_label(scores: pd.DataFrame) -> str:
    names = ", ".join(dict.fromkeys(map(str, scores["axis"])))
    return textwrap.fill(f"Decoding R² (test; mean of {names})", 40)
