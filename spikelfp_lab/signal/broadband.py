"""Broadband voltage of any length -> LFP on the session's clock, chunk by chunk."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.signal._arguments import (
    Reference,
    check_reference,
    checked_band,
    checked_data,
    checked_scale,
)
from spikelfp_lab.signal.lfp import bridge, flat_channels, high_pass, referenced
from spikelfp_lab.signal.streaming import (
    Bridge,
    Chain,
    ChainDesign,
    design_chain,
    mirrored,
    missing_at,
)
from spikelfp_lab.signal.timeline import Timeline, timeline_from_timestamps, uniform_timeline

# High-passed so many values at a time, so that memory beside the result does not grow with it.
_VALUES_AT_ONCE = 2**20


def broadband_to_lfp(
    data: Any,
    *,
    rate_hz: float | None = None,
    timestamps: Any = None,
    start_s: float = 0.0,
    clock: np.ndarray | None = None,
    to_rate_hz: float | None = None,
    band_hz: tuple[float, float] = (0.05, 50.0),
    line_hz: float | None = 60.0,
    reference: Reference = "car",
    causal: bool = False,
    scale: float | np.ndarray = 1.0,
    channels: Any = None,
    chunk_s: float = 2.0,
    progress: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Bring broadband voltage to the clock of a session: LFP in its band, at the true times.

    For recordings of any length and rate, on disk or in memory: beside the result, memory is that
    of a few chunks. (A potential that is in memory at an LFP rate on a uniform clock is what
    :func:`spikelfp_lab.signal.lfp_to_rate` is for; the band is the same.) For data that are still
    being recorded, see :class:`spikelfp_lab.signal.LFPStream`.

    In order: FIR low-pass and decimation, band low-pass with notches evaluated at the times of
    the clock (a polyphase FIR kernel), high-pass (Butterworth, order 2, forward and backward),
    scale, reference. The phase is zero. With the default band the gain is within 0.5 dB from 0.5
    to 45 Hz, and more than 60 dB are lost above 55 Hz, 60 Hz lines among them; the edges scale
    with the upper edge of the band.

    Parameters
    ----------
    data : (n, C) HDF5 dataset, memory map or array, integer or float
        Samples by channels; anything two-dimensional whose rows can be sliced. Missing samples
        are NaN: they are bridged while filtering, and the result is NaN where they were.
    rate_hz : float, optional
        Samples a second. With ``timestamps`` it is only checked against them.
    timestamps : (n,) array or HDF5 dataset, optional
        Seconds of every sample. They may jitter and drift, and have gaps, where the result is
        NaN; see :func:`spikelfp_lab.signal.timeline.timeline_from_timestamps`.
    start_s : float
        Time of the first sample in seconds, where there are no timestamps.
    clock : (m,) float64, optional
        Times of the result in seconds, such as a session's bin centers; may have gaps.
    to_rate_hz : float, optional
        In place of a clock: samples a second, from the first raw sample on. 100 by default.
    band_hz : (float, float)
        Edges of the band in Hz. An upper edge above half of the new rate is lowered to it.
    line_hz : float or None
        Frequency of the mains. It and its harmonics are notched (Hann, 1 s) where the low-pass
        would let them through. None: nothing is notched.
    reference : "car", "none" or "bipolar"
        "car" subtracts the mean over channels; "bipolar" gives the differences of successive
        channels, one fewer than there are, each with its first channel positive.
    causal : bool
        Whether the result may use only samples before its own time, as an online decoder has
        to. It then lags by :func:`spikelfp_lab.signal.causal_delay_s`; second-order sections give the band.
    scale : float or (C,) array
        Unit of the result a count of ``data``, e.g. uV a count; one for each channel of ``data``.
    channels : sequence of int, slice or mask, optional
        Columns of ``data`` to use, in this order.
    chunk_s : float
        Seconds read at a time; longer where the filters reach further. It changes speed and
        memory, not the result.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    lfp : (m, C) float32 array, or (m, C - 1) when bipolar
        NaN where samples are missing and where the clock goes beyond the recording.
    times_s : (m,) float64 array, seconds

    Warns
    -----
    SpikeLFPWarning
        When the timestamps have gaps.

    Raises
    ------
    DataError
        If the data, rates, times or channels cannot be used; the message says which.
    ConfigError
        If options contradict each other or are unknown.

    Examples
    --------
    >>> rate_hz = 24414.0625
    >>> voltage = 1000 * np.sin(2 * np.pi * 20 * np.arange(500_000) / rate_hz)
    >>> lfp, times_s = broadband_to_lfp(
    ...     voltage.astype(np.int16)[:, None], rate_hz=rate_hz, scale=0.1, reference="none",
    ...     progress=False,
    ... )
    >>> lfp.shape, str(lfp.dtype), times_s[:3].tolist()
    ((2048, 1), 'float32', [0.0, 0.01, 0.02])
    >>> expected = 100 * np.sin(2 * np.pi * 20 * times_s)
    >>> bool(np.abs(lfp[50:-50, 0] - expected[50:-50]).max() < 1)
    True
    """
    data, columns = checked_data(data, channels)
    scale = checked_scale(scale, data.shape[1])[columns]
    check_reference(reference, columns.size)
    if timestamps is not None:
        timeline = timeline_from_timestamps(timestamps, data.shape[0], rate_hz=rate_hz)
        _warn_of_gaps(timeline)
    elif rate_hz is not None:
        timeline = uniform_timeline(data.shape[0], rate_hz=rate_hz, start_s=start_s)
    else:
        raise ConfigError("Give rate_hz or timestamps: when the samples were taken is not known.")
    times, wanted, to_rate_hz = _output_times(timeline, clock, to_rate_hz)
    raw_hz = 1.0 / timeline.period_s
    band_hz = checked_band(
        band_hz, rate_hz=raw_hz, to_rate_hz=to_rate_hz, line_hz=line_hz, causal=causal
    )
    design = design_chain(raw_hz, band_hz=band_hz, line_hz=line_hz, causal=causal)
    if timeline.n_rows < design.reach + 2:
        raise DataError(
            f"{data.shape[0]} samples of {data.shape[1]} channels at {raw_hz:g} Hz are too short a "
            f"stretch to filter: give at least {design.reach + 2}. If these are channels by "
            "samples, transpose them."
        )
    rows = timeline.rows_at(times)
    inside = np.flatnonzero(np.isfinite(rows))
    if not inside.size:
        raise DataError(
            f"The clock, {times[0]:g} s to {times[-1]:g} s, does not overlap the recording, "
            f"{timeline.knot_times_s[0]:g} s to {timeline.knot_times_s[-1]:g} s. Check the units "
            "(seconds) and the offset of both."
        )
    part = slice(int(inside[0]), int(inside[-1]) + 1)
    lfp = np.full((times.size, columns.size), np.nan, np.float32)
    missing = _filter(
        lfp[part],
        np.clip(rows[part], 0, timeline.n_rows - 1),
        _Reader(data, columns, timeline),
        design,
        chunk_rows=max(1, round(chunk_s * raw_hz)),
        half_step=0.5 * raw_hz / to_rate_hz,
        causal=causal,
        progress=progress,
    )
    if not causal:
        _high_pass_in_place(lfp[part], missing, rate_hz=to_rate_hz, low=band_hz[0])
    lfp[part][missing] = np.nan
    if not wanted.all():
        lfp, times = lfp[wanted], times[wanted]
    lfp *= scale
    if reference != "none":
        lfp[:, flat_channels(lfp)] = np.nan
    return referenced(lfp, reference), times


