"""What the checks of quality measure: pile-ups, likeness, refractory violations."""

from collections.abc import Sequence

import numpy as np

SAME_CHANNEL = 0.9999
"""Correlation, of either sign, from which two channels count as one.

Neighboring contacts reached 0.9998 in real recordings (theta of the mouse hippocampus). Above
0.9999 they share all but 1.4 % of their amplitude, no more than noise of the amplifier: it is one
wire, or a bridge between two."""

SAME_UNIT = 0.85
"""Correlation of the roots of counts from which two units count as one.

Roots, because a few bins with very many spikes make plain counts of different units alike. These
stay below the limit (0.56 at most in bins of 100 ms, 0.68 in 50 ms, 0.37 in 10 ms, in six real
recordings); a neuron sorted twice, with a tenth of its spikes missing and 0.5 ms late, has 0.9."""

REFRACTORY_S = 0.0015
"""Intervals shorter than this violate the refractory period, seconds: the usual limit (Hill, Mehta &
Kleinfeld, *J. Neurosci.* 31, 2011, and the default of common sorting software)."""

LFP_ROWS = 20_000
"""Rows of the LFP that are looked at: a share of 0.1 % is still 20 of them."""

_UNIT_ROWS = 30_000  # of the spikes
_LEAST_SAMPLES = 10  # fewer are no pile
_LEAST_SPIKES = 50
_FLANK_S = 0.01  # beyond the refractory period, where a unit's own rate is taken from


