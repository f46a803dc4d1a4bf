"""Samples and their times, as they lie in a file or an array, brought to the clock of a session."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.sessions import clipped_share
from spikelfp_lab.sessions.schema import GAP_BINS
from spikelfp_lab.signal.broadband import broadband_to_lfp
from spikelfp_lab.signal.lfp import flat_channels, referenced
from spikelfp_lab.signal.timeline import read_times, timeline_from_timestamps, usual_period

Reference = Literal["car", "none"]

_MARGIN_S = 5.0  # read on either side of the session, for smoothing
_TIMES_AT_ONCE = 1 << 18
_WATCHED_ROWS = 20_000  # at least, of a recording that has as many


class LFPFilter(NamedTuple):
    """What becomes of LFP that is faster than the clock, and its reference."""

    band_hz: tuple[float, float] = (0.05, 50.0)
    line_hz: float | None = 60.0
    reference: Reference | None = None


@dataclass(frozen=True)
class Stream:
    """Samples (size,) or (size, columns) and their times, read only where they are sliced."""

    what: str  # for messages: the path in the file, or the name of the argument
    data: Any
    size: int
    rate_hz: float
    start_s: float
    timestamps: Any
    gaps_s: np.ndarray | None  # (k, 2) times of the samples around each gap
    used: np.ndarray  # columns of the data
    scale: np.ndarray  # to the unit of the session, for each column of the data
    offset: float

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

    def near(self, clock: np.ndarray, bin_size_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Values (n, columns), in the unit of the session, and times (n,), around a clock."""
        margin = _MARGIN_S + bin_size_s
        start, stop = self.at_or_after(clock[0] - margin), self.at_or_after(clock[-1] + margin)
        raw = np.asarray(self.data[start:stop]).reshape(stop - start, -1)
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
    stamps = shape[:1] if timestamps is None else np.shape(timestamps)
    faults = {
        f"{what} holds {kind!r} of shape {shape}, not numbers, samples by columns": (
            kind not in "biuf" or len(shape) not in (1, 2) or 0 in shape[1:]
        ),
        f"{what} has shape {shape}, fewer than 2 samples": shape[:1] < (2,),
        f"the shape of the timestamps of {what} is {stamps}, and its own {shape}": (
            stamps != shape[:1]
        ),
        f"the rate of {what} is {rate_hz} Hz": timestamps is None
        and not 0 < (rate_hz or 0) < np.inf,
    }
    return next((text for text, wrong in faults.items() if wrong), "")


def make_stream(
    what: str, data: Any, *, rate_hz: float | None, timestamps: Any = None, start_s: float = 0.0,
    columns: np.ndarray | None = None, scale: float | np.ndarray = 1.0, offset: float = 0.0,
) -> Stream:  # fmt: skip
    """A stream, its timestamps checked from the first to the last."""
    gaps = None
    if np.ndim(timestamps) == 2 and 1 in np.shape(timestamps):  # a row or column of MATLAB's
        timestamps = np.ravel(timestamps)
    if fault := fault_of(what, data, rate_hz, timestamps):
        raise DataError(f"Samples cannot be used: {fault}.")
    count, width = (*data.shape, 1)[:2]
    if timestamps is not None:
        rate_hz = 1 / usual_period(read_times(timestamps, 0, min(_TIMES_AT_ONCE, count), what))
        if not rate_hz:
            raise DataError(f"Time stands still in {what}: give a rate in place of its timestamps.")
        gaps = np.empty((0, 2))
        for start in range(0, count, _TIMES_AT_ONCE):
            piece = read_times(timestamps, max(0, start - 1), start + _TIMES_AT_ONCE, what)
            wide = np.flatnonzero(np.diff(piece) * rate_hz > GAP_BINS)
            gaps = np.concatenate([gaps, np.column_stack([piece[wide], piece[wide + 1]])])
        steps = np.diff(read_times(timestamps, 0, 4096))
        if count > 1024 and steps.all() and steps.std() * rate_hz > 0.7:
            # stamps jitter by more than a sample: where they keep to one line, that is the clock
            at = np.linspace(0, count - 256, 500).astype(int)
            means = [np.mean(timestamps[first : first + 256]) for first in at]
            line = np.polyfit(at + 127.5, means, 1)
            if np.abs(np.polyval(line, at + 127.5) - means).max() < 1e-3:
                timestamps, gaps, rate_hz, start_s = None, None, 1 / line[0], float(line[1])
    used = np.arange(width) if columns is None else columns
    scale = np.broadcast_to(np.asarray(scale, np.float64), (width,))
    rate_hz = float(rate_hz or 0)
    return Stream(what, data, count, rate_hz, start_s, timestamps, gaps, used, scale, offset)


