"""How alike two sets of latents are: CKA, CCA, Procrustes, retrieval.

All take two (time, latent) arrays or DataArrays of the same time steps. A step where either is NaN
is left out. Each measure centers both over time first: the mean of a model's latents is often most
of their norm and tells nothing about the behavior. Compare them on held-out time steps only.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import linalg

from spikelfp_lab.errors import ConfigError, DataError


class Procrustes(NamedTuple):
    """What :func:`procrustes` returns."""

    aligned: np.ndarray | xr.DataArray
    distance: float


class Retrieval(NamedTuple):
    """What :func:`retrieval` returns."""

    accuracy: float
    chance: float
    n: int


def linear_cka(a: np.ndarray | xr.DataArray, b: np.ndarray | xr.DataArray) -> float:
    """Linear centered kernel alignment: 1 for the same geometry, near 0 for unrelated latents.

    Invariant to rotation, isotropic scale and translation of either; the numbers of latents may
    differ. It weights directions by variance, so it tells of the largest ones. Unrelated latents
    score about their number divided by the number of time steps, so use many steps.

    Parameters
    ----------
    a, b : np.ndarray or xr.DataArray
        (time, latent).

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    DataError
        Different time steps, fewer than three shared ones, or latents that are constant.

    References
    ----------
    Kornblith et al., ICML 2019, arXiv 1905.00414.

    Examples
    --------
    >>> a = np.random.default_rng(0).normal(size=(200, 3))
    >>> round(linear_cka(a, 2 * a[:, ::-1] + 5), 6)
    1.0
    """
    a, b, _ = _shared(a, b)
    cross = np.linalg.norm(a.T @ b) ** 2
    return float(cross / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)))


def cca(
    a: np.ndarray | xr.DataArray,
    b: np.ndarray | xr.DataArray,
    *,
    n_components: int | None = None,
) -> float:
    """Mean canonical correlation: 1 when each is an invertible linear map of the other.

    All directions count the same, however little they vary, so noise directions pull it down and
    few time steps push it up (unrelated latents score about sqrt(latents / steps) or more). Keeping
    only the leading principal components of each regularizes both.

    Parameters
    ----------
    a, b : np.ndarray or xr.DataArray
        (time, latent).
    n_components : int, optional
        Principal components kept of each; by default all that vary at all.

    Returns
    -------
    float
        From 0 to 1; the mean over as many correlations as the smaller has components.

    Raises
    ------
    DataError
        As :func:`linear_cka`, or no more time steps than components.
    ConfigError
        ``n_components`` below 1.

    References
    ----------
    Hotelling 1936; after PCA, as SVCCA: Raghu et al., NeurIPS 2017, arXiv 1706.05806.

    Examples
    --------
    >>> a = np.random.default_rng(0).normal(size=(200, 2))
    >>> round(cca(a, a @ [[1, 2], [3, 4]]), 6)
    1.0
    """
    if n_components is not None and n_components < 1:
        raise ConfigError(f"n_components is {n_components}: give at least 1, or None for all.")
    a, b, _ = _shared(a, b)
    bases = []
    for values in (a, b):
        left, singular, _ = linalg.svd(values, full_matrices=False)
        rank = int((singular > 1e-6 * singular[0]).sum())
        bases.append(left[:, : min(rank, n_components or rank)])
    components = sum(basis.shape[1] for basis in bases)
    if len(a) <= components:
        raise DataError(
            f"{len(a)} time steps cannot tell {components} components apart from chance: "
            "give more time steps or a smaller n_components."
        )
    correlations = linalg.svdvals(bases[0].T @ bases[1])
    return float(np.clip(correlations, 0, 1).mean())


def procrustes(latents: np.ndarray | xr.DataArray, target: np.ndarray | xr.DataArray) -> Procrustes:
    """Turn, mirror, scale and shift latents onto a target; how much is then left.

    Parameters
    ----------
    latents : np.ndarray or xr.DataArray
        (time, latent), what is moved.
    target : np.ndarray or xr.DataArray
        (time, latent) of the same shape, what it is moved onto.

    Returns
    -------
    Procrustes
        ``aligned``: the moved latents, of the type of ``latents`` (NaN steps stay NaN), in the
        target's units. ``distance``: residual sum of squares over the target's, from 0 (the same
        shape) to 1; the disparity of ``scipy.spatial.procrustes``.

    Raises
    ------
    DataError
        As :func:`linear_cka`, or numbers of latents that differ.

    References
    ----------
    Schönemann, Psychometrika 1966.

    Examples
    --------
    >>> target = np.random.default_rng(0).normal(size=(100, 2))
    >>> aligned, distance = procrustes(3 * target @ [[0, 1], [-1, 0]] + 7, target)
    >>> bool(np.allclose(aligned, target)), round(distance, 6)
    (True, 0.0)
    """
    moved, fixed, means = _shared(latents, target, same_width=True)
    size_moved, size_fixed = np.linalg.norm(moved), np.linalg.norm(fixed)
    rotation, fit = linalg.orthogonal_procrustes(moved / size_moved, fixed / size_fixed)
    values = (_values(latents) - means[0]) @ rotation * (fit * size_fixed / size_moved) + means[1]
    if isinstance(latents, xr.DataArray):
        aligned = latents.transpose("time", ...).copy(data=values)
    else:
        aligned = values
    return Procrustes(aligned, float(max(0.0, 1 - fit**2)))


def retrieval(
    a: np.ndarray | xr.DataArray,
    b: np.ndarray | xr.DataArray,
    *,
    n_candidates: int = 100,
    spacing: int = 10,
    seed: int = 0,
) -> Retrieval:
    """How often a time step of ``a`` is most like the same time step of ``b``.

    Similarity is the cosine after centering. Neighboring bins are nearly the same, and telling them
    apart is not asked: only every ``spacing``-th time step takes part. Those are shuffled into
    groups of ``n_candidates``; in each, every step of ``a`` picks the most similar of ``b``.

    Parameters
    ----------
    a, b : np.ndarray or xr.DataArray
        (time, latent), in one space: a student aligned to its teacher, or after
        :func:`procrustes` fitted on other time steps.
    n_candidates : int
        Time steps to pick from; chance is one in so many.
    spacing : int
        Time steps from one candidate to the next, at least, in bins.
    seed : int
        Of the shuffling into groups.

    Returns
    -------
    Retrieval
        ``accuracy`` (top-1, over all groups), ``chance`` and ``n``, the number of time steps asked.

    Raises
    ------
    DataError
        As :func:`procrustes`, or too few time steps for one group.
    ConfigError
        Fewer than two candidates, or a spacing below 1.

    References
    ----------
    The alignment table of Erturk et al., NeurIPS 2025, arXiv 2512.12461, in spirit: its number of
    candidates is not published.

    Examples
    --------
    >>> a = np.random.default_rng(0).normal(size=(3000, 8))
    >>> retrieval(a, a)
    Retrieval(accuracy=1.0, chance=0.01, n=300)
    """
    if n_candidates < 2 or spacing < 1:
        raise ConfigError(
            f"n_candidates is {n_candidates} and spacing {spacing}: give at least 2 and 1."
        )
    a, b, _ = _shared(a, b, same_width=True)
    available = np.arange(0, len(a), spacing)
    groups = available.size // n_candidates
    if not groups:
        raise DataError(
            f"{len(a)} time steps give {available.size} candidates {spacing} steps apart, fewer "
            f"than n_candidates = {n_candidates}: give more time steps, or a smaller n_candidates "
            "or spacing."
        )
    chosen = np.random.default_rng(seed).permutation(available)[: groups * n_candidates]
    correct = 0
    for group in chosen.reshape(groups, n_candidates):
        similarity = _unit(a[group]) @ _unit(b[group]).T
        correct += int((similarity.argmax(axis=1) == np.arange(n_candidates)).sum())
    return Retrieval(correct / chosen.size, 1 / n_candidates, chosen.size)


def _unit(values: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(length > 0, length, 1.0)


def _values(latents: np.ndarray | xr.DataArray) -> np.ndarray:
    """(time, latent) float64."""
    if isinstance(latents, xr.DataArray):
        if latents.ndim != 2 or "time" not in latents.dims:
            raise DataError(f"Latents need the dims 'time' and one other, not {latents.dims}.")
        latents = latents.transpose("time", ...).values
    values = np.asarray(latents, dtype=np.float64)
    if values.ndim != 2:
        raise DataError(f"Latents need the shape (time, latent), not {values.shape}.")
    return values


def _shared(
    a: np.ndarray | xr.DataArray, b: np.ndarray | xr.DataArray, *, same_width: bool = False
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Both over the time steps where neither is NaN, centered, and the two means."""
    timed = all(isinstance(x, xr.DataArray) and "time" in x.coords for x in (a, b))
    both = [_values(a), _values(b)]
    if len(both[0]) != len(both[1]) or (timed and not np.allclose(a["time"], b["time"])):
        raise DataError(
            f"The two are not of the same time steps ({len(both[0])} and {len(both[1])}): encode "
            "the same session with both models, or select the shared times first."
        )
    if same_width and both[0].shape[1] != both[1].shape[1]:
        raise DataError(
            f"{both[0].shape[1]} and {both[1].shape[1]} latents cannot be compared one to one: "
            "use linear_cka or cca, or bring both to the same number (PCA)."
        )
    keep = np.isfinite(both[0]).all(axis=1) & np.isfinite(both[1]).all(axis=1)
    if keep.sum() < 3:
        raise DataError(
            f"Only {keep.sum()} time steps have no NaN in either: give latents that overlap."
        )
    means = both[0][keep].mean(axis=0), both[1][keep].mean(axis=0)
    centered = both[0][keep] - means[0], both[1][keep] - means[1]
    for name, values, mean in zip(("first", "second"), centered, means, strict=True):
        if np.abs(values).max() <= 1e-12 * max(np.abs(mean).max(), 1e-300):
            raise DataError(f"The {name} latents are constant over time: nothing to compare.")
    return *centered, means