def _filter(
    result: np.ndarray,
    rows: np.ndarray,
    reader: "_Reader",
    design: ChainDesign,
    *,
    chunk_rows: int,
    half_step: float,
    causal: bool,
    progress: bool,
) -> np.ndarray:
    """Run the chain over the recording; fill the result (m, C), say what is missing in it.

    ``rows`` are the raw rows (fractions) that each of the m results belongs to.
    """
    reach = design.reach
    # recursive sections remember everything; the others need no more than they reach
    first = 0 if causal else max(0, int(rows[0]) - reach)
    stop = min(reader.timeline.n_rows, int(rows[-1]) + reach + 2)
    first = max(0, min(first, stop - reach - 2))
    bridge_over = Bridge(0 if causal else reach, first_row=first)
    all_runs: list[np.ndarray] = []
    bar = tqdm(
        total=round((stop - first) * reader.timeline.period_s),
        desc="Broadband to LFP",
        unit="s",
        disable=not progress,
    )

    def blocks() -> Iterator[np.ndarray]:
        size = max(chunk_rows, 3 * reach + 1)
        for start in range(first, stop, size):
            end = min(start + size, stop)
            settled, runs = bridge_over.push(reader.read(start, end), last=end == stop)
            all_runs.append(runs)
            if len(settled):
                yield settled
            bar.update(round((end - first) * reader.timeline.period_s) - bar.n)

    if causal:
        chain = Chain(design, first_row=first, zeros=2 * reach)
        positions, stream = rows - reach, blocks()
    else:
        chain = Chain(design, first_row=first - reach)
        positions, stream = rows, mirrored(blocks(), reach)
    done = 0
    with bar:
        for block in stream:
            chain.push(block)
            ready = int(np.searchsorted(positions, chain.end))
            result[done:ready] = chain.take(positions[done:ready])
            done = ready
            chain.forget_before(positions[done] if done < positions.size else chain.end)
    assert done == positions.size
    return missing_at(np.concatenate(all_runs), positions, result.shape[1], half_step)


