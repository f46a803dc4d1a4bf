"""Which moment each raw sample was taken at: a rate, or timestamps with jitter, drift and gaps."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from spikelfp_lab.errors import DataError

# Timestamps are averaged over so many samples at a time (10 s at 24 kHz): the jitter of single
# ones goes, the drift of the clock stays.
_BLOCK = 2**18
# A gap stands for at most so many seconds of missing samples, so that a night between two
# stretches costs nothing. Filters have long forgotten by then.
_LONGEST_GAP_S = 10.0


@dataclass(frozen=True)
class Timeline:
    """Raw samples on a grid of rows without gaps, and the time of every row.

    Samples that were never taken have rows too: they are missing, not absent. Between knots time
    is linear in the row.

    Parameters
    ----------
    spans : (k, 3) int array
        Of each stretch of samples without a gap: its first row, its first sample, its length.
    knot_rows, knot_times_s : (n,) float64
        Rows and their times in seconds, both increasing.
    period_s : float
        Seconds a sample, on average.
    gaps_s : (k - 1, 2) float64
        Time of the last sample before and of the first one after each gap, in seconds.

    Examples
    --------
    >>> line = uniform_timeline(1000, rate_hz=500.0, start_s=3.0)
    >>> line.n_rows, line.times_at(np.array([0, 500])).tolist()
    (1000, [3.0, 4.0])
    """

    spans: np.ndarray
    knot_rows: np.ndarray
    knot_times_s: np.ndarray
    period_s: float
    gaps_s: np.ndarray

    @property
    def n_rows(self) -> int:
        """Rows in all, missing ones included."""
        return int(self.spans[-1, 0] + self.spans[-1, 2])

    def times_at(self, rows: np.ndarray) -> np.ndarray:
        """Seconds at (whole or fractional) rows."""
        return np.interp(rows, self.knot_rows, self.knot_times_s)

    def rows_at(self, times_s: np.ndarray) -> np.ndarray:
        """Fractional rows at times in seconds; NaN more than one sample outside the recording."""
        rows = np.interp(times_s, self.knot_times_s, self.knot_rows)
        first, last = self.knot_times_s[[0, -1]] + self.period_s * np.array([-1.0, 1.0])
        return np.where((times_s >= first) & (times_s <= last), rows, np.nan)


def uniform_timeline(n_samples: int, *, rate_hz: float, start_s: float = 0.0) -> Timeline:
    """The timeline of samples taken at an exact rate.

    Parameters
    ----------
    n_samples : int
    rate_hz : float
        Samples a second.
    start_s : float
        Time of the first sample in seconds.

    Raises
    ------
    DataError
        If the rate or the start is not a finite number, or the rate is not positive.

    Examples
    --------
    >>> uniform_timeline(100, rate_hz=50.0).rows_at(np.array([1.0, 9.0])).tolist()
    [50.0, nan]
    """
    if not (np.isfinite([rate_hz, start_s]).all() and rate_hz > 0):
        raise DataError(
            f"rate_hz is {rate_hz} and start_s is {start_s}: give a positive number of samples a "
            "second and a start in seconds."
        )
    rows = np.array([0.0, max(n_samples - 1, 1)])
    return Timeline(
        spans=np.array([[0, 0, n_samples]]),
        knot_rows=rows,
        knot_times_s=start_s + rows / rate_hz,
        period_s=1.0 / rate_hz,
        gaps_s=np.empty((0, 2)),
    )


def timeline_from_timestamps(
    timestamps: Any, n_samples: int, *, rate_hz: float | None = None
) -> Timeline:
    """The timeline of samples with a timestamp each, read block by block.

    Straight lines are laid through the timestamps, a knot every 262,144 samples, so that jitter
    does not shift the samples and drift is followed. Where a step is longer than the jitter of
    the first block allows (more than 1.5 samples where there is none), samples are missing: the
    gap gets as many rows as it has room for, at most 10 s of them.

    Parameters
    ----------
    timestamps : (n,) array or HDF5 dataset
        Seconds, not decreasing.
    n_samples : int
        Number of samples they must be for.
    rate_hz : float, optional
        The rate the recording reports. It is checked, not used, except to tell a gap from jitter.

    Raises
    ------
    DataError
        If the timestamps are not one for each sample, are NaN, run backwards or stand still, or
        are off from ``rate_hz`` by more than one percent.

    Examples
    --------
    >>> times = np.concatenate([np.arange(500), np.arange(700, 1000)]) / 100
    >>> line = timeline_from_timestamps(times, 800)
    >>> line.n_rows, line.gaps_s.tolist(), float(line.rows_at(np.array([8.0])).round(6)[0])
    (1000, [[4.99, 7.0]], 800.0)
    """
    if np.ndim(timestamps) != 1 or np.shape(timestamps)[0] != n_samples or n_samples < 2:
        raise DataError(
            f"timestamps has shape {np.shape(timestamps)} for {n_samples} samples: give one "
            "timestamp for each, (n,), n at least 2; or give rate_hz and start_s instead."
        )
    head = _block(timestamps, 0, min(_BLOCK, n_samples))
    period, limit = _expected_step(head, rate_hz)

    spans: list[tuple[int, int, int]] = []
    knots: list[list[tuple[float, float]]] = []
    gaps: list[tuple[float, float]] = []
    shift = 0  # rows that gaps have added so far
    stretch_of_time, steps_in_it = 0.0, 0
    for sample, times, after_gap in _runs(timestamps, n_samples, limit):
        if after_gap is not None:
            missing = max(1, round((times[0] - after_gap) / period) - 1)
            shift += min(missing, max(1, round(_LONGEST_GAP_S / period)))
            gaps.append((after_gap, float(times[0])))
        if after_gap is not None or not spans:
            spans.append((sample + shift, sample, 0))
            knots.append([])
        first, start, length = spans[-1]
        spans[-1] = (first, start, length + times.size)
        knots[-1].append((sample + shift + (times.size - 1) / 2, float(times.mean())))
        stretch_of_time += float(times[-1] - times[0])
        steps_in_it += times.size - 1
    if stretch_of_time <= 0:
        raise DataError(
            f"The timestamps stand still at {head[0]} s or have a gap after every sample: they are"
            " no clock of this recording. Give rate_hz instead."
        )
    period = stretch_of_time / steps_in_it
    if rate_hz is not None and not 0.99 < period * rate_hz < 1.01:
        raise DataError(
            f"The timestamps tell {1 / period:g} samples a second, rate_hz says {rate_hz:g}. Are "
            "the timestamps in seconds? Leave out the one that is wrong."
        )
    ends = [_with_ends(*each, period) for each in zip(spans, knots, strict=True)]
    rows, times = np.concatenate(ends).T
    return Timeline(
        spans=np.array(spans),
        knot_rows=rows,
        knot_times_s=np.maximum.accumulate(times),
        period_s=period,
        gaps_s=np.array(gaps).reshape(-1, 2),
    )


def _block(timestamps: Any, start: int, stop: int) -> np.ndarray:
    """Timestamps of samples start to stop, float64, finite."""
    times = np.asarray(timestamps[start:stop], np.float64)
    if not np.isfinite(times).all():
        bad = start + int(np.flatnonzero(~np.isfinite(times))[0])
        raise DataError(
            f"The timestamp of sample {bad} is {times[bad - start]}: every sample needs a time in "
            "seconds. Repair the timestamps, or give rate_hz and start_s instead."
        )
    return times


def _expected_step(head: np.ndarray, rate_hz: float | None) -> tuple[float, float]:
    """Seconds a sample, and the longest step that is still jitter, from the first block."""
    steps = np.diff(head)
    middle = float(np.median(steps))
    # a clock that ticks more slowly than samples are taken has steps of 0 and of a tick
    period = 1.0 / rate_hz if rate_hz else middle if middle > 0 else float(steps.mean())
    if period <= 0:
        return np.inf, np.inf  # running backwards or standing still, which is found out later
    jitter = float(np.quantile(np.abs(steps - period), 0.99, method="lower")) / period
    return period, period * (1.5 + 3 * jitter)


def _runs(
    timestamps: Any, n_samples: int, limit: float
) -> Iterator[tuple[int, np.ndarray, float | None]]:
    """Yield (first sample, timestamps, time before the gap it follows or None), gap-free each."""
    last: float | None = None
    for start in range(0, n_samples, _BLOCK):
        times = _block(timestamps, start, min(start + _BLOCK, n_samples))
        steps = np.diff(times, prepend=times[0] if last is None else last)
        if (steps < 0).any():
            bad = int(np.flatnonzero(steps < 0)[0])
            raise DataError(
                f"Time runs backwards at sample {start + bad}: {times[bad] - steps[bad]:.6f} s is "
                f"followed by {times[bad]:.6f} s. Sort the recording, or open its parts as "
                "sessions of their own."
            )
        cuts = [0, *(int(cut) for cut in np.flatnonzero(steps > limit) if cut), times.size]
        for begin, end in pairwise(cuts):
            after_gap = float(times[begin] - steps[begin]) if steps[begin] > limit else None
            yield start + begin, times[begin:end], after_gap
        last = float(times[-1])


def _with_ends(
    span: tuple[int, int, int], knots: list[tuple[float, float]], period: float
) -> np.ndarray:
    """(n, 2) knots (row, time) of a stretch, its first and last row among them."""
    inner = np.array(knots)
    first, last = span[0], span[0] + span[2] - 1
    if first == last:
        return inner

    def slope(one: int, other: int) -> float:
        if len(inner) < 2:
            return period
        (row, time), (next_row, next_time) = inner[one], inner[other]
        return (next_time - time) / (next_row - row)

    start = (first, inner[0, 1] + (first - inner[0, 0]) * slope(0, 1))
    stop = (last, inner[-1, 1] + (last - inner[-1, 0]) * slope(-2, -1))
    # a block of a single sample at either end is its own knot already
    between = inner[(inner[:, 0] > first) & (inner[:, 0] < last)]
    return np.concatenate([[start], between, [stop]])
