"""Scores against a quantity, pair by pair and against their cost; training over steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spikelfp_lab.analysis import bootstrap_interval
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots.bars import RIM, panels
from spikelfp_lab.plots.palette import CONTROLS, in_order, model_color
from spikelfp_lab.plots.style import INK, new_figure, style
from spikelfp_lab.plots.tidy import (
    LOWEST_R2,
    READOUT_TITLES,
    SCORE_COLUMNS,
    check,
    counted,
    means,
    r2_label,
    select,
)

SPLIT_COLORS = {"train": "#8f8f8f", "val": "#d17f41"}
_DASHES = ((4, 1.5), (1.2, 1.2), (5, 1.5, 1, 1.5))  # of controls
_MARKERS = "osD^vPX"
_LEAST_AREA, _MOST_AREA = 14.0, 150.0  # of markers, in square points


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

    Lines: mean over sessions of the mean over seeds and axes. Bands: bootstrap interval over
    sessions. Controls are dashed.

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
        There is no such column, no test scores of a read-out, or NaN among them.
    """
    points = select(scores, readouts, keys=SCORE_COLUMNS[:3], also=[x])
    by_session = means(points, ["r2"], by=["readout", "model", "session", x])
    models = in_order(list(points["model"]))
    dashes: Any = {m: _DASHES[i % 3] if m in CONTROLS else "" for i, m in enumerate(models)}
    markers = {m: _MARKERS[i % len(_MARKERS)] for i, m in enumerate(models)}
    with style():
        figure = new_figure(1.6 + 2.4 * len(readouts), 2.8, counted(points, cohort))
        grid = figure.subplots(1, len(readouts), sharey=True, squeeze=False)[0]
        for axes, readout in zip(grid, readouts, strict=True):
            sns.lineplot(
                data=by_session.loc[by_session["readout"] == readout], x=x, y="r2", hue="model",
                hue_order=models, palette={m: model_color(m) for m in models}, style="model",
                style_order=models, dashes=dashes, markers=markers, markersize=3.5,
                markeredgewidth=0, err_kws={"alpha": 0.15, "linewidth": 0}, ax=axes,
                errorbar=lambda values: bootstrap_interval(np.asarray(values, float)),
            )  # fmt: skip
            axes.axhline(0, color=INK, linewidth=0.6)
            axes.set(xlabel=xlabel, ylabel="", title=READOUT_TITLES.get(readout, readout))
            axes.get_legend().remove()
            if log:
                axes.set_xscale("log")
                ticks = np.unique(points[x].to_numpy(dtype=float))
                axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks], minor=False)
                axes.minorticks_off()
        least = float(means(points, ["r2"], by=["model", x])["r2"].to_numpy().min())
        grid[0].set_ylim(max(-0.25, min(0.0, least)) - 0.02, 1.0)
        grid[0].set_ylabel(r2_label(scores, width=40))
        grid[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), handlelength=2.4)
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
    """Draw a line for each pair of scores, from model to model: the paper's generalization figure.

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
        A column or a model is missing, or scores are NaN.

    References
    ----------
    Fig. 5 of Erturk et al., NeurIPS 2025, arXiv 2512.12461.
    """
    also = [*pair, *([] if rows is None else [rows])]
    points = select(scores, readouts, keys=SCORE_COLUMNS[:3], also=also)
    if unknown := [model for model in models if model not in set(points["model"])]:
        raise DataError(f"No scores of {', '.join(unknown)}; there are {set(points['model'])}.")
    parts = {"": points} if rows is None else {f", {v}": p for v, p in points.groupby(rows)}
    r2 = points["r2"].to_numpy(dtype=float)
    with style():
        size = 0.9 + (0.7 + 0.55 * len(models)) * len(readouts), 3.2 * len(parts)
        figure = new_figure(*size, counted(points, cohort))
        grid = figure.subplots(len(parts), len(readouts), sharey=True, squeeze=False)
        for line, (name, part) in zip(grid, parts.items(), strict=True):
            line[0].set_ylabel(r2_label(scores, width=40))
            for axes, readout in zip(line, readouts, strict=True):
                panel = part.loc[part["readout"] == readout]
                table = panel.pivot_table(index=list(pair), columns="model", values="r2")
                _draw_pairs(axes, table.reindex(columns=list(models)))
                axes.set_title(READOUT_TITLES.get(readout, readout) + name)
        low = max(-0.25, min(0.0, float(r2.min())))
        grid[0, 0].set_ylim(low - 0.02, min(1.0, float(r2.max())) + 0.05)
    return figure


