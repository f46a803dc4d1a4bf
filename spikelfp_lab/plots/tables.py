"""Tables of numbers as colored cells, each number written in its own."""

import re

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikelfp_lab.plots import theme, tidy


def plot_layers(table: pd.DataFrame, *, cohort: str = "") -> Figure:
    """Draw how alike each layer of a model and each layer of the teacher are, one panel a model.

    Raises DataError: a column is missing, there are no rows, or a value is NaN.

    Parameters
    ----------
    table : pd.DataFrame
        Tidy: ``session``, ``seed``, ``model``, ``layer`` and ``teacher_layer`` (0 is the tokens),
        ``value`` (linear CKA, as of Kornblith et al., ICML 2019, arXiv 1905.00414).
    cohort : str
        For the title. Cells are the mean over sessions of the mean over seeds.
    """
    tidy.check(table, [*tidy.KEYS, "layer", "teacher_layer"], ["value"])
    table = table.set_index("model").loc[theme.in_order(table["model"])].reset_index()
    by_session = tidy.means(table, "value", by=["model", "layer", "teacher_layer", "session"])
    rows, columns = (len(set(table[name])) for name in ("layer", "teacher_layer"))
    size = max(0.7 + 0.3 * columns, 1.8), max(0.7 + 0.28 * rows, 1.5)
    with theme.style():
        title = tidy.counted(table, cohort)
        figure, shown = theme.panels(by_session, ["model"], size, title, sharey=False)
        for axes, own in shown:
            cells = own.pivot_table(index="layer", columns="teacher_layer", values="value")
            _draw_cells(axes, cells.rename(index={0: "tokens"}, columns={0: "tokens"}))
            axes.invert_yaxis()  # the first layer at the bottom
            axes.set(xlabel="Teacher's layer", ylabel="Model's layer")
        bar = {"label": "Linear CKA", "shrink": 0.8, "pad": 0.02}
        figure.colorbar(figure.axes[0].collections[0], ax=figure.axes, **bar)
    return figure


def plot_recovery(scores: pd.DataFrame, *, cohort: str = "") -> Figure:
    """Draw how well each true latent of a simulation can be read out of each model.

    Cells: test R², lagged, mean over sessions of the mean over seeds; colors end at 0 and 1.

    Raises DataError: a column is missing, no test scores of the read-out, or NaN among them.

    Parameters
    ----------
    scores : pd.DataFrame
        Tidy, as of :func:`spikelfp_lab.plots.plot_scores`; ``axis`` names the true latent.
    cohort : str
        For the title.
    """
    points, by = tidy.select(scores, [*tidy.KEYS, "axis"], readouts=["lagged"])
    models, latents = theme.in_order(points["model"]), list(points["axis"].unique())
    by_session = tidy.means(points, "r2", by=["model", "axis", "session"])
    cells = by_session.pivot_table(index="model", columns="axis", values="r2").loc[models, latents]
    size = max(1.7 + 0.34 * len(latents), 2.7), max(0.8 + 0.22 * len(models), 1.8)
    with theme.style():
        figure, [(axes, _)] = theme.panels(points, by, size, tidy.counted(points, cohort))
        _draw_cells(axes, cells)
        first = sum(model not in theme.CONTROLS for model in models)
        if 0 < first < len(models):
            axes.axhline(first, color="white", linewidth=2.5)
        axes.tick_params(axis="x", rotation=40)
        axes.set(xlabel="True latent", ylabel="")
        bar = {"label": "R² (test)", "pad": 0.03, "extend": "both"}
        figure.colorbar(axes.collections[0], ax=axes, **bar)
    return figure


def _draw_cells(axes: Axes, cells: pd.DataFrame) -> None:
    """Numbers as cells, colored from 0 to 1, without the zero before the point; NaN stays empty."""
    texts = cells.map(lambda value: re.sub(r"^(−?)0\.", r"\1.", theme.number(value)))
    sns.heatmap(
        cells, annot=texts, fmt="", annot_kws={"fontsize": 6.5}, vmin=0, vmax=1, cmap="viridis",
        cbar=False, ax=axes, mask=cells.isna(), xticklabels=True, yticklabels=True,
    )  # fmt: skip
    axes.tick_params(length=0)
    axes.tick_params(axis="y", rotation=0)