def merged(spans: np.ndarray) -> np.ndarray:
    """Spans (k, 2) in order of time; those that touch or overlap are one."""
    spans = spans[spans[:, 1] > spans[:, 0]]
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    reach = np.maximum.accumulate(spans[:, 1])
    first = np.append(True, spans[1:, 0] > reach[:-1] + 1e-6)[: len(spans)]
    return np.column_stack([spans[first, 0], reach[np.append(first[1:], True)[: len(spans)]]])


class Part:
    """Rows of data, read where they are sliced; some are kept, to see what is clipped.

    Filters smear flat tops, and a recording is too long to be read twice.

    >>> part = Part(np.clip(np.random.default_rng(0).normal(size=(90_000, 1)), -2, 9))
    >>> blocks = [part[start : start + 1000] for start in range(0, 90_000, 1000)]
    >>> part.clipped().round(2).tolist()
    [0.03]
    """

    def __init__(self, data: Any, start: int = 0, stop: int | None = None):
        self._data, self._start = data, start
        self.shape = ((data.shape[0] if stop is None else stop) - start, *data.shape[1:])
        self.dtype, self.ndim = data.dtype, len(data.shape)
        self._step = max(1, self.shape[0] // _WATCHED_ROWS)
        self._kept: list[np.ndarray] = []
        self._seen = 0  # rows up to here are kept: chunks are read with margins, twice

    def __getitem__(self, rows: slice) -> np.ndarray:
        first, stop, _ = rows.indices(self.shape[0])
        block = np.asarray(self._data[self._start + first : self._start + stop])
        new = max(first, self._seen)
        self._seen = max(stop, self._seen)
        kept = block[new - first + -new % self._step :: self._step]
        # a copy, or all of the recording would stay in memory
        self._kept.append(kept.reshape(-1, *self.shape[1:] or (1,)).copy())
        return block

    def clipped(self) -> np.ndarray:
        """(columns,) share of the samples that pile up at the extremes of their column."""
        kept = np.concatenate(self._kept)
        return clipped_share(kept) if len(kept) else np.zeros(kept.shape[1])


def lfp_on_clock(
    lfp: Stream, clock: np.ndarray, bin_size_s: float, chain: LFPFilter,
    within: Sequence[int], progress: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:  # fmt: skip
    """Values (m, C), their times, share clipped (C,), and what was done, in words.

    ``within`` are the samples of the time that was asked for, which may be a part.
    """
    reference = chain.reference or "none"
    if reference not in ("car", "none"):
        raise ConfigError(f"No reference {reference!r} of a session. There are: car, none.")
    if lfp.slower_than(bin_size_s):
        part = Part(lfp.data)
        values, times = replace(lfp, data=part).near(clock, bin_size_s)
        if reference != "none":
            values[:, flat_channels(values)] = np.nan
        values, done = referenced(values, reference), "interpolated"
    else:

        def filtered(start: int, stop: int) -> tuple[np.ndarray, np.ndarray, Part]:
            part, stamps = Part(lfp.data, start, stop), lfp.timestamps
            values, times = broadband_to_lfp(
                part if part.ndim == 2 else part[:][:, None], clock=clock,
                rate_hz=lfp.rate_hz if stamps is None else None, start_s=lfp.start_s,
                timestamps=None if stamps is None else Part(stamps, start, stop),
                channels=lfp.used, scale=lfp.scale, band_hz=chain.band_hz,
                line_hz=chain.line_hz, reference=reference, progress=progress,
            )  # fmt: skip
            return values, times, part

        try:
            values, times, part = filtered(0, lfp.size)
        except DataError:  # of a clock that breaks: perhaps outside of what was asked for
            if lfp.timestamps is None or within[1] - within[0] in (0, lfp.size):
                raise
            values, times, part = filtered(*within)
        high = min(chain.band_hz[1], 0.5 / bin_size_s)  # nothing above that is left on this clock
        done = f"filtered ({chain.band_hz[0]:g}-{high:g} Hz, line {chain.line_hz}) and resampled"
    clipped = part.clipped()[lfp.used].astype(np.float32)
    done = f"LFP of {lfp.rate_hz:g} Hz {done} to {1 / bin_size_s:g} Hz, reference {reference}"
    return values, times, clipped, done
