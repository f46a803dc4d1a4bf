"""LFP -> log band power: what a linear read-out of rhythms needs, since power is not linear."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy import fft, ndimage, signal

from spikelfp_lab.errors import DataError
from spikelfp_lab.sessions.windows import usable_runs
from spikelfp_lab.signal.lfp import Reference, hold, referenced

DEFAULT_BANDS_HZ: Mapping[str, tuple[float, float]] = MappingProxyType(
    dict(delta=(0.5, 4.0), theta=(4.0, 8.0), alpha=(8.0, 13.0), beta=(13.0, 30.0),
         low_gamma=(30.0, 45.0))
)  # fmt: skip


def band_power(
    lfp: xr.DataArray, *, bands_hz: Mapping[str, tuple[float, float]] = DEFAULT_BANDS_HZ,
    smooth_s: float = 0.1,
) -> xr.DataArray:  # fmt: skip
    """Log power of every channel in every band, bin by bin.

    Band-pass (Butterworth, order 3, zero phase), squared Hilbert envelope, moving average over
    ``smooth_s``, natural logarithm. A rhythm of amplitude A has power A squared. Each stretch
    without a gap in time, a change of trial or a NaN is treated by itself; stretches too short to
    filter (three periods of the band's lower edge, at most 1 s) come out as NaN.

    Parameters
    ----------
    lfp : DataArray (time, channel), e.g. in uV, with a ``time`` coordinate in seconds, and
        optionally a ``trial`` coordinate along it.
    bands_hz : name -> (lower, upper) edge in Hz; bands that reach to half of the sampling rate or
        above are left out.
    smooth_s : seconds, as above.

    Returns
    -------
    DataArray (time, feature) float32, log of (unit of ``lfp``) squared; features are named
        "ch03_beta", channel after channel. A DataError if ``lfp`` has other dimensions or no time
        coordinate, or no band fits its rate.

    Examples
    --------
    >>> time_s = np.arange(500) / 100
    >>> lfp = xr.DataArray(np.sin(2 * np.pi * 20 * time_s)[:, None], dims=("time", "channel"),
    ...                    coords={"time": time_s, "channel": ["ch00"]})
    >>> power = band_power(lfp, bands_hz={"beta": (13.0, 30.0)})
    >>> power.feature.values.tolist(), round(float(np.exp(power[250, 0])), 2)
    (['ch00_beta'], 1.0)
    """
    if lfp.dims != ("time", "channel") or "time" not in lfp.coords or lfp.sizes["time"] < 2:
        raise DataError(f"Give an LFP of dims (time, channel) with its times, not {lfp.dims}.")
    step_s = float(np.median(np.diff(lfp["time"].values)))
    rate_hz = 1.0 / step_s
    fitting = {name: band for name, band in bands_hz.items() if 0 < band[0] < band[1] < rate_hz / 2}
    if not fitting:
        raise DataError(f"No band lies below {rate_hz / 2:g} Hz, half the rate of this LFP.")
    values, smooth = lfp.values, max(1, round(smooth_s * rate_hz))
    power = np.full((*lfp.shape, len(fitting)), np.nan, np.float32)
    groups: dict[bytes, list[int]] = {}  # of channels that are missing at the same times
    for channel, there in enumerate(np.isfinite(values).T):
        groups.setdefault(there.tobytes(), []).append(channel)
    for channels in groups.values():
        part = xr.Dataset({"lfp": lfp[:, channels]}, attrs={"bin_size_s": step_s})
        for start, stop in usable_runs(part, variables=["lfp"]).tolist():
            for which, band in enumerate(fitting.values()):
                if stop - start >= round(min(3 / band[0], 1.0) * rate_hz):
                    stretch = values[start:stop, channels]
                    power[start:stop, channels, which] = _log_power(stretch, band, rate_hz, smooth)
    labels = [one if isinstance(one, str) else f"ch{one:02}" for one in lfp["channel"].values]
    names = [f"{label}_{band}" for label in labels for band in fitting]
    kept = {name: each for name, each in lfp.coords.items() if each.dims in (("time",), ())}
    units = f"log({lfp.attrs.get('units', 'unit of the LFP')}^2)"
    bands = [f"{name} {low:g}-{high:g}" for name, (low, high) in fitting.items()]
    attrs = {"kind": "log band power", "units": units, "bands_hz": bands}
    attrs |= {"smooth_s": smooth / rate_hz}
    flat, dims = power.reshape(lfp.sizes["time"], -1), ("time", "feature")
    return xr.DataArray(flat, {**kept, "feature": names}, dims, name="band_power", attrs=attrs)


def _log_power(
    values: np.ndarray, band: tuple[float, float], rate_hz: float, smooth: int
) -> np.ndarray:
    """(n, C) log of the smoothed squared envelope of one stretch."""
    sections = np.asarray(signal.butter(3, band, "bandpass", fs=rate_hz, output="sos"))
    size, values = len(values), values.T.astype(np.float64)
    pad = min(size - 1, round(2 * rate_hz / band[0]))
    passed = signal.sosfiltfilt(sections, values, padtype="even", padlen=pad)
    # Hilbert of a fast length: a prime number of samples would take a hundred times as long.
    envelope = np.asarray(signal.hilbert(passed, N=fft.next_fast_len(size)))[:, :size]
    mean = ndimage.uniform_filter1d(np.abs(envelope) ** 2, smooth, mode="nearest")
    return np.log(np.maximum(mean, np.finfo(np.float32).tiny)).T


class CausalFilters(NamedTuple):
    """What :func:`causal_power` and a live decoder filter with."""

    sections: list[np.ndarray]  # (3, 6) a band
    smoothing: np.ndarray  # (2, 6)
    still: int  # bins without change after which a channel is silent
    settle: int  # bins that filters take to settle


def causal_filters(
    bands_hz: Sequence[tuple[float, float]], rate_hz: float, smooth_s: float = 0.1
) -> CausalFilters:
    """Band-passes of order 3, and two leaky means as smooth as a moving average over smooth_s."""
    passes = [signal.butter(3, band, "bandpass", fs=rate_hz, output="sos") for band in bands_hz]
    leak = np.exp(-4 / (smooth_s * rate_hz))
    smoothing = np.array([[1 - leak, 0, 0, 1, -leak, 0]] * 2)
    settle = round(3 / min(low for low, _ in bands_hz) * rate_hz)
    return CausalFilters([*map(np.asarray, passes)], smoothing, round(0.5 * rate_hz), settle)


def causal_power(
    values: np.ndarray, bands_hz: Sequence[tuple[float, float]], *, rate_hz: float
) -> np.ndarray:
    """Log power of one stretch of LFP from the past alone, as a live decoder has it.

    Band-pass (Butterworth, order 3), square, two leaky means one after the other, natural
    logarithm. NaN, unknown, for the first three periods of the lowest edge, and as long after a
    channel has not moved for half a second. A sample that is NaN holds the one before.

    Parameters
    ----------
    values : (n, C), one stretch without a gap.
    bands_hz : (lower, upper) edges in Hz, below half of ``rate_hz``.

    Returns
    -------
    (n, C, band) float32, log of (unit of ``values``) squared.

    >>> rhythm = np.sin(2 * np.pi * 20 * np.arange(500) / 100)[:, None]
    >>> power = causal_power(rhythm, [(13.0, 30.0)], rate_hz=100.0)
    >>> power.shape, round(float(np.exp(power[-1, 0, 0])), 1)
    ((500, 1, 1), 1.0)
    """
    filters, at = causal_filters(bands_hz, rate_hz), np.arange(len(values))[:, None]
    held, first = hold(values)
    known = np.isfinite(held)  # less the first, or the filters would ring
    x = np.where(known, held - first, 0.0).T.astype(np.float64)
    squares = [2 * np.square(signal.sosfilt(each, x)) for each in filters.sections]
    mean = np.asarray(signal.sosfilt(filters.smoothing, squares))
    power = np.log(np.maximum(mean, np.finfo(np.float32).tiny)).transpose(2, 1, 0)
    before = np.concatenate([np.full_like(held[:1], np.nan), held])[:-1]
    moved = np.maximum.accumulate(np.where(known & (held != before), at, -1))
    silent = np.maximum.accumulate(np.where(at - moved >= filters.still, at, -1))
    unknown = (at - silent < filters.settle)[:, :, None]
    return np.where(unknown, np.nan, power).astype(np.float32)


def mains_left(
    data: Any, *, rate_hz: float, channels: np.ndarray | None = None,
    reference: Reference = "none", high_hz: float = 50.0, line_hz: float | None = 60.0,
) -> dict[int, np.ndarray]:  # fmt: skip
    """Mains (50 or 60 Hz) that a filter leaves in an LFP, measured at its native rate.

    Sixteen windows of 4 s of ``data`` (n, C) are read. ``high_hz`` is the upper edge of the band,
    ``line_hz`` what is notched. Gives, by frequency, each channel's RMS of the line and its
    harmonics that are left over the RMS of all else in the band, 0 where no line stands out.

    >>> x = np.random.default_rng(0).normal(size=(60_000, 2))
    >>> x[:, 1] += 3 * np.sin(2 * np.pi * 50 * np.arange(60_000) / 1000)
    >>> {hz: share.round(1).tolist() for hz, share in mains_left(x, rate_hz=1000.0).items()}
    {50: [0.0, 3.3]}
    """
    size = int(4 * rate_hz)
    if data.shape[0] < size:
        return {}
    power: Any = 0.0
    for start in np.unique(np.linspace(0, data.shape[0] - size, 16).astype(int)).tolist():
        block = np.asarray(data[start : start + size]).reshape(size, -1).astype(np.float64)
        block = referenced(block if channels is None else block[:, channels], reference)
        tapered = (block - block.mean(axis=0)) * np.hanning(size)[:, None]
        power += np.nan_to_num(np.abs(np.asarray(fft.rfft(tapered, axis=0))) ** 2)
    frequency = np.asarray(fft.rfftfreq(size, 1 / rate_hz))
    found = {}
    for base in (50, 60):
        line, lines = np.zeros(power.shape[1]), np.zeros(frequency.size, bool)
        for hz in np.arange(base, min(1.1 * high_hz, rate_hz / 2 - 1), base):
            if line_hz is not None and abs(hz - line_hz * round(hz / line_hz)) < 1:
                continue
            off = np.abs(frequency - hz)
            here, usual = power[off <= 0.75], np.median(power[(off >= 2) & (off <= 6)], axis=0)
            gain = np.clip((1.1 * high_hz - hz) / (0.2 * high_hz), 0, 1)  # at the band's own edge
            line += gain**2 * np.where(here.mean(axis=0) > 8 * usual, (here - usual).sum(axis=0), 0)
            lines |= off <= 0.75
        rest = power[(frequency >= 0.5) & (frequency <= high_hz) & ~lines].sum(axis=0)
        if line.any():
            found[base] = np.sqrt(line / np.maximum(rest, 1e-30))
    return found
