"""The numbers of a comparison: latents in the reference's space, and what happens window by window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import spearmanr

from spikelfp_lab.analysis import procrustes
from spikelfp_lab.errors import DataError
from spikelfp_lab.sessions import GAP_BINS

REST = 0.2  # a direction means nothing in bins slower than this share of the fast ones
MIN_FILLED = 0.5  # windows with less usable time than this share are left out


def onto_reference(latents: xr.DataArray, reference: xr.DataArray, use: np.ndarray) -> np.ndarray:
    """Latents turned, mirrored, scaled and shifted into the reference's space, as some bins say.

    Parameters
    ----------
    latents, reference : xr.DataArray
        (time, latent) of one clock; numbers of latents may differ.
    use : np.ndarray
        (time,) bool: the bins the map is fitted on, such as training time.

    Returns
    -------
    np.ndarray
        (time, latent) float64, as wide as the wider of the two; the reference's latents come first.

    Raises
    ------
    DataError
        Too few bins, or latents that are constant.

    Examples
    --------
    >>> target = np.random.default_rng(0).normal(size=(100, 2))
    >>> of = lambda values: xr.DataArray(values, dims=("time", "latent"))
    >>> turned = of(3 * target @ [[0, 1], [-1, 0]] + 7)
    >>> bool(np.allclose(onto_reference(turned, of(target), np.ones(100, bool)), target))
    True
    """
    width = max(latents.shape[1], reference.shape[1])
    moved, fixed = (_widened(values, width) for values in (latents, reference))
    fixed[~use] = np.nan  # such bins are left out of the fit
    return np.asarray(procrustes(moved, fixed).aligned)


def principal_axes(reference: np.ndarray, use: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (latent,) and leading ``n`` principal axes (latent, n) of the bins in use.

    Each axis points to where the largest weight is positive, so that pictures do not flip.

    Examples
    --------
    >>> mean, axes = principal_axes(np.array([[0.0, 1], [2, 1], [4, 1]]), np.ones(3, bool), 1)
    >>> mean.tolist(), axes.tolist()
    ([2.0, 1.0], [[1.0], [0.0]])
    """
    known = use & np.isfinite(reference).all(axis=1)
    if known.sum() <= n:
        raise DataError(
            f"Only {known.sum()} bins of the reference are usable: show another split or session."
        )
    mean = reference[known].mean(axis=0)
    _, _, rows = np.linalg.svd(reference[known] - mean, full_matrices=False)
    axes = np.zeros((reference.shape[1], n))
    axes[:, : len(rows[:n])] = rows[:n].T
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(n)])
    return mean, axes * np.where(signs == 0, 1, signs)


