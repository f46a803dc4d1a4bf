"""LFP -> log band power: what a linear read-out of rhythms needs, since power is not linear."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import xarray as xr
from scipy import fft, ndimage, signal
from scipy.signal import windows as tapering

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.signal.lfp import Reference, referenced

DEFAULT_BANDS_HZ: Mapping[str, tuple[float, float]] = MappingProxyType(
    dict(delta=(0.5, 4.0), theta=(4.0, 8.0), alpha=(8.0, 13.0), beta=(13.0, 30.0),
         low_gamma=(30.0, 45.0))
)  # fmt: skip


def band_power(
    lfp: xr.DataArray,
    *,
    bands_hz: Mapping[str, tuple[float, float]] = DEFAULT_BANDS_HZ,
    smooth_s: float = 0.1,
    method: Literal["hilbert", "multitaper"] = "hilbert",
    window_s: float = 1.0,
) -> xr.DataArray:
    """Log power of every channel in every band, bin by bin.

    "hilbert": band-pass (Butterworth, order 3, zero phase), squared Hilbert envelope, moving
    average over ``smooth_s``, natural logarithm. "multitaper": spectra of windows of ``window_s``,
    one every ``smooth_s``, under three Slepian tapers (time-bandwidth 2), summed over each band;
    it varies less, but is slower to follow. A rhythm of amplitude A has power A squared either way.

    Each stretch without a gap in time, a change of trial or a NaN is treated by itself; stretches
    too short to filter (three periods of the band's lower edge, at most 1 s; for "multitaper" one
    window) come out as NaN.

    Parameters
    ----------
    lfp : DataArray (time, channel), e.g. in uV
        With a ``time`` coordinate in seconds, and optionally a ``trial`` coordinate along it.
    bands_hz : mapping of name -> (lower, upper) edge in Hz
        Bands that reach to half of the sampling rate or above are left out.
    smooth_s, window_s : float
        Seconds, as above.
    method : "hilbert" or "multitaper"

    Returns
    -------
    DataArray (time, feature) float32
        log of (unit of ``lfp``) squared; features are named "ch03_beta", channel after channel.

    Raises
    ------
    DataError
        If ``lfp`` has other dimensions or no time coordinate, or no band fits its rate.
    ConfigError
        If the method is unknown, or the windows are too short for it.

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
        raise DataError(
            f"band_power needs an LFP of dims (time, channel) with a time coordinate in seconds, "
            f"got dims {lfp.dims}. Pass session['lfp']."
        )
    time = lfp["time"].values
    rate_hz = 1.0 / float(np.median(np.diff(time)))
    fitting = {name: band for name, band in bands_hz.items() if 0 < band[0] < band[1] < rate_hz / 2}
    if not fitting:
        raise DataError(
            f"No band of {dict(bands_hz)} lies below {rate_hz / 2:g} Hz, half the rate of this LFP."
            " Give bands_hz that do."
        )
    values = lfp.values
    smooth = max(1, round(smooth_s * rate_hz))
    window = round(window_s * rate_hz)
    if method not in ("hilbert", "multitaper"):
        raise ConfigError(f"No method {method!r} of band power. There are: hilbert, multitaper.")
    if method == "multitaper" and window < 8:
        raise ConfigError(
            f"window_s is {window_s}, {window} bins of this LFP: tapers need 8 bins or more."
        )
    power = np.full((lfp.sizes["time"], lfp.sizes["channel"], len(fitting)), np.nan, np.float32)
    bands = np.array(list(fitting.values()), np.float64)
    for start, stop, channels in _stretches(lfp, values):
        stretch = values[start:stop, channels]
        if method == "multitaper":
            if stop - start >= window:
                found = _multitaper(stretch, bands, rate_hz=rate_hz, window=window, hop=smooth)
                power[start:stop, channels] = found
            continue
        for which, (low, high) in enumerate(bands):
            if stop - start >= round(min(3 / low, 1.0) * rate_hz):
                found = _log_power(stretch, low, high, rate_hz=rate_hz, smooth=smooth)
                power[start:stop, channels, which] = found
    names = [f"{_label(channel)}_{band}" for channel in lfp["channel"].values for band in fitting]
    kept = {name: each for name, each in lfp.coords.items() if each.dims in (("time",), ())}
    return xr.DataArray(
        power.reshape(lfp.sizes["time"], -1),
        dims=("time", "feature"),
        coords={**kept, "feature": names},
        name="band_power",
        attrs={
            "kind": "log band power",
            "units": f"log({lfp.attrs.get('units', 'unit of the LFP')}^2)",
            "bands_hz": [f"{name} {low:g}-{high:g}" for name, (low, high) in fitting.items()],
            "smooth_s": smooth / rate_hz,
            "method": method,
            **({"window_s": window / rate_hz} if method == "multitaper" else {}),
        },
    )


