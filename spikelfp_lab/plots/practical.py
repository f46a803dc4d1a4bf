"""What a model is good for: its accuracy against its cost, against the bound, latent by latent."""

import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spikelfp_lab.analysis import bootstrap_interval
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots.heatmap import draw_cells
from spikelfp_lab.plots.labels import Place, label_points
from spikelfp_lab.plots.palette import CONTROLS, in_order, model_color
from spikelfp_lab.plots.scores import LOWEST_R2, READOUT_TITLES, RIM, counted, means
from spikelfp_lab.plots.style import INK, style

_LEAST_AREA, _MOST_AREA = 14.0, 260.0
_OUTLINE: dict[str, Any] = {
    "linestyle": "none", "color": "white", "markeredgecolor": INK, "markeredgewidth": 0.6,
    "markersize": 4.0,
}  # fmt: skip


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

    Examples
    --------
    >>> table = pd.DataFrame({
    ...     "session": ["s1", "s2"] * 2, "seed": 0, "model": ["MS-LFP"] * 2 + ["Distilled"] * 2,
    ...     "readout": "lagged", "r2": [0.3, 0.4, 0.6, 0.7], "parameters": 200_000,
    ...     "mflop_per_s": [2.0, 2.0, 4.0, 4.0],
    ... })
    >>> sorted(text.get_text() for text in plot_cost(table).axes[0].texts)
    ['Distilled', 'MS-LFP']
    """
    numbers = ["r2", "parameters", "mflop_per_s"]
    _check(table, ["session", "seed", "model", "readout"], numbers)
    if (table["mflop_per_s"].to_numpy(dtype=float) <= 0).any():
        raise DataError("Some mflop_per_s are not above 0 and have no place on a logarithmic axis.")
    keys = ["readout", "model", "session"]
    by_session = means(table, numbers, by=keys)
    readouts = list(dict.fromkeys(table["readout"]))
    models = in_order(list(table["model"]))
    most = float(by_session["parameters"].to_numpy(dtype=float).max())
    with style():
        figure, grid = plt.subplots(
            1, len(readouts), figsize=(0.9 + 4.0 * len(readouts), 3.9), sharey=True, squeeze=False
        )
        where = []
        for axes, readout in zip(grid[0], readouts, strict=True):
            panel = by_session.loc[by_session["readout"] == readout]
            where.append(_cost_panel(axes, panel, models, most))
            axes.set(
                xscale="log",
                xlabel="Operations for a second of recording (millions)",
                title=READOUT_TITLES.get(readout, readout),
            )
            axes.margins(x=0.12, y=0.08)
        low, high = grid[0, 0].get_ylim()
        grid[0, 0].set_ylim(max(low, LOWEST_R2 - 0.02), high)
        grid[0, 0].set_ylabel("Decoding R² (test)")
        sizes = sorted({_round_number(most * share) for share in (1.0, 0.3, 0.05)})
        diamond = Line2D([], [], marker="D", label="control or\nreference", **_OUTLINE)
        figure.legend(
            handles=[*(_size_handle(size, most) for size in sizes), diamond],
            title="Parameters",
            title_fontsize=7.5,
            loc="outside right center",
            labelspacing=1.1,
        )
        figure.suptitle(counted(table, cohort), x=0.01, ha="left")
        figure.draw_without_rendering()  # names go where the layout leaves room
        for axes, names in zip(grid[0], where, strict=True):
            label_points(axes, names)
        plt.close(figure)
    return figure


def plot_bound(table: pd.DataFrame, *, cohort: str = "") -> Figure:
    """Draw how much of the linear bound each model reaches, one panel a read-out.

    Bars: mean over sessions of the mean over seeds. Whiskers: bootstrap over sessions. Points: one
    a session and seed. What lies below -0.2 is marked at the edge, not drawn.

    Parameters
    ----------
    table : pd.DataFrame
        Tidy: ``session``, ``seed``, ``model``, ``readout``, ``fraction`` (R² as a fraction of
        that of the best linear read-out).
    cohort : str
        For the title.

    Returns
    -------
    Figure
        Horizontal bars, the mean written beside each; a line at 1, a dotted one at 0.9.

    Raises
    ------
    DataError
        A column is missing, there are no rows, or a fraction is NaN.

    Examples
    --------
    >>> table = pd.DataFrame({
    ...     "session": ["s1", "s2"], "seed": 0, "model": "Distilled", "readout": "lagged",
    ...     "fraction": [0.8, 0.9],
    ... })
    >>> [text.get_text() for text in plot_bound(table).axes[0].texts]
    ['0.85', 'linear bound', '0.9']
    """
    keys = ["readout", "model", "session", "seed"]
    _check(table, keys, ["fraction"])
    points = means(table, ["fraction"], by=keys)
    readouts = list(dict.fromkeys(points["readout"]))
    models = in_order(list(points["model"]))
    with style():
        figure, grid = plt.subplots(
            1,
            len(readouts),
            figsize=(1.4 + 3.2 * len(readouts), 1.1 + 0.24 * len(models)),
            sharex=True,
            sharey=True,
            squeeze=False,
        )
        fraction = points["fraction"].to_numpy(dtype=float)
        low, high = float(fraction.min()), max(float(fraction.max()), 1.0)
        floor = min(0.0, max(1.1 * low, LOWEST_R2 - 0.02))
        grid[0, 0].set_xlim(floor, high + 0.12 * (high - floor))  # room for the means at the right
        grid[0, 0].set_ylim(len(models) - 0.4, -0.6)  # the first model at the top
        for axes, readout in zip(grid[0], readouts, strict=True):
            _bound_panel(axes, points.loc[points["readout"] == readout], models, floor)
            axes.set_title(READOUT_TITLES.get(readout, readout), pad=14)
            axes.set_xlabel("R² (test) as a fraction of the linear bound")
        grid[0, 0].set_yticks(range(len(models)), models)
        figure.suptitle(counted(points, cohort), x=0.01, ha="left")
        plt.close(figure)
    return figure


def plot_recovery(scores: pd.DataFrame, *, cohort: str = "", readout: str = "lagged") -> Figure:
    """Draw how well each true latent of a simulation can be read out of each model.

    Cells: test R², mean over sessions of the mean over seeds; colors are clipped to 0 and 1.

    Parameters
    ----------
    scores : pd.DataFrame
        Tidy, as of :func:`spikelfp_lab.plots.plot_scores`; ``axis`` names the true latent.
    cohort : str
        For the title.
    readout : str
        Which of the read-outs is shown.

    Returns
    -------
    Figure
        A row for each model, a column for each true latent; a line sets the controls apart.

    Raises
    ------
    DataError
        A column is missing, no test scores of the read-out, or NaN among them.

    Examples
    --------
    >>> scores = pd.DataFrame({
    ...     "model": "Distilled", "session": "s1", "seed": 0, "readout": "lagged",
    ...     "split": "test", "axis": ["theta", "speed"], "r2": [0.9, -0.1],
    ... })
    >>> [text.get_text() for text in plot_recovery(scores).axes[0].texts]
    ['.90', '−.10']
    """
    keys = ["model", "session", "seed", "readout", "split", "axis"]
    _check(scores, keys, [])
    shown = scores.loc[(scores["split"] == "test") & (scores["readout"] == readout)]
    if shown.empty:
        raise DataError(f"No test scores of the read-out {readout!r}.")
    _check(shown, keys, ["r2"])
    models = in_order(list(shown["model"]))
    latents = list(dict.fromkeys(shown["axis"]))
    by_session = means(shown, ["r2"], by=["model", "axis", "session"])
    cells = by_session.pivot_table(index="model", columns="axis", values="r2").loc[models, latents]
    with style():
        width = max(2.4 + 0.34 * len(latents), 3.4)
        figure, axes = plt.subplots(figsize=(width, max(1.2 + 0.22 * len(models), 2.2)))
        mesh = draw_cells(axes, cells.to_numpy(dtype=float))
        axes.invert_yaxis()  # the first model at the top
        first = sum(model not in CONTROLS for model in models)
        if 0 < first < len(models):
            axes.axhline(first - 0.5, color="white", linewidth=2.5)
        axes.set_yticks(range(len(models)), models)
        axes.set_xticks(range(len(latents)), map(str, latents), rotation=40, ha="right")
        axes.set(xlabel="True latent", title=READOUT_TITLES.get(readout, readout))
        figure.colorbar(mesh, ax=axes, label="R² (test)", pad=0.03, extend="both")
        figure.suptitle(counted(shown, cohort), x=0.01, ha="left")
        plt.close(figure)
    return figure


def _check(table: pd.DataFrame, keys: list[str], numbers: list[str]) -> None:
    missing = {*keys, *numbers} - set(table)
    if missing or table.empty:
        raise DataError(
            f"The table has {len(table)} rows and no column {', '.join(sorted(missing)) or '-'}: "
            f"give one with {', '.join([*keys, *numbers])}."
        )
    for name in numbers:
        if np.isnan(table[name].to_numpy(dtype=float)).any():
            raise DataError(f"Some of {name!r} are NaN: leave those sessions out, and say so.")


def _area(parameters: float, most: float) -> float:
    """Squared points; a model of hardly any parameters is still seen."""
    return _LEAST_AREA + (_MOST_AREA - _LEAST_AREA) * parameters / most if most else _LEAST_AREA


def _cost_panel(
    axes: Axes, panel: pd.DataFrame, models: list[str], most: float
) -> dict[str, Place]:
    """Draw the points; give the place of each."""
    where = {}
    for model in models:
        own = panel.loc[panel["model"] == model]
        if own.empty:
            continue
        r2 = own["r2"].to_numpy(dtype=float)
        x, y = float(own["mflop_per_s"].mean()), float(r2.mean())
        area = _area(float(own["parameters"].mean()), most)
        low, high = bootstrap_interval(r2)
        if np.isfinite(low):
            axes.vlines(x, low, high, color=model_color(model), linewidth=1.0, zorder=2)
        axes.scatter(
            x, y, s=area, facecolor=model_color(model), edgecolor=INK, linewidth=0.6, alpha=0.9,
            marker="D" if model in CONTROLS else "o", zorder=3, label=model,
        )  # fmt: skip
        where[model] = Place(x, y, math.sqrt(area) / 2, low, high)
    return where


def _size_handle(parameters: float, most: float) -> Line2D:
    size = math.sqrt(_area(parameters, most))
    label = f"{parameters / 1e6:g} M" if parameters >= 1e6 else f"{parameters / 1e3:g} k"
    look: dict[str, Any] = _OUTLINE | {"markersize": size}
    return Line2D([], [], marker="o", label=label, **look)


def _round_number(value: float) -> float:
    """A positive number to one digit."""
    return float(f"{value:.0e}")


def _bound_panel(axes: Axes, points: pd.DataFrame, models: list[str], floor: float) -> None:
    axes.axvline(0, color=INK, linewidth=0.7)
    for y, model in enumerate(models):
        own = points.loc[points["model"] == model]
        if own.empty:
            continue
        control = model in CONTROLS
        by_session = own.groupby("session")["fraction"].mean().to_numpy()
        mean = float(by_session.mean())
        axes.barh(
            y, mean, height=0.72, color=model_color(model), label=model, linewidth=0.0,
            edgecolor="white" if control else model_color(model), hatch="////" if control else None,
        )  # fmt: skip
        visible = own.loc[own["fraction"] >= floor, "fraction"]
        axes.scatter(
            visible, np.full(len(visible), y + 0.12), s=8, facecolor="white", edgecolor=INK,
            linewidth=0.5, zorder=4,
        )  # fmt: skip
        low, high = bootstrap_interval(by_session)
        if np.isfinite(low) and high > floor:
            axes.hlines(
                y - 0.2,
                max(low, floor),
                high,
                color=INK,
                linewidth=1.3,
                zorder=5,
                path_effects=[RIM],
            )
        if mean < floor or len(visible) < len(own):
            axes.plot(floor, y, marker="<", color=INK, markersize=4, clip_on=False, zorder=7)
        axes.annotate(
            f"{mean:.2f}".replace("-0.00", "0.00").replace("-", "−"), (1, y), xycoords=axes.get_yaxis_transform(),
            xytext=(-1, 0), textcoords="offset points", ha="right", va="center", fontsize=6.5,
        )  # fmt: skip
    for level, text, dashes in ((1.0, "linear bound", "-"), (0.9, "0.9", (0, (1, 1.5)))):
        axes.axvline(level, color=INK, linewidth=0.9, linestyle=dashes, zorder=3)
        axes.annotate(
            text, (level, 1), xycoords=axes.get_xaxis_transform(), xytext=(1 if level == 1 else -1, 2),
            textcoords="offset points", ha="left" if level == 1 else "right", fontsize=6.5,
        )  # fmt: skip
