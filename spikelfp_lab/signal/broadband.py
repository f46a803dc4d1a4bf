"""Broadband voltage of any length -> LFP on the session's clock, chunk by chunk.

Each chunk is read with a margin, decimated by an FIR low-pass to an inner rate of about eight
times the upper edge of the band, and then evaluated at the times of the clock by a kernel that is
the band's own low-pass with its notches. The high-pass is run on the (small) result.
"""

import warnings
from typing import Any

import numpy as np
from scipy import signal
from tqdm.auto import tqdm

from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.signal import lfp as slow
from spikelfp_lab.signal.lfp import Reference
from spikelfp_lab.signal.timeline import Timeline, timeline_from_timestamps, uniform_timeline

_CHUNK_S = 4.0  # read at a time, or 16 times the reach of the filters where that is longer
_OUTPUTS_AT_ONCE = 4  # of the decimation: a few share one matrix product (measured: 4 is fastest)
_PHASES = 64  # of the kernel in its table, between which it is interpolated: an error of -94 dB
_NOTCH_S = 1.0  # length of a notch's impulse response: 40 dB within 0.12 Hz of its frequency


def broadband_to_lfp(
    data: Any, *, rate_hz: float | None = None, timestamps: Any = None, start_s: float = 0.0,
    clock: np.ndarray | None = None, to_rate_hz: float | None = None,
    band_hz: tuple[float, float] = (0.05, 50.0), line_hz: float | None = 60.0,
    reference: Reference = "car", scale: float | np.ndarray = 1.0, channels: Any = None,
    progress: bool = True,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Bring broadband voltage to the clock of a session: LFP in its band, at the true times.

    For recordings of any length, on disk or in memory. In order: FIR low-pass and decimation, band
    low-pass with notches at the times of the clock, high-pass (Butterworth, order 2, both ways),
    scale, reference. The phase is zero. With the default band the gain is within 0.5 dB from 0.5 to
    45 Hz, and 60 dB are lost above 55 Hz. A DataError or ConfigError for data, rates, times or
    options that cannot be used; gaps of timestamps are a SpikeLFPWarning.

    Parameters
    ----------
    data : (n, C) HDF5 dataset, memory map or array; NaN where missing: bridged while filtering,
        NaN in the result.
    rate_hz : samples a second. With ``timestamps`` it is only checked against them.
    timestamps : (n,) array or HDF5 dataset, seconds of every sample.
    start_s : time of the first sample in seconds, where there are no timestamps.
    clock : (m,) float64, times of the result in seconds, such as bin centers; may have gaps.
    to_rate_hz : in place of a clock, samples a second from the first raw sample on; 100 by default.
    band_hz : edges in Hz; the upper one is lowered to half of the new rate.
    line_hz : mains (or None): notched, with harmonics, where the low-pass would let them through.
    reference : "car" subtracts the mean over channels; "bipolar" gives differences of successive
        ones; "none".
    scale : unit of the result a count of ``data``, or (C,), one for each channel of ``data``.
    channels : columns of ``data`` to use, in this order: numbers, a slice or a mask.
    Returns
    -------
    lfp : (m, C) float32, or (m, C - 1) when bipolar; NaN where samples are missing and where the
        clock goes beyond the recording.
    times_s : (m,) float64, seconds.

    Examples
    --------
    >>> voltage = 1000 * np.sin(2 * np.pi * 20 * np.arange(500_000) / 25_000)
    >>> lfp, times_s = broadband_to_lfp(
    ...     voltage.astype(np.int16)[:, None], rate_hz=25_000.0, reference="none", progress=False)
    >>> lfp.shape, times_s[:3].tolist()
    ((2000, 1), [0.0, 0.01, 0.02])
    """
    data = data if hasattr(data, "shape") else np.asarray(data)
    if len(data.shape) != 2 or 0 in data.shape or np.dtype(data.dtype).kind not in "iuf":
        raise DataError(f"Give numbers, samples by channels, not {data.dtype} {data.shape}.")
    columns = np.arange(data.shape[1])
    scale = np.broadcast_to(np.asarray(scale, np.float32), columns.shape)
    columns = columns if channels is None else np.atleast_1d(columns[channels])
    if columns.size < (1 if reference == "none" else 2):
        what = f"The reference {reference!r} of {columns.size} channels leaves nothing"
        raise DataError(f"{what}: give two or more, or reference='none'.")
    if timestamps is not None:
        timeline = timeline_from_timestamps(timestamps, data.shape[0], rate_hz=rate_hz)
    elif rate_hz is not None:
        timeline = uniform_timeline(data.shape[0], rate_hz=rate_hz, start_s=start_s)
    else:
        raise ConfigError("Give rate_hz or timestamps: when the samples were taken is not known.")
    if len(gaps := timeline.gaps_s):
        text = f"The timestamps have {len(gaps)} gap(s), {np.diff(gaps).sum():.3f} s in all, the "
        text += f"first after {gaps[0, 0]:.3f} s: the LFP is missing there (NaN; in a session, a "
        text += "straight line over gaps of at most its max_gap_s)."
        warnings.warn(text, SpikeLFPWarning, stacklevel=2)
    raw_hz, (first_s, last_s) = 1.0 / timeline.period_s, timeline.knot_times_s[[0, -1]]
    if clock is not None and to_rate_hz is not None:
        raise ConfigError("Give a clock or to_rate_hz, not both: a clock has its own rate.")
    times, wanted = np.empty(0), slice(None)
    if clock is not None:
        times, to_rate_hz, wanted = _without_gaps(np.asarray(clock, np.float64))
    to_rate_hz = 100.0 if to_rate_hz is None else to_rate_hz
    low, high = slow.checked_band(band_hz, line_hz, reference, raw_hz, to_rate_hz)
    if clock is None:
        count = int(np.ceil((last_s - first_s + timeline.period_s) * to_rate_hz - 1e-9))
        times = first_s + np.arange(count) / to_rate_hz
    factor, taps, kernel = _design(raw_hz, high, line_hz)
    reach = taps.size // 2 + (kernel.size - 1) // _PHASES * factor  # raw rows on either side
    if timeline.n_rows < reach + 2:
        what = f"{data.shape[0]} samples of {data.shape[1]} channels are too short a stretch"
        raise DataError(f"{what}: give {reach + 2}. If it is channels by samples, transpose it.")
    rows = timeline.rows_at(times)
    inside = np.flatnonzero(np.isfinite(rows))
    if not inside.size:
        what = f"The clock, {times[0]:g} to {times[-1]:g} s, does not overlap the recording"
        raise DataError(f"{what}, {first_s:g} to {last_s:g} s. Check units (seconds) and offset.")
    lfp = np.full((times.size, columns.size), np.nan, np.float32)
    inside = slice(inside[0], inside[-1] + 1)
    part, rows = lfp[inside], np.clip(rows[inside], 0, timeline.n_rows - 1)
    reader, step = _Reader(data, columns, timeline, reach), raw_hz / to_rate_hz
    missing = _filter(part, rows, reader, factor, taps, kernel, step, progress)
    # a recording too short for the transients of the edges is mirrored until it is long enough
    extra = max(0, int(2 * to_rate_hz / low) - len(part) + 1)
    for channel, holes in zip(part.T, missing.T, strict=True):  # one by one, to save memory
        slow.bridge(channel[None], holes[None])
        block = np.pad(channel[None], ((0, 0), (extra, extra)), mode="reflect")
        channel[:] = slow.high_pass(block, to_rate_hz, low)[0, extra : extra + len(part)]
        channel[holes] = np.nan
    lfp, times = lfp[wanted], times[wanted]
    lfp *= scale[columns]
    return slow.referenced(lfp, reference), times


def _without_gaps(clock: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """A clock whose gaps are filled, so that the high-pass is right; its rate; what is wanted."""
    step = np.diff(clock)
    if clock.ndim != 1 or clock.size < 2 or not (np.isfinite(step) & (step > 0)).all():
        raise DataError(f"Give a clock (m,) of increasing, finite seconds, not {clock.shape}.")
    usual = float(np.median(step))
    index = np.append(0, np.cumsum(np.maximum(1, np.rint(step / usual)))).astype(np.int64)
    wanted = np.isin(np.arange(index[-1] + 1), index)
    return np.interp(np.arange(wanted.size), index, clock), 1.0 / usual, wanted


def _design(
    rate_hz: float, high: float, line_hz: float | None
) -> tuple[int, np.ndarray, np.ndarray]:
    """Flat to 0.9 of the upper edge, 65 dB and more down from 1.1 of it; nothing aliases.

    The factor of the decimation, raw rows an inner sample; its taps (n,) float32, n odd, symmetric;
    the right half of the band's low-pass (_PHASES * half + 1,) float32, _PHASES an inner sample.
    """
    factor = max(1, int(rate_hz / (8 * high)))
    inner_hz = rate_hz / factor
    taps = np.ones(1)
    if factor > 1:  # down by 80 dB where it would alias below 1.15 of the edge
        count, beta = signal.kaiserord(80.0, (inner_hz - 2.3 * high) / (rate_hz / 2))
        size = count | 1
        taps = np.sinc((np.arange(size) - size // 2) / factor) * np.kaiser(size, beta)
    count, beta = signal.kaiserord(72.0, 0.2 * high / (inner_hz / 2))
    half = -(-count // 2)
    time = np.arange(-half * _PHASES, half * _PHASES + 1) / _PHASES
    cycles = 2 * high / inner_hz  # twice the cut-off, a sample
    kernel = cycles * np.sinc(cycles * time) * np.kaiser(time.size, beta)
    if line_hz is not None and line_hz < 1.1 * high:
        lines = np.arange(line_hz, 1.1 * high, line_hz)
        width = round(_NOTCH_S / 2 * inner_hz)
        time = np.arange(-width * _PHASES, width * _PHASES + 1) / _PHASES
        window = np.hanning(time.size)
        # lines lie so far apart, for so long a window, that their notches simply add
        tones = np.cos(2 * np.pi / inner_hz * np.outer(lines, time)).sum(axis=0)
        taken = signal.fftconvolve(kernel, 2 * window / window.sum() * tones)
        kernel = np.pad(kernel, width * _PHASES) - taken
    # ends in zeros: whether the last sample within reach counts must not hang on rounding
    kernel = np.pad(kernel, _PHASES)[kernel.size // 2 + _PHASES :].astype(np.float32)
    return factor, (taps / taps.sum()).astype(np.float32), kernel


def _filter(
    result: np.ndarray, rows: np.ndarray, reader: "_Reader", factor: int, taps: np.ndarray,
    kernel: np.ndarray, step: float, progress: bool,
) -> np.ndarray:  # fmt: skip
    """Fill the result (m, C) at raw rows (fractions), ``step`` apart; say what is missing in it."""
    half, reach = (kernel.size - 1) // _PHASES, reader.reach
    # inner samples are counted from one grid for all chunks, so that these leave no trace
    anchor = max(0, int(rows[0]) - reach) - reach
    inner_at = (rows - anchor - taps.size // 2) / factor
    first = np.floor(inner_at).astype(np.int64) - half + 1
    grid = np.arange(kernel.size) / _PHASES
    missing = np.zeros(result.shape, bool)
    chunk = max(1, int(max(_CHUNK_S / reader.timeline.period_s, 16 * reach) / step))
    offset = None  # the first row, taken from all, so that 32 bits suffice
    bar = {"desc": "Broadband to LFP", "unit": "chunk", "disable": not progress}
    for begin in tqdm(range(0, rows.size, chunk), **bar):
        part = slice(begin, min(begin + chunk, rows.size))
        low = int(first[begin])
        start, count = anchor + low * factor, int(first[part.stop - 1]) + 2 * half - low
        raw, lost = reader.whole(start, start + (count - 1) * factor + taps.size)
        offset = raw[0].astype(reader.exact) if offset is None else offset
        inner = _decimated((raw - offset).astype(np.float32, copy=False), taps, factor)
        away = np.abs(inner_at[part, None] - first[part, None] - np.arange(2 * half))
        weights = np.interp(away, grid, kernel).astype(np.float32)
        for index, weight in enumerate(weights, begin):
            at = first[index] - low
            np.dot(weight, inner[at : at + 2 * half], out=result[index])
        if lost is not None:
            before = np.cumsum(np.pad(lost, ((1, 0), (0, 0))), axis=0)
            near = np.ceil(rows[part] - step / 2), np.floor(rows[part] + step / 2) + 1
            left, right = (np.clip(each.astype(int) - start, 0, len(lost)) for each in near)
            missing[part] = before[right] > before[left]
    return missing


def _decimated(rows: np.ndarray, taps: np.ndarray, factor: int) -> np.ndarray:
    """Inner samples (k, C) of rows: a few share one matrix product, nine times faster than one by
    one with ``signal.upfirdn``."""
    starts = range(0, _OUTPUTS_AT_ONCE * factor, factor)
    shared = np.stack([np.pad(taps, (at, starts[-1] - at)) for at in starts])
    count = (len(rows) - taps.size) // factor + 1
    n_shared = count // _OUTPUTS_AT_ONCE * _OUTPUTS_AT_ONCE
    inner = np.empty((count, rows.shape[1]), np.float32)
    if n_shared:
        windows = np.lib.stride_tricks.sliding_window_view(rows, shared.shape[1], axis=0)
        windows = windows[:: _OUTPUTS_AT_ONCE * factor][: n_shared // _OUTPUTS_AT_ONCE]
        out = inner[:n_shared].reshape(-1, _OUTPUTS_AT_ONCE, rows.shape[1])
        np.matmul(shared, windows.swapaxes(1, 2), out=out)
    for index in range(n_shared, count):
        np.dot(taps, rows[index * factor : index * factor + taps.size], out=inner[index])
    return inner


class _Reader:
    """Rows of the timeline out of the recording."""

    def __init__(self, data: Any, columns: np.ndarray, timeline: Timeline, reach: int):
        self.data, self.timeline, self.reach = data, timeline, reach
        everything = np.array_equal(columns, np.arange(data.shape[1]))
        self._columns, self._size = slice(None) if everything else columns, columns.size
        self.exact = np.result_type(data.dtype, np.float32)

    def whole(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Rows without holes, mirrored beyond the recording, and where the holes were, if any.

        Up to ``2 * reach`` missing rows become a straight line. More of them hold the row before,
        and the one after in the last ``reach``, so that a filter sees nothing of the other side.
        """
        last, reach = self.timeline.n_rows - 1, self.reach
        index = last - np.abs(last - np.abs(np.arange(start, stop)))
        low, high = int(index.min()), int(index.max()) + 1
        rows = self._read(low, high)
        with np.errstate(all="ignore"):
            if rows.dtype.kind != "f" or np.isfinite(rows.sum()):  # NaN survives a sum
                return (rows if len(rows) == index.size else rows[index - low]), None
        low = max(0, low - 2 * reach)
        rows = self._read(low, min(last + 1, high + 2 * reach)).astype(self.exact)
        missing = ~np.isfinite(rows)
        for values, holes in zip(rows.T, missing.T, strict=True):
            there = np.flatnonzero(~holes)
            long = np.flatnonzero(np.diff(there) > 2 * reach + 1)
            for before, after in zip(there[long], there[long + 1], strict=True):
                values[before + 1 : after - reach] = values[before]
                values[after - reach : after] = values[after]
        slow.bridge(rows.T, ~np.isfinite(rows.T))
        return rows[index - low], missing[index - low]

    def _read(self, first: int, stop: int) -> np.ndarray:
        """Rows as they are, NaN where no sample was taken."""
        spans = self.timeline.spans
        if len(spans) == 1:
            return np.asarray(self.data[first:stop])[:, self._columns]
        rows = np.full((stop - first, self._size), np.nan, self.exact)
        touched = (spans[:, 0] < stop) & (spans[:, 0] + spans[:, 2] > first)
        for row, sample, count in spans[touched].tolist():
            begin, end = max(first, row), min(stop, row + count)
            samples = np.asarray(self.data[sample + begin - row : sample + end - row])
            rows[begin - first : end - first] = samples[:, self._columns]
        return rows