class _Reader:
    """Rows of the timeline out of the recording; NaN where no sample was taken."""

    def __init__(self, data: Any, columns: np.ndarray, timeline: Timeline):
        self.data, self.timeline = data, timeline
        everything = np.array_equal(columns, np.arange(data.shape[1]))
        self._columns = slice(None) if everything else columns
        self._n_columns = columns.size

    def read(self, first: int, stop: int) -> np.ndarray:
        spans = self.timeline.spans
        touched = (spans[:, 0] < stop) & (spans[:, 0] + spans[:, 2] > first)
        parts = []
        for row, sample, count in spans[touched].tolist():
            begin, end = max(first, row), min(stop, row + count)
            parts.append((begin - first, self._samples(sample + begin - row, sample + end - row)))
        if len(parts) == 1 and len(parts[0][1]) == stop - first:
            return parts[0][1]
        exact = (
            np.float32 if np.result_type(self.data.dtype, np.float32) == np.float32 else np.float64
        )
        rows = np.full((stop - first, self._n_columns), np.nan, exact)
        for begin, samples in parts:
            rows[begin : begin + len(samples)] = samples
        return rows

    def _samples(self, first: int, stop: int) -> np.ndarray:
        try:
            return np.asarray(self.data[first:stop])[:, self._columns]
        except OSError as error:
            raise DataError(
                f"Samples {first} to {stop} cannot be read ({error}): the file may be truncated. "
                "Get it again, or pass the part before them."
            ) from error


def _output_times(
    timeline: Timeline, clock: np.ndarray | None, to_rate_hz: float | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Times on a grid without gaps, which of them are wanted, and their rate."""
    if clock is None:
        rate = 100.0 if to_rate_hz is None else float(to_rate_hz)
        if not (np.isfinite(rate) and rate > 0):
            raise DataError(f"to_rate_hz is {rate}: give a positive number of samples a second.")
        start, stop = timeline.knot_times_s[[0, -1]]
        count = int(np.ceil((stop - start + timeline.period_s) * rate - 1e-9))
        return start + np.arange(count) / rate, np.ones(count, bool), rate
    if to_rate_hz is not None:
        raise ConfigError("Give a clock or to_rate_hz, not both: a clock has its own rate.")
    clock = np.asarray(clock, np.float64)
    good = clock.ndim == 1 and clock.size > 1 and np.isfinite(clock).all()
    if not good or (np.diff(clock) <= 0).any():
        raise DataError(
            f"The clock (shape {clock.shape}) is not a row of two or more increasing, finite times"
            " in seconds. Give bin centers, as from spikelfp_lab.sessions.session_clock."
        )
    # gaps are filled, so that the high-pass runs on a uniform clock
    step = float(np.median(np.diff(clock)))
    index = np.concatenate([[0], np.cumsum(np.maximum(1, np.rint(np.diff(clock) / step)))])
    index = index.astype(np.int64)
    times = np.interp(np.arange(index[-1] + 1), index, clock)
    wanted = np.zeros(times.size, bool)
    wanted[index] = True
    return times, wanted, 1.0 / step


def _warn_of_gaps(timeline: Timeline) -> None:
    if len(timeline.gaps_s):
        lost = float(np.diff(timeline.gaps_s, axis=1).sum())
        warnings.warn(
            f"The timestamps have {len(timeline.gaps_s)} gap(s), {lost:.3f} s in all, the first "
            f"after {timeline.gaps_s[0, 0]:.3f} s: the LFP is missing there "
            "(NaN; in a session, a straight line over gaps of at most its max_gap_s).",
            SpikeLFPWarning,
            stacklevel=3,
        )


def _high_pass_in_place(
    lfp: np.ndarray, missing: np.ndarray, *, rate_hz: float, low: float
) -> None:
    at_once = max(1, _VALUES_AT_ONCE // len(lfp))
    # a recording too short for the transients of the edges is mirrored until it is long enough
    extra = max(0, int(2 * rate_hz / low) - len(lfp) + 1)
    for first in range(0, lfp.shape[1], at_once):
        block = np.array(lfp[:, first : first + at_once].T, order="C")
        holes = missing[:, first : first + at_once].T
        if holes.any():
            bridge(block, holes)
        block = np.pad(block, ((0, 0), (extra, extra)), mode="reflect")
        passed = high_pass(block, rate_hz=rate_hz, low=low)
        lfp[:, first : first + at_once] = passed[:, extra : extra + len(lfp)].T
