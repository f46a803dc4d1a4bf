"""Names beside points, none over another."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

SIZE = 6.5
_ANGLES = (0, 180, 90, 270, 45, 135, 315, 225, 20, 160, 340, 200, 70, 110, 290, 250)
_GAPS = (2.0, 6.0, 11.0, 17.0, 24.0, 32.0, 42.0, 54.0)  # points between a marker and its name


class Place(NamedTuple):
    """A marker with a whisker: center in data, radius in points, ends of the whisker in data."""

    x: float
    y: float
    radius: float
    low: float = math.nan
    high: float = math.nan


def label_points(axes: Axes, places: Mapping[str, Place]) -> None:
    """Write each name as near its point as the markers, whiskers and names around it allow.

    The figure must have its final layout. A name that had to go far is tied to its point by a line.
    The same points give the same places.

    Parameters
    ----------
    axes : Axes
        Changed in place.
    places : mapping
        Name -> where its marker is.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> axes = Figure().subplots()
    >>> label_points(axes, {"one": Place(0.5, 0.5, 3.0), "two": Place(0.5, 0.5, 3.0)})
    >>> [text.get_text() for text in axes.texts]
    ['one', 'two']
    """
    pixels = axes.figure.dpi / 72  # a point
    centers = {name: axes.transData.transform((p.x, p.y)) for name, p in places.items()}
    taken = [box for place in places.values() for box in _boxes(axes, place, pixels)]
    for name in sorted(places, key=lambda name: -centers[name][1]):
        x, y, radius, *_ = places[name]
        text = axes.annotate(
            name, (x, y), xytext=(0, 0), textcoords="offset points", fontsize=SIZE, ha="center",
            va="center", annotation_clip=False, zorder=6,
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": "#888888", "linewidth": 0.5, "shrinkA": 0,
                        "shrinkB": radius},
        )  # fmt: skip
        text.set_in_layout(False)
        extent = text.get_window_extent()
        half = np.array([extent.width, extent.height]) / 2 / pixels
        tries = [(gap, _beside(angle, radius + gap, *half)) for gap in _GAPS for angle in _ANGLES]
        boxes = [
            Bbox.from_extents(*(centers[name] + (at - half) * pixels), *(centers[name] + (at + half) * pixels))
            for _, at in tries
        ]  # fmt: skip
        costs = [_cost(box, taken, axes.bbox) for box in boxes]
        best = int(np.argmin(costs))  # the first, and so the nearest, of those that are free
        gap, at = tries[best]
        text.set_position(tuple(at))
        if gap <= _GAPS[1] and text.arrow_patch is not None:
            text.arrow_patch.set_visible(False)
        taken.append(boxes[best])


def _boxes(axes: Axes, place: Place, pixels: float) -> list[Bbox]:
    """What a marker and its whisker cover, in pixels."""
    (x, y), reach = axes.transData.transform((place.x, place.y)), place.radius * pixels
    boxes = [Bbox.from_extents(x - reach, y - reach, x + reach, y + reach)]
    if math.isfinite(place.low) and math.isfinite(place.high):
        ends = axes.transData.transform([(place.x, place.low), (place.x, place.high)])
        boxes.append(Bbox.from_extents(x - pixels, ends[0, 1], x + pixels, ends[1, 1]))
    return boxes


def _beside(angle: float, reach: float, half_width: float, half_height: float) -> np.ndarray:
    """Middle of a text whose nearest edge is ``reach`` points from the origin in a direction."""
    way = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    return way * reach + np.array([half_width, half_height]) * np.clip(1.5 * way, -1, 1)


def _cost(box: Bbox, taken: list[Bbox], frame: Bbox) -> float:
    """Square pixels of a text that lie over something; what lies beyond the panel counts tenfold."""
    over = sum(_overlap(box, other) for other in taken)
    return round(over + 10 * (box.width * box.height - _overlap(box, frame)), 6)


def _overlap(one: Bbox, other: Bbox) -> float:
    shared = Bbox.intersection(one, other)
    return 0.0 if shared is None else shared.width * shared.height
