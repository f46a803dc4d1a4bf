"""Arrays behind the session explorer: decimation for display, orders of units, quality of units and channels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from scipy import signal

from spikelfp_lab.errors import DataError
from spikelfp_lab.sessions import same_channels, same_units

_LINES_HZ = (50.0, 60.0)
_LINE_DB = 10.0  # above its neighbors: line noise


def sum_columns(counts: np.ndarray, column: np.ndarray, n_columns: int) -> np.ndarray:
    """(n_columns, U) float32 sums of counts (T, U) over bins of one column; NaN where there is no bin.

    Parameters
    ----------
    counts : np.ndarray
        (T, U).
    column : np.ndarray
        (T,) column of each bin, in ascending order.
    n_columns : int

    Examples
    --------
    >>> sum_columns(np.array([[1], [2], [4]]), np.array([0, 0, 2]), 3)[:, 0].tolist()
    [3.0, nan, 4.0]
    """
    summed = np.full((n_columns, counts.shape[1]), np.nan, np.float32)
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    if starts.size:
        summed[column[starts]] = np.add.reduceat(counts, starts, axis=0, dtype=np.uint32)
    return summed


def envelope(
    values: np.ndarray, column: np.ndarray, middle: np.ndarray, width_s: float, *, whole: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Lines that look like the data: each column's minimum and maximum (the other way round where it falls), or with ``whole`` its one bin.

    Parameters
    ----------
    values : np.ndarray
        (T, C), NaN where missing.
    column : np.ndarray
        (T,) column of each bin, in ascending order.
    middle : np.ndarray
        (N,) seconds.
    width_s : float
        Seconds a column.
    whole : bool
        A column is a bin.

    Returns
    -------
    tuple of np.ndarray
        Time (N,) or (2 N,) in seconds, and values (N, C) or (2 N, C); NaN in columns without a bin.

    Examples
    --------
    >>> values, column = np.array([[1.0], [5.0], [3.0]]), np.array([0, 0, 1])
    >>> envelope(values, column, np.array([1.0, 3.0]), 2.0, whole=False)[1][:, 0].tolist()
    [1.0, 5.0, 3.0, 3.0]
    """
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    lines = np.full((middle.size, 1 if whole else 2, values.shape[1]), np.nan, np.float32)
    if starts.size and whole:
        lines[column, 0] = values
    elif starts.size:
        least, most = _reduce(np.fmin, values, starts), _reduce(np.fmax, values, starts)
        # In the order that suits the course: a falling line must not become a staircase.
        falls = values[starts] > values[np.append(starts[1:], len(values)) - 1]
        lines[column[starts], 0] = np.where(falls, most, least)
        lines[column[starts], 1] = np.where(falls, least, most)
    time = middle if whole else (middle[:, None] + [-width_s / 4, width_s / 4]).ravel()
    return time, lines.reshape(time.size, values.shape[1])


