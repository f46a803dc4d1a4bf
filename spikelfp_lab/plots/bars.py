"""Bars and marks of what each model or choice scores, with intervals, points and controls."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from spikelfp_lab.analysis import bootstrap_interval
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots.palette import CONTROLS, in_order, model_color
from spikelfp_lab.plots.style import FAINT, INK, new_figure, style
from spikelfp_lab.plots.tidy import (
    LOWEST_R2,
    READOUT_TITLES,
    SCORE_COLUMNS,
    check,
    counted,
    means,
    number,
    r2_label,
    select,
)

BAR_STEP = 0.33  # inches from bar to bar: room for a number above each
MAX_WIDTH = 10.5  # inches that a notebook shows without shrinking the text
RIM = withStroke(linewidth=2.2, foreground="white")  # what is black is seen on dark bars too
_GAP = " "  # the name of the empty place before the controls


def plot_scores(
    scores: pd.DataFrame,
    *,
    cohort: str = "",
    readouts: Sequence[str] = ("one_frame", "lagged"),
    split: str = "test",
    rows: str | None = None,
) -> Figure:
    """Draw R² of every model as bars: mean over sessions, 95 % interval, and every score behind it.

    Bars: mean over sessions of the mean over seeds and axes. Whiskers: bootstrap over sessions.
    Points: one a session and seed. What lies below -0.2 is written at the edge, not drawn.

    Parameters
    ----------
    scores : pd.DataFrame
        Tidy, as :func:`spikelfp_lab.decode` returns with ``model``, ``session`` and ``seed`` (NaN
        where a model has none) added.
    cohort : str
        For the title.
    readouts : sequence of str
        One panel each.
    split : str
        Which of the splits is shown.
    rows : str, optional
        A column, such as "setting": a row of panels for each of its values, with its models.

    Returns
    -------
    Figure
        Controls stand apart, hatched. The title says how many sessions and seeds there are.

    Raises
    ------
    DataError
        A column is missing; no scores of a read-out in the split; NaN among them.

    References
    ----------
    Fig. 3 of Erturk et al., NeurIPS 2025, arXiv 2512.12461, with the lagged read-out beside it.

    Examples
    --------
    >>> scores = pd.DataFrame({
    ...     "model": ["MS-LFP", "MS-LFP", "Distilled", "Distilled"], "session": ["s1", "s2"] * 2,
    ...     "seed": 0, "readout": "lagged", "split": "test", "axis": "vx",
    ...     "r2": [0.3, 0.4, 0.6, 0.7],
    ... })
    >>> plot_scores(scores, cohort="simulated", readouts=["lagged"]).get_suptitle()
    'simulated: 2 sessions, 1 seed'
    """
    also = [] if rows is None else [rows]
    points = select(scores, readouts, keys=SCORE_COLUMNS[:3], split=split, also=also)
    if rows is not None and bool(points[rows].isna().to_numpy().any()):
        raise DataError(f"Some of the scores have no {rows!r}: fill in that column.")
    parts = {str(v): p for v, p in points.groupby(rows, sort=False)} if rows else {"": points}
    span = max(len(_places(list(part["model"]))) for part in parts.values())
    # a panel of few bars still needs room for its title, and the figure for its own
    width = max(BAR_STEP * span, 1.9 if rows is None else 2.8)
    columns = 1 if 0.9 + width * len(readouts) > MAX_WIDTH else len(readouts)
    cells = [(part, readout) for part in parts for readout in readouts]
    lines = len(cells) // columns
    r2 = points["r2"].to_numpy(dtype=float)
    low, high = min(0.0, float(r2.min())), max(float(r2.max()), 0.0)
    # a high bar among the controls must not reach into what is written over them
    room = 0.15 if r2[points["model"].isin(CONTROLS)].max(initial=-1) > high - 0.1 else 0.08
    limits = max(1.1 * low, LOWEST_R2 - 0.02), min(1.0, high) + room
    with style():
        size = 0.9 + width * columns, 0.4 + 3.0 * lines
        figure = new_figure(*size, counted(points, cohort))
        grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
        labeled: set[int] = set()
        for axes, (part, readout) in zip(grid.flat, cells, strict=True):
            panel = parts[part].loc[parts[part]["readout"] == readout]
            if panel.empty:
                axes.set_visible(False)
                continue
            bars(axes, panel, "r2", _places(list(parts[part]["model"])), limits=limits)
            axes.set_xlim(-0.6, span - 0.4)  # bars are as wide in every row
            title = READOUT_TITLES.get(readout, readout)
            axes.set_title(title if rows is None else f"{title}, {part}")
            if (line := axes.get_subplotspec().rowspan.start) not in labeled:
                axes.set_ylabel(r2_label(scores, split))
                axes.tick_params(labelleft=True)
                labeled.add(line)  # the first panel of a line that has scores
    return figure


def plot_alignment(table: pd.DataFrame, *, cohort: str = "") -> Figure:
    """Draw measures of alignment with the teacher as bars by model, one panel a measure.

    Bars, whiskers and points as of :func:`plot_scores`.

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
    """
    check(table, ["session", "seed", "model", "measure"], ["value"])
    points = means(table, ["value"], by=["measure", "model", "session", "seed"])
    measures = list(dict.fromkeys(points["measure"]))
    places = _places(list(points["model"]))
    with style():
        size = 0.6 + max(BAR_STEP * len(places), 1.6), 2.8
        figure, grid = panels(len(measures), size, counted(points, cohort))
        chance = []
        for axes, measure in zip(grid, measures, strict=True):
            panel = points.loc[points["measure"] == measure]
            low, high = min(panel["value"].min(), 0.0), max(panel["value"].max(), 0.0)
            limits = 1.1 * low, high + 0.2 * ((high - low) or 1.0)
            bars(axes, panel, "value", places, limits=limits)
            known = table.loc[table["measure"] == measure].reindex(columns=["model", "chance"])
            for model, level in known.groupby("model")["chance"].mean().dropna().items():
                x = places.index(str(model))
                look: dict[str, Any] = {"color": INK, "linewidth": 1.2, "linestyle": (0, (1, 1.2))}
                chance += [axes.hlines(level, x - 0.5, x + 0.5, **look, zorder=6, label="Chance")]
            closer = "lower" if "distance" in str(measure).lower() else "higher"
            space = " " if len(str(measure)) < 12 else "\n"
            axes.set(title=measure, ylabel=f"{measure}{space}({closer} is closer)")
        if chance:
            figure.legend(handles=chance[:1], loc="outside lower right")
    return figure


def plot_bound(table: pd.DataFrame, *, cohort: str = "") -> Figure:
    """Draw how much of the linear bound each model reaches, one panel a read-out.

    Bars, whiskers and points as of :func:`plot_scores`, from left to right.

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
        The mean is written beside each bar; a line at 1, a dotted one at 0.9.

    Raises
    ------
    DataError
        A column is missing, there are no rows, or a fraction is NaN.
    """
    keys = ["readout", "model", "session", "seed"]
    check(table, keys, ["fraction"])
    points = means(table, ["fraction"], by=keys)
    readouts = list(dict.fromkeys(points["readout"]))
    places = _places(list(points["model"]))
    fraction = points["fraction"].to_numpy(dtype=float)
    low, high = float(fraction.min()), max(float(fraction.max()), 1.0)
    floor = min(0.0, max(1.1 * low, LOWEST_R2 - 0.02))
    limits = floor, high + 0.14 * (high - floor)  # room for the means at the right
    with style():
        size = 1.4 + 3.2 * len(readouts), 1.1 + 0.24 * len(places)
        figure = new_figure(*size, counted(points, cohort))
        grid = figure.subplots(1, len(readouts), sharex=True, sharey=True, squeeze=False)
        for axes, readout in zip(grid[0], readouts, strict=True):
            panel = points.loc[points["readout"] == readout]
            bars(axes, panel, "fraction", places, limits=limits, across=True)
            axes.set_title(READOUT_TITLES.get(readout, readout), pad=14)
            axes.set_xlabel("R² (test) as a fraction of the linear bound")
            for level, text, dashes in ((1.0, "linear bound", "-"), (0.9, "0.9", (0, (1, 1.5)))):
                axes.axvline(level, color=INK, linewidth=0.9, linestyle=dashes, zorder=3)
                side = "left" if level == 1 else "right"
                place = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points"}
                shift = (1 if level == 1 else -1, 2)
                axes.annotate(text, (level, 1), xytext=shift, ha=side, fontsize=6.5, **place)
    return figure


def bars(
    axes: Axes,
    points: pd.DataFrame,
    value: str,
    places: list[str],
    *,
    limits: tuple[float, float],
    across: bool = False,
) -> None:
    """Bars of a column by model with whiskers, points and numbers, upright or ``across``.

    What lies below the lower limit is written there. ``places`` as of :func:`_places`.
    """
    by_session = means(points, [value], by=["model", "session"])
    x, y = (value, "model") if across else ("model", value)
    look: dict[str, Any] = {"x": x, "y": y, "order": places, "ax": axes, "legend": False}
    colors = {name: model_color(name) for name in places}
    whisker = {"color": INK, "linewidth": 1.3, "zorder": 5, "path_effects": [RIM]}
    sns.barplot(
        data=by_session, hue="model", hue_order=places, palette=colors, saturation=1, width=0.72,
        errorbar=interval, err_kws=whisker, dodge=False, linewidth=0, **look,
    )  # fmt: skip
    line: Any
    for line in axes.lines:  # at the edge of the bar, where no point hides them
        line.set_data(line.get_xdata() - 0.36 * (not across), line.get_ydata() - 0.36 * across)
    sessions = sorted(points["session"].unique())
    sns.stripplot(
        data=points, hue="session", hue_order=sessions, palette=["white"] * len(sessions),
        dodge=len(sessions) > 1, jitter=False, size=3, edgecolor=INK, linewidth=0.5, zorder=4,
        **look,
    )  # fmt: skip
    (axes.axvline if across else axes.axhline)(0, color=INK, linewidth=0.7)
    (axes.set_xlim if across else axes.set_ylim)(*limits)
    for place, model in enumerate(places):
        own = points.loc[points["model"] == model, value].to_numpy(dtype=float)
        if not own.size:
            continue
        per_session = by_session.loc[by_session["model"] == model, value].to_numpy(dtype=float)
        mean, high = float(per_session.mean()), interval(per_session)[1]
        if own.min() < limits[0]:
            at = (limits[0], place) if across else (place, limits[0])
            mark = "<" if across else "v"
            axes.plot(*at, marker=mark, color=INK, markersize=4, clip_on=False, zorder=7)
            write_beside(axes, *at, f"lowest\n{number(own.min())}", size=5.5, across=across, off=5)
        if across:
            write_beside(axes, limits[1], place, number(mean), across=True, ha="right", off=-1)
        else:
            write_beside(axes, place, max(mean, own.max(), np.nan_to_num(high), 0), number(mean))
    patch: Any
    for patch in axes.patches:
        middle = patch.get_y() + patch.get_height() / 2, patch.get_x() + patch.get_width() / 2
        if places[round(middle[0] if across else middle[1])] in CONTROLS:
            patch.set(hatch="////", edgecolor="white")
    axes.set(xlabel="", ylabel="")
    if across:
        axes.set_yticks([i for i, name in enumerate(places) if name != _GAP])
        axes.set_ylim(len(places) - 0.4, -0.6)
        return
    axes.set_xticks(range(len(places)), places, rotation=40, ha="right")
    axes.tick_params(axis="x", length=0, pad=1)
    axes.set_xlim(-0.6, len(places) - 0.4)
    if _GAP in places:
        edge = places.index(_GAP)
        axes.axvline(edge, color=FAINT, linewidth=0.8)
        text = "controls and references" if len(places) - edge > 4 else "controls"
        place = {"transform": axes.get_xaxis_transform(), "va": "top"}
        axes.text(edge + 0.1, 1.0, text, fontsize=7, color="#666666", **place)


def write_beside(
    axes: Axes, x: float, y: float, text: str, *, size: float = 6.5, off: float = 2.5,
    across: bool = False, ha: str | None = None,
) -> None:  # fmt: skip
    """Text some points above a place, or right of it, on a white rim that keeps it readable."""
    axes.annotate(
        text, (x, y), xytext=(off, 0) if across else (0, off), textcoords="offset points",
        ha=ha or ("left" if across else "center"), va="center" if across else "bottom",
        fontsize=size, linespacing=0.95, path_effects=[RIM], zorder=8,
    )  # fmt: skip


def panels(
    count: int, size: tuple[float, float], title: str, *, most: int = 99, **options: Any
) -> tuple[Figure, list[Any]]:
    """A figure of panels of one size in inches, in as many rows as a notebook's width asks for."""
    rows = math.ceil(count / max(1, min(most, int(MAX_WIDTH // size[0]))))
    columns = math.ceil(count / rows)
    figure = new_figure(max(0.7 + size[0] * columns, 3.2), 0.4 + size[1] * rows, title)
    grid = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid[:count]


def _places(models: list[str]) -> list[str]:
    """Models in order, with an empty place before the controls."""
    models = in_order(models)
    controls = [model for model in models if model in CONTROLS]
    others = [model for model in models if model not in CONTROLS]
    return [*others, _GAP, *controls] if others and controls else models


def interval(values: Any) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over sessions; NaN of one session."""
    return bootstrap_interval(np.asarray(values, dtype=float))
