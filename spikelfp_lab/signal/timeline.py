"""When each raw sample was taken: a rate, or timestamps with jitter, drift, ticks and gaps."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter1d

from spikelfp_lab.errors import DataError

_BLOCK = 2**18  # timestamps read at a time
_MARGIN = 2**12  # and on either side, to see gaps at the edges of a block
_SMOOTH = 32  # stamps that are averaged before they are held against the line
_PIECE = 64  # stamps: the line bends at most so often
_STEADY = 0.05  # change of rate that is followed: beyond, the filters' band would move
# A gap stands for at most so many seconds of missing samples, so that a night between two
# stretches costs nothing. Filters have long forgotten by then.
_LONGEST_GAP_S = 10.0
_CURE = "Open the parts before and after it as sessions of their own (start_s, stop_s)."


@dataclass(frozen=True)
class Timeline:
    """Raw samples on a grid of rows without gaps, and the time of every row.

    Samples that were never taken have rows too. Between knots time is linear in the row.

    >>> line = uniform_timeline(1000, rate_hz=500.0, start_s=3.0)
    >>> line.n_rows, line.times_at(np.array([0, 500])).tolist()
    (1000, [3.0, 4.0])
    """

    spans: np.ndarray  # (k, 3) of each stretch without a gap: first row, first sample, length
    knot_rows: np.ndarray  # (n,), increasing
    knot_times_s: np.ndarray  # (n,), increasing
    period_s: float  # s a sample, on average
    gaps_s: np.ndarray  # (k - 1, 2) s, the last sample before and the first one after each gap

    @property
    def n_rows(self) -> int:
        """Rows in all, missing ones included."""
        return int(self.spans[-1, 0] + self.spans[-1, 2])

    def sample_times(self) -> np.ndarray:
        """Seconds of each sample that was taken."""
        return self.times_at(np.concatenate([row + np.arange(n) for row, _, n in self.spans]))

    def times_at(self, rows: np.ndarray) -> np.ndarray:
        """Seconds at (whole or fractional) rows."""
        return np.interp(rows, self.knot_rows, self.knot_times_s)

    def rows_at(self, times_s: np.ndarray) -> np.ndarray:
        """Fractional rows at times in seconds; NaN more than one sample outside the recording."""
        rows = np.interp(times_s, self.knot_times_s, self.knot_rows)
        first, last = self.knot_times_s[[0, -1]] + self.period_s * np.array([-1.0, 1.0])
        return np.where((times_s >= first) & (times_s <= last), rows, np.nan)


def uniform_timeline(n_samples: int, *, rate_hz: float, start_s: float = 0.0) -> Timeline:
    """The timeline of samples taken at an exact rate, from ``start_s`` on."""
    if not (np.isfinite([rate_hz, start_s]).all() and rate_hz > 0):
        raise DataError(f"rate_hz is {rate_hz}, start_s {start_s}: give a rate above 0, seconds.")
    rows, spans = np.array([0.0, max(n_samples - 1, 1)]), np.array([[0, 0, n_samples]])
    return Timeline(spans, rows, start_s + rows / rate_hz, 1.0 / rate_hz, np.empty((0, 2)))


def timeline_from_timestamps(
    timestamps: Any, n_samples: int, *, rate_hz: float | None = None
) -> Timeline:
    """The timeline of samples with a timestamp each, read block by block.

    Lines are laid through the stamps and held against them: where 32 together are off, a line is
    broken in two. So jitter moves no sample, while drift and lost samples are followed. A stamp
    that several samples share is that of their middle. A step that is half a sample or more too
    long, and no jitter, is a gap: it gets as many rows as it has room for, at most 10 s of them.

    Raises a DataError where stamps (n,), in seconds, are not one for each sample, are NaN, run
    backward, stand still, change their rate by more than 5 %, or are off from ``rate_hz`` by 1 %.

    >>> times = np.concatenate([np.arange(500), np.arange(700, 1000)]) / 100
    >>> line = timeline_from_timestamps(times, 800)
    >>> line.n_rows, line.gaps_s.tolist(), float(line.rows_at(np.array([8.0])).round(6)[0])
    (1000, [[4.99, 7.0]], 800.0)
    """
    if np.shape(timestamps) != (n_samples,) or n_samples < 2:
        what = f"timestamps has shape {np.shape(timestamps)} for {n_samples} samples"
        raise DataError(f"{what}: give one timestamp for each, (n,), n at least 2, or rate_hz.")
    period = usual_period(read_times(timestamps, 0, _BLOCK))
    spans, knots, gaps = [(0, 0)], [], []
    shift, recorded_s = 0, 0.0  # shift: rows that gaps have added so far
    for start in range(0, n_samples, _BLOCK):
        stop, first = min(start + _BLOCK, n_samples), max(0, start - _MARGIN)
        times = read_times(timestamps, first, stop + _MARGIN)
        middles, stamps, firsts = _ticks(times)
        cuts = firsts[_gaps(middles, stamps, firsts, period, first)]
        cuts = cuts[(cuts >= start - first) & (cuts < stop - first)].tolist()
        for begin, end in pairwise(sorted({start - first, *cuts, stop - first})):
            if begin in cuts:
                gaps.append(times[begin - 1 : begin + 1])
                missing = round((times[begin] - times[begin - 1]) / period) - 1
                shift += min(max(1, missing), max(1, round(_LONGEST_GAP_S / period)))
                spans.append((first + begin + shift, first + begin))
            part = slice(*np.searchsorted(middles, [begin, end]))
            ends = np.unique([begin, end - 1])
            lines = np.column_stack([ends, times[ends]])
            if part.stop - part.start > 1:
                lines = _fit(middles[part], stamps[part], begin, end, period, first)
            knots.append(lines + np.array([first + shift, 0.0]))
            recorded_s += float(times[end - 1] - times[begin])
    if recorded_s <= 0:
        raise DataError("Timestamps stand still, or have a gap at each sample: give rate_hz.")
    period = recorded_s / (n_samples - len(knots))
    if rate_hz is not None and not 0.99 < period * rate_hz < 1.01:
        what = f"The timestamps tell {1 / period:g} samples a second, rate_hz says {rate_hz:g}"
        raise DataError(f"{what}. Are the timestamps in seconds? Leave out the one that is wrong.")
    rows, seconds = np.concatenate(knots).T
    seconds = np.maximum.accumulate(seconds) + 1e-9 * period * np.arange(seconds.size)
    lengths = np.diff([sample for _, sample in spans], append=n_samples)
    spans = np.column_stack([spans, lengths])
    return Timeline(spans, rows, seconds, period, np.reshape(gaps, (-1, 2)))


def usual_period(times: np.ndarray) -> float:
    """Seconds a sample, of timestamps (n,) that may tick, jitter and have gaps."""
    middles, stamps, _ = _ticks(times)
    if len(stamps) < 2:
        return np.inf
    counts, seconds = np.diff(middles), np.diff(stamps)
    steps = seconds / counts
    middle = np.median(steps)
    near = np.abs(steps - middle) <= 1e-3 * middle
    # but for gaps or a break
    exact = near.mean() > 0.5 and np.diff(near).sum() < max(12, 0.02 * near.size)
    if not exact or _rounded_to_s(stamps):
        near = steps <= 8 * middle
    return float(seconds[near].sum() / counts[near].sum())


def read_times(timestamps: Any, start: int, stop: int, what: str = "") -> np.ndarray:
    """Timestamps of samples start to stop, float64, finite and not decreasing."""
    times, of = np.asarray(timestamps[start:stop], np.float64), f" of {what}" * bool(what)
    if (bad := np.flatnonzero(~np.isfinite(times))).size:
        what = f"The timestamp of sample {start + bad[0]}{of} is {times[bad[0]]}"
        raise DataError(f"{what}: give it one in seconds, or drop the sample.")
    if (bad := np.flatnonzero(np.diff(times) < 0) + 1).size:
        both = f"{times[bad[0] - 1]:.6f} s is followed by {times[bad[0]]:.6f} s"
        what = f"Time runs backward at sample {start + bad[0]}{of}: {both}"
        raise DataError(f"{what}. Sort them, or open their parts as sessions of their own.")
    return times


def _ticks(times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of samples with one stamp: their middle, the stamp, and the first of them."""
    firsts = np.flatnonzero(np.diff(times, prepend=-np.inf) > 0)
    sizes = np.diff(firsts, append=times.size)
    keep = np.ones(firsts.size, bool)
    if firsts.size > 4:  # a tick that the recording, or the block, has only a part of
        keep[[0, -1]] = sizes[[0, -1]] >= np.median(sizes)
    return (firsts + (sizes - 1) / 2)[keep], times[firsts][keep], firsts[keep]


