"""How far the clock of the spikes runs away from that of the LFP in a session."""

from typing import NamedTuple

import numpy as np
from scipy import fft

from spikelfp_lab.sessions._measures import standardized
from spikelfp_lab.sessions.schema import GAP_BINS

_WINDOW_S = 8.0  # of which a cross-spectrum is made: lags of seconds fit, and so do slow rhythms
_PARTS = 6  # of the session: within one the drift blurs little, and there are 15 pairs
_LEAST_WINDOWS = 6  # a part; with fewer, chance makes peaks
_BAND_HZ = (0.3, 15.0)  # below it baselines wander, above it a drift's lag is many cycles
_REACH_S = 2.0  # largest drift that is looked for, over the session
_STEP_S = 0.01
_PEAK_S = 0.6  # what lies further from a peak than this is background
_COMPONENTS = 24  # of the units and of the channels: more take longer and see no more


class Drift(NamedTuple):
    """The best alignment of a session's parts, in standard deviations of all alignments."""

    seconds: float
    """By which the LFP falls behind the spikes from the first bin to the last."""
    peak: float
    """How well the parts agree once this drift is undone."""
    at_zero: float
    """How well they agree as they are."""
    elsewhere: float
    """How well they agree at the best alignment that is not near the peak: chance."""


def clock_drift(
    counts: np.ndarray, lfp: np.ndarray, time: np.ndarray, *, bin_size_s: float
) -> Drift | None:
    """Drift between the clocks of spikes and LFP, by their cross-correlation in parts of a session.

    Spikes and LFP are tied to each other at some lags and with some signs, which differ from unit
    to unit and from channel to channel and need not be known: in the cross-correlations of all
    units with all channels, a drift of clocks moves the lags of every later part a little further.
    For each possible drift it is undone in the cross-spectra of six parts, and that which lets
    them agree best is taken.

    Parameters
    ----------
    counts : (T, U) array
        Spike counts.
    lfp : (T, C) array
        NaN where missing.
    time : (T,) array
        Bin centers in seconds; may have gaps.
    bin_size_s : float
        Seconds a bin.

    Returns
    -------
    Drift or None
        None when the session is too short for it: there must be 36 windows of 8 s, half
        overlapping, which takes about two and a half minutes without gaps.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> tied = rng.normal(size=(20_000, 6))
    >>> counts = rng.poisson(np.exp(tied))
    >>> time = 0.01 + 0.02 * np.arange(20_000)
    >>> late = np.stack([np.interp(time * 0.9995, time, each) for each in tied.T], axis=1)
    >>> found = clock_drift(counts, late, time, bin_size_s=0.02)
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
    means = standardized(np.concatenate(parts))
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
