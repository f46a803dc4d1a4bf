"""Samples and their times, as they lie in a file or an array."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from spikelfp_lab.errors import DataError
from spikelfp_lab.sessions import clipped_share
from spikelfp_lab.sessions.schema import GAP_BINS
from spikelfp_lab.signal.timeline import read_times, timeline_from_timestamps, usual_period

Derive = Literal["velocity", "speed"]
Reference = Literal["car", "none"]

_MARGIN_S = 5.0  # read on either side of the session, for smoothing
_TIMES_AT_ONCE = 1 << 18
_WATCHED_ROWS = 20_000  # at least, of a recording that has as many


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
            times, which = np.unique(times, return_inverse=True)
            mean = np.zeros((times.size, values.shape[1]))
            np.add.at(mean, which, values)
            return mean / np.bincount(which)[:, None], times


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