def _gaps(
    middles: np.ndarray, stamps: np.ndarray, firsts: np.ndarray, period: float, offset: int
) -> np.ndarray:
    """Which ticks follow a gap: time jumps ahead between the means of those beside them."""
    if len(stamps) < 3 or not np.isfinite(period):
        return np.zeros(0, int)
    late = stamps - stamps[0] - (middles - middles[0]) * period
    jitter = _jitter(late)
    width = int(np.clip(np.ceil(150 * (jitter / period) ** 2), 1, 32))
    # of more jitter than 32 stamps average out, the stamps are no independent samples either
    noise = 5 * jitter * (np.sqrt(2 / width) if width < 32 else 1.0)
    limit = max(0.5 * period, noise, 1.05 * _rounded_to_s(stamps))
    index, total = np.arange(1, late.size), np.concatenate([[0.0], np.cumsum(late)])
    first, stop = np.maximum(index - width, 0), np.minimum(index + width, late.size)
    after = (total[stop] - total[index]) / (stop - index)
    jump = np.append(0.0, after - (total[index] - total[first]) / (index - first))
    # for the digits that sums and stamps lose
    limit += 1e-3 * period + 1e-12 * float(np.abs(total).max()) + 4 * np.spacing(stamps[-1])
    at = int(np.argmin(jump))
    if jump[at] < -max(1.5 * period, 4e-3, limit):
        what = f"The clock stands still at sample {offset + firsts[at]} ({stamps[at]:.6f} s): it"
        raise DataError(f"{what} falls {-jump[at]:.3g} s behind {period:.3g} s a sample. {_CURE}")
    high = np.flatnonzero(jump > limit)
    groups = np.split(high, np.flatnonzero(np.diff(high) >= width) + 1)
    cuts = np.array([each[np.argmax(jump[each])] for each in groups if each.size], int)
    dense = cuts[:-15][cuts[15:] - cuts[:-15] <= 32 * width]
    if dense.size:
        at = int(dense[0])
        raise _another_rate(offset + firsts[at], stamps[at : at + 64], period)
    return cuts


