"""Samples and their times, as they lie in a file or an array, brought to the clock of a session.

A :class:`Stream` is anything that slices like an array and knows its times, so that the data of a
file are read in pieces, and only where they are used.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from scipy import ndimage

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.sessions import clipped_share
from spikelfp_lab.sessions.schema import GAP_BINS
from spikelfp_lab.signal.broadband import Reference, broadband_to_lfp
from spikelfp_lab.signal.lfp import flat_channels, referenced

Derive = Literal["velocity", "speed"]

RAW_ABOVE_HZ = 2000.0
"""A potential sampled faster than this is taken for raw voltage."""

_MARGIN_S = 5.0  # read on either side of the session, for smoothing
_TIMES_AT_ONCE = 1 << 20
_WATCHED_ROWS = 20_000  # at least, of a recording that has as many


@dataclass(frozen=True)
class Stream:
    """Samples (n,) or (n, columns) and their times, both read only where they are sliced."""

    what: str  # for messages: the path in the file, or the name of the argument
    data: Any
    rate_hz: float
    start_s: float = 0.0
    timestamps: Any = None
    columns: np.ndarray | None = None
    scale: float | np.ndarray = 1.0  # to the unit of the session, for each column of the data
    offset: float = 0.0

    @property
    def size(self) -> int:
        return int(self.data.shape[0])

    @property
    def used(self) -> np.ndarray:
        """Which columns are used."""
        width = 1 if len(self.data.shape) == 1 else self.data.shape[1]
        return np.arange(width) if self.columns is None else self.columns

    @property
    def is_raw(self) -> bool:
        """Whether, as LFP, it is raw voltage."""
        return self.rate_hz > RAW_ABOVE_HZ

    def slower_than(self, bin_size_s: float) -> bool:
        """Whether there is a bin or more to a sample, so that there is nothing to filter."""
        return self.rate_hz * bin_size_s <= 1.001  # timestamps of 100 Hz may say 100.0003

    def time(self, index: int) -> float:
        if self.timestamps is not None:
            return float(self.timestamps[index])
        return self.start_s + index / self.rate_hz

    def at_or_after(self, time_s: float) -> int:
        """The first sample that is not before a time; ``size`` when there is none."""
        return bisect_left(range(self.size), time_s - 1e-9, key=self.time)

    def between(self, clock: np.ndarray, margin_s: float) -> tuple[int, int]:
        """First and last (exclusive) sample around a clock."""
        return self.at_or_after(clock[0] - margin_s), self.at_or_after(clock[-1] + margin_s)

    def near(self, clock: np.ndarray, bin_size_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Values (n, columns), in the unit of the session, and times (n,), around a clock."""
        start, stop = self.between(clock, _MARGIN_S + bin_size_s)
        raw = np.asarray(self.data[start:stop]).reshape(stop - start, -1)
        scale = np.broadcast_to(np.asarray(self.scale, np.float64), raw.shape[1:])
        used = self.used
        values = raw[:, used] * scale[used] + self.offset
        if self.timestamps is not None:
            return values, np.asarray(self.timestamps[start:stop], np.float64)
        return values, self.start_s + np.arange(start, stop) / self.rate_hz


