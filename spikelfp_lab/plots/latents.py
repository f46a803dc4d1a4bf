"""What several models make of a session: latents side by side, and decoded behavior in time."""

from collections.abc import Mapping

import colorcet
import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from spikelfp_lab.analysis import procrustes, r2_by_axis
from spikelfp_lab.analysis.readout import SPLITS
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import theme
from spikelfp_lab.sessions import as_dataset, same_clock, session_name

MAX_POINTS = 4000
# Cyclic: every direction is a saturated color (gray is left for rest), and the lightness alone
# tells opposite directions apart, for readers who confuse hues.
DIRECTIONS = colorcet.cm["cyclic_mygbm_50_90_c46"]
# A direction means nothing at rest: bins slower than this share of the fast ones are left gray.
REST = 0.2


def plot_latents(
    latents: Mapping[str, xr.DataArray], behavior: xr.DataArray,
    *, align_to: str | None = None, axis: str = "PC", title: str = "",
) -> Figure:  # fmt: skip
    """Draw the two leading principal components of each model's latents, one panel a model.

    Raises DataError: no latents, other times than the behavior's, an unknown ``align_to``, or
    not 1 or 2 axes.

    Parameters
    ----------
    latents : mapping
        Name -> (time, latent); numbers of latents may differ. At most 4,000 even bins are drawn.
    behavior : xr.DataArray
        (time, behavior_dim) of the same times. Two axes color by direction (bins near rest are
        gray), one axis by value.
    align_to : str, optional
        One of the names: the others are rotated and mirrored onto it (Procrustes), at one size.
    axis, title : str
        What the two axes are called (as "t-SNE", of latents in 2-D already); over the figure.

    Examples
    --------
    >>> from spikelfp_lab.cohorts.simulated import session
    >>> data = session(1, duration_s=20, n_units=2, n_channels=2)
    >>> plot_latents({"LFP": data["lfp"]}, data["behavior"]).axes[0].get_xlabel()
    'PC 1'
    """
    behavior = behavior.transpose("time", "behavior_dim")
    if behavior.shape[1] not in (1, 2):
        raise DataError("Color needs one or two axes, as behavior.sel(behavior_dim=['vx', 'vy']).")
    if not latents or align_to not in (None, *latents):
        names = ", ".join(latents) or "none"
        raise DataError(f"align_to is {align_to!r}, but the latents are {names}: give others.")
    step = float(np.diff(behavior["time"].values).min()) if len(behavior) > 1 else 1.0
    for name, values in latents.items():
        if not same_clock(values["time"], behavior["time"], bin_size_s=step):
            what = f"The latents of {name!r} are not at the times of the behavior"
            raise DataError(f"{what}: select both with the same mask.")
    scores = {name: _components(values) for name, values in latents.items()}
    if align_to is not None:
        turned = {name: procrustes(own, scores[align_to]).aligned for name, own in scores.items()}
        scores = {name: _unit_size(np.asarray(own)) for name, own in turned.items()}
    every = np.concatenate([behavior.values, *scores.values()], axis=1)
    bins = np.flatnonzero(np.isfinite(every).all(axis=1))
    bins = bins[:: -(-bins.size // MAX_POINTS) or 1]
    colors, rest = _colors(behavior.values[bins])
    # a few far bins must not shrink the picture of the others
    ends = {m: np.array(np.quantile(v[bins], [0.01, 0.99], axis=0)) for m, v in scores.items()}
    reach = {name: 0.65 * float(np.ptp(own, axis=0).max()) for name, own in ends.items()}
    with theme.style():
        rows = -(-len(scores) // 4)  # more than four beside each other would be too small to read
        columns = -(-len(scores) // rows)
        figure = theme.new_figure(1.1 + 2.3 * columns, 2.7 * rows, title)
        grid = [figure.add_subplot(rows, columns, i + 1) for i in range(len(scores))]
        for axes, (name, values) in zip(grid, scores.items(), strict=True):
            look = {"linewidth": 0, "rasterized": True}
            axes.scatter(*values[bins[rest]].T, s=2, color=theme.FAINT, **look)
            axes.scatter(*values[bins[~rest]].T, s=3.5, color=colors[~rest], **look)
            labels = {"xlabel": f"{axis} 1", "ylabel": f"{axis} 2"}
            if align_to not in (None, name):
                labels = {"xlabel": f"Turned onto {align_to}"}
            axes.set(title=name, xticks=[], yticks=[], aspect="equal", **labels)
            far = max(reach.values()) if align_to else reach[name]
            left, low = ends[name].mean(axis=0) - far
            axes.axis((left, left + 2 * far, low, low + 2 * far))
        _key(figure, grid[columns - 1], behavior, note="gray: rest" if rest.any() else "")
    return figure


def plot_decoded(
    session: xr.Dataset | xr.DataTree, predictions: Mapping[str, xr.DataArray],
    *, start_s: float | None = None, span_s: float = 15.0, split: str = "test",
) -> Figure:  # fmt: skip
    """Draw the behavior and what was decoded of it, one panel an axis.

    Bins outside the split have a gray ground. R² is of the whole split.

    Raises DataError: no behavior, no predictions, predictions on another clock, or an empty
    stretch.

    Parameters
    ----------
    session : xr.Dataset or xr.DataTree
        A session with ``behavior``.
    predictions : mapping
        Model -> (time, behavior_dim) as decoded, with its coordinate ``split``.
    start_s, span_s : float
        Begin (by default that of the split) and length of what is shown, in seconds.
    split : str
        "test", "val" or "train".

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
    if split not in SPLITS:
        raise DataError(f"There is no split {split!r}: give one of {', '.join(SPLITS)}.")
    bin_size_s, time = float(dataset.attrs["bin_size_s"]), dataset["time"].values
    for name, values in predictions.items():
        if not same_clock(values["time"], dataset["time"], bin_size_s=bin_size_s):
            raise DataError(f"The prediction of {name!r} is not on the session's clock: redo it.")
    splits = [p["split"].values for p in predictions.values() if "split" in p.coords]
    use = splits[0] == SPLITS[split] if splits else np.ones(time.size, dtype=bool)
    start_s = float(time[np.argmax(use)]) if start_s is None else start_s
    shown = (time >= start_s) & (time < start_s + span_s)
    if not shown.any():
        raise DataError(f"No bin from {start_s:g} s: there are {time[0]:g} to {time[-1]:g} s.")
    other = shown & ~use
    title = session_name(dataset) + (f" (gray: not in the {split} split)" if other.any() else "")
    names = dataset["behavior"]["behavior_dim"].values
    with theme.style():
        figure = theme.new_figure(7.0, 0.7 + 1.3 * len(names), title)
        grid = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for axes, name in zip(grid, names, strict=True):
            true = dataset["behavior"].sel(behavior_dim=name).values
            lines = {"True": (true, theme.INK, 1.4)}
            for model, prediction in predictions.items():
                decoded = prediction.sel(behavior_dim=name).values
                known = use & np.isfinite(decoded) & np.isfinite(true)
                r2 = r2_by_axis(true[known, None], decoded[known, None])[0]
                lines[f"{model} (R² {theme.number(r2)})"] = decoded, theme.model_color(model), 1.0
            for label, (values, color, width) in lines.items():
                line = theme.break_at_gaps(time[shown], values[shown], step=bin_size_s)
                axes.plot(*line, color=color, linewidth=width, label=label)
            ground = {"transform": axes.get_xaxis_transform(), "step": "mid", "linewidth": 0}
            axes.fill_between(time, 0, 1, where=other, color="#eeeeee", zorder=0, **ground)
            axes.set_ylabel(theme.with_units(name, dataset["behavior"]))
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), handlelength=1.2)
        grid[-1].set(xlabel="Time (s)", xlim=(start_s, start_s + span_s))
        figure.align_ylabels()
    return figure


def _components(latents: xr.DataArray) -> np.ndarray:
    """(time, 2) leading principal components, of unit size; NaN where the latents are."""
    values = latents.transpose("time", ...).values.astype(np.float64)
    known = np.isfinite(values).all(axis=1)
    centered = values - values[known].mean(axis=0)
    axes = np.linalg.svd(centered[known], full_matrices=False)[2][:2]
    scores = np.pad(centered @ axes.T, ((0, 0), (0, 2 - len(axes))))
    return _unit_size(np.where(np.expand_dims(known, 1), scores, np.nan))


def _unit_size(values: np.ndarray) -> np.ndarray:
    return values / (np.sqrt(np.nanmean(values**2)) or 1.0)


def _colors(behavior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Color of every bin, and which of them are at rest."""
    if behavior.shape[1] == 1:
        low, high = np.quantile(behavior, [0.01, 0.99])
        colors = colormaps["viridis"](Normalize(low, high, clip=True)(behavior[:, 0]))
        return colors, np.zeros(len(behavior), bool)
    x, y = behavior.T
    speed, turn = np.hypot(x, y), np.arctan2(y, x) / (2 * np.pi) % 1
    return DIRECTIONS(turn), speed < REST * np.quantile(speed, 0.95)


def _key(figure: Figure, beside: Axes, behavior: xr.DataArray, *, note: str) -> None:
    names = [str(name) for name in behavior["behavior_dim"].values]
    if len(names) == 1:
        scale = ScalarMappable(Normalize(*np.nanquantile(behavior, [0.01, 0.99])), "viridis")
        label = theme.with_units(names[0], behavior)
        figure.colorbar(scale, ax=beside, label=label, shrink=0.7)
        return
    wheel = beside.inset_axes((1.1, 0.3, 0.36, 0.36), projection="polar")
    angle, ring = np.linspace(0, 2 * np.pi, 257), np.linspace(0, 1, 256)[None]
    wheel.pcolormesh(angle, [0.55, 1.0], ring, cmap=DIRECTIONS, shading="flat", rasterized=True)
    wheel.set(ylim=(0, 1), yticks=[], xticks=[])
    place = {"transform": wheel.transAxes, "fontsize": 7}  # names may be long: none on the ring
    wheel.text(1.03, 0.5, names[0], ha="left", va="center", **place)
    wheel.text(0.5, 1.03, names[1], ha="center", va="bottom", **place)
    wheel.text(0.5, -0.12, note, ha="center", va="top", **place)
    wheel.grid(False)
    wheel.spines["polar"].set_visible(False)
