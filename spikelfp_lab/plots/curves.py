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
from matplotlib.ticker import EngFormatter

from spikelfp_lab.analysis import bootstrap_interval
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import theme, tidy

_DASHES = ((4, 1.5), (1.2, 1.2), (5, 1.5, 1, 1.5))  # of controls
_MARKERS = "osD^vPX"


def plot_curves(
    scores: pd.DataFrame, x: str, *, xlabel: str, cohort: str = "", log: bool = False
) -> Figure:
    """Draw test R² of each model against a column of the scores, one panel a read-out.

    Lines: mean over sessions of the mean over seeds and axes. Bands: bootstrap interval over
    sessions. Controls are dashed.

    Raises DataError: there is no such column, no test scores of a read-out, or NaN among them.

    Parameters
    ----------
    scores : pd.DataFrame
        Tidy, as of :func:`spikelfp_lab.plots.plot_scores`, and the column ``x``.
    x, xlabel : str
        Name of a column of numbers, and its label with the unit.
    cohort, log : str, bool
        For the title; whether the x axis is logarithmic.
    """
    points, by = tidy.select(scores, [*tidy.KEYS, x])
    by_session = tidy.means(points, "r2", by=["readout", "model", "session", x])
    models = theme.in_order(points["model"])
    look: theme.Look = {
        "hue": "model", "hue_order": models, "palette": {m: theme.model_color(m) for m in models},
        "style": "model", "style_order": models, "markersize": 3.5, "markeredgewidth": 0,
        "markers": {m: _MARKERS[i % len(_MARKERS)] for i, m in enumerate(models)},
        "dashes": {m: _DASHES[i % 3] if m in theme.CONTROLS else "" for i, m in enumerate(models)},
        "err_kws": {"alpha": 0.15, "linewidth": 0}, "errorbar": bootstrap_interval,
    }  # fmt: skip
    title, label = tidy.counted(points, cohort), tidy.r2_label(scores)
    with theme.style():
        figure, cells = theme.panels(by_session, by, (2.6, 2.4), title, label=label)
        for axes, panel in cells:
            sns.lineplot(panel, x=x, y="r2", ax=axes, **look)
            axes.axhline(0, color=theme.INK, linewidth=0.6)
            axes.set_xlabel(xlabel)
            axes.get_legend().remove()
            if log:
                axes.set_xscale("log")
                ticks = np.unique(points[x].to_numpy(dtype=float))
                axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
                axes.minorticks_off()
        least = points.groupby(["model", x])["r2"].mean().min()
        figure.axes[0].set_ylim(max(-0.25, min(0.0, least)) - 0.02, 1.0)
        figure.axes[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), handlelength=2.4)
    return figure


def plot_pairs(
    scores: pd.DataFrame, models: Sequence[str], *, pair: Sequence[str] = ("session",),
    cohort: str = "", readouts: Sequence[str] = tidy.READOUTS, rows: str | None = None,
) -> Figure:  # fmt: skip
    """Draw a line for each pair of scores, from model to model; thick marks are the means.

    Raises DataError: a column or a model is missing, or scores are NaN.

    Parameters
    ----------
    scores : pd.DataFrame
        Tidy, as of :func:`spikelfp_lab.plots.plot_scores`.
    models, pair : sequence of str
        In the order of the axis; columns that tell what one line is (means over all others).
    cohort, readouts : str, sequence of str
        For the title; one panel each.
    rows : str, optional
        A column, such as where scores are from: one row of panels for each of its values.

    References
    ----------
    Fig. 5 of Erturk et al., NeurIPS 2025, arXiv 2512.12461.
    """
    points, by = tidy.select(scores, [*tidy.KEYS, *pair], readouts=readouts, rows=rows)
    points = points.sort_values(rows, kind="stable") if rows else points
    if unknown := [model for model in models if model not in set(points["model"])]:
        raise DataError(f"No scores of {', '.join(unknown)}; there are {set(points['model'])}.")
    title, label = tidy.counted(points, cohort), tidy.r2_label(scores)
    size, most = (0.7 + 0.55 * len(models), 3.2), len(readouts)
    with theme.style():
        figure, cells = theme.panels(points, by, size, title, label=label, most=most)
        for axes, panel in cells:
            table = panel.pivot_table("r2", [*pair], "model").reindex(columns=[*models])
            axes.plot(table.to_numpy().T, color="#999999", linewidth=0.6, zorder=1)
            for place, (model, own) in enumerate(table.items()):
                color, mean = theme.model_color(str(model)), own.mean()
                axes.scatter(np.full(len(own), place), own, s=9, color=color, zorder=2)
                axes.plot([place - 0.25, place + 0.25], [mean, mean], color=color, linewidth=2.5)
                axes.text(place + 0.28, mean, f"{mean:.2f}", va="center", fontsize=6.5, zorder=4)
            axes.axhline(0, color=theme.INK, linewidth=0.6)
            axes.set_xticks(range(len(models)), models, rotation=40, ha="right")
            axes.set_xlim(-0.5, len(models) - 0.3)
        low = max(-0.25, min(0.0, points["r2"].min())) - 0.02
        figure.axes[0].set_ylim(low, points["r2"].max() + 0.05)
    return figure


