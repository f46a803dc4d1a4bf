"""A stretch of a session: raster, LFP and behavior, fast enough to scrub through."""

import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import signal

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import theme
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
    time, shown = dataset["time"].values, [name for name in HEIGHTS if name in dataset]
    start_s = Grid(dataset).begin_s if start_s is None else start_s
    if not ((time >= start_s) & (time < start_s + span_s)).any() or not shown:
        has = f"{', '.join(shown) or 'no spikes, lfp or behavior'} from {time[0]:g} to {time[-1]:g}"
        raise DataError(f"Nothing from {start_s:g} to {start_s + span_s:g} s: it has {has} s.")
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


class Grid:
    """The bins of a session counted from its begin, and what of them a picture can show."""

    def __init__(self, dataset: xr.Dataset) -> None:
        time, self.bin_size_s = dataset["time"].values, float(dataset.attrs["bin_size_s"])
        self.begin_s = float(time[0]) - self.bin_size_s / 2
        # a hair more, so that after a gap of half bins all go the same way
        self.clock = np.floor((time - self.begin_s) / self.bin_size_s + 1e-6).astype(int)

    def bins(self, view: View) -> tuple[float, float]:
        """Begin and end of a stretch in bins."""
        low = (view.start_s - self.begin_s) / self.bin_size_s
        return low, low + view.span_s / self.bin_size_s

    def columns(self, view: View, most: int) -> tuple[np.ndarray, ...]:
        """Columns of time that hold bins, where their bins start and stop, and all edges (s).

        Columns are whole bins, counted from the session's begin: nothing flickers while it moves.
        """
        low, high = self.bins(view)
        width = max(1, math.ceil((high - low - 1e-6) / most))
        first, last = math.floor((low + 1e-6) / width), math.ceil((high - 1e-6) / width)
        edges = np.arange(first, last + 1) * width
        ends = np.searchsorted(self.clock, edges)
        there = np.flatnonzero(np.diff(ends))
        return there, ends[there], ends[there + 1], self.begin_s + edges * self.bin_size_s

    def lines(self, values: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
        """Time and values (T, C) that look like the data: all, or the extremes of each column."""
        points = min(_POINTS, _ALL_POINTS // max(values.shape[1], 1))
        whole = view.span_s <= (points + 1e-6) * self.bin_size_s
        there, start, stop, edges = self.columns(view, points if whole else points // 2)
        middle, quarter = (edges[1:] + edges[:-1]) / 2, (edges[1] - edges[0]) / 4
        lines = np.full((middle.size, 1 if whole else 2, values.shape[1]), np.nan, np.float32)
        if whole:
            lines[there, 0] = values[start]
            return middle, lines[:, 0]
        least, most = (_reduce(extreme, values, start, stop) for extreme in (np.fmin, np.fmax))
        # in the order that suits the course: a falling line must not become a staircase
        falls = values[start] > values[stop - 1]
        lines[there, 0], lines[there, 1] = np.where(falls, [most, least], [least, most])
        return (middle[:, None] + [-quarter, quarter]).ravel(), lines.reshape(-1, values.shape[1])


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
                # names from a file are text, whatever dollars are in them
                matplotlib.rcParams["text.parse_math"] = False
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
        make, grid = {"spikes": _raster, "lfp": lfp, "behavior": _behavior}, Grid(dataset)
        height = 0.72 + sum(HEIGHTS[name] + 0.13 for name in shown)
        self.figure.set_size_inches(7.0, height)
        top = height - 0.3
        for name in shown:
            top -= HEIGHTS[name]
            axes = self.figure.add_axes((0.105, top / height, 0.785, HEIGHTS[name] / height))
            axes.tick_params(labelbottom=name == shown[-1])
            axes.set_xlabel("Time (s)" if name == shown[-1] else "")
            self._panels.append((axes, make[name](axes, dataset, view, grid)))
            axes.yaxis.set_label_coords(-0.085, 0.5)
            top -= 0.13


def _raster(axes: Axes, dataset: xr.Dataset, view: View, grid: Grid) -> Move:
    image, units = _image(axes, "Greys", 0, 1), dataset["unit"].values.astype(str)
    axes.set_ylim(units.size - 0.5, -0.5)

    def move(view: View) -> None:
        order = np.arange(units.size) if view.order is None else np.array(view.order, int)
        _name_ends(axes, np.arange(order.size), units[order])
        axes.set_ylabel("\n".join(filter(None, [f"Unit ({order.size})", view.order_name])))
        there, start, stop, edges = grid.columns(view, _COLUMNS)
        counts = np.full((units.size, len(edges) - 1), np.nan, np.float32)
        counts[:, there] = _reduce(np.add, dataset["spikes"].values, start, stop).T
        counts = counts[order]
        spiking = counts[counts > 0]  # NaN is not
        most = max(float(np.percentile(spiking, 99.5)), 1.0) if spiking.size else 1.0
        # one spike must be seen where there are two at most, and not hide what is busy elsewhere
        floor = max(0.22, 1.6 / (most + 2))
        depth = np.where(counts > 0, floor + (1 - floor) * counts / most, counts)
        image.set_data(np.ma.masked_invalid(depth))
        image.set_extent((*edges[[0, -1]], -0.5, order.size - 0.5))

    return move


def _traces(axes: Axes, dataset: xr.Dataset, view: View, grid: Grid) -> Move:
    lfp, chosen = dataset["lfp"], list(view.channels)
    values = lfp.values.take(chosen, axis=1)
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
    kind = textwrap.fill(theme.kind_of(lfp, "LFP"), 24)
    axes.set_ylabel(f"{kind}\n({len(chosen)} of {lfp.sizes['channel']} channels)")
    length, low = round_number(step * max(1, len(chosen) / 12)), offsets[-1] - 0.6 * step
    place: theme.Look = {"transform": axes.get_yaxis_transform(), "clip_on": False}
    axes.plot([1.012] * 2, [low, low + length], color=theme.INK, linewidth=1.5, **place)
    text = f"{length:g} {theme.units_of(lfp)}".strip()
    axes.text(1.022, low + length / 2, text, va="center", fontsize=7, **place)

    def move(view: View) -> None:
        time, shown = grid.lines(values, view)
        stacked = np.full((len(chosen), len(time) + 1), np.nan)
        stacked[:, :-1] = shown.T - shift[:, None]
        line.set_data(np.tile(np.append(time, np.nan), len(chosen)), stacked.ravel())

    return move


def _spectrogram(axes: Axes, dataset: xr.Dataset, view: View, grid: Grid) -> Move:
    values, end = dataset["lfp"].values[:, view.channels[0]], float(grid.clock[-1] + 1)
    whole = spectrogram(values, grid, 0, end)[2]
    known = whole[np.isfinite(whole)]
    limits = np.percentile(known, [5, 99.5]) if known.size else (0.0, 1.0)
    image = _image(axes, "viridis", *limits)
    axes.set_ylim(0, 0.5 / grid.bin_size_s)
    axes.set_ylabel(f"Frequency (Hz)\nof {dataset['channel'].values[view.channels[0]]}")
    bar = axes.inset_axes((1.015, 0.1, 0.018, 0.8))
    units = theme.units_of(dataset["lfp"])
    label = f"Power (dB re 1 {units}²/Hz)" if units else "Power (dB)"
    axes.figure.colorbar(image, cax=bar, label=label)

    def move(view: View) -> None:
        low, high = grid.bins(view)
        frequency, time, shown = spectrogram(values, grid, max(0.0, low), min(end, high))
        half = float(np.diff(time[:2]).sum()) / 2 or view.span_s / 2
        image.set_data(np.ma.masked_invalid(shown))
        ends = frequency[[0, -1]] + [-frequency[0] / 2, frequency[0] / 2]
        image.set_extent((*(time[[0, -1]] + [-half, half]), *ends))

    return move


def spectrogram(
    values: np.ndarray, grid: Grid, low: float, high: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frequency (F,), time (N,) and power (F, N) in dB of one channel, NaN around gaps.

    Of bins ``low`` to ``high``, in Hann windows of 64 bins, or of two columns if these are longer.
    """
    hop = max(1, int(high - low) // (_COLUMNS // 2))
    length = max(64, 2 * hop)
    # Half a window more on both sides fills the stretch; whole hops keep the columns where they
    # are while the stretch moves.
    first = max(0, math.floor(low - length / 2) // hop * hop)
    last = min(int(grid.clock[-1]) + 1, math.ceil(high + length / 2))
    length = min(length, last - first)
    if length < 16:
        raise DataError(f"{length} bins are too few for a spectrogram (16): choose traces.")
    begin, end = np.searchsorted(grid.clock, [first, last])
    even = np.full(last - first, np.nan)
    even[grid.clock[begin:end] - first] = values[begin:end]
    even[~np.isfinite(even)] = np.nan
    rate, overlap = 1 / grid.bin_size_s, length - min(hop, length)
    frequency, time, power = signal.spectrogram(even, rate, "hann", length, overlap)
    # without 0 Hz, whose power went with the mean, and power that has no logarithm
    power = np.where(power[1:] > 0, power[1:], np.nan)
    return frequency[1:], grid.begin_s + first * grid.bin_size_s + time, 10 * np.log10(power)


def _behavior(axes: Axes, dataset: xr.Dataset, view: View, grid: Grid) -> Move:
    behavior = dataset["behavior"]
    names = behavior["behavior_dim"].values.astype(str)
    chosen = list(range(len(names)) if view.axes is None else view.axes)
    values = behavior.values.take(chosen, axis=1)
    lines = [axes.plot([], [], color=_COLORS[i % 4], label=names[i])[0] for i in chosen]
    mean, sd = _scale(values)
    limits = np.concatenate([mean - 3 * sd, mean + 3 * sd])
    kind = theme.with_units(theme.kind_of(behavior, "behavior"), behavior)
    axes.set_ylabel(textwrap.fill(kind, 18))
    corner: theme.Look = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.06)}
    axes.legend(**corner, handlelength=1.2, borderpad=0, labelspacing=0.3)

    def move(view: View) -> None:
        time, shown = grid.lines(values, view)
        # thinner where it is a band of extremes, which is also drawn twice as fast
        width = 1.2 if view.span_s <= _POINTS * grid.bin_size_s else 0.7
        for line, own in zip(lines, shown.T, strict=True):
            line.set(data=(time, own), linewidth=width)
        # the same limits throughout the session, but for what goes beyond them
        bounds = np.append(limits, shown)
        bounds = bounds[np.isfinite(bounds)]
        if bounds.size:
            margin = 0.04 * float(np.ptp(bounds)) or 1.0
            axes.set_ylim(bounds.min() - margin, bounds.max() + margin)

    return move


def round_number(value: float) -> float:
    """The nearest 1, 2 or 5 times a power of ten at or below a positive value."""
    power = 10.0 ** np.floor(np.log10(value))
    # a hair more, or 0.2 would count as less than 2 * 0.1
    return float(power * max(step for step in (1, 2, 5) if step * power <= value * (1 + 1e-9)))


def _reduce(ufunc: np.ufunc, values: np.ndarray, start: Any, stop: Any) -> np.ndarray:
    """(columns, C) values reduced over the bins of each column; faster than ``reduceat``."""
    parts = [ufunc.reduce(values[i:j]) for i, j in zip(start, stop, strict=True)]
    return np.reshape(parts, (-1, values.shape[1]))


def _scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and SD (C,) of at most 5,000 bins spread over the session: enough to draw by."""
    part = values[:: -(-len(values) // 5000)]
    table = pd.DataFrame(np.where(np.isfinite(part), part, np.nan))  # whose statistics skip NaN
    return table.mean().to_numpy(float), table.std(ddof=0).to_numpy(float)


def _image(axes: Axes, colors: str, low: float, high: float) -> Any:
    axes.set_facecolor(_NOTHING)
    cmap = matplotlib.colormaps[colors].with_extremes(bad=_NOTHING)
    look: theme.Look = {"aspect": "auto", "origin": "lower", "interpolation": "nearest"}
    return axes.imshow(np.zeros((1, 1)), cmap=cmap, vmin=low, vmax=high, **look)


def _name_ends(axes: Axes, places: np.ndarray, labels: np.ndarray) -> None:
    """Tick labels of the first and the last row only: between them there is no room."""
    ends = sorted({0, labels.size - 1})
    short = [label if len(label) <= 7 else "…" + label[-6:] for label in labels[ends].tolist()]
    axes.set_yticks(places[ends], short, parse_math=False)
