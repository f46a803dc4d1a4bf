"""The protocol of Erturk et al. (2025) where it differs from ours: filters, z-scores, fences.

Used for ``protocol="paper"`` only, to stand beside the paper's numbers. Filters lose 4 dB at
45 Hz, resampling by FFT takes a session for periodic, and statistics are of all time, test
windows included.
"""

import numpy as np
import xarray as xr
from scipy import signal

from spikelfp_lab.errors import DataError
from spikelfp_lab.sessions import add_history, bins_in, channel_statistics
from spikelfp_lab.signal.lfp import bridge, referenced

LINE_HZ, LOW_HZ, HIGH_HZ, ORDER = 60.0, 0.05, 50.0, 2
MIN_UNIT_RATE_HZ, WINDOW_S = 1.0, 10.0
_WITHOUT = "Open the session without protocol='paper'."


def makin_lfp(raw: np.ndarray, *, rate_hz: float, to_rate_hz: float) -> np.ndarray:
    """Notch at 60 Hz and harmonics, 0.05 to 50 Hz, common average reference, FFT resampling.

    ``raw`` (n, C) is decimated to a few hundred Hz. Missing samples are NaN: they are bridged by a
    straight line while filtering, and NaN again in the result (m, C), float32, with
    m = round(n * to_rate_hz / rate_hz); sample i lies at i / m of the length.
    """
    lines = np.arange(LINE_HZ, rate_hz / 2, LINE_HZ)
    filters = [signal.tf2sos(*signal.iirnotch(line, 30, fs=rate_hz)) for line in lines]
    for kind, edge_hz in (("highpass", LOW_HZ), ("lowpass", HIGH_HZ)):
        filters.append(signal.butter(ORDER, edge_hz, kind, fs=rate_hz, output="sos"))
    lfp = referenced(_filtered(_bridged(raw), filters), "car")
    return _resampled(lfp, ~np.isfinite(raw), round(len(raw) * to_rate_hz / rate_hz))


def flint_lfp(raw: np.ndarray, *, rate_hz: float, to_rate_hz: float) -> np.ndarray:
    """Common average reference, 50 Hz low-pass, FFT resampling; as :func:`makin_lfp` else."""
    low_pass = signal.butter(ORDER, HIGH_HZ, "lowpass", fs=rate_hz, output="sos")
    lfp = _filtered(referenced(_bridged(raw), "car"), [low_pass])
    return _resampled(lfp, ~np.isfinite(raw), round(len(raw) * to_rate_hz / rate_hz))


def makin_velocity(
    position: np.ndarray, times: np.ndarray, *, bin_size_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient (m, columns) of a position (n, columns), resampled by FFT, and its times (m,)."""
    if not np.isfinite(position).all() or np.diff(times).max() > 1.5 * np.median(np.diff(times)):
        raise DataError(f"The position has gaps, which resampling would spread. {_WITHOUT}")
    length_s = times[-1] - times[0]
    period_s, count = length_s / (times.size - 1), int(length_s / bin_size_s)
    velocity = signal.resample(np.gradient(position, period_s, axis=0), count)
    return np.asarray(velocity), times[0] + np.arange(count) * (period_s * times.size / count)


def z_scored(session: xr.Dataset) -> xr.Dataset:
    """LFP and behavior in standard deviations of the whole session, test windows included."""
    for name in session.data_vars.keys() & {"lfp", "behavior"}:
        values = session[name].values
        mean, std = channel_statistics(values, np.ones(len(values), bool))
        scored = session[name].copy(data=(values - mean) / std)
        session = session.assign({name: scored.assign_attrs(units="z")})
    return add_history(session, "z-scored over the whole session (protocol of the paper)")


def drop_slow_units(session: xr.Dataset) -> xr.Dataset:
    """Leave out units under 1 Hz; a DataError when no unit would be left."""
    duration_s = session.sizes["time"] * session.attrs["bin_size_s"]
    keep = session["spikes"].values.sum(axis=0, dtype=np.int64) / duration_s >= MIN_UNIT_RATE_HZ
    if not keep.any():
        what = f"All {keep.size} units of session {session.attrs['session']} fire below 1 Hz"
        raise DataError(f"{what}, and the paper's protocol leaves those out. {_WITHOUT}")
    note = f"{np.sum(~keep)} units under {MIN_UNIT_RATE_HZ:g} Hz left out"
    return add_history(session.isel(unit=np.flatnonzero(keep)), note)


def within_fences(session: xr.Dataset) -> xr.Dataset:
    """Leave out windows of 10 s whose velocity varies more than Tukey's fence.

    Whole windows from the first bin on, whose SD (over bins and axes) is at most
    Q3 + 1.5 (Q3 - Q1) of all windows; a DataError when the session is shorter than one.
    """
    length = bins_in(WINDOW_S, bin_size_s=session.attrs["bin_size_s"])
    count = session.sizes["time"] // length
    if count < 1:
        what = f"Session {session.attrs['session']} is shorter than {WINDOW_S:g} s, one window"
        raise DataError(f"{what} of the paper's protocol. {_WITHOUT}")
    windows = session["behavior"].values[: count * length].reshape(count, -1)
    spread = np.nanstd(windows.astype(np.float64), axis=1, ddof=1)
    low, high = np.percentile(spread, [25, 75])
    keep = spread <= high + 1.5 * (high - low)
    note = f"{np.sum(~keep)} of {count} windows of {WINDOW_S:g} s beyond Tukey's fence left out"
    return add_history(session.isel(time=np.flatnonzero(np.repeat(keep, length))), note)


def _filtered(raw: np.ndarray, filters: list) -> np.ndarray:
    """(n, C) float32: forward and backward, eight channels at a time in float64."""
    result = np.empty(raw.shape, np.float32)
    for first in range(0, raw.shape[1], 8):
        block = raw[:, first : first + 8].astype(np.float64)
        block -= block.mean(axis=0)
        for sections in filters:
            block = signal.sosfiltfilt(sections, block, axis=0)
        result[:, first : first + 8] = block
    return result


def _resampled(values: np.ndarray, missing: np.ndarray, count: int) -> np.ndarray:
    """By FFT, one channel at a time; NaN where the nearest sample before was missing."""
    result = np.stack([np.asarray(signal.resample(one, count)) for one in values.T], 1)
    nearest = np.round(np.arange(count) * len(values) / count).astype(int)
    result[missing[np.minimum(nearest, len(values) - 1)]] = np.nan
    return result


def _bridged(raw: np.ndarray) -> np.ndarray:
    """A copy with a straight line where samples are missing."""
    filled = raw.copy()
    bridge(filled.T, ~np.isfinite(filled.T))
    return filled
