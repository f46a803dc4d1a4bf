"""The look that all figures share."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib.resources import files
from string import ascii_uppercase
from typing import Any

import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

from spikelfp_lab.sessions import GAP_BINS

INK = "#222222"
FAINT = "#d9d9d9"


def style() -> AbstractContextManager[None]:
    """The packaged Matplotlib style, as a context; nothing outside it changes.

    Returns
    -------
    context manager
        For a ``with`` statement around code that draws.

    Examples
    --------
    >>> import matplotlib
    >>> with style():
    ...     matplotlib.rcParams["svg.fonttype"]
    'none'
    """
    path = files("spikelfp_lab.plots") / "spikelfp.mplstyle"
    return matplotlib.style.context(str(path))


def new_figure(width: float, height: float, title: str = "") -> Figure:
    """A figure in inches that notebooks show but pyplot no longer holds; use it within style()."""
    figure = plt.figure(figsize=(width, height))
    plt.close(figure)
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def label_with_units(name: str, attrs: Mapping[str, Any]) -> str:
    """Axis label of a variable: its kind, or else its name, and its units if it has any.

    >>> label_with_units("behavior", {"kind": "hand velocity", "units": "cm/s"})
    'Hand velocity (cm/s)'
    """
    text = str(attrs.get("kind", name))
    text = text[:1].upper() + text[1:]
    return f"{text} ({pretty_units(attrs['units'])})" if attrs.get("units") else text


def pretty_units(units: str) -> str:
    """Units with a true micro sign.

    >>> pretty_units("uV")
    'µV'
    """
    return "µ" + units[1:] if units in ("uV", "us", "um") else units


def break_at_gaps(
    time: np.ndarray, values: np.ndarray, *, bin_size_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Put a NaN in every gap of the clock, so that no line is drawn across it.

    >>> break_at_gaps(np.array([0.0, 1.0, 5.0]), np.ones((3, 1)), bin_size_s=1.0)[1][:, 0].tolist()
    [1.0, 1.0, nan, 1.0]
    """
    after = np.flatnonzero(np.diff(time) > GAP_BINS * bin_size_s) + 1
    return (
        np.insert(np.asarray(time, dtype=float), after, np.nan),
        np.insert(np.asarray(values, dtype=float), after, np.nan, axis=0),
    )


def letter_panels(figure: Figure) -> Figure:
    """Put bold letters A, B, C ... at the upper left of every panel that has a title.

    Rows from the top, each from the left; none where there is one panel only.

    Parameters
    ----------
    figure : Figure
        Changed in place; letters that are there already are replaced.

    Returns
    -------
    Figure
        The same one.
    """
    panels = [axes for axes in figure.axes if axes.get_title(loc="left") and axes.get_visible()]
    places = {axes: axes.get_position(original=True) for axes in panels}
    panels.sort(key=lambda axes: (-round(places[axes].y1, 1), places[axes].x0))
    for text in [text for axes in panels for text in axes.texts if text.get_gid() == "letter"]:
        text.remove()
    for letter, axes in zip(ascii_uppercase, panels if len(panels) > 1 else (), strict=False):
        on_title = {"xycoords": axes.title.get_transform(), "textcoords": "offset points"}
        axes.annotate(
            letter, (0, 1), xytext=(-9, 0), **on_title, ha="right", va="baseline", fontsize=10,
            fontweight="bold", annotation_clip=False, gid="letter",
        )  # fmt: skip
    return figure
