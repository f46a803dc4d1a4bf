"""Raw field potential -> LFP at the session's rate: filter with zero phase, then resample."""

from fractions import Fraction
from typing import Literal

import numpy as np
from scipy import signal

from spikelfp_lab.errors import ConfigError, DataError

Reference = Literal["car", "none", "bipolar"]

# Filtered one block of channels at a time, so that memory does not grow with the array.
_CHANNELS_AT_ONCE = 8


def lfp_to_rate(
    raw: np.ndarray, *, rate_hz: float, to_rate_hz: float = 100.0,
    band_hz: tuple[float, float] = (0.05, 50.0), line_hz: float | None = 60.0,
    reference: Reference = "none",
) -> np.ndarray:  # fmt: skip
    """Bring a raw field potential to the rate of a session's clock, without shifting it in time.

    For potentials at LFP rates (up to a few kHz) in memory; for all others,
    :func:`spikelfp_lab.signal.broadband_to_lfp`. In order: decimation to a few times
    ``to_rate_hz``, a notch (Q 30) at the line frequency and its harmonics, low-pass (elliptic),
    polyphase resampling, high-pass (Butterworth, order 2), all forward and backward. Flat within
    0.5 dB from 10 times the lower edge to 0.9 of the upper one, 60 dB down at 1.2 times that. The
    chain of the paper's authors (``ShanechiLab/CrossModalDistillation``) with a steeper low-pass:
    theirs has lost 4 dB at 45 Hz.

    Parameters
    ----------
    raw : (n, C) float, in any unit (which is kept), on a uniform clock. NaN where missing: bridged
        while filtering, NaN in the result.
    rate_hz, to_rate_hz : samples a second of ``raw`` and of the result, which has no more.
    band_hz, line_hz, reference : as for :func:`spikelfp_lab.signal.broadband_to_lfp`.

    Returns
    -------
    (m, C) float32, m = ceil(n * to_rate_hz / rate_hz). Sample i lies at ``t0 + i / to_rate_hz``,
        where t0 is the time of ``raw[0]``: choose it so that these fall on the clock's bin centers.

    Raises
    ------
    DataError, ConfigError
        If ``raw`` is not two-dimensional or too short, or rates, band or reference make no sense.

    Examples
    --------
    >>> raw = np.sin(2 * np.pi * 20 * np.arange(20_000) / 1000)[:, None]
    >>> lfp = lfp_to_rate(raw, rate_hz=1000.0)
    >>> lfp.shape, bool(np.abs(lfp - raw[::10])[50:-50].max() < 0.05)
    ((2000, 1), True)
    """
    raw = np.asarray(raw)
    if raw.ndim != 2 or 0 in raw.shape:
        raise DataError(f"Give samples by channels, (n, C), not an array of shape {raw.shape}.")
    low, high = checked_band(band_hz, line_hz, reference, rate_hz, to_rate_hz)
    if len(raw) < (least := 20 * rate_hz / to_rate_hz):
        raise DataError(f"{len(raw)} samples are too short a stretch to filter: give {least:.0f}.")
    # Filtering costs by the sample: first come down to 4 to 8 times the rate that is asked for.
    factor = max(1, int(rate_hz / (4 * to_rate_hz)))
    inner_hz = rate_hz / factor
    # Harmonics above this Nyquist frequency are gone with the decimation before.
    lines = [] if line_hz is None else np.arange(line_hz, 0.98 * inner_hz / 2, line_hz)
    parts = [signal.tf2sos(*signal.iirnotch(line, Q=30, fs=inner_hz)) for line in lines]
    if 1.15 * high < inner_hz / 2:  # both ways: 0.1 dB of ripple, 60 dB lost from 1.12 of the edge
        edges = 0.93 * high, 1.12 * high
        parts.append(signal.iirdesign(*edges, 0.05, 30, ftype="ellip", output="sos", fs=inner_hz))
    sections = np.concatenate([np.empty((0, 6)), *parts])
    up, down = Fraction(to_rate_hz / inner_hz).limit_denominator(100_000).as_integer_ratio()
    # a low-pass at the new Nyquist frequency, four times as steep as resample_poly's own
    phase = np.arange(-40 * max(up, down), 40 * max(up, down) + 1) / max(up, down)
    window = np.sinc(phase) * np.kaiser(phase.size, 5.0)
    window = (window / window.sum()).astype(np.float32)

    n_out = int(np.ceil(raw.shape[0] * to_rate_hz / rate_hz - 1e-9))
    result = np.empty((n_out, raw.shape[1]), np.float32)
    for first in range(0, raw.shape[1], _CHANNELS_AT_ONCE):
        columns = slice(first, first + _CHANNELS_AT_ONCE)
        block = np.array(raw[:, columns].T, np.float32, order="C")
        missing = ~np.isfinite(block)
        bridge(block, missing)
        block -= block.mean(axis=1, keepdims=True)
        block = signal.resample_poly(block, 1, factor, axis=1, padtype="line")
        if sections.size:
            # Mirrored, not odd: an odd extension is offset by twice the last sample, a step that
            # the high-pass would answer with seconds of drift.
            pad = min(block.shape[1] - 1, int(inner_hz))
            block = signal.sosfiltfilt(sections, block, axis=1, padtype="even", padlen=pad)
            block = block.astype(np.float32)
        block = signal.resample_poly(block, up, down, axis=1, window=window, padtype="line")
        # Last, where samples are few.
        result[:, columns] = high_pass(block, to_rate_hz, low)[:, :n_out].T
        for channel, holes in enumerate(missing, first):
            nearest = np.round(np.flatnonzero(holes) * (to_rate_hz / rate_hz)).astype(int)
            result[nearest[nearest < n_out], channel] = np.nan
    return referenced(result, reference)


