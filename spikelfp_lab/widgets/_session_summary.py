"""What a session's card says of its clock and of each variable; arrays that are not in memory are not read."""

from __future__ import annotations

from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from spikelfp_lab.plots.style import pretty_units
from spikelfp_lab.sessions import GAP_BINS
from spikelfp_lab.widgets._html import sparkline

POINTS = 120  # of a small curve
MOST_VALUES = 4_000_000  # that are read for one: some hundredths of a second


def time_text(data: xr.Dataset) -> str:
    """Duration, bins and gaps, as HTML."""
    bin_size, bins, gaps = float(data.attrs["bin_size_s"]), data.sizes["time"], n_gaps(data)
    return escape(
        f"{duration(bins * bin_size)}: {bins:,} bins of {1000 * bin_size:g} ms ({1 / bin_size:g} Hz), "
        f"{gaps or 'no'} gap{'s' * (gaps != 1)}"
    )


def n_gaps(data: xr.Dataset | xr.DataTree) -> int:
    """How often the clock jumps."""
    steps = np.diff(data["time"].to_numpy())
    return int((steps > GAP_BINS * float(data.attrs["bin_size_s"])).sum())


def duration(seconds: float) -> str:
    """Seconds as one reads a duration.

    >>> duration(59.4), duration(600), duration(3725)
    ('59.4 s', '10 min 0 s', '1 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:g} s" if seconds < 1 else f"{round(seconds, 1):g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def labels(variable: Any) -> list[str]:
    """Names along the second dim, or their number where they have none."""
    dim = variable.dims[1]
    if dim in variable.coords:
        return [str(label) for label in variable[dim].to_numpy()]
    return [f"{variable.sizes[dim]} axes"]


def variable_rows(
    data: xr.Dataset, name: str, bin_size: float
) -> tuple[list[tuple[str, str]], str]:
    """Rows of the card about one variable, as HTML, and a note on what was not read."""
    variable = data[name]
    n = variable.shape[1]
    title = {"spikes": "Spikes", "lfp": "LFP", "behavior": "Behavior"}[name]
    units = pretty_units(str(variable.attrs.get("units", "")))
    kind = str(variable.attrs.get("kind", "")) or ("LFP" if name == "lfp" else "")
    what = {
        "spikes": f"{n} unit{'s' * (n != 1)}",
        "lfp": f"{n} channel{'s' * (n != 1)} of {kind}" + (f" ({units})" if units else ""),
        "behavior": ", ".join(labels(variable))
        + (f": {kind}" if kind else "")
        + (f" ({units})" if units else ""),
    }[name]
    if not variable.variable._in_memory:
        return [(title, escape(what))], "Not in memory, so not read: what has no curve."
    values, share = _stretches(variable.to_numpy(), data["time"].to_numpy())
    if name == "spikes":
        counts = np.array([len(rows) for rows in values])
        sums = np.stack([rows.sum(axis=0, dtype=float) for rows in values])
        low, middle, high = np.quantile(sums.sum(axis=0) / counts.sum() / bin_size, [0, 0.5, 1])
        what += f", {middle:.3g} Hz at the median ({low:.2g} to {high:.3g} Hz)"
        # 0 / 0 is meant: there is no rate within a gap
        with np.errstate(invalid="ignore"):
            curve = sums.mean(axis=1) / counts / bin_size
        label, unit = "mean rate", "Hz"
    elif name == "lfp":
        curve, label, unit = np.array([_rms(rows) for rows in values]), "RMS", units
    else:
        missing = 100 * float(np.isnan(variable.to_numpy()).mean())
        what += f", {missing:.2g} % missing" if missing else ", none missing"
        curve, label = _movement(values, labels(variable))
        unit = units
    text = f"{label}, at most {np.nanmax(curve):.3g} {unit}" if np.isfinite(curve).any() else label
    rows = [
        (title, escape(what)),
        ("", f'<div class="curve">{sparkline(curve, label=f"{title}: {text}")}<span class="faint">{escape(text)}</span></div>'),
    ]  # fmt: skip
    return rows, f"Curves from {100 * share:.2g} % of the bins." if share < 1 else ""


def _stretches(values: np.ndarray, time: np.ndarray) -> tuple[list[np.ndarray], float]:
    """Values of up to 120 stretches of equal time, none where a gap is, and the share of bins that was taken."""
    pieces = min(POINTS, len(time))
    edges = np.searchsorted(time, np.linspace(time[0], time[-1], pieces + 1)[1:-1], side="right")
    bounds = np.concatenate([[0], edges, [len(time)]])
    most = max(1, MOST_VALUES // (pieces * max(1, values.shape[1])))
    taken = [values[start : min(stop, start + most)] for start, stop in pairwise(bounds)]
    return taken, sum(map(len, taken)) / len(time)


def _rms(rows: np.ndarray) -> float:
    """Over all that is known; NaN where nothing is."""
    known = rows[np.isfinite(rows)].astype(float)
    return float(np.sqrt((known**2).mean())) if len(known) else np.nan


def _movement(values: list[np.ndarray], names: list[str]) -> tuple[np.ndarray, str]:
    """Mean speed of each stretch where there are velocities, else the mean of the first axis."""
    axes = [i for i, name in enumerate(names) if name in ("vx", "vy", "vz")]
    label = "speed" if axes else names[0]
    means = []
    for rows in values:
        moved = np.sqrt((rows[:, axes] ** 2).sum(axis=1)) if axes else rows[:, 0]
        known = moved[np.isfinite(moved)]
        means.append(float(known.mean()) if len(known) else np.nan)
    return np.array(means), label