def cosine_to(values: np.ndarray, reference: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(time,) cosine of two (time, latent) sets of latents about a common mean; NaN where either is.

    Examples
    --------
    >>> a = np.array([[1.0, 0.0], [0.0, 2.0]])
    >>> cosine_to(a, a[::-1], np.zeros(2)).tolist(), cosine_to(a, 3 * a, np.zeros(2)).tolist()
    ([0.0, 0.0], [1.0, 1.0])
    """
    a, b = values - mean, reference - mean
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    product = np.einsum("td,td->t", a, b)
    return np.divide(product, length, out=np.full(len(a), np.nan), where=length > 0)


def relative_square_error(
    true: np.ndarray, predicted: np.ndarray, use: np.ndarray
) -> np.ndarray:  # fmt: skip
    """(time,) squared error of (time, axis) behavior in units of its variance in some bins, mean over axes.

    Its mean over those bins is 1 - R².

    Examples
    --------
    >>> true = np.array([[0.0], [2.0]])
    >>> relative_square_error(true, np.array([[0.0], [1.0]]), np.ones(2, bool)).tolist()
    [0.0, 1.0]
    """
    known = use & np.isfinite(true).all(axis=1) & np.isfinite(predicted).all(axis=1)
    if not known.any():
        raise DataError("No bin of this split has both behavior and a prediction: show another.")
    variance = true[known].var(axis=0)
    moving = variance > 0
    if not moving.any():
        raise DataError("The behavior is constant in this split: show another, or another session.")
    return ((true - predicted)[:, moving] ** 2 / variance[moving]).mean(axis=1)


def by_window(
    columns: dict[str, np.ndarray],
    time: np.ndarray,
    use: np.ndarray,
    *,
    window_s: float,
    bin_size_s: float,
) -> pd.DataFrame:
    """Means of some (time,) columns in windows of a clock; windows less than half full are left out.

    Parameters
    ----------
    columns : dict
        Name -> (time,); bins where any is NaN are left out.
    time : np.ndarray
        (time,) seconds.
    use : np.ndarray
        (time,) bool: bins that take part.
    window_s, bin_size_s : float
        Seconds.

    Returns
    -------
    pd.DataFrame
        ``start_s``, ``bins`` and a mean for each column.

    Examples
    --------
    >>> time = np.arange(10) / 10
    >>> table = by_window({"x": time}, time, time > 0.25, window_s=0.5, bin_size_s=0.1)
    >>> table.round(2).to_dict("list")
    {'start_s': [0.5], 'bins': [5], 'x': [0.7]}
    """
    known = use.copy()
    for values in columns.values():
        known &= np.isfinite(values)
    # a hair more, or the bin at 0.3 s would fall before it
    number = np.floor((time - time[0]) / window_s + 1e-6).astype(int)
    table = pd.DataFrame({name: values[known] for name, values in columns.items()})
    groups: Any = table.groupby(number[known])
    means = groups.mean().assign(bins=groups.size()).reset_index(names="start_s")
    means["start_s"] = time[0] + means["start_s"] * window_s
    full = means["bins"] >= MIN_FILLED * window_s / bin_size_s
    return means.loc[full, ["start_s", "bins", *columns]].reset_index(drop=True)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rho; NaN where there are fewer than three values, or one side is constant.

    >>> rank_correlation(np.arange(4.0), np.array([1.0, 4.0, 9.0, 16.0])).__round__(6)
    1.0
    >>> rank_correlation(np.arange(4.0), np.ones(4))
    nan
    """
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    found: Any = spearmanr(a, b)
    return float(found.statistic)


def motion(session: xr.Dataset) -> np.ndarray:
    """(time, axis) velocity of the first two axes of behavior: the behavior itself, or the slope of a position.

    Examples
    --------
    >>> session = xr.Dataset(
    ...     {"behavior": (("time", "behavior_dim"), np.arange(4.0)[:, None], {"kind": "position"})},
    ...     coords={"time": np.arange(4) / 10, "behavior_dim": ["x"]}, attrs={"bin_size_s": 0.1},
    ... )
    >>> motion(session)[:, 0].round(6).tolist()
    [10.0, 10.0, 10.0, 10.0]
    """
    behavior = session["behavior"].transpose("time", "behavior_dim")
    names = [str(name) for name in behavior["behavior_dim"].values]
    if {"vx", "vy"} <= set(names):
        return behavior.sel(behavior_dim=["vx", "vy"]).values.astype(float)
    values = behavior.values[:, :2].astype(float)
    if "position" not in str(behavior.attrs.get("kind", "")).lower() and names[:2] != ["x", "y"]:
        return values
    bin_size_s = float(session.attrs["bin_size_s"])
    slope = np.gradient(values, axis=0) / bin_size_s
    jump = np.diff(behavior["time"].values) > GAP_BINS * bin_size_s
    slope[np.concatenate([jump, [False]]) | np.concatenate([[False], jump])] = np.nan
    return slope


def color_by(session: xr.Dataset, what: str) -> tuple[np.ndarray, np.ndarray]:
    """(time,) values to color bins by, and which of them are too slow for a direction.

    Parameters
    ----------
    session : Dataset
    what : {"direction", "speed", "time"}
        Radians, units of the behavior, or seconds.

    Returns
    -------
    tuple of np.ndarray

    Raises
    ------
    DataError
        The behavior that it takes is not there.

    Examples
    --------
    >>> session = xr.Dataset(coords={"time": [0.5, 1.5]})
    >>> color_by(session, "time")[0].tolist()
    [0.5, 1.5]
    """
    time = session["time"].values
    still = np.zeros(time.size, bool)
    if what == "time":
        return time, still
    if "behavior" not in session:
        raise DataError("The session has no behavior: color by time.")
    moved = motion(session)
    speed = np.linalg.norm(moved, axis=1)
    if what == "speed":
        return speed, still
    if moved.shape[1] < 2:
        raise DataError("One axis of behavior has no direction: color by speed or time.")
    x, y = moved.T
    return np.arctan2(y, x) % (2 * np.pi), speed < REST * np.nanquantile(speed, 0.95)


def _widened(values: xr.DataArray, width: int) -> np.ndarray:
    """(time, width) float64: zeros for latents that are not there change no angle and no length."""
    wide = np.zeros((values.shape[0], width))
    wide[:, : values.shape[1]] = values.transpose("time", ...).values
    return wide
