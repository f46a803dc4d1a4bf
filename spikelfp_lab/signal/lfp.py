"""Raw field potential -> LFP at the session's rate: filter with zero phase, then resample."""

from fractions import Fraction
from typing import Literal

import numpy as np
from scipy import signal

from spikelfp_lab.errors import DataError

# Filtered one block of channels at a time, so that memory does not grow with the array.
_CHANNELS_AT_ONCE = 8


def lfp_to_rate(
    raw: np.ndarray,
    *,
    rate_hz: float,
    to_rate_hz: float = 100.0,
    band_hz: tuple[float, float] = (0.05, 50.0),
    line_hz: float | None = 60.0,
    reference: Literal["car"] | None = None,
) -> np.ndarray:
    """Bring a raw field potential to the rate of a session's clock, without shifting it in time.

    For potentials at LFP rates (up to a few kHz) that fit in memory on a uniform clock. For
    broadband, for anything that must be read piece by piece, has timestamps of its own, or is
    filtered online, use :func:`spikelfp_lab.signal.broadband_to_lfp`: the same band, by FIR filters.

    In order: decimation to a few times ``to_rate_hz`` (only where ``rate_hz`` is much higher),
    a notch (Q 30) at the line frequency and its harmonics, low-pass (elliptic), polyphase
    resampling, high-pass (Butterworth, order 2); filters are second-order sections run forward
    and backward. The pass band is flat within 0.5 dB from 10 times its lower edge up to 0.9 of its
    upper edge, and at 1.2 times the upper edge 60 dB are lost.

    Parameters
    ----------
    raw : (n, C) float array, in any unit (the unit is kept)
        Samples of C channels on a uniform clock. Missing samples are NaN: they are bridged by a
        straight line while filtering, and the output is NaN where they were.
    rate_hz : float
        Samples a second of ``raw``.
    to_rate_hz : float
        Samples a second of the result, at most ``rate_hz``.
    band_hz : (float, float)
        Edges of the pass band in Hz. An upper edge above half of ``to_rate_hz`` is lowered to it.
    line_hz : float or None
        Frequency of the mains, or None where nothing is to be notched.
    reference : "car" or None
        "car" subtracts the mean over channels from every sample of the result.

    Returns
    -------
    (m, C) float32 array
        m = ceil(n * to_rate_hz / rate_hz). Sample i lies at ``t0 + i / to_rate_hz``, where t0 is
        the time of ``raw[0]``. Choose t0 so that these times fall on the bin centers of the
        clock: interpolating half-way between samples afterwards would attenuate the fast
        rhythms (by half at a third of the rate).

    Raises
    ------
    DataError
        If ``raw`` is not two-dimensional or too short, or the rates or band make no sense.

    Notes
    -----
    The chain of the paper's authors (Makin recordings, ``ShanechiLab/CrossModalDistillation``),
    with a steeper low-pass: theirs has lost 4 dB at 45 Hz.

    Examples
    --------
    >>> time_s = np.arange(20_000) / 1000
    >>> raw = np.sin(2 * np.pi * 20 * time_s) + np.sin(2 * np.pi * 60 * time_s)
    >>> lfp = lfp_to_rate(raw[:, None], rate_hz=1000.0)
    >>> lfp.shape, str(lfp.dtype)
    ((2000, 1), 'float32')
    >>> expected = np.sin(2 * np.pi * 20 * np.arange(2000) / 100)
    >>> bool(np.abs(lfp[50:-50, 0] - expected[50:-50]).max() < 0.05)
    True
    """
    raw = np.asarray(raw)
    _check(raw, rate_hz=rate_hz, to_rate_hz=to_rate_hz, band_hz=band_hz)
    # Filtering costs by the sample: first come down to 4 to 8 times the rate that is asked for.
    factor = max(1, int(rate_hz / (4 * to_rate_hz)))
    inner_hz = rate_hz / factor
    sections = low_pass_and_notches(inner_hz, high=min(band_hz[1], to_rate_hz / 2), line_hz=line_hz)
    ratio = Fraction(to_rate_hz / inner_hz).limit_denominator(100_000)
    anti_alias = _anti_alias(ratio)

    n_out = int(np.ceil(raw.shape[0] * to_rate_hz / rate_hz - 1e-9))
    result = np.empty((n_out, raw.shape[1]), np.float32)
    for first in range(0, raw.shape[1], _CHANNELS_AT_ONCE):
        block = np.array(raw[:, first : first + _CHANNELS_AT_ONCE].T, np.float32, order="C")
        missing = ~np.isfinite(block)
        if missing.any():
            bridge(block, missing)
        block -= block.mean(axis=1, keepdims=True)
        if factor > 1:
            block = signal.resample_poly(block, 1, factor, axis=1, padtype="line")
        if sections.size:
            # Mirrored, not odd: an odd extension is offset by twice the last sample, a step that
            # the high-pass would answer with seconds of drift.
            pad = min(block.shape[1] - 1, int(inner_hz))
            block = signal.sosfiltfilt(sections, block, axis=1, padtype="even", padlen=pad).astype(
                np.float32
            )
        if ratio != 1:
            block = signal.resample_poly(
                block,
                ratio.numerator,
                ratio.denominator,
                axis=1,
                window=anti_alias,
                padtype="line",
            )
        # Last, where samples are few.
        block = high_pass(block, rate_hz=to_rate_hz, low=band_hz[0])
        result[:, first : first + block.shape[0]] = block[:, :n_out].T
        if missing.any():
            _blank(result[:, first : first + block.shape[0]], missing, to_rate_hz / rate_hz)
    if reference is not None:
        result[:, flat_channels(result)] = np.nan
    return referenced(result, reference or "none")