def thinned(values: np.ndarray, rows: int = LFP_ROWS) -> np.ndarray:
    """At most so many rows, spread evenly."""
    return values[:: -(-len(values) // rows)]


def standardized(values: np.ndarray) -> np.ndarray:
    """(T, C) float32 of mean 0 and standard deviation 1; 0 where missing, and in constant columns.

    >>> standardized(np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 5.0], [2.0, 5.0]]))[2].tolist()
    [0.0, 0.0]
    """
    values = values.astype(np.float32)
    missing = ~np.isfinite(values)
    values[missing] = 0
    # sums in 64 bits: those of large values would not fit 32
    mean = values.sum(axis=0, dtype=float) / np.maximum((~missing).sum(axis=0), 1)
    values -= mean
    values[missing] = 0
    level = np.sqrt(np.einsum("tc,tc->c", values, values, dtype=float) / max(len(values), 1))
    # what rounding leaves of a constant is no signal
    values /= np.where(level > 1e-6 * np.abs(mean), level, np.inf)
    return values


def clipped_share(values: np.ndarray) -> np.ndarray:
    """Share of each channel's samples that pile up at its extreme values.

    Parameters
    ----------
    values : (n, C) array
        Samples as they were recorded, some of them or all; NaN where missing.

    Returns
    -------
    (C,) float64 array
        0 where values get rarer toward the extremes, as those of a signal do that fits its range.

    Examples
    --------
    >>> signal = np.random.default_rng(0).normal(size=(10_000, 1))
    >>> clipped_share(np.hstack([signal, np.clip(signal, -2, 2)])).round(2).tolist()
    [0.0, 0.05]
    """
    low, high = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
    margin = 0.01 * (high.astype(np.float64) - low)  # integers would overflow
    piled = np.zeros(values.shape[1])
    for outer, inner in (
        (values >= high - margin, values >= high - 2 * margin),
        (values <= low + margin, values <= low + 2 * margin),
    ):
        count = outer.sum(axis=0)
        beside = inner.sum(axis=0) - count
        piled += np.where((count >= _LEAST_SAMPLES) & (count > 4 * beside), count, 0)
    known = np.isfinite(values).sum(axis=0)
    return np.where(high > low, piled / np.maximum(known, 1), 0.0)


def same_channels(lfp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first channel before each that is the same but for scale, sign and offset.

    Parameters
    ----------
    lfp : (T, C) array
        NaN where missing.

    Returns
    -------
    first : (C,) int array
        -1 where there is none. A constant channel is the same as nothing.
    correlation : (C,) float array
        With that channel.

    Examples
    --------
    >>> one = np.random.default_rng(0).normal(size=1000)
    >>> same_channels(np.stack([one, one**2, 3 - 2 * one], axis=1))[0].tolist()
    [-1, -1, 0]
    """
    return _copies(thinned(lfp), SAME_CHANNEL)


def same_units(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first unit before each that has the same spikes, as :func:`same_channels`.

    Parameters
    ----------
    counts : (T, U) array
        Units with fewer than 50 spikes are the same as nothing.

    Returns
    -------
    first : (U,) int array
    correlation : (U,) float array

    Examples
    --------
    >>> counts = np.random.default_rng(0).poisson(0.5, size=(1000, 3))
    >>> counts[:, 2] = counts[:, 1]
    >>> same_units(counts)[0].tolist()
    [-1, -1, 1]
    """
    counts = thinned(counts, _UNIT_ROWS)
    busy = np.flatnonzero(counts.sum(axis=0, dtype=np.int64) >= _LEAST_SPIKES)
    first, correlation = np.full(counts.shape[1], -1), np.zeros(counts.shape[1])
    if busy.size:
        among, correlation[busy] = _copies(
            np.sqrt(counts[:, busy], dtype=np.float32), SAME_UNIT, signed=True
        )
        first[busy] = np.where(among >= 0, busy[among], -1)
    return first, correlation


def _copies(
    values: np.ndarray, limit: float, *, signed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    scaled = standardized(values)
    correlation = scaled.T @ scaled / max(len(scaled), 1)
    alike = np.tril((correlation if signed else np.abs(correlation)) > limit, k=-1)
    first = np.where(alike.any(axis=1), alike.argmax(axis=1), -1)
    return first, np.clip(correlation[np.arange(first.size), first], -1, 1)


def refractory_coords(
    spike_times: Sequence[np.ndarray], clock: np.ndarray
) -> dict[str, tuple[str, np.ndarray]]:
    """Refractory violations of units, as coordinates of a session whose spike times are known.

    Parameters
    ----------
    spike_times : sequence of U arrays (n_u,), seconds
        One array a unit; need not be sorted.
    clock : (T,) array, seconds
        The session's; spikes before and after it do not count.

    Returns
    -------
    dict
        ``refractory_violations`` (unit): share of intervals between successive spikes that are
        shorter than 1.5 ms. ``refractory_chance`` (unit): what independent spikes at the unit's own
        rate would have, from the pairs of spikes that are 1.5 to 11.5 ms apart. A unit sorted
        well has next to none of what chance has; multi-unit activity has as many.

    Examples
    --------
    >>> times = np.arange(0.0, 10.0, 0.1)
    >>> doubled = np.concatenate([times, times[:25] + 0.0005])
    >>> coords = refractory_coords([times, doubled], np.arange(0.0, 10.0, 0.01))
    >>> [f"{share:.2f}" for share in coords["refractory_violations"][1]]
    ['0.00', '0.20']
    """
    shares = np.zeros((2, len(spike_times)), np.float32)
    for unit, times in enumerate(spike_times):
        times = np.sort(np.asarray(times, np.float64).ravel())
        times = times[np.searchsorted(times, clock[0]) : np.searchsorted(times, clock[-1], "right")]
        if times.size < 2:
            continue
        # a hair less, for what rounding takes from spikes exactly 1.5 ms apart
        near = np.searchsorted(times, times + REFRACTORY_S - 1e-9)
        far = np.searchsorted(times, times + REFRACTORY_S + _FLANK_S)
        violations = (np.diff(times) < REFRACTORY_S - 1e-9).sum()
        expected = (far - near).sum() * REFRACTORY_S / _FLANK_S
        shares[:, unit] = np.array([violations, expected]) / (times.size - 1)
    return {
        "refractory_violations": ("unit", shares[0]),
        "refractory_chance": ("unit", shares[1]),
    }
