"""Power of a session's LFP over frequency."""

import textwrap

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy import signal

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import theme
from spikelfp_lab.sessions import as_dataset, session_name, usable_runs


def spectra(session: xr.Dataset | xr.DataTree) -> xr.DataArray:
    """Welch power spectral density of every LFP channel (``scipy.signal.welch``).

    Half-overlapping Hann windows of 512 bins (or the longest stretch, if shorter) that lie within
    stretches without gap, trial edge or NaN.

    Raises DataError: no ``lfp``, or no stretch of at least 16 bins.

    Parameters
    ----------
    session : xr.Dataset or xr.DataTree
        A session with ``lfp``.

    Returns
    -------
    xr.DataArray
        (channel, frequency), squared units of ``lfp`` per Hz; without 0 Hz and half the rate.

    Examples
    --------
    >>> from spikelfp_lab.cohorts.simulated import session
    >>> spectra(session(1, duration_s=20, n_units=2, n_channels=3)).shape
    (3, 255)
    """
    dataset = as_dataset(session)
    if "lfp" not in dataset:
        raise DataError("The session has no 'lfp', so there are no spectra: use one that has.")
    runs = usable_runs(dataset, variables=["lfp"])
    longest = int(np.diff(runs).max(initial=0))
    if longest < 16:
        what = f"The longest stretch of LFP without gap, trial edge or NaN is {longest} bins"
        raise DataError(f"{what}, too short for a spectrum (16): drop bad channels first.")
    length, rate = min(512, longest), 1 / float(dataset.attrs["bin_size_s"])
    values = dataset["lfp"].transpose("time", "channel").values
    total, weight = np.zeros((length // 2 + 1, values.shape[1])), 0
    for start, stop in runs[np.diff(runs)[:, 0] >= length]:
        frequency, power = signal.welch(values[start:stop], fs=rate, nperseg=length, axis=0)
        windows = (stop - start - length) // (length // 2) + 1
        total, weight = total + power * windows, weight + windows
    coords = {"frequency": ("frequency", frequency[1:-1], {"units": "Hz"})}
    power = xr.DataArray(total[1:-1].T / weight, coords, ("channel", "frequency"))
    return power.assign_attrs(units=dataset["lfp"].attrs.get("units", ""))


def plot_spectra(session: xr.Dataset | xr.DataTree) -> Figure:
    """Draw the power spectra of a session's LFP: the median channel and their spread.

    Raises DataError as :func:`spectra` does.
    """
    dataset = as_dataset(session)
    power = spectra(dataset)
    kind, units = theme.kind_of(dataset["lfp"], "LFP"), theme.units_of(power)
    title = f"{textwrap.fill(kind, 48)}\n{session_name(dataset)}, {len(power)} channels"
    label = f"Power density ({f'{units}²' if units else 'squared units'}/Hz)"
    power, frequency = power.where(power > 0), power["frequency"].values  # 0 has no logarithm
    with theme.style():
        figure = theme.new_figure(3.6, 2.8)
        axes = figure.subplots()
        axes.set_title(title, parse_math=False)
        axes.set_ylabel(label, parse_math=False)
        axes.set_xlabel("Frequency (Hz)")
        if power.notnull().any():
            shares = [0, 0.1, 0.5, 0.9, 1]
            least, low, median, high, most = power.quantile(shares, dim="channel").values
            look: theme.Look = {"color": "#0928ad", "linewidth": 0}
            axes.plot(frequency, median, color="#0928ad", label="Median channel")
            axes.fill_between(frequency, low, high, alpha=0.3, label="10–90 % of channels", **look)
            axes.fill_between(frequency, least, most, alpha=0.12, label="All channels", **look)
            axes.set(xscale="log", yscale="log", xlim=frequency[[0, -1]])
            axes.xaxis.set_major_formatter("{x:g}")
            axes.legend(loc="lower left")
    return figure
