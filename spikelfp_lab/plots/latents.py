"""Latents of several models side by side, colored by behavior."""

from collections.abc import Mapping

import colorcet
import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from spikelfp_lab.analysis import procrustes
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots.style import FAINT, new_figure, style
from spikelfp_lab.sessions import same_clock

MAX_POINTS = 4000
# Cyclic: every direction is a saturated color (gray is left for rest), and the lightness alone
# tells opposite directions apart, for readers who confuse hues.
DIRECTIONS = colorcet.cm["cyclic_mygbm_50_90_c46"]
# A direction means nothing at rest: bins slower than this share of the fast ones are left gray.
REST = 0.2


def plot_latents(
    latents: Mapping[str, xr.DataArray],
    behavior: xr.DataArray,
    *,
    align_to: str | None = None,
    axis: str = "PC",
    title: str = "",
) -> Figure:
    """Draw the two leading principal components of each model's latents.

    Parameters
    ----------
    latents : mapping
        Name -> (time, latent); numbers of latents may differ. Select the stretch to show first,
        such as the test split.
    behavior : xr.DataArray
        (time, behavior_dim) of the same times. Two axes color by direction (bins near rest are
        gray), one axis by value.
    align_to : str, optional
        One of the names: the other models' components are rotated and mirrored onto its own
        (Procrustes), and all are given the same size.
    axis : str
        What the two axes are called, where latents are two-dimensional already, as from t-SNE.
    title : str
        Over the figure.

    Returns
    -------
    Figure
        One panel a model, with the color key to the right; at most 4,000 evenly spaced bins.

    Raises
    ------
    DataError
        No latents, other times than the behavior's, an unknown ``align_to``, or not 1 or 2 axes.

    Examples
    --------
    >>> angle = np.linspace(0, 20, 300)
    >>> circle = xr.DataArray(
    ...     np.stack([np.cos(angle), np.sin(angle)], axis=1),
    ...     dims=("time", "behavior_dim"),
    ...     coords={"time": angle, "behavior_dim": ["vx", "vy"]},
    ... )
    >>> figure = plot_latents({"Teacher": circle.rename(behavior_dim="latent")}, circle)
    >>> figure.axes[0].get_title(loc="left")
    'Teacher'
    """
    behavior = behavior.transpose("time", "behavior_dim")
    _check(latents, behavior, align_to)
    scores = {name: _components(values) for name, values in latents.items()}
    if align_to is not None:
        target = scores[align_to]
        for name in scores:
            aligned = np.asarray(procrustes(scores[name], target).aligned)
            scores[name] = _unit_size(aligned)
    usable = np.isfinite(behavior.values).all(axis=1)
    for values in scores.values():
        usable &= np.isfinite(values).all(axis=1)
    bins = np.flatnonzero(usable)
    bins = bins[:: -(-bins.size // MAX_POINTS) or 1]
    colors, rest = _colors(behavior.values[bins])

    middles, reaches = {}, {}
    for name, values in scores.items():  # a few far bins must not shrink the picture of the others
        low, high = np.quantile(values[bins], [0.01, 0.99], axis=0)
        middles[name], reaches[name] = (low + high) / 2, 0.65 * float((high - low).max())
    with style():
        figure = new_figure(1.1 + 2.3 * len(scores), 2.7, title)
        grid = figure.subplots(1, len(scores), squeeze=False)[0]
        for axes, (name, values) in zip(grid, scores.items(), strict=True):
            x, y = values[bins].T
            axes.scatter(x[rest], y[rest], s=2, color=FAINT, linewidth=0, rasterized=True)
            axes.scatter(
                x[~rest], y[~rest], s=3.5, color=colors[~rest], linewidth=0, rasterized=True
            )
            axes.set_title(name)
            axes.set(xticks=[], yticks=[], xlabel=f"{axis} 1", ylabel=f"{axis} 2")
            middle, reach = middles[name], max(reaches.values()) if align_to else reaches[name]
            axes.set(
                xlim=(middle[0] - reach, middle[0] + reach),
                ylim=(middle[1] - reach, middle[1] + reach),
                aspect="equal",
            )
        _key(figure, grid[-1], behavior, note="gray: rest" if rest.any() else "")
        if align_to is not None:
            for axes, name in zip(grid, scores, strict=True):
                if name != align_to:
                    axes.set(xlabel=f"Turned onto {align_to}", ylabel="")
    return figure


def _check(
    latents: Mapping[str, xr.DataArray], behavior: xr.DataArray, align_to: str | None
) -> None:
    axes = behavior.sizes["behavior_dim"]
    if axes not in (1, 2):
        raise DataError(
            f"Color needs one or two axes of behavior, not {axes}: select them, as in "
            "behavior.sel(behavior_dim=['vx', 'vy'])."
        )
    if not latents:
        raise DataError("There are no latents to draw: give at least one name -> (time, latent).")
    steps = np.diff(behavior["time"].values)
    bin_size_s = float(steps.min()) if steps.size else 1.0
    for name, values in latents.items():
        if not same_clock(values["time"], behavior["time"], bin_size_s=bin_size_s):
            raise DataError(
                f"The latents of {name!r} are not at the times of the behavior: select both with "
                "the same mask."
            )
    if align_to is not None and align_to not in latents:
        raise DataError(f"align_to is {align_to!r}, but the latents are {', '.join(latents)}.")


def _components(latents: xr.DataArray) -> np.ndarray:
    """(time, 2) leading principal components, of unit size; NaN where the latents are."""
    values = latents.transpose("time", ...).values.astype(np.float64)
    known = np.isfinite(values).all(axis=1)
    centered = values - values[known].mean(axis=0)
    _, _, axes = np.linalg.svd(centered[known], full_matrices=False)
    scores = np.zeros((len(values), 2))
    scores[:, : len(axes[:2])] = centered @ axes[:2].T
    scores[~known] = np.nan
    return _unit_size(scores)


def _unit_size(values: np.ndarray) -> np.ndarray:
    return values / (np.sqrt(np.nanmean(values**2)) or 1.0)


def _colors(behavior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Color of every bin, and which of them are at rest."""
    if behavior.shape[1] == 1:
        low, high = np.quantile(behavior, [0.01, 0.99])
        place = (behavior[:, 0] - low) / ((high - low) or 1.0)
        return colormaps["viridis"](np.clip(place, 0, 1)), np.zeros(len(behavior), bool)
    x, y = behavior.T
    speed = np.hypot(x, y)
    angle = np.arctan2(y, x) % (2 * np.pi)
    return DIRECTIONS(angle / (2 * np.pi)), speed < REST * np.quantile(speed, 0.95)


def _key(figure: Figure, beside: Axes, behavior: xr.DataArray, *, note: str) -> None:
    names = [str(name) for name in behavior["behavior_dim"].values]
    if len(names) == 1:
        low, high = np.nanquantile(behavior.values, [0.01, 0.99])
        scale = ScalarMappable(Normalize(low, high), colormaps["viridis"])
        units = behavior.attrs.get("units")
        label = f"{names[0]} ({units})" if units else names[0]
        figure.colorbar(scale, ax=beside, label=label, shrink=0.7)
        return
    wheel = beside.inset_axes((1.1, 0.3, 0.36, 0.36), projection="polar")
    angle = np.linspace(0, 2 * np.pi, 257)
    ring = np.linspace(0, 1, 256)[None]
    wheel.pcolormesh(angle, [0.55, 1.0], ring, cmap=DIRECTIONS, shading="flat", rasterized=True)
    wheel.set(ylim=(0, 1), yticks=[])
    wheel.set_xticks([])
    beyond = {"transform": wheel.transAxes, "fontsize": 7}  # names may be long: none on the ring
    wheel.text(1.03, 0.5, names[0], ha="left", va="center", **beyond)
    wheel.text(0.5, 1.03, names[1], ha="center", va="bottom", **beyond)
    wheel.text(0.5, -0.12, note, transform=wheel.transAxes, ha="center", va="top", fontsize=7)
    wheel.grid(False)
    wheel.spines["polar"].set_visible(False)
