"""The look that all figures share."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib.resources import files
from typing import Any

import matplotlib.style
import numpy as np

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


def label_with_units(name: str, attrs: Mapping[str, Any]) -> str:
    """Axis label of a variable: its kind, or else its name, and its units if it has any.

    Parameters
    ----------
    name : str
        Used where ``attrs`` have no "kind".
    attrs : mapping
        Attributes of the variable.

    Returns
    -------
    str
        As in "Hand velocity (cm/s)".

    Examples
    --------
    >>> label_with_units("behavior", {"kind": "hand velocity", "units": "cm/s"})
    'Hand velocity (cm/s)'
    """
    text = str(attrs.get("kind", name))
    text = text[:1].upper() + text[1:]
    return f"{text} ({pretty_units(attrs['units'])})" if attrs.get("units") else text


def pretty_units(units: str) -> str:
    """Units with a true micro sign.

    Parameters
    ----------
    units : str
        As in ``attrs["units"]``.

    Returns
    -------
    str
        As in "µV".

    Examples
    --------
    >>> pretty_units("uV")
    'µV'
    """
    return "µ" + units[1:] if units in ("uV", "us", "um") else units


def break_at_gaps(
    time: np.ndarray, values: np.ndarray, *, bin_size_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Put a NaN in every gap of the clock, so that no line is drawn across it.

    Parameters
    ----------
    time : np.ndarray
        (T,) seconds.
    values : np.ndarray
        (T, C).
    bin_size_s : float
        Seconds a bin.

    Returns
    -------
    tuple of np.ndarray
        Both, longer by one entry a gap; the values float64.

    Examples
    --------
    >>> break_at_gaps(np.array([0.0, 1.0, 5.0]), np.ones((3, 1)), bin_size_s=1.0)[1][:, 0].tolist()
    [1.0, 1.0, nan, 1.0]
    """
    after = np.flatnonzero(np.diff(time) > GAP_BINS * bin_size_s) + 1
    return (
        np.insert(np.asarray(time, dtype=float), after, np.nan),
        np.insert(np.asarray(values, dtype=float), after, np.nan, axis=0),
    )
