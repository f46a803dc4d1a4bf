"""What each choice of a study is worth: the scores of its variants, one question a panel."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikelfp_lab.analysis import bootstrap_interval
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots.scores import LOWEST_R2, READOUT_TITLES, counted, means, write_above
from spikelfp_lab.plots.style import INK, style

MOST_COLUMNS = 4
_MARKERS = "osD^"
_SHADES = ("#8c8c8c", INK, "#5a5a5a", "#b0b0b0")
_OWN_BAND = "#f6e9d8"


def plot_ablations(
    scores: pd.DataFrame,
    *,
    cohort: str = "",
    readouts: Sequence[str] = ("one_frame", "lagged"),
) -> Figure:
    """Draw test R² of every variant of a study's choices, one panel a question.

    Markers: mean over sessions of the mean over seeds and axes. Whiskers: bootstrap over sessions.
    Points: one a session and seed. What lies below -0.2 is marked at the edge, not drawn.

    Parameters
    ----------
    scores : pd.DataFrame
        Tidy, as of :func:`spikelfp_lab.plots.plot_scores` (``model`` is not needed), and the
        columns ``question`` (the panel), ``variant`` (text; on the axis in order of appearance)
        and ``own`` (bool: whether the variant is the study's own choice; at most one a question).
    cohort : str
        For the title.
    readouts : sequence of str
        Side by side in each panel, as markers of their own.

    Returns
    -------
    Figure
        Up to four panels a row, on one R² axis. The study's own choice has a bold name, a band
        and dotted lines at its means.

    Raises
    ------
    DataError
        A column is missing; no test scores of a read-out; NaN among them; two own choices.

    Examples
    --------
    >>> scores = pd.DataFrame({
    ...     "question": "Student layers", "variant": ["2", "2", "4", "4"],
    ...     "own": [False, False, True, True], "session": ["s1", "s2"] * 2, "seed": 0,
    ...     "readout": "lagged", "split": "test", "axis": "vx", "r2": [0.5, 0.6, 0.6, 0.7],
    ... })
    >>> figure = plot_ablations(scores, readouts=["lagged"])
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['2', '4']
    """
    points = _points(scores, readouts)
    questions = list(dict.fromkeys(points["question"]))
    rows = math.ceil(len(questions) / MOST_COLUMNS)
    columns = math.ceil(len(questions) / rows)
    most = max(len(set(points.loc[points["question"] == one, "variant"])) for one in questions)
    width = max(1.9, 0.34 * most + 0.3)
    with style():
        figure, grid = plt.subplots(
            rows,
            columns,
            figsize=(max(0.7 + width * columns, 3.6), 0.7 + 2.4 * rows),
            sharey=True,
            squeeze=False,
        )
        r2 = points["r2"].to_numpy(dtype=float)
        low, high = max(float(r2.min()), LOWEST_R2), max(float(r2.max()), LOWEST_R2)
        margin = 0.06 * (high - low) or 0.02
        grid[0, 0].set_ylim(low - margin, high + margin)
        for axes, question in zip(grid.flat, questions, strict=False):
            _panel(axes, points.loc[points["question"] == question], readouts)
            axes.set_title(question)
        for axes in grid.flat[len(questions) :]:
            axes.set_axis_off()
        names = ", ".join(dict.fromkeys(map(str, scores["axis"])))
        for axes in grid[:, 0]:
            axes.set_ylabel("Decoding R²\n" + textwrap.fill(f"(test; mean of {names})", 28))
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        figure.suptitle(counted(points, cohort), x=0.01, ha="left")
        plt.close(figure)
    return figure


def _points(scores: pd.DataFrame, readouts: Sequence[str]) -> pd.DataFrame:
    """Test R² of each variant, session and seed, mean over the axes of behavior."""
    needed = {"question", "variant", "own", "session", "seed", "readout", "split", "axis", "r2"}
    if missing := needed - set(scores):
        raise DataError(
            f"The scores have no column {', '.join(sorted(missing))}: one row a question, "
            "variant, session, seed, readout, split and axis, with own and r2."
        )
    shown = scores.loc[(scores["split"] == "test") & scores["readout"].isin(list(readouts))]
    for readout in readouts:
        if not (shown["readout"] == readout).any():
            raise DataError(f"No test scores of the read-out {readout!r}.")
    if np.isnan(shown["r2"].to_numpy(dtype=float)).any():
        raise DataError("Some of the scores are NaN: leave those sessions out, and say so.")
    keys = ["question", "variant", "own", "readout", "session", "seed"]
    shown = shown.assign(variant=shown["variant"].astype(str))
    points = means(shown, ["r2"], by=keys)
    for question, own in points.loc[points["own"].astype(bool)].groupby("question", sort=False):
        if len(choices := list(dict.fromkeys(own["variant"]))) > 1:
            raise DataError(
                f"{question!r} has {len(choices)} own choices, {', '.join(choices)}: set own for "
                "one of its variants."
            )
    return points


def _panel(axes: Axes, points: pd.DataFrame, readouts: Sequence[str]) -> None:
    variants = list(dict.fromkeys(points["variant"]))
    own = set(points.loc[points["own"].astype(bool), "variant"])
    floor = axes.get_ylim()[0]
    shift = 0.42 / max(len(readouts), 2)
    for number, readout in enumerate(readouts):
        look: dict[str, Any] = {"color": _SHADES[number % 4], "marker": _MARKERS[number % 4]}
        at: dict[int, float] = {}
        for i, variant in enumerate(variants):
            part = points.loc[(points["variant"] == variant) & (points["readout"] == readout)]
            if part.empty:
                continue
            x = i + shift * (number - (len(readouts) - 1) / 2)
            by_session = part.groupby("session")["r2"].mean().to_numpy()
            at[i] = float(by_session.mean())
            low, high = bootstrap_interval(by_session)
            if np.isfinite(low) and high > floor:
                axes.vlines(x, max(low, floor), high, color=look["color"], linewidth=1.2, zorder=4)
            axes.scatter(
                np.full(len(part), x + 0.1), part["r2"], s=4, color=look["color"], alpha=0.45,
                linewidth=0, zorder=3,
            )  # fmt: skip
            if variant in own:
                axes.axhline(
                    at[i], color=look["color"], linewidth=0.7, linestyle=(0, (1, 2)), zorder=1
                )
            if at[i] < floor:
                write_above(axes, x, floor, f"{at[i]:.2f}", size=5.5, above=5 + 7 * number)
                axes.plot(x, floor, marker="v", color=INK, markersize=4, clip_on=False, zorder=7)
        x = np.array(list(at)) + shift * (number - (len(readouts) - 1) / 2)
        label = READOUT_TITLES.get(readout, readout)
        axes.plot(
            x, list(at.values()), linestyle="none", markersize=4.5, markeredgecolor="white",
            markeredgewidth=0.5, zorder=5, label=label, **look,
        )  # fmt: skip
    if axes.get_ylim()[0] < 0 < axes.get_ylim()[1]:
        axes.axhline(0, color=INK, linewidth=0.6)
    turned = {"rotation": 40, "ha": "right"} if max(map(len, variants)) > 4 else {}
    axes.set_xticks(range(len(variants)), variants, **turned)
    axes.tick_params(axis="x", length=0, pad=1 if turned else 3)
    axes.set_xlim(-0.6, len(variants) - 0.4)
    for i, (tick, variant) in enumerate(zip(axes.get_xticklabels(), variants, strict=True)):
        if variant in own:
            tick.set_fontweight("bold")
            axes.axvspan(i - 0.45, i + 0.45, color=_OWN_BAND, linewidth=0, zorder=0)
