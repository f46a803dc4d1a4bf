"""Panels of a comparison that show alignment with the reference: in time, by layer, and against the error of decoding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spikelfp_lab.plots.style import FAINT, INK, style
from spikelfp_lab.plots.tables import draw_cells
from spikelfp_lab.widgets.compare_panels import PER_ROW, WIDTH, rim

MAX_NAMES = 8  # of blocks of time on an axis
HIGHLIGHT = "#ffefb0"  # the stretch of time that the other panels show


def draw_alignment(
    windows: pd.DataFrame,
    layers: pd.DataFrame,
    *,
    reference: str,
    stretch: tuple[float, float],
    window_s: float,
    title: str,
    colors: Mapping[str, str],
    no_layers: str = "",
) -> Figure:
    """Alignment with the reference: a line a model over time, and cells of layer against layer below.

    Parameters
    ----------
    windows : pd.DataFrame
        As of ``CompareState.alignment_over_time``.
    layers : pd.DataFrame
        As of ``CompareState.alignment_by_layer``; may be empty.
    reference : str
    stretch : tuple of float
        Start and stop of the time shown in other panels, seconds; has a yellow ground.
    window_s : float
        Length of a window, seconds.
    title : str
    colors : mapping
        Model -> color.
    no_layers : str
        Why there are no layers, where there are none.

    Returns
    -------
    Figure

    Examples
    --------
    >>> windows = pd.DataFrame({"model": "Mine", "start_s": [0.0, 2.0, 8.0], "alignment": 0.5})
    >>> figure = draw_alignment(
    ...     windows, pd.DataFrame(columns=["model"]), reference="Teacher", stretch=(0, 1),
    ...     window_s=2.0, title="", colors={"Mine": "#d17f41"}, no_layers="Press Compute.",
    ... )
    >>> [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    ['0 s', '8 s']
    """
    models = list(dict.fromkeys(layers["model"]))
    rows = -(-len(models) // PER_ROW)
    cells = 2.5 * rows if rows else 0.5
    with style():
        figure = Figure(figsize=(WIDTH, 2.8 + cells))
        parts: Any = figure.subfigures(2, 1, height_ratios=[2.8, cells], squeeze=True)
        above, below = parts
        _draw_windows(
            above.subplots(), windows, stretch=stretch, window_s=window_s, colors=colors,
            reference=reference,
        )  # fmt: skip
        above.suptitle(title, x=0.01, ha="left", fontsize=9.5)
        if not rows:
            below.text(0.01, 0.5, f"By layer: {no_layers}", va="center", fontsize=8)
            return figure
        columns = min(len(models), PER_ROW)
        grid = below.subplots(rows, PER_ROW, squeeze=False)
        mesh = None
        for axes, model in zip(grid.flat, models, strict=False):
            own = layers.loc[layers["model"] == model]
            table = own.pivot_table(index="layer", columns="reference_layer", values="value")
            draw_cells(
                axes, table.set_axis(_names(table.index)).set_axis(_names(table.columns), axis=1)
            )
            axes.invert_yaxis()  # the first layer at the bottom
            mesh = axes.collections[0]
            axes.set_title(model, color=INK)
            axes.set(xlabel=f"{reference}'s layer", ylabel="Model's layer")
        for axes in grid.flat[len(models) :]:
            axes.set_axis_off()
        below.colorbar(mesh, ax=grid[:, :columns], label="Linear CKA (test)", shrink=0.85, pad=0.02)
    return figure


def draw_errors(
    table: pd.DataFrame,
    correlations: pd.DataFrame,
    *,
    focus: str,
    stretch: tuple[float, float],
    title: str,
    colors: Mapping[str, str],
    window_s: float,
) -> Figure:
    """Error of decoding against alignment with the reference: a point a window, a panel a model.

    Parameters
    ----------
    table : pd.DataFrame
        As of ``CompareState.errors_by_window``.
    correlations : pd.DataFrame
        As of ``CompareState.rank_correlations``.
    focus : str
        The session in color; others are gray.
    stretch : tuple of float
        Start and stop, seconds: its windows are ringed.
    title : str
    colors : mapping
        Model -> color.
    window_s : float
        Length of a window, seconds.

    Returns
    -------
    Figure

    Examples
    --------
    >>> table = pd.DataFrame({
    ...     "session": "I/s01", "model": "Mine", "start_s": [0.0, 2.0, 4.0],
    ...     "alignment": [0.1, 0.5, 0.9], "error": [1.0, 0.8, 0.2],
    ... })
    >>> rho = pd.DataFrame({"session": ["I/s01"], "model": "Mine", "rho": -1.0, "n": 3})
    >>> figure = draw_errors(
    ...     table, rho, focus="I/s01", stretch=(0, 1), title="", colors={"Mine": "#d17f41"}, window_s=2
    ... )
    >>> figure.axes[0].get_title(loc="left")
    'Mine: ρ = −1.00, n = 3'
    """
    models = list(dict.fromkeys(table["model"]))
    rows = -(-len(models) // PER_ROW)
    columns = -(-len(models) // rows)
    with style():
        figure = Figure(figsize=(max(6.6, min(WIDTH, 0.6 + 2.3 * columns)), 1.0 + 2.4 * rows))
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        top = float(np.quantile(table["error"], 0.995)) * 1.1
        for axes, model in zip(grid.flat, models, strict=False):
            own = table.loc[table["model"] == model]
            here = own["session"] == focus
            for use, look in (
                (~here, {"color": "#bbbbbb", "s": 8, "label": "other sessions", "linewidth": 0}),
                (
                    here,
                    {
                        "color": colors[model],
                        "s": 16,
                        "label": focus,
                        "edgecolor": "#555555",
                        "linewidth": 0.4,
                    },
                ),
            ):
                shown = own.loc[use]
                axes.scatter(shown["alignment"], shown["error"], **look)
            ringed = own.loc[here & _within(own["start_s"], stretch, window_s)]
            axes.scatter(
                ringed["alignment"], ringed["error"], s=34, facecolor="none", edgecolor=INK,
                linewidth=0.9,
            )  # fmt: skip
            means = own.groupby("session", sort=False)[["alignment", "error"]].mean()
            for session, (x, y) in zip(means.index, means.to_numpy(), strict=True):
                strong = session == focus
                look = {"color": colors[model] if strong else "#8a8a8a", "markersize": 9}
                axes.plot(x, y, marker="D", markeredgecolor=INK, linestyle="", **look)
            axes.axhline(1, color=FAINT, linewidth=0.9, zorder=0)
            axes.set_title(f"{model}: {_rho(correlations, model, focus)}")
            axes.set_ylim(0, max(top, 1.1))
        for axes in grid.flat[len(models) :]:
            axes.set_axis_off()
        for column in range(columns):
            last = grid[
                (len(models) - 1 - column) // columns, column
            ]  # below it, there may be none
            last.set_xlabel("Alignment (mean cosine)")
            last.tick_params(labelbottom=True)
        for axes in grid[:, 0]:
            axes.set_ylabel("Error (RMS / SD of behavior)")
        figure.suptitle(title, x=0.01, ha="left")
        figure.legend(handles=_key(focus, others=bool((table["session"] != focus).any())),
            loc="outside lower center", ncols=4,
        )  # fmt: skip
    return figure


def _draw_windows(
    axes: Axes,
    windows: pd.DataFrame,
    *,
    stretch: tuple[float, float],
    window_s: float,
    colors: Mapping[str, str],
    reference: str,
) -> None:
    """Windows side by side, without the time between blocks: the split shown is a small part of the session."""
    starts = np.unique(windows["start_s"].to_numpy())
    breaks = np.flatnonzero(np.diff(starts) > 1.5 * window_s) + 1
    blocks = np.concatenate([[0], breaks]).astype(int)
    place = dict(
        zip(
            starts,
            np.arange(len(starts)) + np.searchsorted(breaks, np.arange(len(starts)), "right"),
            strict=True,
        )
    )
    models = [m for m in dict.fromkeys(windows["model"]) if m != reference] or [reference]
    for model in models:
        own = windows.loc[windows["model"] == model].set_index("start_s")["alignment"]
        x = np.array([place[start] for start in own.index], dtype=float)
        gaps = np.flatnonzero(np.diff(x) > 1) + 1
        y = np.insert(own.to_numpy(dtype=float), gaps, np.nan)
        label = f"{model} (mean {own.mean():.2f})".replace("-0", "−0")
        look: Any = {"color": colors[model], "linewidth": 1.2, "marker": ".", "markersize": 4}
        axes.plot(np.insert(x, gaps, np.nan), y, label=label, **look, **rim(colors[model], 1.2))
    inside = [place[s] for s in starts[_within(starts, stretch, window_s)]]
    if inside:
        axes.axvspan(min(inside) - 0.5, max(inside) + 0.5, color=HIGHLIGHT, zorder=0, linewidth=0)
    for block in breaks:
        axes.axvline(place[starts[block]] - 1, color=FAINT, linewidth=0.9, zorder=0)
    named = blocks if len(blocks) <= MAX_NAMES else blocks[:: -(-len(blocks) // MAX_NAMES)]
    axes.set_xticks([place[starts[b]] for b in named], [f"{starts[b]:.0f} s" for b in named])
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set(
        ylabel="Mean cosine in the window",
        xlabel=f"Windows of {window_s:g} s, one after the other; ticks: where blocks begin",
    )
    axes.set_ylim(min(0.0, float(np.min(windows["alignment"].to_numpy()))) - 0.03, 1.03)
    axes.margins(x=0.01)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), handlelength=1.2)


def _within(starts: Any, stretch: tuple[float, float], window_s: float) -> np.ndarray:
    """Which windows overlap with the stretch of time."""
    starts = np.asarray(starts)
    return (starts < stretch[1]) & (starts + window_s > stretch[0])


def _rho(correlations: pd.DataFrame, model: str, session: str) -> str:
    own: Any = correlations.loc[
        (correlations["model"] == model) & (correlations["session"] == session)
    ]
    if own.empty:
        return "not in this session"
    rho, n = own[["rho", "n"]].to_numpy(dtype=float)[0]
    value = "undefined" if np.isnan(rho) else f"{rho:.2f}".replace("-", "−")
    return f"ρ = {value}, n = {n:.0f}"


def _key(focus: str, *, others: bool) -> list:
    def mark(marker: str, label: str, **look: Any) -> Line2D:
        return Line2D([], [], marker=marker, linestyle="", label=label, **look)

    made = [mark("o", f"window of {focus}", color="#555555", markersize=4.5)]
    if others:
        made.append(mark("o", "windows of other sessions", color="#bbbbbb", markersize=3.5))
    made.append(mark("o", "in the stretch shown", markerfacecolor="none", color=INK, markersize=6))
    made.append(mark("D", "mean of a session", color="#8a8a8a", markeredgecolor=INK, markersize=6))
    return made


def _names(layers: Any) -> list[str]:
    return ["tokens" if layer == 0 else f"{layer:g}" for layer in layers]
