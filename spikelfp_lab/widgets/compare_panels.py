"""Panels of a comparison: tidy data in, a Matplotlib figure out; pyplot is not touched, since jobs draw from a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from spikelfp_lab.plots.bars import RIM
from spikelfp_lab.plots.latents import DIRECTIONS
from spikelfp_lab.plots.palette import CONTROLS, MODEL_COLORS, in_order, model_color
from spikelfp_lab.plots.style import FAINT, INK, break_at_gaps, style
from spikelfp_lab.plots.tidy import READOUT_TITLES

WIDTH = 9.6  # inches: what a notebook shows without shrinking the text
PER_ROW = 4


def colors_of(labels: Sequence[str]) -> dict[str, str]:
    """A color of its own for each model; those that the palette does not know take what is free of it.

    Examples
    --------
    >>> colors = colors_of(["Distilled", "Mine", "Yours"])
    >>> colors["Distilled"], len(set(colors.values()))
    ('#d17f41', 3)
    """
    known = [label for label in labels if label in MODEL_COLORS]
    taken = {model_color(label) for label in known}
    # saturated and far apart first; pale ones would not be seen as lines
    order = ("Teacher", "MS-LFP", "MS-Distilled", "SS-MM", "Random teacher", "Time in trial")
    free = [
        MODEL_COLORS[name] for name in (*order, *MODEL_COLORS) if MODEL_COLORS[name] not in taken
    ]
    free = list(dict.fromkeys([model_color(""), *free]))
    own = dict(zip([label for label in labels if label not in known], free, strict=False))
    return {label: model_color(label) for label in known} | own


def draw_scores(
    scores: pd.DataFrame, *, split: str, focus: str, colors: Mapping[str, str]
) -> Figure:
    """Test R² of each model, a line a session, both read-outs side by side.

    Parameters
    ----------
    scores : pd.DataFrame
        As of ``CompareState.scores``; means are taken over the axes of behavior.
    split : str
        The split shown.
    focus : str
        The session whose line is strong.
    colors : mapping
        Model -> color.

    Returns
    -------
    Figure

    Examples
    --------
    >>> scores = pd.DataFrame({
    ...     "model": ["Teacher", "Distilled"], "session": "I/s01", "readout": "lagged",
    ...     "split": "test", "axis": "vx", "r2": [0.8, 0.7],
    ... })
    >>> figure = draw_scores(scores, split="test", focus="I/s01", colors=colors_of(["Teacher", "Distilled"]))
    >>> figure.axes[0].get_title(loc="left")
    'Lagged read-out, n = 1 session'
    """
    shown = scores.loc[scores["split"] == split]
    models = in_order(list(shown["model"]))
    readouts = [name for name in ("one_frame", "lagged") if name in set(shown["readout"])]
    with style():
        width = min(WIDTH, 1.0 + (1.1 + 0.62 * len(models)) * len(readouts))
        figure = Figure(figsize=(width, 3.7))
        grid = figure.subplots(1, len(readouts), sharey=True, squeeze=False)
        for axes, readout in zip(grid[0], readouts, strict=True):
            own = shown.loc[shown["readout"] == readout]
            table = own.pivot_table(index="session", columns="model", values="r2", dropna=False)
            table = table.reindex(columns=models)
            _draw_pairs(axes, table, focus, colors)
            n = len(table)
            title = READOUT_TITLES[readout]
            axes.set_title(f"{title}, n = {n} session{'' if n == 1 else 's'}")
        low, high = float(shown["r2"].min()), float(shown["r2"].max())
        pad = 0.08 * max(high - min(low, 0.0), 0.1)
        grid[0, 0].set_ylim(max(-0.5, min(low, 0.0)) - pad, max(high, 0.0) + pad)
        names = ", ".join(dict.fromkeys(map(str, shown["axis"])))
        grid[0, 0].set_ylabel(f"Decoding R² ({split}; mean of {names})")
        sessions = list(dict.fromkeys(shown["session"]))
        key = [Line2D([], [], color=INK, linewidth=1.6, label=f"{focus} (in focus)")]
        if len(sessions) > 1:
            key.append(Line2D([], [], color="#999999", linewidth=0.8, label="other sessions"))
        key.append(Line2D([], [], color="#555555", linewidth=3, label="mean"))
        figure.legend(handles=key, loc="outside lower center", ncols=3)
    return figure


def draw_decoded(
    table: pd.DataFrame,
    r2: Mapping[str, float],
    *,
    title: str,
    units: str,
    colors: Mapping[str, str],
    bin_size_s: float,
) -> Figure:
    """True and decoded behavior: each axis in time, and the first two in the plane.

    Parameters
    ----------
    table : pd.DataFrame
        As of ``CompareState.decoded``.
    r2 : mapping
        Model -> R² over the whole split, for the key.
    title, units : str
    colors : mapping
        Model -> color.
    bin_size_s : float
        Seconds; lines break at gaps in time.

    Returns
    -------
    Figure

    Examples
    --------
    >>> table = pd.DataFrame({
    ...     "time": [0.0, 0.1] * 2, "axis": "x", "model": ["True"] * 2 + ["Mine"] * 2,
    ...     "value": [0.0, 1.0, 0.1, 0.9], "in_split": True,
    ... })
    >>> figure = draw_decoded(
    ...     table, {"Mine": 0.9}, title="", units="cm", colors={"Mine": "#d17f41"}, bin_size_s=0.1
    ... )
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['True', 'Mine (R² 0.90)']
    """
    names = list(dict.fromkeys(table["axis"]))
    models = list(dict.fromkeys(table["model"]))
    groups: Any = table.groupby("model", sort=False)
    series: dict[str, Any] = {
        model: own.pivot(index="time", columns="axis", values="value")[names]
        for model, own in groups
    }
    marks: Any = table.drop_duplicates("time").set_index("time")["in_split"]
    with style():
        figure = Figure(figsize=(WIDTH, 1.1 + max(1.45 * len(names), 2.6)))
        plane = len(names) > 1
        # in three columns the plane is as wide as it is high
        grid = figure.add_gridspec(
            len(names), 2 if plane else 1, width_ratios=[2.1, 1][: 1 + plane]
        )
        first: Axes | None = None
        for i, axis in enumerate(names):
            axes = figure.add_subplot(grid[i, 0], sharex=first)
            first = first or axes
            for model in models:
                time, values = series[model].index.to_numpy(), series[model][[axis]].to_numpy()
                x, y = break_at_gaps(time, values, bin_size_s=bin_size_s)
                axes.plot(x, y[:, 0], label=model, **_look(model, colors))
            for start, stop in _outside(marks, bin_size_s):
                axes.axvspan(start, stop, color="#eeeeee", zorder=0, linewidth=0)
            axes.set_ylabel(f"{axis} ({units})" if units else axis)
            axes.tick_params(labelbottom=axis == names[-1])
            axes.margins(x=0)
        assert first is not None
        figure.axes[-1].set_xlabel("Time (s)" + ("" if marks.all() else "; gray: another split"))
        if plane:
            axes = figure.add_subplot(grid[:, 1])
            for model in models:
                x, y = series[model].to_numpy()[:, :2].T
                look: Any = _look(model, colors) | {"linewidth": 0.8, "path_effects": None}
                axes.plot(x, y, **look)
            labels = [f"{axis} ({units})" if units else axis for axis in names[:2]]
            axes.set(xlabel=labels[0], ylabel=labels[1], aspect="equal", title="In the plane")
            axes.set_adjustable("datalim")
        handles = [
            Line2D([], [], label=_with_r2(model, r2), **_look(model, colors)) for model in models
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(models), 4))
        figure.suptitle(title, x=0.01, ha="left")
        figure.align_ylabels()
    return figure


def draw_latents(table: pd.DataFrame, *, by: str, label: str, reference: str, title: str) -> Figure:
    """Latents of models on the reference's principal components, in the plane or in space.

    Parameters
    ----------
    table : pd.DataFrame
        As of ``CompareState.latents``.
    by : {"direction", "speed", "time"}
        What ``color`` is.
    label : str
        Of the color bar; names of the two axes, as "vx, vy", where the color is a direction.
    reference : str
        The model that the others are turned onto.
    title : str

    Returns
    -------
    Figure
        Each panel is scaled to its points, and its title says how much larger than the reference's.

    Examples
    --------
    >>> table = pd.DataFrame({
    ...     "model": "Mine", "time": [0.0, 1.0, 2.0], "pc1": [0.0, 1.0, 2.0], "pc2": [1.0, 0.0, 2.0],
    ...     "color": [0.0, 1.0, 2.0], "rest": [False, False, True],
    ... })
    >>> figure = draw_latents(table, by="time", label="Time (s)", reference="Mine", title="")
    >>> figure.axes[0].get_xlabel()
    'PC 1 of Mine'
    """
    models = list(dict.fromkeys(table["model"]))
    places = [name for name in table if str(name).startswith("pc")]
    space = len(places) == 3
    frames = {m: _cloud(own[places].to_numpy()) for m, own in table.groupby("model", sort=False)}
    full = frames[reference if reference in frames else models[0]][1]
    if by == "direction":
        scale = ScalarMappable(Normalize(0, 2 * np.pi), DIRECTIONS)
    else:
        edges = np.quantile(table["color"].to_numpy(), [0.01, 0.99])
        scale = ScalarMappable(Normalize(*edges), colormaps["viridis"])
    rows = -(-len(models) // PER_ROW)
    columns = -(-len(models) // rows)
    with style():
        width = min(WIDTH, 1.2 + 2.5 * columns)
        figure = Figure(figsize=(width, 0.5 + (2.6 if space else 2.35) * rows))
        key = [0.12, 0.35] if by == "direction" else []  # a gap, for the last label of 3-D axes
        ratios = [1.0] * columns + key
        grid = figure.add_gridspec(rows, len(ratios), width_ratios=ratios)
        drawn = []
        for number, model in enumerate(models):
            place = grid[number // columns, number % columns]
            axes: Any = figure.add_subplot(place, projection="3d" if space else None)
            own = table.loc[table["model"] == model]
            rest, colors = own["rest"].to_numpy(dtype=bool), scale.to_rgba(own["color"].to_numpy())
            at = own[places].to_numpy().T
            for use, color in ((rest, FAINT), (~rest, colors[~rest])):
                axes.scatter(*at[:, use], s=3, color=color, linewidth=0, rasterized=True)
            center, reach = frames[model]
            larger = f"enlarged {full / reach:.1f}×" if full > 1.15 * reach else ""
            note = "reference" if model == reference else larger
            axes.set_title(f"{model}\n({note})" if note else model, fontsize=8.5)
            limits = [(middle - reach, middle + reach) for middle in center]
            _frame(axes, limits, reference, space=space)
            drawn.append(axes)
        if by == "direction":
            wheel = figure.add_subplot(grid[0, -1], projection="polar")
            _wheel(
                wheel, label.split(", "), note="gray: rest" if bool(np.any(table["rest"])) else ""
            )
        else:
            figure.colorbar(scale, ax=drawn, label=label, shrink=0.7, pad=0.08 if space else 0.02)
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def _draw_pairs(axes: Axes, table: pd.DataFrame, focus: str, colors: Mapping[str, str]) -> None:
    models = list(table.columns)
    values = table.to_numpy(dtype=float)
    places = np.arange(len(models))
    for session, row in zip(table.index, values, strict=True):
        strong = session == focus
        known = np.isfinite(row)  # a line goes on where a model cannot read the session
        look = (
            {"color": INK, "linewidth": 1.4} if strong else {"color": "#999999", "linewidth": 0.7}
        )
        axes.plot(places[known], row[known], zorder=2 if strong else 1, **look)
    for place, model in enumerate(models):
        own = values[:, place]
        color, mean = colors[model], float(np.nanmean(own))
        at = [place - 0.25, place + 0.25]
        axes.plot(at, [mean, mean], color=color, linewidth=3, zorder=3, **rim(color, 3))
        points = {"s": 18, "color": color, "edgecolor": INK, "linewidth": 0.5, "zorder": 4}
        axes.scatter(np.full(len(own), place), own, **points)
        text = f"{mean:.2f}".replace("-", "−")
        axes.text(place + 0.29, mean, text, va="center", fontsize=7, zorder=5, path_effects=[RIM])
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set_xticks(places, models, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.5, len(models) - 0.15)


def _look(model: str, colors: Mapping[str, str]) -> dict[str, Any]:
    if model == "True":
        return {"color": INK, "linewidth": 1.5, "zorder": 1.5}
    look = {"color": colors[model], "linewidth": 1.1, "zorder": 1.8 if model in CONTROLS else 2}
    return look | rim(colors[model], 1.1)


def rim(color: str, linewidth: float) -> dict[str, Any]:
    """A gray rim for lines of pale colors, which could not be seen on white otherwise; nothing for others.

    >>> list(rim("#f2e2b8", 1.0)), rim("#127a5c", 1.0)
    (['path_effects'], {})
    """
    red, green, blue = to_rgb(color)
    if 0.299 * red + 0.587 * green + 0.114 * blue < 0.8:
        return {}
    return {"path_effects": [withStroke(linewidth=linewidth + 0.9, foreground="#777777")]}


def _with_r2(model: str, r2: Mapping[str, float]) -> str:
    return f"{model} (R² {r2[model]:.2f})".replace("-0", "−0") if model in r2 else model


def _outside(marks: pd.Series, bin_size_s: float) -> list[tuple[float, float]]:
    """Start and stop of the stretches of time that are not of the split."""
    time, out = marks.index.to_numpy(), ~marks.to_numpy(dtype=bool)
    edges = np.diff(np.concatenate([[0], out.astype(np.int8), [0]]))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    half = bin_size_s / 2
    return [(time[a] - half, time[b] + half) for a, b in zip(starts, stops, strict=True)]


def _cloud(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Center and reach of nearly all points: a few far ones must not shrink the picture of the others."""
    low, high = np.quantile(values, [0.003, 0.997], axis=0)
    return (low + high) / 2, 0.55 * float((high - low).max()) or 1.0