def _rounded_to_s(stamps: np.ndarray) -> float:
    """Seconds between two values of a clock that was kept in 32 bits; 0 for any other."""
    single = stamps.astype(np.float32)
    return float(np.spacing(single[-1])) if np.array_equal(single, stamps) else 0.0


def _jitter(values: np.ndarray) -> float:
    """Standard deviation of a value about the mean of its neighbors, but for outliers."""
    bends = values[1:-1] - (values[:-2] + values[2:]) / 2
    return 1.2 * float(np.median(np.abs(bends))) if bends.size else 0.0


def _another_rate(sample: int, stamps: np.ndarray, period: float) -> DataError:
    apart = f"{np.median(np.diff(stamps)):.4g} s apart there, and {period:.4g} s elsewhere"
    what = f"The clock breaks at sample {sample} ({stamps[0]:.6f} s): samples are {apart}"
    return DataError(f"{what}. {_CURE}")


def _fit(
    middles: np.ndarray, stamps: np.ndarray, begin: int, end: int, period: float, offset: int
) -> np.ndarray:
    """(n, 2) knots (sample, time) of samples begin to end: lines that keep to their stamps."""
    x, y = middles - middles.mean(), stamps - stamps.mean()
    slope = float(x @ y / (x @ x))
    off = y - slope * x
    promise, width = max(1e-3, 0.5 * period), min(_SMOOTH, len(off))
    worst = float(np.abs(uniform_filter1d(off, width, mode="nearest")).max())
    bent = worst > min(max(0.25 * period, 6 * _jitter(off) / np.sqrt(width)), promise)
    if bent and len(stamps) >= 2 * _PIECE:
        half = len(stamps) // 2
        middle = int(np.ceil(middles[half] - 0.5 * (middles[half] - middles[half - 1])))
        one = _fit(middles[:half], stamps[:half], begin, middle, period, offset)
        two = _fit(middles[half:], stamps[half:], middle, end, period, offset)
        return np.concatenate([one, two])
    steady = abs(slope / period - 1) <= max(_STEADY, 4 * promise / (period * (end - begin)))
    if (bent and worst > 4 * promise) or not steady:
        raise _another_rate(offset + begin, stamps, period)
    ends = np.array([begin, end - 1])
    return np.column_stack([ends, stamps.mean() + slope * (ends - middles.mean())])