def plot_cost(table: pd.DataFrame, *, cohort: str = "") -> Figure:
    """Draw R² of each model against the work it takes, one panel a read-out.

    Places: mean over sessions of the mean over seeds. Whiskers: bootstrap over sessions. The area
    of a marker grows with the number of parameters.

    Parameters
    ----------
    table : pd.DataFrame
        Tidy: ``session``, ``seed``, ``model``, ``readout``, ``r2``, ``parameters`` (how many),
        ``mflop_per_s`` (million operations for a second of recording, above 0).
    cohort : str
        For the title.

    Returns
    -------
    Figure
        The axis of cost is logarithmic; each point has its model's name beside it.

    Raises
    ------
    DataError
        A column is missing, there are no rows, a number is NaN, or a cost is not above 0.
    """
    numbers = ["r2", "parameters", "mflop_per_s"]
    check(table, ["session", "seed", "model", "readout"], numbers)
    if (table["mflop_per_s"].to_numpy(dtype=float) <= 0).any():
        raise DataError("Some mflop_per_s are not above 0 and have no place on a logarithmic axis.")
    by_session = means(table, numbers, by=["readout", "model", "session"])
    readouts = list(dict.fromkeys(table["readout"]))
    most = float(by_session["parameters"].to_numpy(dtype=float).max()) or 1.0

    def area(parameters: float) -> float:
        return _LEAST_AREA + (_MOST_AREA - _LEAST_AREA) * parameters / most

    with style():
        figure = new_figure(0.9 + 4.0 * len(readouts), 3.9, counted(table, cohort))
        grid = figure.subplots(1, len(readouts), sharey=True, squeeze=False)[0]
        for axes, readout in zip(grid, readouts, strict=True):
            panel = by_session.loc[by_session["readout"] == readout]
            for model in in_order(list(panel["model"])):
                own = panel.loc[panel["model"] == model]
                x, y, size = own[["mflop_per_s", "r2", "parameters"]].mean()
                look: dict[str, Any] = {"color": model_color(model), "zorder": 3, "linewidth": 0.6}
                marker = "D" if model in CONTROLS else "o"
                axes.vlines(x, *bootstrap_interval(own["r2"].to_numpy(float)), **look)
                axes.scatter(x, y, s=area(size), edgecolor=INK, marker=marker, label=model, **look)
            xlabel = "Operations for a second of recording (millions)"
            axes.set(xscale="log", xlabel=xlabel, title=READOUT_TITLES.get(readout, readout))
            axes.margins(x=0.12, y=0.08)
        low, high = grid[0].get_ylim()
        grid[0].set_ylim(max(low, LOWEST_R2 - 0.02), high)
        grid[0].set_ylabel("Decoding R² (test)")
        look = {"linestyle": "none", "color": "white", "markeredgecolor": INK}
        handles = [Line2D([], [], marker="D", markersize=4, label="control or\nreference", **look)]
        for size in sorted({float(f"{most * share:.0e}") for share in (1.0, 0.3, 0.05)})[::-1]:
            label = f"{size / 1e6:g} M" if size >= 1e6 else f"{size / 1e3:g} k"
            point = Line2D([], [], marker="o", markersize=area(size) ** 0.5, label=label, **look)
            handles.insert(0, point)
        place = {"loc": "outside right center", "labelspacing": 1.1}
        figure.legend(handles=handles, title="Parameters", title_fontsize=7.5, **place)
        figure.draw_without_rendering()  # names go where the layout leaves room
        figure.set_layout_engine("none")
        for axes in grid:
            _name_points(axes)
    return figure


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
    """
    check(history, ["step", "split", "metric", "value"], [])
    metrics = list(dict.fromkeys(history["metric"]))
    score = "score" if "score" in metrics else "loss"
    judged = history.loc[(history["split"] == "val") & (history["metric"] == score)]
    if len(metrics) > 1 and "score" in metrics:  # it repeats one of the others
        metrics.remove("score")
    kept = {"color": INK, "linewidth": 0.8, "linestyle": (0, (3, 2))}
    with style():
        figure, grid = panels(len(metrics), (2.1, 1.9), title, most=4)
        handles: dict[str, Line2D] = {}
        for axes, metric in zip(grid, metrics, strict=True):
            for split, curve in history[history["metric"] == metric].groupby("split", sort=False):
                marker = "." if len(curve) < 3 else None
                color = SPLIT_COLORS.get(str(split), "#0928ad")
                line = axes.plot(curve["step"], curve["value"], color=color, marker=marker)[0]
                handles.setdefault(str(split), line)
            axes.set(title=metric, xlabel="Training step")
        if len(judged):
            best = judged["step"].to_numpy()[judged["value"].to_numpy().argmin()]
            lines = [axes.axvline(best, **kept) for axes in grid]
            handles[f"kept: step {best:g}"] = lines[0]
        place = {"loc": "outside lower center", "ncols": len(handles), "handlelength": 1.5}
        figure.legend(list(handles.values()), list(handles), **place)
    return figure


def _draw_pairs(axes: Axes, table: pd.DataFrame) -> None:
    """A thin line a row of scores, a mark for the mean of each column."""
    axes.plot(table.to_numpy(dtype=float).T, color="#999999", linewidth=0.6, zorder=1)
    for place, model in enumerate(table):
        color, own = model_color(str(model)), table[model].to_numpy(dtype=float)
        axes.scatter(np.full(len(own), place), own, s=9, color=color, zorder=2)
        mean = float(np.nanmean(own))
        axes.plot([place - 0.25, place + 0.25], [mean, mean], color=color, linewidth=2.5, zorder=3)
        axes.text(place + 0.28, mean, f"{mean:.2f}", va="center", fontsize=6.5, zorder=4)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set_xticks(range(table.shape[1]), list(table), rotation=40, ha="right")
    axes.set_xlim(-0.5, table.shape[1] - 0.3)


def _name_points(axes: Axes) -> None:
    """Names beside the markers, none over another; the same points give the same places."""
    markers: list[Any] = [
        own for own in axes.collections if not str(own.get_label()).startswith("_")
    ]
    places = np.array([np.asarray(own.get_offsets())[0] for own in markers])
    texts = [
        axes.text(
            place[0], place[1], str(own.get_label()), fontsize=6.5, path_effects=[RIM], zorder=6
        )
        for place, own in zip(places, markers, strict=True)
    ]
    # the markers' rims are to be avoided too
    angles = np.linspace(0, 2 * np.pi, 9)[:-1]
    reach = np.array([own.get_sizes()[0] ** 0.5 / 2 for own in markers]) * axes.figure.dpi / 72
    rim = reach[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rim = axes.transData.transform(places)[:, None] + rim
    x, y = axes.transData.inverted().transform(rim.reshape(-1, 2)).T
    arrow = {"arrowstyle": "-", "color": "#888888", "linewidth": 0.5}
    adjust_text(texts, x, y, ax=axes, iter_lim=500, arrowprops=arrow, expand=(1.1, 1.4))
