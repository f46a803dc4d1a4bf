"""Scores as bars and marks: what each model or choice reaches, with intervals and every score."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from spikelfp_lab.analysis import bootstrap_interval
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import theme, tidy

_GAP = " "  # the name of the empty place before the controls
_SHADES = ["#8c8c8c", theme.INK]  # of read-outs
_SHIFT = 0.21  # between the marks of read-outs


def plot_scores(
    scores: pd.DataFrame, *, cohort: str = "", readouts: Sequence[str] = tidy.READOUTS,
    split: str = "test", rows: str | None = None,
) -> Figure:  # fmt: skip
    """Draw R² of every model as bars, one panel a read-out; controls stand apart, hatched.

    Bars: mean over sessions of the mean over seeds and axes. Whiskers: bootstrap over sessions.
    Points: one a session and seed. What lies below -0.2 is written at the edge, not drawn.

    Raises DataError: a column is missing; no scores of a read-out in the split; NaN among them.

    Parameters
    ----------
    scores : pd.DataFrame
        Tidy, as :func:`spikelfp_lab.decode` returns, with ``model``, ``session`` and ``seed``.
    cohort : str
        For the title, which says how many sessions and seeds there are.
    readouts, split : sequence of str, str
        What is shown of the scores.
    rows : str, optional
        A column, such as "setting": a row of panels for each of its values, with its models.

    References
    ----------
    Fig. 3 of Erturk et al., NeurIPS 2025, arXiv 2512.12461, with the lagged read-out beside it.

    Examples
    --------
    >>> table = {"readout": "lagged", "split": "test", "axis": "vx", "session": "s1", "seed": 0}
    >>> scores = pd.DataFrame([table | {"model": "Distilled", "r2": 0.6}])
    >>> plot_scores(scores, cohort="simulated", readouts=["lagged"]).get_suptitle()
    'simulated: 1 session, 1 seed'
    """
    points, by = tidy.select(scores, readouts=readouts, split=split, rows=rows)
    title, label = tidy.counted(points, cohort), tidy.r2_label(scores, split)
    return _bar_figure(points, "r2", by, title, label, most=len(readouts))[0]


def plot_alignment(table: pd.DataFrame, *, cohort: str = "") -> Figure:
    """Draw measures of alignment with the teacher as bars by model, one panel a measure.

    Bars, whiskers and points as of :func:`plot_scores`; each panel has its own scale.

    Raises DataError: a column is missing, there are no rows, or a value is NaN.

    Parameters
    ----------
    table : pd.DataFrame
        Tidy: ``session``, ``seed``, ``model``, ``measure`` (as "CKA"; lower is closer where the
        name has "distance" in it), ``value``, and optionally ``chance``, NaN where not known.
    cohort : str
        For the title.
    """
    tidy.check(table, [*tidy.KEYS, "measure"], ["value"])
    points, by = tidy.means(table, "value", by=["measure", *tidy.KEYS]), ["measure"]
    figure, cells = _bar_figure(points, "value", by, tidy.counted(points, cohort), sharey=False)
    chance: list[Any] = []
    for axes, panel in cells:
        measure = panel["measure"].iloc[0]
        closer = "lower" if "distance" in measure.lower() else "higher"
        axes.set_ylabel(f"{measure}{' ' if len(measure) < 12 else chr(10)}({closer} is closer)")
        own = table.loc[table["measure"] == measure].reindex(columns=["model", "chance"])
        for model, level in own.groupby("model")["chance"].mean().dropna().items():
            x = _places(panel).index(str(model))
            look: theme.Look = {"color": theme.INK, "linewidth": 1.2, "linestyle": (0, (1, 1.2))}
            chance += [axes.hlines(level, x - 0.5, x + 0.5, **look, zorder=6, label="Chance")]
    if chance:
        with theme.style():
            figure.legend(handles=chance[:1], loc="outside lower right")
    return figure


def plot_bound(table: pd.DataFrame, *, cohort: str = "") -> Figure:
    """Draw how much of the linear bound each model reaches, one panel a read-out.

    Bars, whiskers and points as of :func:`plot_scores`; a line at 1, a dotted one at 0.9.

    Raises DataError: a column is missing, there are no rows, or a fraction is NaN.

    Parameters
    ----------
    table : pd.DataFrame
        Tidy: ``session``, ``seed``, ``model``, ``readout``, ``fraction`` of the best linear R².
    cohort : str
        For the title.
    """
    tidy.check(table, [*tidy.KEYS, "readout"], ["fraction"])
    points = tidy.means(table, "fraction", by=["readout", *tidy.KEYS])
    label, title = "R² (test) as a fraction of the linear bound", tidy.counted(points, cohort)
    figure, cells = _bar_figure(points, "fraction", ["readout"], title, label, most=2)
    for axes, _ in cells:
        for level, text, dashes in ((1.0, "bound", "-"), (0.9, "0.9", (0, (1, 1.5)))):
            axes.axhline(level, color=theme.INK, linewidth=0.9, linestyle=dashes, zorder=3)
            place = {"transform": axes.get_yaxis_transform(), "fontsize": 6.5, "color": theme.INK}
            axes.text(1.01, level, text, va="bottom" if level == 1 else "top", **place)
    return figure


def plot_ablations(scores: pd.DataFrame, *, cohort: str = "") -> Figure:
    """Draw test R² of every variant of a study's choices, one panel a question.

    Markers, one a read-out: mean over sessions of the mean over seeds and axes. Whiskers and points
    as of :func:`plot_scores`. The study's own choice has a bold name and a band.

    Raises DataError: a column is missing; no test scores of a read-out; NaN among them; two own
    choices.

    Parameters
    ----------
    scores : pd.DataFrame
        Tidy, as of :func:`plot_scores` (``model`` is not needed), with ``question`` (the panel),
        ``variant`` and ``own`` (the study's choice; at most one a question).
    cohort : str
        For the title.
    """
    keys = ["question", "variant", "own", "session", "seed"]
    points = tidy.select(scores, keys)[0].astype({"variant": str, "own": bool})
    low, high = points["r2"].clip(lower=tidy.LOWEST_R2).agg(["min", "max"])
    margin = 0.06 * (high - low) or 0.02
    width = 0.34 * int(points.groupby("question")["variant"].nunique().max()) + 0.3
    title, label = tidy.counted(points, cohort), tidy.r2_label(scores, width=28)
    with theme.style():
        size = max(1.9, width), 2.4
        figure, cells = theme.panels(points, ["question"], size, title, label=label)
        figure.axes[0].set_ylim(low - margin, high + margin)
        for axes, panel in cells:
            own = panel.loc[panel["own"], "variant"].unique()
            if len(own) > 1:
                what = f"{panel['question'].iloc[0]!r} has {len(own)} own choices, {', '.join(own)}"
                raise DataError(f"{what}: set own for one of its variants.")
            _draw_marks(axes, panel)
        handles, _ = figure.axes[0].get_legend_handles_labels()
        titles = theme.READOUT_TITLES.values()
        figure.legend(handles, titles, loc="outside lower center", ncols=len(titles))
    return figure


def _draw_marks(axes: Any, points: pd.DataFrame) -> None:
    """Means as markers with whiskers, a read-out beside the other, over all points."""
    variants = list(points["variant"].unique())
    look: theme.Look = {"x": "variant", "y": "r2", "order": variants, "hue": "readout"}
    look |= {"hue_order": tidy.READOUTS, "palette": _SHADES, "ax": axes}
    small = {"size": 2, "alpha": 0.45, "linewidth": 0}
    sns.stripplot(points, dodge=True, legend=False, jitter=False, **small, **look)
    by_session = tidy.means(points, "r2", by=["variant", "readout", "session"])
    look |= {"markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.5, "dodge": _SHIFT}
    look |= {"markers": ["o", "s"], "err_kws": {"linewidth": 1.2}, "errorbar": bootstrap_interval}
    sns.pointplot(by_session, linestyle="none", **look)
    axes.get_legend().remove()
    turned = {"rotation": 40, "ha": "right"} if max(map(len, variants)) > 4 else {}
    axes.set_xticks(range(len(variants)), variants, **turned)
    axes.tick_params(axis="x", length=0, pad=1 if turned else 3)
    axes.set_xlabel("")
    floor, top = axes.get_ylim()
    if floor < 0 < top:
        axes.axhline(0, color=theme.INK, linewidth=0.6)
    own = set(points.loc[points["own"], "variant"])
    for (variant, readout), r2 in by_session.groupby(["variant", "readout"])["r2"].mean().items():
        place, turn = variants.index(variant), tidy.READOUTS.index(readout)
        if variant in own:
            axes.axhline(r2, color=_SHADES[turn], linewidth=0.7, linestyle=(0, (1, 2)), zorder=1)
            axes.get_xticklabels()[place].set_fontweight("bold")
            axes.axvspan(place - 0.45, place + 0.45, color="#f6e9d8", linewidth=0, zorder=0)
        if r2 < floor:
            x = place + _SHIFT * (turn - 0.5)
            _write(axes, x, floor, theme.number(r2), off=5 + 7 * turn, below=True)


def _bar_figure(
    points: pd.DataFrame, value: str, by: list[str], title: str, label: str = "", **options: Any
) -> tuple[Figure, list[tuple[Any, pd.DataFrame]]]:
    """Bars by model, a panel a group; with ``sharey=False`` each has its own limits."""
    span = max(len(_places(group)) for _, group in points.groupby(by))
    # bars wide enough for a number above each, and panels of few for their title
    size = 0.4 + max(0.33 * span, 2.8 if len(by) > 1 else 1.9), 3.0
    with theme.style():
        figure, cells = theme.panels(points, by, size, title, label=label, **options)
        for axes, panel in cells:
            values = (points if options.get("sharey", True) else panel)[value]
            low = max(1.1 * min(0.0, values.min()), tidy.LOWEST_R2 - 0.02)
            high = max(0.0, values.max())
            axes.set_ylim(low, high + 0.15 * ((high - low) or 1.0))
            _draw_bars(axes, panel, value)
            axes.set_xlim(-0.6, span - 0.4)
    return figure, cells


def _draw_bars(axes: Any, points: pd.DataFrame, value: str) -> None:
    """Bars of a column by model with whiskers, points and numbers; what is too low is written."""
    places, by_session = _places(points), tidy.means(points, value, by=["model", "session"])
    look: theme.Look = {"x": "model", "y": value, "order": places, "legend": False, "ax": axes}
    color: theme.Look = {"hue": "model", "palette": {m: theme.model_color(m) for m in places}}
    color |= {"saturation": 1, "width": 0.72, "linewidth": 0, "errorbar": bootstrap_interval}
    whisker = {"color": theme.INK, "linewidth": 1.3, "zorder": 5, "path_effects": [theme.RIM]}
    sns.barplot(by_session, err_kws=whisker, **color, **look)
    for line in axes.lines:  # at the edge of the bar, where no point hides them
        line.set_xdata(line.get_xdata() - 0.36)
    for bar in axes.patches:
        if places[round(bar.get_x() + bar.get_width() / 2)] in theme.CONTROLS:
            bar.set(hatch="////", edgecolor="white")
    point: theme.Look = {"color": "white", "edgecolor": theme.INK, "linewidth": 0.5, "zorder": 4}
    for i, (session, own) in enumerate(by_name := points.groupby("session")):
        x = own["model"].map(places.index) + 0.8 * ((i + 0.5) / len(by_name) - 0.5)
        axes.scatter(x, own[value], s=9, label=session, **point)  # the label is for compare()
    axes.axhline(0, color=theme.INK, linewidth=0.7)
    for model, own in by_session.groupby("model")[value]:
        x, every = places.index(str(model)), points.loc[points["model"] == model, value]
        if every.min() < (floor := axes.get_ylim()[0]):
            _write(axes, x, floor, f"lowest\n{theme.number(every.min())}", off=5, below=True)
        top = np.nanmax([own.mean(), every.max(), bootstrap_interval(own)[1], 0])
        _write(axes, x, top, theme.number(own.mean()))
    axes.set_xlabel("")
    axes.set_xticks(range(len(places)), places, rotation=40, ha="right")
    axes.tick_params(axis="x", length=0, pad=1)
    if _GAP in places:
        edge = places.index(_GAP)
        axes.axvline(edge, color=theme.FAINT, linewidth=0.8)
        text = "controls and references" if len(places) - edge > 4 else "controls"
        place = {"transform": axes.get_xaxis_transform(), "va": "top"}
        axes.text(edge + 0.1, 1.0, text, fontsize=7, color="#666666", **place)


def _write(
    axes: Any, x: float, y: float, text: str, *, off: float = 2.5, below: bool = False
) -> None:
    """Text some points above a place, on white; with a mark for what lies below the lower edge."""
    if below:
        axes.plot(x, y, marker="v", color=theme.INK, markersize=4, clip_on=False, zorder=7)
    look = {"fontsize": 5.5 if below else 6.5, "linespacing": 0.95, "va": "bottom", "ha": "center"}
    look["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    axes.annotate(text, (x, y), (0, off), textcoords="offset points", zorder=8, **look)


def _places(points: pd.DataFrame) -> list[str]:
    """Models in order, with an empty place before the controls."""
    models = theme.in_order(points["model"])
    first = sum(model not in theme.CONTROLS for model in models)
    return [*models[:first], _GAP, *models[first:]] if 0 < first < len(models) else models
