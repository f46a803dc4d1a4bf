"""The paper's bar figure: how well each model decodes, with its controls."""

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from spikelfp_lab.analysis import bootstrap_interval
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots.palette import CONTROLS, in_order, model_color
from spikelfp_lab.plots.style import FAINT, INK, style

READOUT_TITLES = {"one_frame": "One-frame read-out", "lagged": "Lagged read-out"}
LOWEST_R2 = -0.2
CONTROL_GAP = 0.6
BAR_STEP = 0.36  # inches from bar to bar: room for a number above each
RIM = withStroke(linewidth=2.2, foreground="white")  # what is black is seen on dark bars too
MAX_WIDTH = 10.5  # inches that a notebook shows without shrinking the text


def plot_scores(
    scores: pd.DataFrame,
    *,
    cohort: str = "",
    readouts: Sequence[str] = ("one_frame", "lagged"),
    split: str = "test",
    lines: bool = False,
    rows: str | None = None,
) -> Figure:
    """Draw R² of every model as bars: mean over sessions, 95 % interval, and every score behind it.

    Bars: mean over sessions of the mean over seeds and axes. Whiskers: bootstrap over sessions.
    Points: one a session and seed. What lies below -0.2 is written at the edge, not drawn.

    Parameters
    ----------
    scores : pd.DataFrame
        Tidy, as :func:`spikelfp_lab.decode` returns with ``model``, ``session`` and ``seed`` added:
        ``model``, ``session``, ``seed`` (NaN where a model has none), ``readout``, ``split``,
        ``axis``, ``r2``.
    cohort : str
        For the title.
    readouts : sequence of str
        One panel each.
    split : str
        Which of the splits is shown.
    lines : bool
        Join each session's scores across the models.
    rows : str, optional
        Name of a column, such as "setting": one row of panels for each of its values, in order of
        appearance, with the models that have scores there.

    Returns
    -------
    Figure
        Panels on one R² axis, side by side, or below each other where that would be too wide;
        controls stand apart, hatched, behind a gap. The title says how many sessions and seeds
        there are.

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
    ...     "model": ["MS-LFP", "MS-LFP", "Distilled", "Distilled"],
    ...     "session": ["s1", "s2"] * 2,
    ...     "seed": 0,
    ...     "readout": "lagged",
    ...     "split": "test",
    ...     "axis": "vx",
    ...     "r2": [0.3, 0.4, 0.6, 0.7],
    ... })
    >>> figure = plot_scores(scores, cohort="simulated", readouts=["lagged"])
    >>> figure.get_suptitle()
    'simulated: 2 sessions, 1 seed'
    """
    by = [] if rows is None else [rows]
    missing = {"model", "session", "seed", "readout", "split", "axis", "r2", *by} - set(scores)
    if missing:
        raise DataError(
            f"The scores have no column {', '.join(sorted(missing))}: one row a model, session, "
            "seed, readout, split and axis, with r2."
        )
    shown = scores.loc[(scores["split"] == split) & scores["readout"].isin(list(readouts))]
    for readout in readouts:
        if not (shown["readout"] == readout).any():
            raise DataError(f"No scores of the read-out {readout!r} in the split {split!r}.")
    if np.isnan(shown["r2"].to_numpy(dtype=float)).any():
        raise DataError("Some of the scores are NaN: leave those sessions out, and say so.")
    if rows is not None and shown[rows].isna().any():
        raise DataError(f"Some of the scores have no {rows!r}: fill in that column.")
    keys = [*by, "readout", "model", "session", "seed"]
    points = means(shown, ["r2"], by=keys)
    values = [] if rows is None else list(dict.fromkeys(points[rows]))
    parts = {str(value): points.loc[points[rows] == value] for value in values} or {"": points}
    places = {part: model_places(in_order(list(own["model"]))) for part, own in parts.items()}
    span = max(max(own.values()) for own in places.values()) + 1
    # a panel of few bars still needs room for its title, and the figure for its own
    panel_width = max(BAR_STEP * span, 1.9 if rows is None else 2.8)
    wide = 0.9 + panel_width * len(readouts) > MAX_WIDTH
    columns = 1 if wide else len(readouts)
    lines_of_panels = len(parts) * len(readouts) // columns
    with style():
        figure, grid = plt.subplots(
            lines_of_panels,
            columns,
            figsize=(0.9 + panel_width * columns, 0.4 + 3.0 * lines_of_panels),
            sharey=True,
            squeeze=False,
        )
        r2 = points["r2"].to_numpy(dtype=float)
        low, high = min(0.0, float(r2.min())), max(float(r2.max()), 0.0)
        low = max(1.1 * low, LOWEST_R2 - 0.02)
        # a high bar among the controls must not reach into what is written over them
        room = 0.15 if r2[points["model"].isin(CONTROLS)].max(initial=-1) > high - 0.1 else 0.08
        grid[0, 0].set_ylim(low, min(1.0, high) + room)
        names = ", ".join(dict.fromkeys(map(str, shown["axis"])))
        label = textwrap.fill(f"Decoding R² ({split}; mean of {names})", 44)
        cells = [(part, readout) for part in parts for readout in readouts]
        labeled: set[int] = set()
        for axes, (part, readout) in zip(grid.flat, cells, strict=True):
            panel = parts[part].loc[parts[part]["readout"] == readout]
            if panel.empty:
                axes.set_visible(False)
                continue
            line = axes.get_subplotspec().rowspan.start
            if line not in labeled:  # the first panel of a line that has scores
                axes.set_ylabel(label)
                axes.tick_params(labelleft=True)
                labeled.add(line)
            draw_bars(axes, panel, places[part], floor=low)
            axes.set_xlim(-0.6, span - 0.4)  # bars are as wide in every row
            if lines:
                _join(axes, panel, places[part])
            title = READOUT_TITLES.get(readout, readout)
            axes.set_title(title if rows is None else f"{title}, {part}")
        figure.suptitle(counted(points, cohort), x=0.01, ha="left")
        plt.close(figure)
    return figure