def plot_cost(table: pd.DataFrame, *, cohort: str = "") -> Figure:
    """Draw R² of each model against the work it takes, one panel a read-out.

    Places: mean over sessions of the mean over seeds. Whiskers: bootstrap over sessions. The area
    of a marker grows with the number of parameters.

    Raises DataError: a column is missing, there are no rows, a number is NaN, or a cost is not
    above 0.

    Parameters
    ----------
    table : pd.DataFrame
        Tidy: ``session``, ``seed``, ``model``, ``readout``, ``r2``, ``parameters`` (how many),
        ``mflop_per_s`` (million operations for a second of recording, above 0).
    cohort : str
        For the title.
    """
    numbers = ["mflop_per_s", "r2", "parameters"]
    tidy.check(table, [*tidy.KEYS, "readout"], numbers)
    if not set(table["mflop_per_s"] > 0) <= {True}:
        raise DataError("Some mflop_per_s are not above 0 and have no place on a logarithmic axis.")
    by_session = tidy.means(table, numbers, by=["readout", "model", "session"])
    most = by_session["parameters"].max() or 1.0

    def area(parameters: float) -> float:
        return 14 + 136 * parameters / most  # square points

    title, label = tidy.counted(table, cohort), "Decoding R² (test)"
    with theme.style():
        figure, cells = theme.panels(by_session, ["readout"], (4.0, 3.5), title, label=label)
        for axes, panel in cells:
            for model in theme.in_order(panel["model"]):
                own = panel.loc[panel["model"] == model]
                x, y, size = own[numbers].mean()
                color = theme.model_color(model)
                look: theme.Look = {"color": color, "zorder": 3, "linewidth": 0.6}
                axes.vlines(x, *bootstrap_interval(own["r2"]), **look)
                look |= {"marker": "D" if model in theme.CONTROLS else "o", "edgecolor": theme.INK}
                axes.scatter(x, y, s=area(size), label=model, **look)
            axes.set(xscale="log", xlabel="Operations for a second of recording (millions)")
            axes.margins(x=0.12, y=0.08)
        figure.axes[0].set_ylim(max(figure.axes[0].get_ylim()[0], tidy.LOWEST_R2 - 0.02))
        sizes = sorted({float(f"{most * share:.0e}") for share in (1.0, 0.3, 0.05)})
        keys = [("o", area(size) ** 0.5, EngFormatter()(size)) for size in sizes]
        keys += [("D", 4.0, "control or\nreference")]
        look = {"linestyle": "none", "color": "white", "markeredgecolor": theme.INK}
        handles = [Line2D([], [], marker=m, markersize=s, label=t, **look) for m, s, t in keys]
        place = {"loc": "outside right center", "labelspacing": 1.1}
        figure.legend(handles=handles, title="Parameters", title_fontsize=7.5, **place)
        figure.draw_without_rendering()  # names go where the layout leaves room
        figure.set_layout_engine("none")
        for axes, _ in cells:
            _name_points(axes)
    return figure


def plot_history(history: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw how training went: one panel a metric, training and validation, the best step marked.

    Raises DataError: a column is missing, or there are no rows.

    Parameters
    ----------
    history : pd.DataFrame
        A model's ``history``: ``step``, ``split``, ``metric``, ``value``. The step kept is that of
        the lowest validation "score" (or "loss", where there is none), which was minimized.
    title : str
        Over the figure.
    """
    tidy.check(history, ["step", "split", "metric", "value"])
    is_score: Any = history["metric"] == "score"
    score = "score" if is_score.any() else "loss"
    judged = history.loc[(history["split"] == "val") & (history["metric"] == score)]
    shown = history if is_score.all() else history[~is_score]  # it repeats one of the others
    colors = {"train": "#8f8f8f", "val": "#d17f41"}
    with theme.style():
        figure, cells = theme.panels(shown, ["metric"], (2.1, 1.9), title, sharey=False)
        handles: theme.Look = {}
        for axes, panel in cells:
            for split, curve in panel.groupby("split", sort=False):
                look = {"color": colors[split], "marker": "." if len(curve) < 3 else None}
                handles[split] = axes.plot(curve["step"], curve["value"], **look)[0]
            axes.set_xlabel("Training step")
        for axes, _ in cells if len(judged) else ():
            best = judged["step"].iloc[judged["value"].to_numpy().argmin()]
            kept: theme.Look = {"color": theme.INK, "linewidth": 0.8, "linestyle": (0, (3, 2))}
            handles[f"kept: step {best:g}"] = axes.axvline(best, **kept)
        place = {"loc": "outside lower center", "ncols": len(handles), "handlelength": 1.5}
        figure.legend(list(handles.values()), list(handles), **place)
    return figure


def _name_points(axes: Axes) -> None:
    """Names beside the markers, none over another; the same points give the same places."""
    named: list[Any] = [m for m in axes.collections if not str(m.get_label()).startswith("_")]
    places = np.array([np.asarray(marker.get_offsets())[0] for marker in named])
    look: theme.Look = {"fontsize": 6.5, "path_effects": [theme.RIM], "zorder": 6}
    names = zip(*places.T, [marker.get_label() for marker in named], strict=True)
    texts = [axes.text(x, y, name, **look) for x, y, name in names]
    # the markers' rims are to be avoided too
    angles = np.linspace(0, 2 * np.pi, 9)[:-1]
    reach = np.sqrt([marker.get_sizes()[0] for marker in named]) / 2 * axes.figure.dpi / 72
    rim = reach[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rim = axes.transData.transform(places)[:, None] + rim
    x, y = axes.transData.inverted().transform(rim.reshape(-1, 2)).T
    arrow = {"arrowstyle": "-", "color": "#888888", "linewidth": 0.5}
    adjust_text(texts, x, y, ax=axes, iter_lim=500, arrowprops=arrow, expand=(1.1, 1.4))
