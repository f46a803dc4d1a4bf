"""LFP -> log band power: what a linear read-out of rhythms needs, since power is not linear."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np
import xarray as xr
from scipy import fft, ndimage, signal

from spikelfp_lab.errors import DataError

DEFAULT_BANDS_HZ: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "delta": (0.5, 4.0),
        "theta": (4.0, 8.0),
        "alpha": (8.0, 13.0),
        "beta": (13.0, 30.0),
        "low_gamma": (30.0, 45.0),
    }
)


def band_power(
    lfp: xr.DataArray,
    *,
    bands_hz: Mapping[str, tuple[float, float]] = DEFAULT_BANDS_HZ,
    smooth_s: float = 0.1,
) -> xr.DataArray:
    """Log power of every channel in every band, bin by bin.

    Band-pass (Butterworth, order 3, second-order sections, zero phase), Hilbert envelope, square,
    moving average over ``smooth_s``, natural logarithm. Each stretch without a gap in time, a
    change of trial or a NaN is treated by itself, so nothing leaks across; stretches too short to
    filter (three periods of the band's lower edge, at most 1 s) come out as NaN.

    Parameters
    ----------
    lfp : DataArray (time, channel), e.g. in uV
        With a ``time`` coordinate in seconds, and optionally a ``trial`` coordinate along it.
    bands_hz : mapping of name -> (lower, upper) edge in Hz
        Bands that reach to half of the sampling rate or above are left out.
    smooth_s : float
        Width of the moving average of the power in seconds.

    Returns
    -------
    DataArray (time, feature) float32
        log of (unit of ``lfp``) squared; features are named "ch03_beta", channel after channel.

    Raises
    ------
    DataError
        If ``lfp`` has other dimensions or no time coordinate, or no band fits its rate.

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
    power = np.full((lfp.sizes["time"], lfp.sizes["channel"], len(fitting)), np.nan, np.float32)
    for which, (low, high) in enumerate(fitting.values()):
        sections = np.asarray(signal.butter(3, (low, high), "bandpass", fs=rate_hz, output="sos"))
        shortest = round(min(3 / low, 1.0) * rate_hz)
        for start, stop, channels in _stretches(lfp, values):
            if stop - start >= shortest:
                power[start:stop, channels, which] = _log_power(
                    values[start:stop, channels], sections, rate_hz=rate_hz, low=low, smooth=smooth
                )
    names = [f"{_label(channel)}_{band}" for channel in lfp["channel"].values for band in fitting]
    kept = {
        name: coord
        for name, coord in lfp.coords.items()
        if coord.dims == ("time",) or not coord.dims
    }
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
        },
    )


def _log_power(
    values: np.ndarray, sections: np.ndarray, *, rate_hz: float, low: float, smooth: int
) -> np.ndarray:
    """(n, C) log of the smoothed squared envelope of one stretch."""
    pad = min(values.shape[0] - 1, round(2 * rate_hz / low))
    values = values.T.astype(np.float64)
    band = signal.sosfiltfilt(sections, values, axis=1, padtype="even", padlen=pad)
    # Hilbert of a fast length: a prime number of samples would take a hundred times as long.
    n_fast = fft.next_fast_len(band.shape[1])
    squared = np.abs(np.asarray(signal.hilbert(band, N=n_fast, axis=1))[:, : band.shape[1]]) ** 2
    mean = ndimage.uniform_filter1d(squared, smooth, axis=1, mode="nearest")
    return np.log(np.maximum(mean, np.finfo(np.float32).tiny)).T


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
