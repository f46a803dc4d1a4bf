"""True and decoded behavior in time."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from spikelfp_lab.analysis import r2_by_axis
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import theme
from spikelfp_lab.sessions import TEST, as_dataset, same_clock, session_name


def plot_decoded(
    session: xr.Dataset | xr.DataTree, predictions: Mapping[str, xr.DataArray],
    *, start_s: float | None = None, span_s: float = 15.0,
) -> Figure:  # fmt: skip
    """Draw the behavior and what was decoded of it, one panel an axis.

    Bins outside the test split have a gray ground. R² is of the whole test split.

    Raises DataError: no behavior, no predictions, predictions on another clock, or an empty
    stretch.

    Parameters
    ----------
    session : xr.Dataset or xr.DataTree
        A session with ``behavior``.
    predictions : mapping
        Model -> (time, behavior_dim) as decoded, with its coordinate ``split``.
    start_s, span_s : float
        Begin (by default that of the first test block) and length of what is shown, in seconds.

    Examples
    --------
    >>> from spikelfp_lab.cohorts.simulated import session
    >>> data = session(1, duration_s=20, n_units=2, n_channels=2)
    >>> figure = plot_decoded(data, {"Distilled": data["behavior"]}, span_s=5)
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['True', 'Distilled (R² 1.00)']
    """
    dataset = as_dataset(session)
    if "behavior" not in dataset or not predictions:
        raise DataError("Give a session with 'behavior' and at least one prediction of it.")
    bin_size_s, time = float(dataset.attrs["bin_size_s"]), dataset["time"].values
    for name, values in predictions.items():
        if not same_clock(values["time"], dataset["time"], bin_size_s=bin_size_s):
            raise DataError(f"The prediction of {name!r} is not on the session's clock: redo it.")
    splits = [p["split"].values for p in predictions.values() if "split" in p.coords]
    test = splits[0] == TEST if splits else np.ones(time.size, dtype=bool)
    start_s = float(time[np.argmax(test)]) if start_s is None else start_s
    shown = (time >= start_s) & (time < start_s + span_s)
    if not shown.any():
        raise DataError(
            f"No bin from {start_s:g} to {start_s + span_s:g} s: the session runs from "
            f"{time[0]:g} to {time[-1]:g} s."
        )
    other = shown & ~test
    title = session_name(dataset) + (" (gray: not in the test split)" if other.any() else "")
    units = theme.pretty_units(dataset["behavior"].attrs.get("units", ""))
    names = dataset["behavior"]["behavior_dim"].values
    with theme.style():
        figure = theme.new_figure(7.0, 0.7 + 1.3 * len(names), title)
        grid = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for axes, name in zip(grid, names, strict=True):
            true = dataset["behavior"].sel(behavior_dim=name).values
            lines = {"True": (true, theme.INK, 1.4)}
            for model, prediction in predictions.items():
                decoded = prediction.sel(behavior_dim=name).values
                use = test & np.isfinite(decoded) & np.isfinite(true)
                r2 = r2_by_axis(true[use, None], decoded[use, None])[0]
                lines[f"{model} (R² {theme.number(r2)})"] = decoded, theme.model_color(model), 1.0
            for label, (values, color, width) in lines.items():
                line = theme.break_at_gaps(time[shown], values[shown], step=bin_size_s)
                axes.plot(*line, color=color, linewidth=width, label=label)
            ground = {"color": "#eeeeee", "linewidth": 0, "zorder": 0, "step": "mid"}
            ground["transform"] = axes.get_xaxis_transform()
            axes.fill_between(time, 0, 1, where=other, **ground)
            axes.set_ylabel(f"{name} ({units})" if units else name)
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), handlelength=1.2)
        grid[-1].set(xlabel="Time (s)", xlim=(start_s, start_s + span_s))
        figure.align_ylabels()
    return figure