def model_places(models: list[str]) -> dict[str, float]:
    """x of every model: a step of one, and a gap before the controls."""
    gap = CONTROL_GAP if any(model not in CONTROLS for model in models) else 0.0
    return {model: i + gap * (model in CONTROLS) for i, model in enumerate(models)}


def _offsets(points: pd.DataFrame) -> dict[str, float]:
    """Each session has its own place across a bar, the same in every bar, right of the whisker."""
    sessions = sorted(points["session"].unique())
    half = min(0.2, 0.06 * (len(sessions) - 1))
    return dict(zip(sessions, 0.08 + np.linspace(-half, half, len(sessions)), strict=True))


def draw_bars(axes: Axes, points: pd.DataFrame, places: dict[str, float], *, floor: float) -> None:
    """Bars of ``r2`` with whiskers, points and numbers; what lies below the floor is written there."""
    offsets = _offsets(points)
    axes.axhline(0, color=INK, linewidth=0.7)
    for model, x in places.items():
        own = points.loc[points["model"] == model]
        if own.empty:
            continue
        control = model in CONTROLS
        by_session = own.groupby("session")["r2"].mean().to_numpy()
        mean = float(by_session.mean())
        axes.bar(
            x,
            mean,
            width=0.72,
            color=model_color(model),
            edgecolor="white" if control else model_color(model),
            hatch="////" if control else None,
            linewidth=0.0,
            label=model,
        )
        visible = own.loc[own["r2"] >= floor]
        axes.scatter(
            x + visible["session"].map(offsets).to_numpy(),
            visible["r2"],
            s=9,
            facecolor="white",
            edgecolor=INK,
            linewidth=0.5,
            zorder=4,
        )
        low, high = bootstrap_interval(by_session)
        top = max(mean, visible["r2"].max() if len(visible) else mean)
        if np.isfinite(low) and high > floor:
            axes.vlines(
                x - 0.24,
                max(low, floor),
                high,
                color=INK,
                linewidth=1.3,
                zorder=5,
                path_effects=[RIM],
            )
            top = max(top, high)
        below = own.loc[own["r2"] < floor, "r2"]
        if len(below) or mean < floor:
            write_above(axes, x, floor, f"lowest\n{own['r2'].min():.2f}", size=5.5, above=5)
            axes.plot(x, floor, marker="v", color=INK, markersize=4, clip_on=False, zorder=7)
        write_above(axes, x, max(top, 0), f"{mean:.2f}", size=6.5, above=2.5)
    axes.set_xticks(list(places.values()), list(places), rotation=40, ha="right")
    axes.tick_params(axis="x", length=0, pad=1)
    axes.set_xlim(-0.6, max(places.values()) + 0.6)
    controls = [x for model, x in places.items() if model in CONTROLS]
    if controls and controls[0] > 0:
        edge = controls[0] - 0.5 - CONTROL_GAP / 2
        axes.axvline(edge, color=FAINT, linewidth=0.8)
        axes.text(
            edge + 0.1,
            1.0,
            "controls and references" if len(controls) > 3 else "controls",
            transform=axes.get_xaxis_transform(),
            va="top",
            fontsize=7,
            color="#666666",
        )


def write_above(axes: Axes, x: float, y: float, text: str, *, size: float, above: float) -> None:
    """Centered text some points above a place, on a white rim that keeps it readable."""
    axes.annotate(
        text.replace("-0.00", "0.00").replace("-", "−"),
        (x, y),
        xytext=(0, above),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=size,
        linespacing=0.95,
        path_effects=[RIM],
        zorder=8,
    )


def _join(axes: Axes, points: pd.DataFrame, places: dict[str, float]) -> None:
    """A line a session through its means over seeds, not across the gap before the controls."""
    groups = points.groupby(["session", "model"])
    means = {key: float(own["r2"].to_numpy().mean()) for key, own in groups}
    for session, offset in _offsets(points).items():
        for control in (False, True):
            known = [m for m in places if (m in CONTROLS) is control and (session, m) in means]
            x = [places[model] + offset for model in known]
            y = [means[session, model] for model in known]
            axes.plot(x, y, color="#555555", linewidth=0.5, alpha=0.7, zorder=3)


def means(table: pd.DataFrame, values: Sequence[str], *, by: Sequence[str]) -> pd.DataFrame:
    """Means of some columns by others, whose NaN are a group of their own; in order of appearance."""
    groups: Any = table.groupby(list(by), dropna=False, sort=False)
    return groups[list(values)].mean().reset_index()


def counted(points: pd.DataFrame, cohort: str) -> str:
    """A title that says how many sessions and seeds there are."""
    counts = {name: len(points[name].dropna().drop_duplicates()) for name in ("session", "seed")}
    text = ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in counts.items() if n > 0)
    return f"{cohort}: {text}" if cohort else text