def _check(
    raw: np.ndarray, *, rate_hz: float, to_rate_hz: float, band_hz: tuple[float, float]
) -> None:
    if raw.ndim != 2 or 0 in raw.shape:
        raise DataError(
            f"lfp_to_rate needs samples by channels, (n, C), and got an array of shape {raw.shape}."
            " Give a single channel as raw[:, None]."
        )
    if not 0 < to_rate_hz <= rate_hz:
        raise DataError(
            f"lfp_to_rate cannot go from {rate_hz} Hz to {to_rate_hz} Hz: the new rate must be "
            "positive and no higher than the raw one. Lower to_rate_hz."
        )
    if not 0 < band_hz[0] < min(band_hz[1], to_rate_hz / 2):
        raise DataError(
            f"band_hz {tuple(band_hz)} is no pass band at {to_rate_hz} Hz: it needs 0 < lower edge "
            f"< upper edge, and a lower edge below {to_rate_hz / 2} Hz."
        )
    if raw.shape[0] < rate_hz / to_rate_hz * 20:
        raise DataError(
            f"{raw.shape[0]} samples at {rate_hz} Hz are too short a stretch to filter: give at "
            f"least {int(np.ceil(20 * rate_hz / to_rate_hz))}."
        )


def low_pass_and_notches(
    rate_hz: float,
    *,
    high: float,
    line_hz: float | None,
    passes: int = 2,
    edges: tuple[float, float] = (0.93, 1.12),
) -> np.ndarray:
    """Second-order sections (k, 6) of notches and a low-pass that are run once or twice.

    In all passes together the low-pass (elliptic) has 0.1 dB of ripple up to ``edges[0] * high``
    and loses 60 dB from ``edges[1] * high`` on.
    """
    nyquist = rate_hz / 2
    parts = [np.empty((0, 6))]
    if line_hz is not None:
        # Harmonics above this Nyquist frequency are gone with the decimation before.
        for harmonic in np.arange(line_hz, 0.98 * nyquist, line_hz):
            parts.append(signal.tf2sos(*signal.iirnotch(harmonic, Q=30, fs=rate_hz)))
    if 1.15 * high < nyquist:
        parts.append(
            np.asarray(
                signal.iirdesign(
                    edges[0] * high,
                    edges[1] * high,
                    0.1 / passes,
                    60 / passes,
                    ftype="ellip",
                    output="sos",
                    fs=rate_hz,
                )
            )
        )
    return np.concatenate(parts)


def high_pass(values: np.ndarray, *, rate_hz: float, low: float) -> np.ndarray:
    """Butterworth high-pass (order 2, forward and backward) of values (channel, n), float64.

    Meant for low rates, where the padding is long enough to outlast its slow transients.
    """
    sections = signal.butter(2, low, "highpass", fs=rate_hz, output="sos")
    pad = min(values.shape[1] - 1, int(2 * rate_hz / low))
    return signal.sosfiltfilt(sections, values, axis=1, padtype="even", padlen=pad)


def _anti_alias(ratio: Fraction) -> np.ndarray:
    """A low-pass at the new Nyquist frequency, four times as steep as resample_poly's own."""
    widest = max(ratio.numerator, ratio.denominator)
    if widest == 1:
        return np.ones(1, np.float32)
    n_taps = 2 * 40 * widest + 1
    taps = np.sinc((np.arange(n_taps) - n_taps // 2) / widest) * np.kaiser(n_taps, 5.0)
    return (taps / taps.sum()).astype(np.float32)


def bridge(block: np.ndarray, missing: np.ndarray) -> None:
    """Replace missing samples (channel, n) by a straight line, and a missing channel by zeros."""
    index = np.arange(block.shape[1])
    for values, holes in zip(block, missing, strict=True):
        values[holes] = (
            0.0 if holes.all() else np.interp(index[holes], index[~holes], values[~holes])
        )


def _blank(result: np.ndarray, missing: np.ndarray, ratio: float) -> None:
    """NaN for the output samples (m, channel) nearest to a missing raw sample."""
    for channel, holes in enumerate(missing):
        nearest = np.round(np.flatnonzero(holes) * ratio).astype(int)
        result[np.unique(nearest[nearest < result.shape[0]]), channel] = np.nan


def mean_over_channels(values: np.ndarray) -> np.ndarray:
    """(m, 1) mean over the channels that are there; NaN-free even where none is."""
    there = np.isfinite(values)
    return (
        np.where(there, values, 0.0).sum(axis=1, keepdims=True, dtype=np.float64)
        / np.maximum(there.sum(axis=1, keepdims=True), 1)
    ).astype(np.float32)


def referenced(lfp: np.ndarray, reference: Literal["car", "none", "bipolar"]) -> np.ndarray:
    """The LFP (m, C), re-referenced, in place where its shape stays. Of a whole recording, take :func:`flat_channels` out first."""
    if reference == "bipolar":
        return lfp[:, :-1] - lfp[:, 1:]
    if reference == "car":
        lfp -= mean_over_channels(lfp)
    return lfp


def flat_channels(lfp: np.ndarray) -> np.ndarray:
    """(C,) bool: channels of an LFP (m, C) that carry no signal, before they are referenced.

    One deviates less than a thousandth of what channels usually do (filters leave a residue of a constant). It would dilute the average, and come
    out as the negative of it, looking alive.
    """
    there = np.isfinite(lfp)
    known = np.asarray(there.any(axis=0))
    if not known.any():
        return known
    deviation = np.zeros(known.size)
    for channel in np.flatnonzero(known):
        deviation[channel] = lfp[there[:, channel], channel].std(dtype=np.float64)
    return known & (deviation <= 1e-3 * np.median(deviation[known]))
