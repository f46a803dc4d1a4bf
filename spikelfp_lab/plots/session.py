"""A stretch of a session: raster, LFP and behavior, fast enough to scrub through."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import theme
from spikelfp_lab.plots.spectral import spectrogram
from spikelfp_lab.sessions import as_dataset, session_name

HEIGHTS = {"spikes": 1.5, "lfp": 1.9, "behavior": 1.0}  # inches
_COLORS = ("#1b8a6b", "#8a5fb0", "#6d6d6d", "#d17f41")  # of behavior
_COLUMNS = 700  # steps of time of a raster, at most: about one a pixel
_POINTS = 1600  # of a line, at most: two a pixel
_ALL_POINTS = 100_000  # of all lines of a panel together
_NOTHING = "#ececec"  # where nothing was recorded


def plot_session(
    session: xr.Dataset | xr.DataTree,
    *, start_s: float | None = None, span_s: float = 10.0, max_channels: int = 12,
) -> Figure:  # fmt: skip
    """Draw what was recorded: spikes as a raster, LFP as stacked traces, behavior below.

    Gray: nothing was recorded. In a long stretch counts are summed, and lines keep their extremes.

    Raises DataError: the stretch holds no bin, or the session none of the variables.

    Parameters
    ----------
    session : xr.Dataset or xr.DataTree
        A session with any of ``spikes``, ``lfp`` and ``behavior``.
    start_s, span_s : float
        Where the stretch begins (by default at the session's start), and its length, in seconds.
    max_channels : int
        LFP channels drawn at most, evenly spread over all.

    Examples
    --------
    >>> from spikelfp_lab.cohorts.simulated import session
    >>> figure = plot_session(session(1, duration_s=20, n_units=4, n_channels=3), span_s=2)
    >>> [axes.get_ylabel() for axes in figure.axes[:2]]
    ['Unit (4)', 'LFP\\n(3 of 3 channels)']
    """
    dataset = as_dataset(session)
    time = dataset["time"].values
    start_s = _clock(dataset)[1] if start_s is None else start_s
    shown = [name for name in HEIGHTS if name in dataset]
    if not ((time >= start_s) & (time < start_s + span_s)).any() or not shown:
        raise DataError(
            f"Nothing to draw from {start_s:g} to {start_s + span_s:g} s: the session has "
            f"{', '.join(shown) or 'no spikes, lfp or behavior'} from {time[0]:g} to "
            f"{time[-1]:g} s."
        )
    count = dataset.sizes.get("channel", 0)
    channels = np.linspace(0, count - 1, min(max_channels, count)).round().astype(int)
    with theme.style():
        picture = SessionPicture(theme.new_figure(7.0, 5.5))
        picture.draw(dataset, View(start_s, span_s, channels=tuple(channels.tolist())))
        picture.figure.suptitle(session_name(dataset), x=0.01, y=0.995, ha="left", va="top")
    return picture.figure


@dataclass(frozen=True)
class View:
    """What of a session is drawn: a stretch, in which order, which channels and axes."""

    start_s: float
    span_s: float
    order: tuple[int, ...] | None = None
    order_name: str = ""
    channels: tuple[int, ...] = ()
    axes: tuple[int, ...] | None = None
    spectrogram: bool = False  # of the first channel, in place of traces


Move = Callable[[View], None]  # shows another stretch in a panel that is there


class SessionPicture:
    """A figure that follows a view; a change of time moves its artists and makes no new ones."""

    def __init__(self, figure: Figure | None = None) -> None:
        self.figure = figure or Figure()
        self.figure.set_layout_engine("none")  # to compute a layout takes longer than to draw
        self._made: tuple[Any, ...] = (None,)
        self._panels: list[tuple[Axes, Move]] = []

    def draw(self, dataset: xr.Dataset, view: View) -> None:
        """Show a view of a session whose variables are (time, ...)."""
        fixed = view.channels, view.axes, view.spectrogram
        with theme.style():
            if self._made[0] is not dataset or self._made[1:] != fixed:
                self._made = (None,)  # a failure is not taken for a finished picture
                self._make(dataset, view)
                self._made = dataset, *fixed
            for axes, move in self._panels:
                axes.set_xlim(view.start_s, view.start_s + view.span_s)
                move(view)

    def _make(self, dataset: xr.Dataset, view: View) -> None:
        """Panels with what does not depend on time."""
        self.figure.clear()
        self._panels, shown = [], [name for name in HEIGHTS if name in dataset]
        lfp = _spectrogram if view.spectrogram else _traces
        make = {"spikes": _raster, "lfp": lfp, "behavior": _behavior}
        height = 0.72 + sum(HEIGHTS[name] + 0.13 for name in shown)
        self.figure.set_size_inches(7.0, height)
        top = height - 0.3
        for name in shown:
            top -= HEIGHTS[name]
            place = (0.105, top / height, 0.785, HEIGHTS[name] / height)
            axes = self.figure.add_axes(place)
            axes.tick_params(labelbottom=name == shown[-1])
            axes.set_xlabel("Time (s)" if name == shown[-1] else "")
            self._panels.append((axes, make[name](axes, dataset, view)))
            top -= 0.13
            legend = axes.get_legend()
            # names from a file are text, whatever dollars are in them
            for text in [axes.yaxis.label, *axes.texts, *(legend.get_texts() if legend else ())]:
                text.set_parse_math(False)
            axes.yaxis.set_label_coords(-0.085, 0.5)


def _raster(axes: Axes, dataset: xr.Dataset, view: View) -> Move:
    image, units = _image(axes, "Greys", 0, 1), dataset["unit"].values.astype(str)
    axes.set_ylim(units.size - 0.5, -0.5)

    def move(view: View) -> None:
        part, column, edges = columns(dataset, view, _COLUMNS)
        counts = sum_columns(dataset["spikes"].values[part], column, len(edges) - 1).T
        order = np.arange(units.size) if view.order is None else np.array(view.order, int)
        _name_ends(axes, np.arange(order.size), units[order])
        axes.set_ylabel("\n".join(filter(None, [f"Unit ({order.size})", view.order_name])))
        counts = counts[order]
        spiking = counts[counts > 0]  # NaN is not
        most = max(float(np.percentile(spiking, 99.5)), 1.0) if spiking.size else 1.0
        # one spike must be seen where there are two at most, and not hide what is busy elsewhere
        floor = max(0.22, 1.6 / (most + 2))
        depth = np.where(counts > 0, floor + (1 - floor) * counts / most, counts)
        image.set_data(np.ma.masked_invalid(depth))
        image.set_extent((*edges[[0, -1]], -0.5, order.size - 0.5))

    return move


def _traces(axes: Axes, dataset: xr.Dataset, view: View) -> Move:
    lfp, chosen = dataset["lfp"], list(view.channels)
    mean, sd = _scale(lfp.values)
    known = sd[np.isfinite(sd) & (sd > 0)]
    step = 5 * float(np.median(known)) if known.size else 1.0
    offsets = -step * np.arange(len(chosen))
    shift = np.nan_to_num(mean[chosen]) - offsets
    # one line with breaks: the renderer then merges what falls on one pixel
    line = axes.plot([], [], color="#0928ad", solid_joinstyle="bevel")[0]
    line.set_linewidth(0.6 if len(chosen) <= 32 else 0.35)
    axes.set_ylim(offsets[-1] - step, step)
    _name_ends(axes, offsets, lfp["channel"].values[chosen].astype(str))
    kind = textwrap.fill(theme.label_with_units("LFP", {"kind": lfp.attrs.get("kind", "LFP")}), 24)
    axes.set_ylabel(f"{kind}\n({len(chosen)} of {lfp.sizes['channel']} channels)")
    length, low = round_number(step * max(1, len(chosen) / 12)), offsets[-1] - 0.6 * step
    place: theme.Look = {"transform": axes.get_yaxis_transform(), "clip_on": False}
    axes.plot([1.012] * 2, [low, low + length], color=theme.INK, linewidth=1.5, **place)
    text = f"{length:g} {theme.pretty_units(lfp.attrs.get('units', ''))}".strip()
    axes.text(1.022, low + length / 2, text, va="center", fontsize=7, **place)

    def move(view: View) -> None:
        time, values = _lines(dataset, view, "lfp", view.channels)
        stacked = np.full((values.shape[1], len(time) + 1), np.nan)
        stacked[:, :-1] = values.T - shift[:, None]
        line.set_data(np.tile(np.append(time, np.nan), len(stacked)), stacked.ravel())

    return move


def _spectrogram(axes: Axes, dataset: xr.Dataset, view: View) -> Move:
    clock, begin, bin_size_s = _clock(dataset)
    values, end = dataset["lfp"].values[:, view.channels[0]], float(clock[-1] + 1)

    def power(low: float, high: float) -> tuple[np.ndarray, ...]:
        return spectrogram(values, clock, low, high, rate=1 / bin_size_s, most=_COLUMNS // 2)

    whole = power(0, end)[2]
    known = whole[np.isfinite(whole)]
    limits = np.percentile(known, [5, 99.5]) if known.size else (0.0, 1.0)
    image = _image(axes, "viridis", *limits)
    axes.set_ylim(0, 0.5 / bin_size_s)
    axes.set_ylabel(f"Frequency (Hz)\nof {dataset['channel'].values[view.channels[0]]}")
    bar = axes.inset_axes((1.015, 0.1, 0.018, 0.8))
    axes.figure.colorbar(image, cax=bar)
    units = theme.pretty_units(dataset["lfp"].attrs.get("units", ""))
    bar.set_ylabel(f"Power (dB re 1 {units}²/Hz)" if units else "Power (dB)", parse_math=False)

    def move(view: View) -> None:
        low = max(0.0, (view.start_s - begin) / bin_size_s)
        high = min(end, (view.start_s + view.span_s - begin) / bin_size_s)
        frequency, time, shown = power(low, high)
        half = float(np.diff(time[:2]).sum()) / 2 or view.span_s / 2
        image.set_data(np.ma.masked_invalid(shown))
        ends = frequency[[0, -1]] + [-frequency[0] / 2, frequency[0] / 2]
        image.set_extent((begin + time[0] - half, begin + time[-1] + half, *ends))

    return move


def _behavior(axes: Axes, dataset: xr.Dataset, view: View) -> Move:
    behavior, bin_size_s = dataset["behavior"], float(dataset.attrs["bin_size_s"])
    names = behavior["behavior_dim"].values.astype(str)
    chosen = list(range(len(names)) if view.axes is None else view.axes)
    lines = [axes.plot([], [], color=_COLORS[i % 4], label=names[i])[0] for i in chosen]
    mean, sd = (part[chosen] for part in _scale(behavior.values))
    limits = np.concatenate([mean - 3 * sd, mean + 3 * sd])
    axes.set_ylabel(textwrap.fill(theme.label_with_units("behavior", behavior.attrs), 18))
    corner: theme.Look = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.06)}
    axes.legend(**corner, handlelength=1.2, borderpad=0, labelspacing=0.3)

    def move(view: View) -> None:
        time, values = _lines(dataset, view, "behavior", chosen)
        # thinner where it is a band of extremes, which is also drawn twice as fast
        width = 1.2 if view.span_s <= _POINTS * bin_size_s else 0.7
        for line, own in zip(lines, values.T, strict=True):
            line.set(data=(time, own), linewidth=width)
        # the same limits throughout the session, but for what goes beyond them
        bounds = np.append(limits, values)
        bounds = bounds[np.isfinite(bounds)]
        if bounds.size:
            margin = 0.04 * float(np.ptp(bounds)) or 1.0
            axes.set_ylim(bounds.min() - margin, bounds.max() + margin)

    return move


def _lines(
    dataset: xr.Dataset, view: View, name: str, chosen: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Time and values (T, C) of columns of a variable: all, or the extremes that can be seen."""
    most = min(_POINTS, _ALL_POINTS // max(len(chosen), 1))
    part, column, edges = columns(dataset, view, most)
    whole = edges[1] - edges[0] < 1.5 * float(dataset.attrs["bin_size_s"])
    if not whole:
        part, column, edges = columns(dataset, view, most // 2)  # two points a column
    values, index = dataset[name].values[part], slice(chosen[0], chosen[-1] + 1)
    if list(chosen) == list(range(index.start, index.stop)):
        return envelope(values[:, index], column, edges, whole=whole)  # a view, no copy
    return envelope(values[:, list(chosen)], column, edges, whole=whole)


def sum_columns(counts: np.ndarray, column: np.ndarray, n_columns: int) -> np.ndarray:
    """Sums (n_columns, U) of counts (T, U) over bins of one column; NaN where there is none."""
    summed = np.full((n_columns, counts.shape[1]), np.nan, np.float32)
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    if starts.size:
        summed[column[starts]] = np.add.reduceat(counts, starts, axis=0, dtype=np.uint32)
    return summed


def envelope(
    values: np.ndarray, column: np.ndarray, edges: np.ndarray, *, whole: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Lines that look like the data (T, C): extremes of each column, or its one bin if whole."""
    starts, middle = np.flatnonzero(np.diff(column, prepend=-1)), (edges[1:] + edges[:-1]) / 2
    lines = np.full((middle.size, 1 if whole else 2, values.shape[1]), np.nan, np.float32)
    if whole:
        lines[column, 0] = values
        return middle, lines[:, 0]
    if starts.size:
        least, most = _reduce(np.fmin, values, starts), _reduce(np.fmax, values, starts)
        # in the order that suits the course: a falling line must not become a staircase
        falls = values[starts] > values[np.append(starts[1:], len(values)) - 1]
        lines[column[starts], 0] = np.where(falls, most, least)
        lines[column[starts], 1] = np.where(falls, least, most)
    quarter = (edges[1] - edges[0]) / 4
    return (middle[:, None] + [-quarter, quarter]).ravel(), lines.reshape(-1, values.shape[1])


def _reduce(ufunc: np.ufunc, values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """``ufunc.reduceat(values, starts)``, six times as fast where inner columns have one width."""
    widths = np.diff(starts)
    if starts.size < 4 or (widths[1:] != widths[1]).any():
        return ufunc.reduceat(values, starts, axis=0)
    first, last = starts[1], starts[-1]
    inner = values[first:last].reshape(-1, widths[1], values.shape[1])
    outer = [ufunc.reduce(part, axis=0)[None] for part in (values[:first], values[last:])]
    return np.concatenate([outer[0], ufunc.reduce(inner, axis=1), outer[1]])


def round_number(value: float) -> float:
    """The nearest 1, 2 or 5 times a power of ten at or below a positive value."""
    power = 10.0 ** np.floor(np.log10(value))
    # a hair more, or 0.2 would count as less than 2 * 0.1
    return float(power * max(step for step in (1, 2, 5) if step * power <= value * (1 + 1e-9)))


def _clock(dataset: xr.Dataset) -> tuple[np.ndarray, float, float]:
    """(T,) whole bins since the session's begin, which jump at gaps; begin and bin in seconds."""
    time, bin_size_s = dataset["time"].values, float(dataset.attrs["bin_size_s"])
    clock = np.rint((time - time[0]) / bin_size_s).astype(int)
    return clock, float(time[0]) - bin_size_s / 2, bin_size_s


def columns(dataset: xr.Dataset, view: View, most: int) -> tuple[slice, np.ndarray, np.ndarray]:
    """Bins of the stretch, the column of each, and the edges in seconds of ``most`` columns.

    Columns are counted from the session's begin: the picture must not flicker while it moves.
    """
    clock, begin, bin_size_s = _clock(dataset)
    low = (view.start_s - begin) / bin_size_s
    high = low + view.span_s / bin_size_s
    width = max(1, int(np.ceil((high - low - 1e-6) / most)))
    shown = np.arange(np.floor((low + 1e-6) / width), np.ceil((high - 1e-6) / width), dtype=int)
    part = slice(*np.searchsorted(clock, [np.ceil(low - 0.5 - 1e-6), np.ceil(high - 0.5 - 1e-6)]))
    column = np.clip(clock[part] // width - shown[0], 0, shown.size - 1)
    return part, column, begin + np.append(shown, shown[-1] + 1) * width * bin_size_s


def _scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and SD (C,) of at most 5,000 bins spread over the session: enough to draw by."""
    part = values[:: -(-len(values) // 5000)]
    table = pd.DataFrame(np.where(np.isfinite(part), part, np.nan))  # whose statistics skip NaN
    return table.mean().to_numpy(float), table.std(ddof=0).to_numpy(float)


def _image(axes: Axes, colors: str, low: float, high: float) -> Any:
    image = axes.imshow(
        np.zeros((1, 1)), cmap=colors, vmin=low, vmax=high, aspect="auto", origin="lower",
        interpolation="nearest",
    )  # fmt: skip
    image.set_cmap(image.get_cmap().with_extremes(bad=_NOTHING))
    axes.set_facecolor(_NOTHING)
    return image


def _name_ends(axes: Axes, places: np.ndarray, labels: np.ndarray) -> None:
    """Tick labels of the first and the last row only: between them there is no room."""
    ends = sorted({0, labels.size - 1})
    short = [label if len(label) <= 7 else "…" + label[-6:] for label in labels[ends].tolist()]
    axes.set_yticks(places[ends], short, parse_math=False)
