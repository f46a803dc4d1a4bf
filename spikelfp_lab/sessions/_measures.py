"""What the checks of quality measure: pile-ups, likeness, refractory violations, drift."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import fft

from spikelfp_lab.sessions.schema import GAP_BINS

# Neighboring contacts reached 0.9998 in real recordings (theta of the mouse hippocampus).
SAME_CHANNEL = 0.9999
# Of roots of counts, or bursts make all units alike. Different units reached 0.56 to 0.68 in six
# real recordings; a neuron sorted twice, with a tenth of its spikes missing, has 0.9.
SAME_UNIT = 0.85
REFRACTORY_S = 0.0015  # the usual limit (Hill, Mehta & Kleinfeld, J. Neurosci. 31, 2011)
_FLANK_S = 0.01  # beyond the refractory period, where a unit's own rate is taken from
LFP_ROWS, _UNIT_ROWS = 20_000, 30_000  # that are looked at: 0.1 % is still 20
LEAST, LEAST_SPIKES = 10, 50  # samples or intervals, and spikes: fewer prove nothing

_WINDOW_S = 8.0  # of which a cross-spectrum is made: lags of seconds fit, and so do slow rhythms
_PARTS = 6  # of the session: within one the drift blurs little, and there are 15 pairs
_LEAST_WINDOWS = 6  # a part; with fewer, chance makes peaks
_BAND_HZ = (0.3, 15.0)  # below it baselines wander, above it a drift's lag is many cycles
_REACH_S = 2.0  # largest drift that is looked for, over the session
_STEP_S = 0.01
_PEAK_S = 0.6  # what lies further from a peak than this is background
_COMPONENTS = 24  # of the units and of the channels: more take longer and see no more


def clipped_share(values: np.ndarray) -> np.ndarray:
    """Share of each channel's samples (n, C), as recorded, that pile up at its extremes (C,).

    A pile is four times as many samples in the outermost 1 % of the range, or the outermost level
    of a coarse converter, as in what lies beside it (a sine has 2.4 times as many). Of a converter
    with few levels, more than beside are enough where samples jump there from further away.

    >>> signal = np.random.default_rng(0).normal(size=(10_000, 1))
    >>> clipped_share(np.hstack([signal, np.clip(signal, -2, 2)])).round(2).tolist()
    [0.0, 0.05]
    """
    shares = np.zeros(values.shape[1])
    for channel, column in enumerate(np.asarray(values, np.float64).T):
        column = column[np.isfinite(column)]
        span = np.ptp(column) if column.size else 0.0
        for side in (column, -column) if span > 0 else ():
            outer = side >= side.max() - 0.01 * span
            below = side[~outer].max()
            edge = min(side.max() - 0.02 * span, below)
            beside = ~outer & (side >= edge)
            enter = np.flatnonzero(~outer[:-1] & outer[1:])
            few = side.max() - below > span / 16 and outer.sum() > beside.sum()
            jump = few and enter.size and np.mean(~beside[enter]) > 0.25
            if outer.sum() >= LEAST and (outer.sum() > 4 * beside.sum() or jump):
                shares[channel] += outer.sum() / column.size
    return shares


def _standardized(values: np.ndarray) -> np.ndarray:
    """(T, C) float32 of mean 0 and SD 1; 0 where missing, and in constant columns."""
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


def same_channels(lfp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first channel before each (C,) of (T, C) that is the same but for scale and offset, -1
    where there is none; and the correlation with it."""
    scaled = _standardized(lfp[:: -(-len(lfp) // LFP_ROWS)])
    return _copies(scaled, SAME_CHANNEL, signed=False)


def same_units(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first unit before each that has the same spikes, as :func:`same_channels`."""
    counts = counts[:: -(-len(counts) // _UNIT_ROWS)]
    scaled = _standardized(np.sqrt(counts, dtype=np.float32))
    scaled[:, counts.sum(axis=0, dtype=np.int64) < LEAST_SPIKES] = 0
    return _copies(scaled, SAME_UNIT, signed=True)


def _copies(scaled: np.ndarray, limit: float, *, signed: bool) -> tuple[np.ndarray, np.ndarray]:
    correlation = scaled.T @ scaled / max(len(scaled), 1)
    alike = np.tril((correlation if signed else np.abs(correlation)) > limit, k=-1)
    first = np.where(alike.any(axis=1), alike.argmax(axis=1), -1)
    return first, np.clip(correlation[np.arange(first.size), first], -1, 1)


def refractory_coords(
    spike_times: Sequence[np.ndarray], clock: np.ndarray
) -> dict[str, tuple[str, np.ndarray]]:
    """Refractory violations of units, as coordinates of a session whose spike times are known.

    Of ``spike_times`` in seconds, one array a unit, those count that lie on the ``clock`` (T,).
    Gives ``refractory_violations`` (unit), the share of intervals below 1.5 ms, and
    ``refractory_chance`` (unit), what independent spikes at the unit's own rate would have, from
    the pairs of spikes that are 1.5 to 11.5 ms apart. A well sorted unit has next to none of it.
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


class Drift(NamedTuple):
    """The best alignment of a session's parts, in standard deviations of all alignments."""

    seconds: float  # by which the LFP falls behind the spikes from the first bin to the last
    peak: float  # how well the parts agree once this drift is undone
    at_zero: float  # as they are
    elsewhere: float  # at the best alignment that is not near the peak: chance


def clock_drift(
    counts: np.ndarray, lfp: np.ndarray, time: np.ndarray, *, bin_size_s: float
) -> Drift | None:
    """Drift between the clocks of spikes (T, U) and LFP (T, C), or None in a short session.

    In the cross-correlations of all units with all channels, at whatever lags and signs they are
    tied, a drift moves the lags of every later part a little further. For each possible drift it
    is undone in the cross-spectra of six parts, and that which lets them agree best is taken.

    >>> rng = np.random.default_rng(0)
    >>> tied = rng.normal(size=(20_000, 6))
    >>> time = 0.01 + 0.02 * np.arange(20_000)
    >>> late = np.stack([np.interp(time * 0.9995, time, each) for each in tied.T], axis=1)
    >>> found = clock_drift(rng.poisson(np.exp(tied)), late, time, bin_size_s=0.02)
    >>> round(found.seconds, 2), found.peak > 2 * found.elsewhere
    (0.2, True)
    """
    # means of a few bins: nothing above the band is used
    size = max(1, int(1 / (2.2 * _BAND_HZ[1] * bin_size_s)))
    width = 2 * round(_WINDOW_S / (2 * size * bin_size_s))
    runs, windows = _windows(time, bin_size_s, size, width)
    if len(windows) < _PARTS * _LEAST_WINDOWS:
        return None
    frequency = fft.rfftfreq(width, size * bin_size_s)
    band = (frequency >= _BAND_HZ[0]) & (frequency <= min(_BAND_HZ[1], frequency[-1] * 0.9))
    both = [_spectra(_means(values, runs, size), windows, band) for values in (counts, lfp)]
    parts = np.array_split(np.arange(len(windows)), _PARTS)
    first = np.concatenate([time[start:stop:size] for start, stop in runs])[windows[:, 0]]
    place = (first - time[0]) / (time[-1] - time[0])
    when = np.array([place[part].mean() for part in parts])
    # (part, frequency, unit * channel)
    cross = np.stack(
        [
            (one.conj().swapaxes(1, 2) @ other).reshape(len(one), -1) / len(part)
            for part in parts
            for one, other in [[spectra[:, part] for spectra in both]]
        ]
    )
    drifts = np.arange(-_REACH_S, _REACH_S + _STEP_S / 2, _STEP_S)
    agreement = np.zeros(drifts.size)
    turn = 2j * np.pi * frequency[band]
    for first, second in zip(*np.triu_indices(_PARTS, k=1), strict=True):
        shared = np.einsum("fp,fp->f", cross[first].conj(), cross[second])
        shifts = drifts * (when[second] - when[first])
        agreement += (np.exp(np.outer(shifts, turn)) @ shared).real
    best = int(np.argmax(agreement))
    far = np.abs(drifts - drifts[best]) > _PEAK_S
    spread = float(agreement[far].std())
    if not spread > 0:
        return None
    scores = (agreement - agreement[far].mean()) / spread
    return Drift(
        seconds=float(drifts[best]),
        peak=float(scores[best]),
        at_zero=float(scores[np.argmin(np.abs(drifts))]),
        elsewhere=float(scores[far].max()),
    )


def _windows(
    time: np.ndarray, bin_size_s: float, size: int, width: int
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Runs of bins, whole means long, that hold a window, and which of their means windows are."""
    cuts = np.flatnonzero(np.diff(time) > GAP_BINS * bin_size_s) + 1
    runs, firsts, count = [], [], 0
    for start, stop in zip([0, *cuts.tolist()], [*cuts.tolist(), time.size], strict=True):
        means = (stop - start) // size
        if means >= width:
            runs.append((start, start + means * size))
            # windows overlap by half, since their edges weigh little
            firsts.append(count + np.arange(0, means - width + 1, width // 2))
            count += means
    firsts = np.concatenate(firsts) if firsts else np.empty(0, np.int64)
    return runs, firsts[:, None] + np.arange(width)


def _means(values: np.ndarray, runs: list[tuple[int, int]], size: int) -> np.ndarray:
    """(n, component) means over ``size`` bins, as independent components; 0 where missing."""
    parts = []
    for start, stop in runs:
        part = values[start:stop:size].astype(np.float32)
        for offset in range(1, size):
            part += values[start + offset : stop : size]
        parts.append(part)
    means = _standardized(np.concatenate(parts))
    return means @ np.linalg.eigh(means.T @ means)[1][:, -_COMPONENTS:]


def _spectra(means: np.ndarray, windows: np.ndarray, band: np.ndarray) -> np.ndarray:
    """(frequency, window, component) whitened spectra of the windows."""
    pieces = means[windows]
    pieces -= pieces.mean(axis=1, keepdims=True)
    pieces *= np.hanning(windows.shape[1]).astype(np.float32)[:, None]
    spectra = np.asarray(fft.rfft(pieces, axis=1))[:, band]
    # every frequency and every direction weighs the same, or the strongest rhythm decides alone
    level = np.sqrt((np.abs(spectra) ** 2).mean(axis=0))
    spectra /= np.where(level > 0, level, 1)
    flat = spectra.reshape(-1, spectra.shape[2])
    variance, directions = np.linalg.eigh(np.real(flat.conj().T @ flat) / len(flat))
    variance = np.maximum(variance, 0) + 0.01 * variance.mean()
    whitened = flat @ (directions / np.sqrt(variance)).astype(np.float32)
    return whitened.reshape(spectra.shape).swapaxes(0, 1)
