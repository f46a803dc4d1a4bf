"""A stretch of a session: raster, LFP, behavior."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots.style import INK, break_at_gaps, label_with_units, pretty_units, style
from spikelfp_lab.sessions import as_dataset, session_name

BEHAVIOR_COLORS = ("#1b8a6b", "#8a5fb0", "#6d6d6d", "#d17f41")
HEIGHTS = {"spikes": 1.5, "lfp": 1.7, "behavior": 1.0}


def plot_session(
    session: xr.Dataset | xr.DataTree,
    *,
    start_s: float | None = None,
    span_s: float = 10.0,
    max_channels: int = 12,
) -> Figure:
    """Draw what was recorded: spikes as a raster, LFP as stacked traces, behavior below.

    Parameters
    ----------
    session : xr.Dataset or xr.DataTree
        A session with any of ``spikes``, ``lfp`` and ``behavior``.
    start_s : float, optional
        Where the stretch begins, in seconds; at the session's start by default.
    span_s : float
        Its length, in seconds.
    max_channels : int
        LFP channels drawn at most, evenly spread over all.

    Returns
    -------
    Figure
        One panel a variable, on one time axis. LFP is in its own units, with a scale bar.

    Raises
    ------
    DataError
        The stretch holds no bin, or the session none of the variables.

    Examples
    --------
    >>> time = np.arange(100) / 10
    >>> session = xr.Dataset(
    ...     {"spikes": (("time", "unit"), np.ones((100, 3), "uint8"))},
    ...     coords={"time": time, "unit": ["u0", "u1", "u2"]},
    ...     attrs={"subject": "I", "session": "s01", "bin_size_s": 0.1},
    ... )
    >>> [axes.get_ylabel() for axes in plot_session(session, span_s=2).axes]
    ['Unit (3)']
    """
    dataset = as_dataset(session)
    time = dataset["time"].values
    start_s = float(time[0]) if start_s is None else start_s
    part = dataset.isel(time=(time >= start_s) & (time < start_s + span_s))
    shown = [name for name in HEIGHTS if name in dataset]
    if not part.sizes["time"] or not shown:
        raise DataError(
            f"Nothing to draw from {start_s:g} to {start_s + span_s:g} s: the session has "
            f"{', '.join(shown) or 'no spikes, lfp or behavior'} from {time[0]:g} to {time[-1]:g} s."
        )
    heights = [HEIGHTS[name] for name in shown]
    with style():
        figure, grid = plt.subplots(
            len(shown),
            1,
            figsize=(7.0, 0.7 + sum(heights)),
            sharex=True,
            squeeze=False,
            gridspec_kw={"height_ratios": heights},
        )
        panels = dict(zip(shown, grid[:, 0], strict=True))
        if "spikes" in panels:
            _raster(panels["spikes"], part["spikes"], dataset.attrs["bin_size_s"], span_s)
        if "lfp" in panels:
            _traces(panels["lfp"], part["lfp"], dataset, max_channels)
        if "behavior" in panels:
            _lines(panels["behavior"], part["behavior"], dataset.attrs["bin_size_s"])
        grid[-1, 0].set_xlabel("Time (s)")
        grid[-1, 0].set_xlim(start_s, start_s + span_s)
        figure.suptitle(session_name(dataset), x=0.01, ha="left")
        figure.align_ylabels()
        plt.close(figure)
    return figure


def _raster(axes: Axes, spikes: xr.DataArray, bin_size_s: float, span_s: float) -> None:
    counts = spikes.transpose("time", "unit").values
    bins, units = np.nonzero(counts)
    # A tick is as wide as its bin, but never thinner than the eye can see; darker is more spikes.
    points_wide = 72 * 6.2 * bin_size_s / span_s
    depth = counts[bins, units] / max(int(counts.max(initial=1)), 1)
    axes.vlines(
        spikes["time"].values[bins],
        units - 0.42,
        units + 0.42,
        colors=[(0.13, 0.13, 0.13, alpha) for alpha in 0.45 + 0.55 * depth],
        linewidth=max(points_wide, 0.5),
        rasterized=True,
    )
    axes.set_ylim(-0.7, counts.shape[1] - 0.3)
    axes.set_ylabel(f"Unit ({counts.shape[1]})")


def _traces(axes: Axes, lfp: xr.DataArray, dataset: xr.Dataset, max_channels: int) -> None:
    lfp = lfp.transpose("time", "channel")
    count = lfp.sizes["channel"]
    chosen = np.unique(np.linspace(0, count - 1, min(max_channels, count)).round().astype(int))
    time, values = break_at_gaps(
        lfp["time"].values, lfp.values[:, chosen], bin_size_s=dataset.attrs["bin_size_s"]
    )
    values = values - np.nanmean(np.where(np.isfinite(values), values, 0), axis=0)
    spread = float(np.nanmedian(np.nanstd(np.nan_to_num(values), axis=0))) or 1.0
    step = 5 * spread
    offsets = -step * np.arange(chosen.size)
    axes.plot(time, values + offsets, color="#0928ad", linewidth=0.5)
    axes.set_ylim(offsets[-1] - step, step)
    axes.set_yticks(offsets[[0, -1]], lfp["channel"].values[chosen[[0, -1]]].astype(str))
    kind = textwrap.fill(label_with_units("LFP", {"kind": lfp.attrs.get("kind", "LFP")}), 22)
    axes.set_ylabel(f"{kind}\n({chosen.size} of {count} channels)")
    # One bar for all traces: they share their scale.
    length = round_number(step)
    x = 1.012
    bar = axes.get_yaxis_transform()
    low = offsets[-1] - 0.5 * step
    axes.plot([x, x], [low, low + length], transform=bar, color=INK, linewidth=1.5, clip_on=False)
    units = pretty_units(str(lfp.attrs.get("units", "")))
    text = f"{length:g} {units}".strip()
    axes.text(x + 0.008, low + length / 2, text, transform=bar, va="center", fontsize=7)


def _lines(axes: Axes, behavior: xr.DataArray, bin_size_s: float) -> None:
    behavior = behavior.transpose("time", "behavior_dim")
    time, values = break_at_gaps(behavior["time"].values, behavior.values, bin_size_s=bin_size_s)
    for i, name in enumerate(behavior["behavior_dim"].values):
        axes.plot(
            time, values[:, i], color=BEHAVIOR_COLORS[i % len(BEHAVIOR_COLORS)], label=str(name)
        )
    axes.set_ylabel(textwrap.fill(label_with_units("behavior", behavior.attrs), 16))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=1.2, borderpad=0)


def round_number(value: float) -> float:
    """The nearest 1, 2 or 5 times a power of ten at or below a positive value.

    >>> round_number(37.0), round_number(0.2)
    (20.0, 0.2)
    """
    power = 10.0 ** np.floor(np.log10(value))
    # a hair more, or 0.2 would count as less than 2 * 0.1
    return float(power * max(step for step in (1, 2, 5) if step * power <= value * (1 + 1e-9)))
