"""Spike times in seconds -> counts on a session's clock."""

from collections.abc import Sequence

import numpy as np

from spikelfp_lab.errors import DataError


def bin_spikes(
    spike_times: Sequence[np.ndarray], clock: np.ndarray, *, bin_size_s: float
) -> np.ndarray:
    """Count each unit's spikes in the bins of a clock.

    Bins are half-open, ``[center - bin_size_s / 2, center + bin_size_s / 2)``; a spike on an edge
    belongs to the bin that begins there, whatever rounding did to either. Bins that touch share
    their edge, so that no spike is counted twice or lost. Those outside of every bin do not count.

    Parameters
    ----------
    spike_times : U arrays (n_u,) of seconds, one a unit; need not be sorted.
    clock : (T,) float64, bin centers in seconds, increasing; may have gaps.
    bin_size_s : seconds a bin.

    Returns
    -------
    (T, U) uint8 array, or uint16 where a count is above 255. A DataError if bins overlap, a spike
        time is not finite, or a count does not fit 16 bits.

    Examples
    --------
    >>> bin_spikes([np.array([0.001, 0.012, 0.019]), np.array([])],
    ...            np.array([0.005, 0.015]), bin_size_s=0.01)
    array([[1, 0],
           [2, 0]], dtype=uint8)
    """
    clock = np.asarray(clock, np.float64)
    step, tolerance = np.diff(clock), 1e-3 * bin_size_s
    if clock.ndim != 1 or not clock.size or not bin_size_s > 0:
        raise DataError(f"Give a clock (T,), bin_size_s above 0, not {clock.shape}, {bin_size_s}.")
    if not (apart := step > bin_size_s - tolerance).all():
        at = int(np.argmin(apart))
        what = f"{clock[at]} s is followed by {clock[at + 1]} s with bins of {bin_size_s} s"
        raise DataError(f"The clock's bins overlap or run backward at bin {at}: {what}.")
    left, right = clock - bin_size_s / 2, clock + bin_size_s / 2
    touching = np.flatnonzero(step < bin_size_s + tolerance)
    right[touching] = left[touching + 1]
    # the last digits that adding up a clock loses, and those of times in 32 bits
    far = max(abs(clock[0]), abs(clock[-1]))
    rounding = 1e-9 + 4 * np.spacing(far), np.spacing(np.float32(far)) / 2
    counts = np.empty((clock.size, len(spike_times)), np.int64)
    for unit, given in enumerate(map(np.asarray, spike_times)):
        times = np.sort(given.astype(np.float64).ravel())
        if not np.isfinite(times).all():
            raise DataError(f"Unit {unit} has spike times that are NaN or infinite. Remove them.")
        slack = rounding[0] + (rounding[1] if given.dtype == np.float32 else 0.0)
        first, stop = np.searchsorted(times, left - slack), np.searchsorted(times, right - slack)
        counts[:, unit] = stop - first
    dtype = np.min_scalar_type(highest := int(counts.max(initial=0)))
    if dtype.itemsize > 2:
        raise DataError(f"A bin holds {highest} spikes of one unit. Are their times in seconds?")
    return counts.astype(dtype)
