"""The look that all figures share: style, one color for each model, sizes, labels and letters."""

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from string import ascii_uppercase
from typing import Any

import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from spikelfp_lab.sessions import GAP_BINS

Look = dict[str, Any]  # keyword arguments of Matplotlib
INK = "#222222"
FAINT = "#d9d9d9"
RIM = withStroke(linewidth=2.2, foreground="white")  # what is black is seen on dark bars too
MAX_WIDTH = 10.5  # inches that a notebook shows without shrinking the text
READOUT_TITLES = {"one_frame": "One-frame read-out", "lagged": "Lagged read-out"}

# The paper's two colors, then the rest chosen to stay apart in hue and lightness also for readers
# with deutan, protan or tritan color vision (the tests simulate them). Kin share a hue: LFP is
# blue, both modalities violet, spikes green, what was distilled orange.
_MODELS = {
    "SS-LFP": "#7cc0f0", "MS-LFP": "#0928ad",
    "SS-MM (LFP only)": "#f3c6e2", "SS-MM": "#a05fc0",
    "SS-Teacher": "#afdc86", "Teacher": "#127a5c",
    "Distilled": "#d17f41", "MS-Distilled": "#b9041f",
}  # fmt: skip
# Controls are pale or dull kin of what they control for; ridges are gray, the other classical
# decoders plum, the bound black, the clock alone olive.
_CONTROLS = {
    "Untrained": "#f2e2b8", "Shuffled teacher": "#f0a58f",
    "Other subject's teacher": "#d1f5dd", "Random teacher": "#6b8b5f",
    "Raw LFP ridge": "#858585", "Band power ridge": "#bebebe", "LFP and power ridge": "#505050",
    "Spikes ridge": "#363636", "Spikes through LFP": "#bda609",
    "Wiener": "#c869bd", "Kalman": "#7c0a77", "GRU": "#a63e87",
    "Linear bound": "#141313", "Time in trial": "#66541f",
}  # fmt: skip
# Model -> color. Keys are the names that tidy scores use in ``model``.
MODEL_COLORS = _MODELS | _CONTROLS
# Order on an axis: the models, then the controls and references.
MODEL_ORDER = tuple(MODEL_COLORS)
# Controls and references: drawn apart from the models.
CONTROLS = tuple(_CONTROLS)


def model_color(model: str) -> str:
    """Color of a model; those that the palette does not know share one."""
    return MODEL_COLORS.get(model, "#a08c5b")


def in_order(models: Iterable[str]) -> list[str]:
    """Each model once, as in ``MODEL_ORDER``; unknown ones between the models and the controls.

    >>> in_order(["Raw LFP ridge", "Mine", "Distilled", "SS-LFP"])
    ['SS-LFP', 'Distilled', 'Mine', 'Raw LFP ridge']
    """
    rank = {model: place for place, model in enumerate(MODEL_ORDER)}
    return sorted(dict.fromkeys(models), key=lambda model: rank.get(model, len(_MODELS) - 0.5))


def style() -> AbstractContextManager[None]:
    """The packaged Matplotlib style, as a context; nothing outside it changes."""
    return matplotlib.style.context("spikelfp_lab.plots.spikelfp")


def new_figure(width: float, height: float, title: str = "") -> Figure:
    """A figure in inches that notebooks show but pyplot no longer holds; use it within style()."""
    figure = plt.figure(figsize=(width, height))
    plt.close(figure)
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def panels(
    points: Any, by: list[str], size: tuple[float, float], title: str,
    *, label: str = "", most: int = 4, sharey: bool = True,
) -> tuple[Figure, list[tuple[Any, Any]]]:  # fmt: skip
    """A figure and (axes, group) of each group of a table: panels of a size in inches, titled."""
    groups = list(points.groupby(by, sort=False))
    rows = math.ceil(len(groups) / max(1, min(most, int(MAX_WIDTH // size[0]))))
    columns = math.ceil(len(groups) / rows)
    figure = new_figure(max(0.7 + size[0] * columns, 3.2), 0.4 + size[1] * rows, title)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    for axes, (names, _) in zip(grid.flat, groups, strict=False):
        axes.set_title(", ".join(READOUT_TITLES.get(name, str(name)) for name in names))
    for axes in grid.flat[len(groups) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel(label)
    return figure, [(axes, group) for axes, (_, group) in zip(grid.flat, groups, strict=False)]


def kind_of(variable: Any, name: str) -> str:
    """What a variable is of, as its ``kind`` says, or else its name."""
    kind = str(variable.attrs.get("kind", name))
    return kind[:1].upper() + kind[1:]


def units_of(variable: Any) -> str:
    """Units with a true micro sign; empty where they are not known."""
    units = variable.attrs.get("units", "")
    return "µ" + units[1:] if units in ("uV", "us", "um") else str(units)


def with_units(name: str, variable: Any) -> str:
    """Label of an axis that shows a variable.

    >>> import xarray as xr
    >>> with_units("Velocity", xr.DataArray(1.0, attrs={"units": "um/s"}))
    'Velocity (um/s)'
    """
    units = units_of(variable)
    return f"{name} ({units})" if units else name


def number(value: float) -> str:
    """Two decimals with a true minus."""
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")


def break_at_gaps(
    time: np.ndarray, values: np.ndarray, *, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Put a NaN wherever time goes on by more than a step, so that no line is drawn across it."""
    after = np.flatnonzero(np.diff(time) > GAP_BINS * step) + 1
    return np.insert(time.astype(float), after, np.nan), np.insert(values, after, np.nan)


def letter_panels(figure: Figure) -> Figure:
    """Put bold letters A, B, C ... at the upper left of a figure's titled panels, if several."""
    titled = [axes for axes in figure.axes if axes.get_title(loc="left") and axes.get_visible()]
    look: Look = {"ha": "right", "fontsize": 10, "fontweight": "bold"}
    look |= {"textcoords": "offset points", "annotation_clip": False}
    for letter, axes in zip(ascii_uppercase, titled if len(titled) > 1 else (), strict=False):
        axes.annotate(letter, (0, 1), (-9, 0), xycoords=axes.title.get_transform(), **look)
    return figure
