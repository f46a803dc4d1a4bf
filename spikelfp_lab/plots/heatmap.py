"""A table of numbers as colored cells, each number written in its own."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

MAP = "viridis"


def draw_cells(axes: Axes, values: np.ndarray, *, size: float = 6.5) -> QuadMesh:
    """Draw values from 0 to 1 as cells, first row at the bottom; what lies beyond is clipped in color only.

    Parameters
    ----------
    axes : Axes
        Cells are centered on whole numbers.
    values : np.ndarray
        (row, column); NaN cells stay empty.
    size : float
        Of the numbers, in points.

    Returns
    -------
    QuadMesh
        For the color bar.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> axes = Figure().subplots()
    >>> mesh = draw_cells(axes, np.array([[0.25, np.nan]]))
    >>> [text.get_text() for text in axes.texts]
    ['.25']
    """
    rows, columns = values.shape
    mesh = axes.pcolormesh(
        np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5, values, cmap=MAP, vmin=0, vmax=1
    )
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        red, green, blue, _ = colormaps[MAP](float(np.clip(value, 0, 1)))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        text = short(value)
        color = "white" if dark else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=color)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return mesh


def short(value: float) -> str:
    """Two decimals without the zero before the point, and a true minus.

    Parameters
    ----------
    value : float
        Any number.

    Returns
    -------
    str
        As in ".42".

    Examples
    --------
    >>> short(0.421), short(-0.06), short(1.0)
    ('.42', '−.06', '1.00')
    """
    text = f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")
    return text.replace("0.", ".", 1) if text.lstrip("−").startswith("0") else text
