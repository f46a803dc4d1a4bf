"""Tables of numbers as colored cells, each number written in its own."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikelfp_lab.plots.bars import panels
from spikelfp_lab.plots.palette import CONTROLS, in_order
from spikelfp_lab.plots.style import new_figure, style
from spikelfp_lab.plots.tidy import READOUT_TITLES, SCORE_COLUMNS, check, counted, means, select


def plot_layers(table: pd.DataFrame, *, cohort: str = "") -> Figure:
    """Draw how alike each layer of a model and each layer of the teacher are, one panel a model.

    Cells: mean over sessions of the mean over seeds.

    Parameters
    ----------
    table : pd.DataFrame
        Tidy: ``session``, ``seed``, ``model``, ``layer`` and ``teacher_layer`` (0 is the tokens),
        ``value`` (linear CKA).
    cohort : str
        For the title.

    Returns
    -------
    Figure
        Up to four panels a row, with one color bar from 0 to 1.

    Raises
    ------
    DataError
        A column is missing, there are no rows, or a value is NaN.

    References
    ----------
    Linear CKA: Kornblith et al., ICML 2019, arXiv 1905.00414.
    """
    check(table, ["session", "seed", "model", "layer", "teacher_layer"], ["value"])
    by_session = means(table, ["value"], by=["model", "layer", "teacher_layer", "session"])
    models = in_order(list(table["model"]))
    shape = [len(set(table[name])) for name in ("layer", "teacher_layer")]
    size = max(0.7 + 0.3 * shape[1], 1.8), max(0.7 + 0.28 * shape[0], 1.5)
    with style():
        figure, grid = panels(len(models), size, counted(table, cohort), most=4)
        for axes, model in zip(grid, models, strict=True):
            own = by_session.loc[by_session["model"] == model]
            cells = own.pivot_table(index="layer", columns="teacher_layer", values="value")
            draw_cells(axes, cells.rename(index={0: "tokens"}, columns={0: "tokens"}))
            axes.invert_yaxis()  # the first layer at the bottom
            axes.set(xlabel="Teacher's layer", ylabel="Model's layer", title=model)
        mesh = grid[-1].collections[0]
        figure.colorbar(mesh, ax=figure.axes, label="Linear CKA", shrink=0.8, pad=0.02)
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
    """
    points = select(scores, [readout], keys=SCORE_COLUMNS[:3], also=["axis"])
    models, latents = in_order(list(points["model"])), list(dict.fromkeys(points["axis"]))
    by_session = means(points, ["r2"], by=["model", "axis", "session"])
    cells = by_session.pivot_table(index="model", columns="axis", values="r2").loc[models, latents]
    with style():
        size = max(2.4 + 0.34 * len(latents), 3.4), max(1.2 + 0.22 * len(models), 2.2)
        figure = new_figure(*size, counted(points, cohort))
        axes = figure.subplots()
        draw_cells(axes, cells)
        first = sum(model not in CONTROLS for model in models)
        if 0 < first < len(models):
            axes.axhline(first, color="white", linewidth=2.5)
        axes.tick_params(axis="x", rotation=40)
        axes.set(xlabel="True latent", ylabel="", title=READOUT_TITLES.get(readout, readout))
        bar = {"label": "R² (test)", "pad": 0.03, "extend": "both"}
        figure.colorbar(axes.collections[0], ax=axes, **bar)
    return figure


def draw_cells(axes: Axes, cells: pd.DataFrame) -> None:
    """Numbers as cells, colored from 0 to 1; NaN cells stay empty.

    >>> axes = Figure().subplots()
    >>> draw_cells(axes, pd.DataFrame([[0.25, -0.06, float("nan")]]))
    >>> [text.get_text() for text in axes.texts]
    ['.25', '−.06']
    """
    sns.heatmap(
        cells, annot=cells.map(short), fmt="", annot_kws={"fontsize": 6.5}, vmin=0, vmax=1,
        cmap="viridis", cbar=False, ax=axes, mask=cells.isna(), xticklabels=True, yticklabels=True,
    )  # fmt: skip
    axes.tick_params(length=0)
    axes.tick_params(axis="y", rotation=0)


def short(value: float) -> str:
    """Two decimals without the zero before the point, and a true minus.

    >>> short(0.421), short(-0.06), short(1.0)
    ('.42', '−.06', '1.00')
    """
    text = f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")
    return text.replace("0.", ".", 1) if text.lstrip("−").startswith("0") else text
