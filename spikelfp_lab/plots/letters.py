"""Letters that name the panels of a figure."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

_MARK = "panel letter"


def letter_panels(figure: Figure) -> Figure:
    """Put bold letters A, B, C ... at the upper left of every panel that has a title.

    In reading order; none where there is only one panel. Letters that are there already are
    replaced.

    Parameters
    ----------
    figure : Figure
        Changed in place.

    Returns
    -------
    Figure
        The same one.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> figure, (left, right) = plt.subplots(1, 2)
    >>> _ = left.set_title("Train"), right.set_title("Test")
    >>> plt.close(letter_panels(figure))
    >>> [axes.texts[0].get_text() for axes in figure.axes]
    ['A', 'B']
    """
    panels = [axes for axes in figure.axes if _is_panel(axes)]
    for axes in panels:
        for text in [text for text in axes.texts if text.get_gid() == _MARK]:
            text.remove()
    if len(panels) < 2:
        return figure
    for number, axes in enumerate(_reading_order(panels)):
        axes.annotate(
            chr(ord("A") + number % 26) * (number // 26 + 1),
            (0, 1),
            xycoords=axes.title.get_transform(),  # on the line of the title
            xytext=(-9, 0),
            textcoords="offset points",
            ha="right",
            va="baseline",
            fontsize=10,
            fontweight="bold",
            annotation_clip=False,
            gid=_MARK,
        )
    return figure


def _is_panel(axes: Axes) -> bool:
    titled = any(axes.get_title(loc=place) for place in ("left", "center", "right"))
    return titled and axes.get_visible() and axes.get_label() != "<colorbar>"


def _reading_order(panels: list[Axes]) -> list[Axes]:
    """Rows from the top, each from the left; tops that differ by a hair are one row."""
    tops = {axes: axes.get_position(original=True).y1 for axes in panels}
    rows: list[list[Axes]] = []
    for axes in sorted(panels, key=lambda axes: -tops[axes]):
        if not rows or tops[rows[-1][0]] - tops[axes] > 0.02:
            rows.append([])
        rows[-1].append(axes)
    left = [sorted(row, key=lambda axes: axes.get_position(original=True).x0) for row in rows]
    return [axes for row in left for axes in row]
