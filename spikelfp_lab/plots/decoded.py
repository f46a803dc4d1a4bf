"""True and decoded behavior in time."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from spikelfp_lab.analysis import r2_by_axis
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots.palette import model_color
from spikelfp_lab.plots.style import INK, break_at_gaps, new_figure, pretty_units, style
from spikelfp_lab.plots.tidy import number
from spikelfp_lab.sessions import TEST, as_dataset, same_clock, session_name


def plot_decoded(
    session: xr.Dataset | xr.DataTree,
    predictions: Mapping[str, xr.DataArray],
    *,
    start_s: float | None = None,
    span_s: float = 15.0,
) -> Figure:
    """Draw the behavior and what was decoded of it, one panel an axis.

    Parameters
    ----------
    session : xr.Dataset or xr.DataTree
        A session with ``behavior``.
    predictions : mapping
        Model -> (time, behavior_dim) as decoded, with its coordinate ``split``.
    start_s : float, optional
        Where the stretch begins, in seconds; by default where the first test block does.
    span_s : float
        Its length, in seconds.

    Returns
    -------
    Figure
        Bins outside the test split have a gray ground; a decoded line breaks where its lags would
        reach over an edge. R² is over the whole test split, not over what is shown.

    Raises
    ------
    DataError
        No behavior, no predictions, predictions on another clock, or an empty stretch.

    Examples
    --------
    >>> time = np.arange(100) / 10
    >>> session = xr.Dataset(
    ...     {"behavior": (("time", "behavior_dim"), np.sin(time)[:, None])},
    ...     coords={"time": time, "behavior_dim": ["vx"]},
    ...     attrs={"subject": "I", "session": "s01", "bin_size_s": 0.1},
    ... )
    >>> decoded = session["behavior"].assign_coords(split=("time", np.full(100, 2)))
    >>> figure = plot_decoded(session, {"Distilled": decoded}, span_s=5)
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['True', 'Distilled (R² 1.00)']
    """
    dataset = as_dataset(session)
    if "behavior" not in dataset or not predictions:
        raise DataError("Give a session with 'behavior' and at least one prediction of it.")
    bin_size_s, time = float(dataset.attrs["bin_size_s"]), dataset["time"].values
    true = dataset["behavior"].transpose("time", "behavior_dim")
    for name, values in predictions.items():
        if not same_clock(values["time"], dataset["time"], bin_size_s=bin_size_s):
            raise DataError(
                f"The prediction of {name!r} is not on the session's clock: predict this session."
            )
    splits = [p["split"].values for p in predictions.values() if "split" in p.coords]
    test = splits[0] == TEST if splits else np.ones(time.size, dtype=bool)
    start_s = float(time[np.argmax(test)]) if start_s is None else start_s
    shown = (time >= start_s) & (time < start_s + span_s)
    if not shown.any():
        raise DataError(
            f"No bin from {start_s:g} to {start_s + span_s:g} s: the session runs from "
            f"{time[0]:g} to {time[-1]:g} s."
        )
    names = [str(name) for name in true["behavior_dim"].values]
    units = pretty_units(str(true.attrs.get("units", "")))
    note = " (gray: not in the test split)" if (shown & ~test).any() else ""
    with style():
        figure = new_figure(7.0, 0.7 + 1.3 * len(names), session_name(dataset) + note)
        grid = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for i, (axes, name) in enumerate(zip(grid, names, strict=True)):
            lines = {"True": (true.values[:, i], INK, 1.4)}
            for model, prediction in predictions.items():
                decoded = prediction.transpose("time", "behavior_dim").values[:, i]
                use = test & np.isfinite(decoded) & np.isfinite(true.values[:, i])
                r2 = r2_by_axis(true.values[use, i : i + 1], decoded[use, None])[0]
                lines[f"{model} (R² {number(r2)})"] = decoded, model_color(model), 1.0
            for label, (values, color, width) in lines.items():
                x, y = break_at_gaps(time[shown], values[shown, None], bin_size_s=bin_size_s)
                axes.plot(x, y, color=color, linewidth=width, label=label)
            other = np.diff(np.concatenate([[0], (shown & ~test).astype(int), [0]]))
            stops = np.flatnonzero(other == -1)
            for start, stop in zip(np.flatnonzero(other == 1), stops, strict=True):
                left, right = time[start] - bin_size_s / 2, time[stop - 1] + bin_size_s / 2
                axes.axvspan(left, right, color="#eeeeee", zorder=0, linewidth=0)
            axes.set_ylabel(f"{name} ({units})" if units else name)
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), handlelength=1.2)
        grid[-1].set(xlabel="Time (s)", xlim=(start_s, start_s + span_s))
        figure.align_ylabels()
    return figure