def _log_power(
    values: np.ndarray, low: float, high: float, *, rate_hz: float, smooth: int
) -> np.ndarray:
    """(n, C) log of the smoothed squared envelope of one stretch."""
    sections = np.asarray(signal.butter(3, (low, high), "bandpass", fs=rate_hz, output="sos"))
    pad = min(values.shape[0] - 1, round(2 * rate_hz / low))
    values = values.T.astype(np.float64)
    band = signal.sosfiltfilt(sections, values, axis=1, padtype="even", padlen=pad)
    # Hilbert of a fast length: a prime number of samples would take a hundred times as long.
    n_fast = fft.next_fast_len(band.shape[1])
    squared = np.abs(np.asarray(signal.hilbert(band, N=n_fast, axis=1))[:, : band.shape[1]]) ** 2
    mean = ndimage.uniform_filter1d(squared, smooth, axis=1, mode="nearest")
    return np.log(np.maximum(mean, np.finfo(np.float32).tiny)).T


def _multitaper(
    values: np.ndarray, bands: np.ndarray, *, rate_hz: float, window: int, hop: int
) -> np.ndarray:
    """(n, C, bands) log of twice the mean square in each band (edges (bands, 2) in Hz)."""
    tapers = np.asarray(tapering.dpss(window, NW=2, Kmax=3))
    # twice as fine as the windows resolve, so that bands end where they say
    n_fft = fft.next_fast_len(2 * window, real=True)
    frequency = fft.rfftfreq(n_fft, 1 / rate_hz)
    nearly = frequency + 1e-6 * rate_hz  # a rate known to the last digits only must not matter
    inside = (nearly >= bands[:, :1]) & (nearly < bands[:, 1:])
    # a bin stands for rate / n_fft Hz; a narrow band without one gets its share of the nearest
    weights = inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)
    for which in np.flatnonzero(~inside.any(axis=1)):
        weights[which, np.abs(frequency - bands[which].mean()).argmin()] = 1.0
    weights *= 4 * np.diff(bands, axis=1) / rate_hz  # one-sided, and an amplitude's square
    before = window // 2
    centers = np.unique(np.append(np.arange(0, len(values), hop), len(values) - 1))
    log_power = np.empty((len(values), values.shape[1], len(bands)), np.float32)
    for channel, series in enumerate(values.T.astype(np.float64)):
        padded = np.pad(series, (before, window - before), mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, window)[centers]
        windows = windows - windows.mean(axis=1, keepdims=True)
        power = np.zeros((centers.size, frequency.size))
        for taper in tapers:
            spectra = np.asarray(fft.rfft(windows * taper, n_fft, axis=1))
            power += np.abs(spectra) ** 2 / len(tapers)
        in_bands = np.log(np.maximum(power @ weights.T, np.finfo(np.float32).tiny))
        for which, coarse in enumerate(in_bands.T):
            log_power[:, channel, which] = np.interp(np.arange(len(values)), centers, coarse)
    return log_power


def _stretches(lfp: xr.DataArray, values: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (start, stop, channels) with neither gap, change of trial nor NaN inside."""
    time = lfp["time"].values
    step = np.diff(time)
    cut = step > 1.5 * np.median(step)
    if "trial" in lfp.coords:
        cut |= lfp["trial"].values[1:] != lfp["trial"].values[:-1]
    starts = np.concatenate([[0], np.flatnonzero(cut) + 1])
    stops = np.concatenate([starts[1:], [time.size]])
    finite = np.isfinite(values)
    for start, stop in zip(starts, stops, strict=True):
        whole = finite[start:stop].all(axis=0)
        if whole.any():
            yield int(start), int(stop), np.flatnonzero(whole)
        for channel in np.flatnonzero(~whole):
            there = np.concatenate([[False], finite[start:stop, channel], [False]])
            bounds = start + np.flatnonzero(there[1:] != there[:-1])
            for first, last in bounds.reshape(-1, 2):
                yield int(first), int(last), np.array([channel])


def _label(channel: object) -> str:
    """A channel named by a number becomes "ch03"; any other name stays."""
    return f"ch{int(channel):02d}" if isinstance(channel, (int, np.integer)) else str(channel)


def mains_left(
    data: Any,
    *,
    rate_hz: float,
    channels: np.ndarray | None = None,
    reference: Reference = "none",
    high_hz: float = 50.0,
    line_hz: float | None = 60.0,
) -> dict[int, np.ndarray]:
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
