"""Power spectra of a session's LFP."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import signal

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots.style import label_with_units, pretty_units, style
from spikelfp_lab.sessions import as_dataset, session_name, usable_runs

SEGMENT_BINS = 512
COLOR = "#0928ad"


def spectra(session: xr.Dataset | xr.DataTree) -> xr.DataArray:
    """Welch power spectral density of every LFP channel.

    Half-overlapping Hann windows of 512 bins (or the longest stretch, if shorter) that lie within
    stretches without gap, trial edge or NaN.

    Parameters
    ----------
    session : xr.Dataset or xr.DataTree
        A session with ``lfp``.

    Returns
    -------
    xr.DataArray
        (channel, frequency), squared units of ``lfp`` per Hz; ``frequency`` in Hz, without 0 and half the rate,
        whose bins are half as wide.

    Raises
    ------
    DataError
        No ``lfp``, or no stretch of at least 16 bins.

    References
    ----------
    Welch 1967; ``scipy.signal.welch``.

    Examples
    --------
    >>> time = np.arange(2000) / 100
    >>> wave = np.sin(2 * np.pi * 20 * time)[:, None]
    >>> session = xr.Dataset(
    ...     {"lfp": (("time", "channel"), wave)},
    ...     coords={"time": time, "channel": ["ch00"]},
    ...     attrs={"bin_size_s": 0.01},
    ... )
    >>> round(float(spectra(session)[0].idxmax()), 1)
    19.9
    """
    dataset = as_dataset(session)
    if "lfp" not in dataset:
        raise DataError("The session has no 'lfp', so there are no spectra: use one that has.")
    runs = usable_runs(dataset, variables=["lfp"])
    longest = int(np.diff(runs).max(initial=0))
    if longest < 16:
        raise DataError(
            f"The longest stretch of LFP without gap, trial edge or NaN is {longest} bins, too "
            "short for a spectrum (16): drop bad channels first, or use another session."
        )
    length = min(SEGMENT_BINS, longest)
    rate = 1 / float(dataset.attrs["bin_size_s"])
    values = dataset["lfp"].transpose("time", "channel").values
    total, weight = 0.0, 0
    for start, stop in runs[np.diff(runs)[:, 0] >= length]:
        frequency, power = signal.welch(values[start:stop], fs=rate, nperseg=length, axis=0)
        windows = (stop - start - length) // (length // 2) + 1
        total, weight = total + power * windows, weight + windows
    return xr.DataArray(
        np.asarray(total)[1:-1].T / weight,
        dims=("channel", "frequency"),
        coords={"frequency": ("frequency", frequency[1:-1], {"units": "Hz"})},
        attrs={"units": dataset["lfp"].attrs.get("units", "")},
    )


def plot_spectra(session: xr.Dataset | xr.DataTree) -> Figure:
    """Draw the power spectra of the LFP: the median channel and their spread.

    Parameters
    ----------
    session : xr.Dataset or xr.DataTree
        A session with ``lfp``, at any rate.

    Returns
    -------
    Figure
        One panel, both axes logarithmic, up to half the rate.

    Raises
    ------
    DataError
        As :func:`spectra`.

    Examples
    --------
    >>> session = xr.Dataset(
    ...     {"lfp": (("time", "channel"), np.random.default_rng(0).normal(size=(600, 3)))},
    ...     coords={"time": np.arange(600) / 10, "channel": ["a", "b", "c"]},
    ...     attrs={"subject": "R", "session": "A", "bin_size_s": 0.1},
    ... )
    >>> plot_spectra(session).axes[0].get_xlabel()
    'Frequency (Hz)'
    """
    dataset = as_dataset(session)
    power = spectra(dataset)
    with style():
        figure, axes = plt.subplots(figsize=(3.6, 2.8))
        draw_spectra(axes, power)
        kind = label_with_units("LFP", {"kind": dataset["lfp"].attrs.get("kind", "LFP")})
        count = f"{session_name(dataset)}, {power.sizes['channel']} channels"
        axes.set_title(textwrap.fill(str(kind), 48) + "\n" + count)
        plt.close(figure)
    return figure


def draw_spectra(axes: Axes, power: xr.DataArray) -> None:
    """Draw what :func:`spectra` gave, (channel, frequency), into axes; channels without power, which have no logarithm, are left out.

    >>> from matplotlib.figure import Figure
    >>> axes = Figure().subplots()
    >>> power = xr.DataArray(
    ...     np.ones((2, 3)), dims=("channel", "frequency"), coords={"frequency": [1.0, 2.0, 4.0]},
    ...     attrs={"units": "uV"},
    ... )
    >>> draw_spectra(axes, power)
    >>> axes.get_ylabel()
    'Power density (µV²/Hz)'
    """
    power = power.where(power > 0)
    frequency = power["frequency"].values
    if bool(power.notnull().any()):
        least, low, median, high, most = power.quantile([0, 0.1, 0.5, 0.9, 1], dim="channel").values
        look = {"color": COLOR, "linewidth": 0}
        axes.plot(frequency, median, color=COLOR, label="Median channel")
        axes.fill_between(frequency, low, high, alpha=0.3, label="10–90 % of channels", **look)
        axes.fill_between(frequency, least, most, alpha=0.12, label="All channels", **look)
        axes.set(xscale="log", yscale="log", xlim=(frequency[0], frequency[-1]))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.legend(loc="lower left")
    units = pretty_units(str(power.attrs["units"]))
    axes.set_xlabel("Frequency (Hz)")
    axes.set_ylabel(
        f"Power density ({units + '²' if units else 'squared units'}/Hz)", parse_math=False
    )
