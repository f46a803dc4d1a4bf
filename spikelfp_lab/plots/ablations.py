"""What each choice of a study is worth: the scores of its variants, one question a panel."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots.bars import interval, panels, write_beside
from spikelfp_lab.plots.style import INK, style
from spikelfp_lab.plots.tidy import (
    LOWEST_R2,
    READOUT_TITLES,
    counted,
    means,
    number,
    r2_label,
    select,
)


def plot_ablations(
    scores: pd.DataFrame,
    *,
    cohort: str = "",
    readouts: Sequence[str] = ("one_frame", "lagged"),
) -> Figure:
    """Draw test R² of every variant of a study's choices, one panel a question.

    Markers: mean over sessions of the mean over seeds and axes. Whiskers: bootstrap over sessions.
    Points: one a session and seed. What lies below -0.2 is written at the edge, not drawn.

    Parameters
    ----------
    scores : pd.DataFrame
        Tidy, as of :func:`spikelfp_lab.plots.plot_scores` (``model`` is not needed), with
        ``question`` (the panel), ``variant`` and ``own`` (the study's choice; at most one a
        question).
    cohort : str
        For the title.
    readouts : sequence of str
        Side by side in each panel, as markers of their own.

    Returns
    -------
    Figure
        Up to four panels a row, on one R² axis. The study's own choice has a bold name and a band.

    Raises
    ------
    DataError
        A column is missing; no test scores of a read-out; NaN among them; two own choices.
    """
    keys = ["question", "variant", "own", "session", "seed"]
    points = select(scores, readouts, keys=keys).astype({"variant": str})
    by_session = means(points, ["r2"], by=["question", "variant", "readout", "session"])
    questions = list(dict.fromkeys(points["question"]))
    r2 = points["r2"].to_numpy(dtype=float)
    low, high = max(float(r2.min()), LOWEST_R2), max(float(r2.max()), LOWEST_R2)
    margin = 0.06 * (high - low) or 0.02
    most = int(points.groupby("question")["variant"].nunique().to_numpy().max())
    with style():
        size = max(1.9, 0.34 * most + 0.3), 2.4
        figure, grid = panels(len(questions), size, counted(points, cohort), most=4, sharey=True)
        for axes, question in zip(grid, questions, strict=True):
            panel = points.loc[points["question"] == question]
            variants = list(dict.fromkeys(panel["variant"]))
            own = list(dict.fromkeys(panel.loc[panel["own"].astype(bool), "variant"]))
            if len(own) > 1:
                raise DataError(
                    f"{question!r} has {len(own)} own choices, {', '.join(own)}: set own for one "
                    "of its variants."
                )
            axes.set_ylim(low - margin, high + margin)
            _marks(axes, panel, by_session.loc[by_session["question"] == question], readouts)
            turned = {"rotation": 40, "ha": "right"} if max(map(len, variants)) > 4 else {}
            axes.set_xticks(range(len(variants)), variants, **turned)
            axes.tick_params(axis="x", length=0, pad=1 if turned else 3)
            for i in [variants.index(variant) for variant in own]:
                axes.get_xticklabels()[i].set_fontweight("bold")
                axes.axvspan(i - 0.45, i + 0.45, color="#f6e9d8", linewidth=0, zorder=0)
            axes.set(title=question, xlabel="", ylabel="")
            if axes.get_subplotspec().is_first_col():
                axes.set_ylabel(r2_label(scores, width=28))
        handles, labels = grid[0].get_legend_handles_labels()
        labels = [READOUT_TITLES.get(str(label), str(label)) for label in labels]
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _marks(
    axes: Any, points: pd.DataFrame, by_session: pd.DataFrame, readouts: Sequence[str]
) -> None:
    """Means as markers with whiskers, a read-out beside the other, over all points."""
    shades = ["#8c8c8c", INK, "#5a5a5a", "#b0b0b0"][: len(readouts)]
    variants = list(dict.fromkeys(points["variant"]))
    shift = 0.42 / max(len(readouts), 2)
    look: dict[str, Any] = {
        "x": "variant", "y": "r2", "order": variants, "hue": "readout", "ax": axes,
        "hue_order": list(readouts), "palette": shades,
    }  # fmt: skip
    sns.stripplot(
        data=points, dodge=len(readouts) > 1, jitter=False, size=2, alpha=0.45, linewidth=0,
        legend=False, **look,
    )  # fmt: skip
    look |= {
        "dodge": shift * (len(readouts) - 1) or False,
        "markers": list("osD^")[: len(readouts)],
    }
    sns.pointplot(
        data=by_session, linestyle="none", errorbar=interval, markersize=4.5,
        markeredgecolor="white", markeredgewidth=0.5, err_kws={"linewidth": 1.2}, **look,
    )  # fmt: skip
    axes.get_legend().remove()
    floor, top = axes.get_ylim()
    if floor < 0 < top:
        axes.axhline(0, color=INK, linewidth=0.6)
    own = set(points.loc[points["own"].astype(bool), "variant"])
    for variant, readout, mean in means(by_session, ["r2"], by=["variant", "readout"]).to_numpy():
        turn = list(readouts).index(readout)
        if variant in own:
            axes.axhline(mean, color=shades[turn], linewidth=0.7, linestyle=(0, (1, 2)), zorder=1)
        if mean >= floor:
            continue
        x = variants.index(variant) + shift * (turn - (len(readouts) - 1) / 2)
        axes.plot(x, floor, marker="v", color=INK, markersize=4, clip_on=False, zorder=7)
        write_beside(axes, x, floor, number(mean), size=5.5, off=5 + 7 * turn)