class Watched:
    """Samples (n,) or (n, columns) of which some are kept as they are read, to see what is clipped.

    Filters smear flat tops, and a recording is too long to be read twice.

    Examples
    --------
    >>> watched = Watched(np.clip(np.random.default_rng(0).normal(size=(90_000, 1)), -2, 9))
    >>> for start in range(0, 90_000, 1000):
    ...     block = watched[start : start + 1000]
    >>> watched.clipped().round(2).tolist()
    [0.03]
    """

    def __init__(self, data: Any):
        self.shape, self.dtype, self._data = data.shape, data.dtype, data
        self._step = max(1, data.shape[0] // _WATCHED_ROWS)
        self._kept: list[np.ndarray] = []

    def __getitem__(self, rows: slice) -> np.ndarray:
        block = np.asarray(self._data[rows])
        first = -(rows.start or 0) % self._step
        # a copy, or all of the recording would stay in memory
        self._kept.append(block[first :: self._step].reshape(-1, *self.shape[1:] or (1,)).copy())
        return block

    def clipped(self) -> np.ndarray:
        """(columns,) share of the samples that pile up at the extremes of their column."""
        kept = np.concatenate(self._kept)
        return clipped_share(kept) if len(kept) else np.zeros(kept.shape[1])


def make_stream(
    what: str, data: Any, *, rate_hz: float | None, timestamps: Any = None, **more: Any
) -> Stream:
    """A stream, its timestamps checked from the first to the last.

    Raises
    ------
    DataError
        When they are not finite and increasing, or not one for each sample.
    """
    if timestamps is None:
        assert rate_hz is not None
        return Stream(what, data, float(rate_hz), **more)
    count = len(timestamps)
    if count != data.shape[0] or count < 2:
        raise DataError(
            f"{what} has {data.shape[0]} samples and {count} timestamps. "
            "Give as many, and at least 2."
        )
    usual = last = None
    first_still = None
    steps, seconds = 0, 0.0
    for start in range(0, count, _TIMES_AT_ONCE):
        piece = np.asarray(timestamps[start : start + _TIMES_AT_ONCE], np.float64)
        if not np.isfinite(piece).all():
            bad = int(np.flatnonzero(~np.isfinite(piece))[0])
            raise DataError(
                f"The timestamps of {what} are not all finite: number {start + bad} is "
                f"{piece[bad]}. Repair them, or drop those samples."
            )
        step = np.diff(piece) if last is None else np.diff(piece, prepend=last)
        index = np.arange(step.size) + start + (last is None)  # of the sample after the step
        if (step < 0).any():
            raise DataError(
                f"Time runs backward in {what}: timestamp {index[step < 0][0]} is before the one "
                "ahead of it. Sort the samples, or open their parts as sessions of their own."
            )
        if first_still is None and (step == 0).any():
            first_still = int(index[step == 0][0])
        usual = float(np.median(step)) if usual is None else usual
        gap = step > GAP_BINS * usual if usual > 0 else np.zeros(step.size, bool)
        steps += int((~gap).sum())
        seconds += float(step[~gap].sum())
        last = piece[-1]
    # the mean over all steps that are no gaps: the median of rounded times is too coarse
    rate_hz = steps / seconds if seconds > 0 else np.inf
    # a clock may tick more slowly than raw voltage is sampled; anything slower is interpolated
    if first_still is not None and not RAW_ABOVE_HZ < rate_hz < np.inf:
        raise DataError(
            f"Time stands still in {what}: timestamp {first_still} is that of the sample before. "
            "Drop what is double."
        )
    return Stream(what, data, rate_hz, timestamps=timestamps, **more)


def lfp_on_clock(
    lfp: Stream,
    clock: np.ndarray,
    bin_size_s: float,
    *,
    names: Sequence[str],
    band_hz: tuple[float, float],
    line_hz: float | None,
    reference: Reference | None,
    progress: bool,
) -> tuple[tuple[np.ndarray, np.ndarray], list[str], str]:
    """Values (m, C) and their times for build_session, names of the channels, what was done."""
    rate_hz = 1 / bin_size_s
    if reference not in (None, "car", "none", "bipolar"):
        raise ConfigError(f"No reference {reference!r}. There are: car, none, bipolar.")
    if reference is None:
        # raw voltage shares its reference's noise; who extracted LFP has dealt with that
        reference = "car" if lfp.is_raw and lfp.used.size > 1 else "none"
    if lfp.slower_than(bin_size_s):
        values, times = lfp.near(clock, bin_size_s)
        if reference != "none":
            values[:, flat_channels(values)] = np.nan
        values = referenced(values, reference)
        done = f"LFP of {lfp.rate_hz:g} Hz interpolated to {rate_hz:g} Hz"
    else:
        values, times = broadband_to_lfp(
            lfp.data if len(lfp.data.shape) == 2 else np.asarray(lfp.data[:])[:, None],
            clock=clock,
            rate_hz=lfp.rate_hz if lfp.timestamps is None else None,
            timestamps=lfp.timestamps,
            start_s=lfp.start_s,
            channels=lfp.used,
            # one for each channel of the file, used or not
            scale=lfp.scale,
            band_hz=band_hz,
            line_hz=line_hz,
            reference=reference,
            progress=progress,
        )
        high = min(band_hz[1], rate_hz / 2)  # nothing above that is left on this clock
        done = f"LFP of {lfp.rate_hz:g} Hz filtered ({band_hz[0]:g}-{high:g} Hz, line "
        done += f"{line_hz}) and resampled to {rate_hz:g} Hz"
    labels = list(names)
    if reference == "bipolar":
        labels = [f"{one}-{other}" for one, other in pairwise(labels)]
    return (values, times), labels, f"{done}, reference {reference}"


def behavior_on_clock(
    stream: Stream,
    clock: np.ndarray,
    bin_size_s: float,
    *,
    names: Sequence[str],
    circular: bool,
    derive: Derive | None,
    smooth_s: float,
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Values (n, D) and times for build_session, and what the columns are.

    Averaged over a bin where the samples are faster than the clock. A direction, in radians,
    becomes its cos and sin, which can be interpolated.
    """
    if derive not in (None, "velocity", "speed"):
        raise ConfigError(f"derive is {derive!r}: use 'velocity', 'speed' or None.")
    if derive and (circular or not (np.isfinite(smooth_s) and smooth_s > 0)):
        raise ConfigError(
            f"No {derive} can be derived from {stream.what} with smooth_s={smooth_s}: it needs "
            "positions, not directions, and a smooth_s above 0 s."
        )
    names = list(names)
    values, times = stream.near(clock, bin_size_s)
    if circular:
        values = np.concatenate([np.cos(values), np.sin(values)], axis=1)
        names = [f"{part}_{name}" for part in ("cos", "sin") for name in names]
    if derive:
        sd = smooth_s * stream.rate_hz
        # positions on either side of a gap in the times are not smoothed together
        cuts = np.flatnonzero(np.diff(times) > GAP_BINS / stream.rate_hz) + 1
        pieces = zip(np.split(values, cuts), np.split(times, cuts), strict=True)
        values = np.concatenate([_velocity(*piece, sd) for piece in pieces])
        names = [f"v{name}" for name in names]
    if derive == "speed":
        values, names = np.sqrt(np.sum(values**2, axis=1, keepdims=True)), ["speed"]
    width = round(stream.rate_hz * bin_size_s)
    if width > 1:
        mean = _among_finite(values, lambda x: ndimage.uniform_filter1d(x, width, axis=0))
        values = np.where(np.isfinite(values), mean, np.nan)
        if width % 2 == 0:  # the mean of samples i - width / 2 to i + width / 2 - 1
            times = times - 0.5 / stream.rate_hz
    return values.astype(np.float32), times, names


def _velocity(values: np.ndarray, times: np.ndarray, sd: float) -> np.ndarray:
    """(n, D) change a second of positions after Gaussian smoothing over ``sd`` samples."""
    if len(values) < 2:
        return np.full(values.shape, np.nan)
    smooth = _among_finite(values, lambda x: ndimage.gaussian_filter1d(x, sd, axis=0))
    return np.gradient(smooth, times, axis=0)


def _among_finite(values: np.ndarray, smooth: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Smooth over the finite samples; NaN where less than half of the weight is on these."""
    finite = np.isfinite(values)
    weight = smooth(finite.astype(np.float64))
    total = smooth(np.where(finite, values, 0.0).astype(np.float64))
    return np.where(weight >= 0.5, total / np.maximum(weight, 0.5), np.nan)
