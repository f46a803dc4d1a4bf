"""Samples and their times, as they lie in a file or an array; behavior, on a session's clock."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.sessions import clipped_share
from spikelfp_lab.sessions.schema import GAP_BINS
from spikelfp_lab.signal.timeline import read_times, timeline_from_timestamps, usual_period

Derive = Literal["velocity", "speed"]
Reference = Literal["car", "none"]

_MARGIN_S = 5.0  # read on either side of the session, for smoothing
_TIMES_AT_ONCE = 1 << 18
_WATCHED_ROWS = 20_000  # at least, of a recording that has as many
_TURNS = {r"deg(rees?)?|°": 360.0, r"rad(ians?)?": 2 * np.pi}  # units of angles: a whole turn
_NO_UNIT = r"|n/?a|none|unknown|a\.?u\.?|arbitrary( units?)?|unitless|1|-|m|met(er|re)s?"


class Options(NamedTuple):
    """What is asked of a session, as in open_nwb: its clock, filter, reference and behavior."""

    bin_size_s: float = 0.01
    start_s: float | None = None
    stop_s: float | None = None
    max_gap_s: float = 0.25
    band_hz: tuple[float, float] = (0.05, 50.0)
    line_hz: float | None = 60.0
    reference: Reference | None = None
    derive: Derive | None = None
    smooth_s: float = 0.1
    causal: bool = False


@dataclass
class Stream:
    """Samples (n,) or (n, columns), read only where they are sliced, and their checked times."""

    what: str  # for messages: the path in the file, or the name of the argument
    data: Any
    rate_hz: Any
    timestamps: Any = None
    start_s: float = 0.0
    names: Sequence[str] = ()  # of the columns that are used
    used: Any = None  # columns of the data, by default all
    scale: Any = 1.0  # to the unit of the session, one or one for each column of the data
    offset: float = 0.0
    kind: str = "behavior"
    units: str = ""
    circular: bool = False  # said to be a direction

    def __post_init__(self) -> None:
        self.gaps_s = np.empty((0, 2))  # times of the samples around each gap
        if np.ndim(self.timestamps) == 2 and 1 in np.shape(self.timestamps):
            self.timestamps = np.ravel(self.timestamps)  # a row or column of MATLAB's
        if fault := fault_of(self.what, self.data, self.rate_hz, self.timestamps):
            what = f"Samples cannot be used: {fault}"
            raise DataError(f"{what}: give numbers, samples by columns, each sample with its time.")
        self.size, width = (*self.data.shape, 1)[:2]
        self.used = np.arange(width) if self.used is None else self.used
        self.scale = np.broadcast_to(np.asarray(self.scale, np.float64), (width,))
        if self.timestamps is not None:
            self._check_times()
        self.rate_hz = float(self.rate_hz)

    def _check_times(self) -> None:
        """Find the rate and the gaps; where stamps jitter about one line, that is the clock."""
        what, stamps, pairs = self.what, self.timestamps, []
        rate = 1 / usual_period(read_times(stamps, 0, min(_TIMES_AT_ONCE, self.size), what))
        if not rate:
            raise DataError(f"Time stands still in {what}: give a rate in place of its timestamps.")
        for start in range(0, self.size, _TIMES_AT_ONCE):
            piece = read_times(stamps, max(0, start - 1), start + _TIMES_AT_ONCE, what)
            wide = np.flatnonzero(np.diff(piece) * rate > GAP_BINS)
            pairs.append(np.column_stack([piece[wide], piece[wide + 1]]))
        self.rate_hz, self.gaps_s = rate, np.concatenate(pairs)
        steps = np.diff(read_times(stamps, 0, 4096))
        if self.size > 1024 and steps.all() and steps.std() * rate > 0.7:  # of a sample
            at = np.linspace(0, self.size - 256, 500).astype(int)
            means = [np.mean(stamps[first : first + 256]) for first in at]
            line = np.polyfit(at + 127.5, means, 1)
            if np.abs(np.polyval(line, at + 127.5) - means).max() < 1e-3:
                self.timestamps, self.gaps_s = None, np.empty((0, 2))
                self.rate_hz, self.start_s = 1 / line[0], float(line[1])

    def slower_than(self, bin_size_s: float) -> bool:
        """Whether there is a bin or more to a sample, so that there is nothing to filter."""
        return self.rate_hz * bin_size_s <= 1.001  # timestamps of 100 Hz may say 100.0003

    def time(self, index: int) -> float:
        """Seconds of a sample."""
        if self.timestamps is not None:
            return float(self.timestamps[index])
        return self.start_s + index / self.rate_hz

    def at_or_after(self, time_s: float) -> int:
        """The first sample that is not before a time; ``size`` when there is none."""
        return bisect_left(range(self.size), time_s - 1e-9, key=self.time)

    def near(self, clock: np.ndarray, size_s: float, data: Any = None) -> tuple[Any, Any]:
        """Values (n, columns), in the unit of the session, and times (n,), around a clock."""
        margin, data = _MARGIN_S + size_s, self.data if data is None else data
        start, stop = self.at_or_after(clock[0] - margin), self.at_or_after(clock[-1] + margin)
        raw = np.asarray(data[start:stop]).reshape(stop - start, -1)
        values = raw[:, self.used] * self.scale[self.used] + self.offset
        if self.timestamps is None:
            return values, self.start_s + np.arange(start, stop) / self.rate_hz
        times = np.asarray(self.timestamps[start:stop], np.float64)
        if times.size < 2 or (np.diff(times) > 0).all():
            return values, times
        try:  # a clock that ticks, or a camera that says one time twice
            return values, timeline_from_timestamps(times, times.size).sample_times()
        except DataError:  # no regular samples: those of one time become one
            means: Any = pd.DataFrame(values).groupby(times).mean()
            return means.to_numpy(), means.index.to_numpy()


def fault_of(what: str, data: Any, rate_hz: float | None, timestamps: Any) -> str:
    """What is wrong with samples and their times, by shapes and the rate; "" where nothing is."""
    shape, kind = np.shape(data), getattr(getattr(data, "dtype", None), "kind", "O")
    if kind not in "biuf" or len(shape) not in (1, 2) or 0 in shape[1:]:
        return f"{what} holds {kind!r} of shape {shape}, not numbers, samples by columns"
    if shape[0] < 2:
        return f"{what} has shape {shape}, fewer than 2 samples"
    if timestamps is not None and np.shape(timestamps) != shape[:1]:
        stamps = f"the shape of the timestamps of {what} is {np.shape(timestamps)}"
        return f"{stamps}, and its own {shape}"
    wrong = timestamps is None and not 0 < (rate_hz or 0) < np.inf
    return f"the rate of {what} is {rate_hz} Hz" if wrong else ""


def merged(spans: np.ndarray) -> np.ndarray:
    """Spans (k, 2) in order of time; those that touch or overlap are one."""
    spans = spans[spans[:, 1] > spans[:, 0]]
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    reach = np.maximum.accumulate(spans[:, 1])
    first = np.append(True, spans[1:, 0] > reach[:-1] + 1e-6)[: len(spans)]
    return np.column_stack([spans[first, 0], reach[np.append(first[1:], True)[: len(spans)]]])


class Part:
    """Rows of data; some of those that are read are kept, to see what was clipped before filters.

    >>> part = Part(np.clip(np.random.default_rng(0).normal(size=(90_000, 1)), -2, 9))
    >>> blocks = [part[start : start + 1000] for start in range(0, 90_000, 1000)]
    >>> part.clipped().round(2).tolist()
    [0.03]
    """

    def __init__(self, data: Any, start: int = 0, stop: int | None = None):
        self._data, self._rows, self._kept = data, range(data.shape[0])[start:stop], []
        self.shape, self.dtype = (len(self._rows), *data.shape[1:]), data.dtype
        self._step = max(1, self.shape[0] // _WATCHED_ROWS)
        self._seen = 0  # rows up to here are kept: chunks are read with margins, twice

    def __getitem__(self, rows: slice) -> np.ndarray:
        first, stop, _ = rows.indices(self.shape[0])
        block = np.asarray(self._data[self._rows.start + first : self._rows.start + stop])
        new, self._seen = max(first, self._seen), max(stop, self._seen)
        kept = block[new - first + -new % self._step :: self._step]
        # a copy, or all of the recording would stay in memory
        self._kept.append(kept.reshape(-1, *self.shape[1:] or (1,)).copy())
        return block

    def clipped(self) -> np.ndarray:
        """(columns,) share of the samples that pile up at the extremes of their column."""
        kept = np.concatenate(self._kept)
        return clipped_share(kept) if len(kept) else np.zeros(kept.shape[1])


def behavior_on_clock(stream: Stream, clock: np.ndarray, options: Options) -> tuple[Any, ...]:
    """Values (n, D) and times, the names and unit of the columns, and what is odd about them."""
    derive, smooth_s, names, units = options.derive, options.smooth_s, stream.names, stream.units
    values, times = stream.near(clock, options.bin_size_s)
    lost, odd = _lost(values, stream.offset), []
    if lost.any():
        values[lost] = np.nan
        text = f"{lost.sum()} of {len(values)} samples are 0 in all columns, with jumps before and "
        text += "after, as where tracking is lost: they are taken for missing."
        odd.append(("tracking", text))
    turn, text = _turn(values, stream)
    if text:
        odd.append(("direction", text))
    wanted = derive is None or (derive in ("velocity", "speed") and 0 < smooth_s < np.inf)
    if not wanted or (derive and turn):
        what = f"derive={derive!r} with smooth_s={smooth_s} of {stream.what}"
        raise ConfigError(f"{what}: 'velocity' or 'speed' of positions, not directions, above 0 s.")
    if turn:  # cos and sin can be interpolated
        angle = values * (2 * np.pi / turn)
        values, units = np.concatenate([np.cos(angle), np.sin(angle)], axis=1), "1"
        names = [f"{part}_{name}" for part in ("cos", "sin") for name in names]
    # positions on either side of a gap in the times are not smoothed together
    limit = max(GAP_BINS / stream.rate_hz, smooth_s if derive else 0.0)
    cuts = np.flatnonzero(np.diff(times) > limit) + 1
    pieces = np.split(values, cuts)
    if derive:
        sd, units, names = smooth_s * stream.rate_hz, f"{units or '1'}/s", [f"v{x}" for x in names]
        pieces = [_velocity(*pair, sd) for pair in zip(pieces, np.split(times, cuts), strict=True)]
    if derive == "speed":
        pieces = [np.linalg.norm(piece, axis=1, keepdims=True) for piece in pieces]
        names = ["speed"]
    width = round(stream.rate_hz * options.bin_size_s)
    if width > 1:
        pieces = [_bin_mean(piece, width) for piece in pieces]
        if width % 2 == 0:  # the mean of samples i - width / 2 to i + width / 2 - 1
            times = times - 0.5 / stream.rate_hz
    return np.concatenate(pieces).astype(np.float32), times, names, units, odd


def _lost(values: np.ndarray, zero: float) -> np.ndarray:
    """(n,) rows at exactly 0 to which positions of two axes or more jump, and from which."""
    at, lost = (values == zero).all(axis=1), np.zeros(len(values), bool)
    steps = np.linalg.norm(np.diff(values, axis=0), axis=1)
    usual = steps[np.isfinite(steps) & ~at[1:] & ~at[:-1]]
    if values.shape[1] > 1 and usual.size and (far := 5 * np.percentile(usual, 99)) > 0:
        jumps = np.r_[True, ~(steps <= far), True]  # before each sample, and after the last
        for start, stop in np.flatnonzero(np.diff(np.r_[0, at, 0])).reshape(-1, 2):
            lost[start:stop] = jumps[start] and jumps[stop] and stop - start < len(at)
    return lost


def _turn(values: np.ndarray, stream: Stream) -> tuple[float, str]:
    """A whole turn in the unit of the values, 0 where they are no directions; what is odd."""
    what, units, circular = stream.what, stream.units, stream.circular
    unit = units.strip().lower()
    turn = next((turn for words, turn in _TURNS.items() if re.fullmatch(words, unit)), 0.0)
    known = values[np.isfinite(values).all(axis=1)]
    steps = np.abs(np.diff(known, axis=0))
    furthest, jump = float(np.abs(known).max(initial=0)), float(steps.max(initial=0))
    taken, likely = ("degrees", 360.0) if furthest > 6.4 else ("radians", 2 * np.pi)
    if turn:
        text = f"{what} says {units}, and its values reach {furthest:.4g}, as {taken} do"
        if (turn < 7 and 180 < jump < 361) or (turn > 7 and furthest < 6.4 and 4.7 < jump < 6.3):
            raise DataError(f"{text}. Correct its unit, or leave it out with behavior=False.")
        if circular and turn < 7 and 6.4 < furthest < 361:
            return turn, f"{text}: cos and sin are those of radians. Check its unit."
        wraps = 0.75 * turn < jump <= 1.01 * turn and furthest <= 1.01 * turn
        return turn * (circular or wraps), ""
    if circular and len(known):  # said to be a direction, in no unit that is known
        return likely, f"{what} has no unit of an angle ({units!r}): it is taken for {taken}."
    for name, column, step in zip(stream.names, known.T, steps.T, strict=True):
        turn = 360.0 if step.max(initial=0) > 7 else 2 * np.pi
        wraps, large = (step > 0.75 * turn).sum(), (step > 0.25 * turn).sum()
        inside = -0.51 * turn <= column.min(initial=0) and column.max(initial=0) <= 1.01 * turn
        if 1 < wraps > large / 1.5 and inside and re.fullmatch(_NO_UNIT, unit):
            text = f"{name} of {what} jumps by {step.max():.4g} {wraps} times, as directions do"
            text += f", and has no unit of an angle ({units!r}): means across the jumps are wrong. "
            return 0.0, text + "Give its unit, degrees or radians: it becomes a cos and a sin."
    return 0.0, ""


def _velocity(values: np.ndarray, times: np.ndarray, sd: float) -> np.ndarray:
    """(n, D) slope of Gaussian-weighted lines through finite positions: true beside holes too."""
    finite = np.isfinite(values)
    when = (times - times.mean())[:, None]
    center = np.where(finite, values, 0.0).sum(axis=0) / np.maximum(finite.sum(axis=0), 1)
    x = np.where(finite, values - center, 0.0)

    def around(each: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter1d(each, sd, axis=0, mode="constant", truncate=4.0)

    weight, t, tt = (around(finite * when**power) for power in (0, 1, 2))
    spread = weight * tt - t**2
    step = np.median(np.diff(times)) if len(times) > 1 else np.inf
    known = (weight >= 0.5) & (spread > 1e-3 * (sd * step) ** 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = (weight * around(when * x) - t * around(x)) / spread
    return np.where(known, slope, np.nan)


def _bin_mean(values: np.ndarray, width: int) -> np.ndarray:
    """(n, D) mean over ``width`` samples; NaN where missing, or where most of these are."""
    finite = np.isfinite(values)
    filled = np.where(finite, values, 0.0).astype(np.float64)
    weight = ndimage.uniform_filter1d(finite.astype(np.float64), width, axis=0)
    total = ndimage.uniform_filter1d(filled, width, axis=0)
    return np.where(finite & (weight >= 0.5), total / np.maximum(weight, 0.5), np.nan)