def checked_band(
    band_hz: tuple[float, float], line_hz: float | None, reference: str, rate_hz: float,
    to_rate_hz: float,
) -> tuple[float, float]:  # fmt: skip
    """The band with its upper edge at most half of the new rate, or an error with the cure."""
    if reference not in ("car", "none", "bipolar"):
        raise ConfigError(f"No reference {reference!r}. There are: car, none, bipolar.")
    if line_hz is not None and not (np.isfinite(line_hz) and line_hz > 1):
        raise DataError(f"line_hz is {line_hz}: give the mains frequency, 50 or 60, or None.")
    if not (np.isfinite([rate_hz, to_rate_hz]).all() and 0 < to_rate_hz <= rate_hz):
        what = f"LFP cannot go from {rate_hz:g} Hz to {to_rate_hz:g} Hz, only to a lower rate above"
        raise DataError(f"{what} 0. Lower to_rate_hz, or check rate_hz.")
    if np.shape(band_hz) != (2,) or not 0 < band_hz[0] < min(band_hz[1], to_rate_hz / 2):
        what = f"band_hz {band_hz} is no pass band at {to_rate_hz:g} Hz"
        raise DataError(f"{what}: give 0 < lower < upper edge, and lower < {to_rate_hz / 2:g} Hz.")
    return band_hz[0], min(band_hz[1], to_rate_hz / 2)


def high_pass(values: np.ndarray, rate_hz: float, low: float) -> np.ndarray:
    """Butterworth high-pass (order 2, forward and backward) of values (channel, n), float64.

    Meant for low rates, where the padding is long enough to outlast its slow transients.
    """
    sections = signal.butter(2, low, "highpass", fs=rate_hz, output="sos")
    pad = min(values.shape[1] - 1, int(2 * rate_hz / low))
    return signal.sosfiltfilt(sections, values, axis=1, padtype="even", padlen=pad)


def bridge(block: np.ndarray, missing: np.ndarray) -> None:
    """Replace missing samples (channel, n) by a straight line, and a missing channel by zeros."""
    for channel in np.flatnonzero(missing.any(axis=1)):
        values, there = block[channel], np.flatnonzero(~missing[channel])
        at = np.flatnonzero(missing[channel])
        values[at] = np.interp(at, there, values[there]) if there.size else 0.0


def hold(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (n, C) in which missing samples hold the one before, and the first of each channel."""
    at = np.where(np.isfinite(values), np.arange(len(values))[:, None], 0)
    held = np.take_along_axis(values, np.maximum.accumulate(at), axis=0)
    return held, held[np.isfinite(held).argmax(axis=0), np.arange(held.shape[1])]


def referenced(lfp: np.ndarray, reference: Reference) -> np.ndarray:
    """The LFP (m, C), re-referenced, in place where its shape stays; flat channels become NaN."""
    if reference == "none":
        return lfp
    lfp[:, flat_channels(lfp)] = np.nan
    if reference == "bipolar":
        return lfp[:, :-1] - lfp[:, 1:]
    there = np.isfinite(lfp)
    total = np.where(there, lfp, 0.0).sum(axis=1, keepdims=True, dtype=np.float64)
    lfp -= (total / np.maximum(there.sum(axis=1, keepdims=True), 1)).astype(np.float32)
    return lfp


def flat_channels(lfp: np.ndarray) -> np.ndarray:
    """(C,) bool: channels of an LFP (m, C) that carry no signal, before they are referenced.

    They deviate by less than a thousandth of what channels usually do (filters leave a residue of
    a constant). One would dilute the average, and come out as the negative of it, looking alive.
    """
    known = (values[np.isfinite(values)] for values in lfp.T)
    deviation = np.array([one.std(dtype=np.float64) if one.size else np.nan for one in known])
    usual = np.nanmedian(deviation) if np.isfinite(deviation).any() else 0.0
    return deviation <= 1e-3 * usual