def _frame(axes: Any, limits: list[tuple[float, float]], reference: str, *, space: bool) -> None:
    axes.set(xlim=limits[0], ylim=limits[1], xticks=[], yticks=[])
    if space:
        axes.set(zlim=limits[2], zticks=[], xlabel="PC 1", ylabel="PC 2", zlabel="PC 3")
        for name in ("x", "y", "z"):
            getattr(axes, f"{name}axis").labelpad = -12
        axes.patch.set_visible(False)  # it would hide the labels of the panel beside it
    else:
        axes.set(xlabel=f"PC 1 of {reference}", ylabel=f"PC 2 of {reference}", aspect="equal")


def _wheel(wheel: Any, names: Sequence[str], *, note: str) -> None:
    """The key to directions: a ring, whose first axis points to the right."""
    angle, ring = np.linspace(0, 2 * np.pi, 257), np.linspace(0, 1, 256)[None]
    colors = DIRECTIONS
    wheel.pcolormesh(angle, [0.55, 1.0], ring, cmap=colors, shading="flat", rasterized=True)
    wheel.set(ylim=(0, 1), xticks=[], yticks=[])
    wheel.grid(False)
    wheel.spines["polar"].set_visible(False)
    beyond = {"transform": wheel.transAxes, "fontsize": 8}
    wheel.text(1.05, 0.5, names[0], ha="left", va="center", **beyond)
    wheel.text(0.5, 1.05, names[1], ha="center", va="bottom", **beyond)
    wheel.text(0.5, -0.1, note, ha="center", va="top", **beyond)