def _reduce(ufunc: np.ufunc, values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """``ufunc.reduceat(values, starts)`` of values (T, C), six times as fast where all columns but the outer ones are of one width."""
    widths = np.diff(starts)
    if starts.size < 4 or (widths[1:] != widths[1]).any():
        return ufunc.reduceat(values, starts, axis=0)
    first, last = starts[1], starts[-1]
    inner = values[first:last].reshape(-1, widths[1], values.shape[1])
    outer = [ufunc.reduce(part, axis=0)[None] for part in (values[:first], values[last:])]
    return np.concatenate([outer[0], ufunc.reduce(inner, axis=1), outer[1]])


def density(
    values: np.ndarray,
    clock: np.ndarray,
    low: int,
    high: int,
    *,
    length: int,
    hop: int,
    rate: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spectrogram of one channel on a clock that may have gaps.

    Parameters
    ----------
    values : np.ndarray
        (T,).
    clock : np.ndarray
        (T,) whole bins since the session's begin.
    low, high : int
        The bins of that clock to look at, ``high`` exclusive.
    length, hop : int
        Of the windows, in bins; a session shorter than a window is one window.
    rate : float
        Bins a second.

    Returns
    -------
    tuple of np.ndarray
        Frequency (F,) in Hz, time (N,) in seconds since the session's begin, power density (F, N) in dB.

    Raises
    ------
    DataError
        Fewer than 16 bins.

    Examples
    --------
    >>> wave = np.sin(2 * np.pi * 25 * np.arange(256) / 100)
    >>> frequency, _, power = density(wave, np.arange(256), 0, 256, length=64, hop=32, rate=100.0)
    >>> float(frequency[power[:, 0].argmax()])
    25.0
    """
    length = min(length, high - low)
    if length < 16:
        raise DataError(
            f"There are only {length} bins, too few for a spectrogram (16): choose traces."
        )
    first, last = np.searchsorted(clock, [low, high])
    even = np.full(high - low, np.nan)
    even[clock[first:last] - low] = values[first:last]
    even[~np.isfinite(even)] = np.nan
    frequency, time, power = signal.spectrogram(
        even, fs=rate, window="hann", nperseg=length, noverlap=length - min(hop, length)
    )
    # Without 0 Hz, whose power went with the mean, and power that has no logarithm.
    power = np.where(power[1:] > 0, power[1:], np.nan)
    return frequency[1:], low / rate + time, 10 * np.log10(power)


def depth_order(dataset: xr.Dataset) -> np.ndarray | None:
    """(U,) units from the smallest ``depth`` on, unknown ones last; None where no depth is known.

    >>> units = {"unit": ["a", "b"], "depth": ("unit", [900.0, 100.0])}
    >>> depth_order(xr.Dataset(coords=units)).tolist()
    [1, 0]
    """
    if "depth" not in dataset.coords or dataset["depth"].dims != ("unit",):
        return None
    depth = dataset["depth"].values
    if depth.dtype.kind not in "iuf" or not np.isfinite(depth).any():
        return None
    return np.argsort(depth.astype(float), kind="stable")  # which puts NaN last


def spans_a_plane(behavior: np.ndarray) -> bool:
    """Whether the first two axes of behavior (T, A) vary independently, so that there are directions.

    >>> spans_a_plane(np.ones((10, 2)))
    False
    """
    moved = behavior[:, :2].astype(float)
    moved = moved[np.isfinite(moved).all(axis=1)]
    if moved.shape[1] < 2 or len(moved) < 10:
        return False
    sd = moved.std(axis=0)
    if not (sd > 0).all():
        return False
    return bool(abs(np.mean((moved - moved.mean(axis=0)).prod(axis=1)) / sd.prod()) < 0.9999)


def direction_order(counts: np.ndarray, behavior: np.ndarray) -> np.ndarray:
    """Units by preferred direction: the angle of the regression of their counts on two axes.

    Parameters
    ----------
    counts : np.ndarray
        (T, U).
    behavior : np.ndarray
        (T, 2); bins that are not finite are left out.

    Returns
    -------
    np.ndarray
        (U,) indices, by angle from -180 to 180 degrees of the first axis.

    Examples
    --------
    >>> moved = np.random.default_rng(0).normal(size=(500, 2))
    >>> counts = np.stack([5 + moved[:, 1], 5 + moved[:, 0], 5 - moved[:, 1]], axis=1)
    >>> direction_order(counts, moved).tolist()
    [2, 1, 0]
    """
    finite = np.isfinite(behavior).all(axis=1)
    moved = behavior[finite].astype(float)
    moved -= moved.mean(axis=0)
    # Centered behavior makes the counts' own mean drop out.
    slopes = np.linalg.solve(moved.T @ moved, moved.T @ counts[finite].astype(np.float32))
    return np.argsort(np.arctan2(slopes[1], slopes[0]), kind="stable")


def quality_table(dataset: xr.Dataset) -> pd.DataFrame:
    """Quality of units and channels; see :meth:`ExplorerState.quality`.

    >>> lfp = np.stack([np.zeros(100), np.arange(100)], axis=1).astype("float32")
    >>> session = xr.Dataset(
    ...     {"lfp": (("time", "channel"), lfp)}, {"channel": ["a", "b"]}, {"bin_size_s": 0.1})
    >>> quality_table(session)["flag"].tolist()
    ['flat', '']
    """
    columns = (
        "kind", "name", "flag", "rate_hz", "fano", "empty_share", "drift", "sd", "nonfinite_share", "line_db",
    )  # fmt: skip
    bin_size_s = float(dataset.attrs["bin_size_s"])
    parts = []
    if "spikes" in dataset:
        counts = dataset["spikes"].transpose("time", "unit").values
        parts.append(_units(counts, dataset["unit"].values.astype(str), bin_size_s))
    if "lfp" in dataset:
        values = dataset["lfp"].transpose("time", "channel").values
        parts.append(_channels(values, dataset["channel"].values.astype(str), bin_size_s))
    if not parts:
        return pd.DataFrame(columns=list(columns))
    return pd.concat(parts, ignore_index=True).reindex(columns=list(columns))


def _units(counts: np.ndarray, names: np.ndarray, bin_size_s: float) -> pd.DataFrame:
    mean = counts.mean(axis=0)
    half = len(counts) // 2
    window = max(1, round(1 / bin_size_s))
    whole = len(counts) // window * window
    slow = np.add.reduceat(counts[:whole], np.arange(0, whole, window), axis=0, dtype=np.uint32)
    early = counts[:half].mean(axis=0)
    flags = [
        "silent" if not rate else f"copy of {names[twin]}" if twin >= 0 else ""
        for rate, twin in zip(mean, same_units(counts)[0], strict=True)
    ]
    return pd.DataFrame(
        {
            "kind": "unit",
            "name": names,
            "flag": flags,
            "rate_hz": mean / bin_size_s,
            "fano": _ratio(slow.var(axis=0), slow.mean(axis=0)) if len(slow) > 1 else np.nan,
            "empty_share": (counts == 0).mean(axis=0),
            "drift": _ratio(counts[half:].mean(axis=0), early),
        }
    )


def _channels(values: np.ndarray, names: np.ndarray, bin_size_s: float) -> pd.DataFrame:
    finite = np.isfinite(values)
    missing = 1 - finite.mean(axis=0)
    # fmin and fmax skip NaN; without any number both are NaN, which differ
    flat = np.fmin.reduce(values, axis=0) == np.fmax.reduce(values, axis=0)
    filled = np.where(finite, values, np.nan)
    table = pd.DataFrame(filled)  # whose mean and sd skip NaN
    centered = (table - table.mean()).fillna(0.0).to_numpy(np.float32)
    line = _line_db(centered, 1 / bin_size_s)
    flags = []
    for index, twin in enumerate(same_channels(values)[0]):
        found = [
            "flat" if flat[index] else "",
            f"copy of {names[twin]}" if twin >= 0 else "",
            "not finite" if missing[index] > 0.1 else "",
            "line noise" if line[index] > _LINE_DB else "",
        ]
        flags.append(", ".join(filter(None, found)))
    return pd.DataFrame(
        {
            "kind": "channel",
            "name": names,
            "flag": flags,
            "sd": table.std(ddof=0).to_numpy(),
            "nonfinite_share": missing,
            "line_db": line,
        }
    )


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """Quotient, NaN where nothing is divided by."""
    out = np.full(np.shape(over), np.nan)
    return np.divide(over, under, out=out, where=np.asarray(under) > 0)


def _line_db(values: np.ndarray, rate: float) -> np.ndarray:
    """(C,) power at 50 or 60 Hz, whichever stands out more, over the median 3 to 8 Hz beside it."""
    worst = np.full(values.shape[1], np.nan)
    length = round(2 * rate)  # half a hertz
    if len(values) < length:
        return worst
    frequency, power = signal.welch(values, fs=rate, nperseg=length, axis=0)
    for line in _LINES_HZ:
        away = np.abs(frequency - line)
        if rate / 2 < line + 8:
            continue
        near = power[away <= 1].max(axis=0)
        beside = np.median(power[(away >= 3) & (away <= 8)], axis=0)
        worst = np.fmax(
            worst, 10 * np.log10(_ratio(near, beside), where=near > 0, out=worst.copy())
        )
    return worst
