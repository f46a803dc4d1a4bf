"""True and decoded behavior in time."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from spikelfp_lab.analysis import r2_by_axis
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots.palette import model_color
from spikelfp_lab.plots.style import INK, break_at_gaps, pretty_units, style
from spikelfp_lab.sessions import TEST, as_dataset, session_name


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
        Model -> (time, behavior_dim) as :func:`spikelfp_lab.analysis.predict` returns, with its
        coordinate ``split``.
    start_s : float, optional
        Where the stretch begins, in seconds; by default where the first test block does.
    span_s : float
        Its length, in seconds.

    Returns
    -------
    Figure
        Bins outside the test split have a gray ground; a decoded line breaks where its lags would
        reach over an edge. The R² in the key is over the whole test
        split, not over what is shown.

    Raises
    ------
    DataError
        No behavior, no predictions, predictions of another session, or an empty stretch.

    Examples
    --------
    >>> time = np.arange(100) / 10
    >>> behavior = (("time", "behavior_dim"), np.sin(time)[:, None])
    >>> session = xr.Dataset(
    ...     {"behavior": behavior},
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
    time = dataset["time"].values
    true = dataset["behavior"].transpose("time", "behavior_dim")
    for name, values in predictions.items():
        if values.sizes["time"] != time.size or not np.allclose(values["time"], time):
            raise DataError(
                f"The prediction of {name!r} is not on the session's clock: predict this session."
            )
    splits = [p["split"].values for p in predictions.values() if "split" in p.coords]
    test = splits[0] == TEST if splits else np.ones(time.size, dtype=bool)
    if start_s is None:
        start_s = float(time[np.argmax(test)])
    shown = (time >= start_s) & (time < start_s + span_s)
    if not shown.any():
        raise DataError(
            f"No bin from {start_s:g} to {start_s + span_s:g} s: the session runs from "
            f"{time[0]:g} to {time[-1]:g} s."
        )
    bin_size_s = float(dataset.attrs["bin_size_s"])
    names = [str(name) for name in true["behavior_dim"].values]
    units = pretty_units(str(true.attrs.get("units", "")))
    with style():
        figure, grid = plt.subplots(
            len(names), 1, figsize=(7.0, 0.7 + 1.3 * len(names)), sharex=True, squeeze=False
        )
        for i, (axes, name) in enumerate(zip(grid[:, 0], names, strict=True)):
            _line(axes, time, true.values[:, i], shown, bin_size_s, color=INK, label="True")
            for model, values in predictions.items():
                decoded = values.transpose("time", "behavior_dim").values[:, i]
                use = test & np.isfinite(decoded) & np.isfinite(true.values[:, i])
                r2 = r2_by_axis(true.values[use, i : i + 1], decoded[use, None])[0]
                label = f"{model} (R² {r2:.2f})".replace("-0", "−0")
                color = model_color(model)
                _line(axes, time, decoded, shown, bin_size_s, color=color, label=label)
            for start, stop in _stretches(shown & ~test):
                left, right = time[start] - bin_size_s / 2, time[stop - 1] + bin_size_s / 2
                axes.axvspan(left, right, color="#eeeeee", zorder=0, linewidth=0)
            axes.set_ylabel(f"{name} ({units})" if units else name)
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), handlelength=1.2)
        grid[-1, 0].set(xlabel="Time (s)", xlim=(start_s, start_s + span_s))
        note = " (gray: not in the test split)" if (shown & ~test).any() else ""
        figure.suptitle(session_name(dataset) + note, x=0.01, ha="left")
        figure.align_ylabels()
        plt.close(figure)
    return figure


def _line(axes, time, values, shown, bin_size_s, **look) -> None:
    x, y = break_at_gaps(time[shown], values[shown, None], bin_size_s=bin_size_s)
    axes.plot(x, y[:, 0], linewidth=1.4 if look["label"] == "True" else 1.0, **look)


def _stretches(mask: np.ndarray) -> np.ndarray:
    """(n, 2) start and stop of the runs of True."""
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)
