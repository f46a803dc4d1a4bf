"""How alike two sets of latents are: CKA, CCA, Procrustes, retrieval.

All take two (time, latent) arrays or DataArrays of the same time steps (else, or for fewer than
three, or constant ones: DataError), center both, and leave out steps where either is NaN. Compare
latents on held-out time only.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import linalg

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.sessions import same_clock

Latents = np.ndarray | xr.DataArray


class Procrustes(NamedTuple):
    aligned: Latents
    distance: float


class Retrieval(NamedTuple):
    accuracy: float
    chance: float
    n: int


def linear_cka(a: Latents, b: Latents) -> float:
    """Linear centered kernel alignment, 0 to 1: 1 for the same geometry.

    Invariant to rotation, isotropic scale and translation; directions weigh by their variance.
    Unrelated latents score about their number over the number of steps (Kornblith et al. 2019).

    >>> a = np.random.default_rng(0).normal(size=(200, 3))
    >>> round(linear_cka(a, 2 * a[:, ::-1] + 5), 6)
    1.0
    """
    a, b, _ = _shared(a, b)
    cross = np.linalg.norm(a.T @ b) ** 2
    return float(cross / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)))


def cca(a: Latents, b: Latents, *, n_components: int | None = None) -> float:
    """Mean canonical correlation, 0 to 1: 1 when each is an invertible linear map of the other.

    All directions count the same, so noise pulls it down and few steps push it up. Keeping the
    leading ``n_components`` of each (by default all that vary) regularizes both.

    >>> a = np.random.default_rng(0).normal(size=(200, 2))
    >>> round(cca(a, a @ [[1, 2], [3, 4]]), 6)
    1.0
    """
    if n_components is not None and n_components < 1:
        raise ConfigError(f"n_components is {n_components}: give at least 1, or None for all.")
    bases = []
    for values in _shared(a, b)[:2]:
        left, singular, _ = linalg.svd(values, full_matrices=False)
        rank = int((singular > 1e-6 * singular[0]).sum())
        bases.append(left[:, : min(rank, n_components or rank)])
    components = sum(basis.shape[1] for basis in bases)
    if len(bases[0]) <= components:
        what = f"{len(bases[0])} time steps cannot tell {components} components apart from chance"
        raise DataError(f"{what}: give more, or a smaller n_components.")
    return float(np.clip(linalg.svdvals(bases[0].T @ bases[1]), 0, 1).mean())


def procrustes(latents: Latents, target: Latents) -> Procrustes:
    """Turn, mirror, scale and shift latents onto a target of the same shape.

    Gives ``aligned``, the moved latents (of their type, NaN steps stay NaN), and ``distance``, the
    residual over the target's sum of squares, 0 (the same shape) to 1, as SciPy's.

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
        values = latents.transpose("time", ...).copy(data=values)
    return Procrustes(values, float(max(0.0, 1 - fit**2)))


def retrieval(
    a: Latents, b: Latents, *, n_candidates: int = 100, spacing: int = 10, seed: int = 0
) -> Retrieval:
    """How often a time step of ``a`` is most like the same step of ``b``, by the cosine.

    Every ``spacing``-th step takes part, since neighbors are nearly the same, shuffled into groups
    of ``n_candidates``, within which each step of ``a`` picks one of ``b``: chance is one in so
    many. Both must be in one space: see :func:`procrustes`.

    >>> a = np.random.default_rng(0).normal(size=(3000, 8))
    >>> retrieval(a, a)
    Retrieval(accuracy=1.0, chance=0.01, n=300)
    """
    a, b = _shared(a, b, same_width=True)[:2]
    available = np.arange(0, len(a), max(1, spacing))
    groups = available.size // max(1, n_candidates)
    if n_candidates < 2 or spacing < 1 or not groups:
        what = f"n_candidates = {n_candidates} (2 or more), spacing = {spacing} (1 or more) apart"
        raise DataError(f"{len(a)} time steps are not enough for {what}.")
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300) for x in (a, b))
    chosen = np.random.default_rng(seed).permutation(available)[: groups * n_candidates]
    picked = [(a[group] @ b[group].T).argmax(axis=1) for group in chosen.reshape(groups, -1)]
    accuracy = float((np.array(picked) == np.arange(n_candidates)).mean())
    return Retrieval(accuracy, 1 / n_candidates, chosen.size)


def _values(latents: Latents) -> np.ndarray:
    """(time, latent) float64."""
    if isinstance(latents, xr.DataArray) and "time" in latents.dims:
        latents = latents.transpose("time", ...)
    values = np.asarray(latents, dtype=np.float64)
    if values.ndim != 2:
        raise DataError(f"Latents need the shape (time, latent), not {values.shape}.")
    return values


def _shared(
    a: Latents, b: Latents, *, same_width: bool = False
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Both over the time steps where neither is NaN, centered, and the two means."""
    times = [x["time"] for x in (a, b) if isinstance(x, xr.DataArray) and "time" in x.coords]
    x, y = _values(a), _values(b)
    same = len(x) == len(y) and (not same_width or x.shape == y.shape)
    if same and len(times) == 2 and len(x) > 1:
        same = same_clock(*times, bin_size_s=float(np.median(np.diff(times[0]))))
    if not same:
        need = "the same time steps of one session and, but for linear_cka and cca, to be as many"
        raise DataError(f"Latents of shapes {x.shape} and {y.shape} need {need} (PCA).")
    keep = np.isfinite(np.hstack([x, y])).all(axis=1)
    if keep.sum() < 3:
        raise DataError(f"Only {keep.sum()} time steps have no NaN in either: give others.")
    means = x[keep].mean(axis=0), y[keep].mean(axis=0)
    centered = x[keep] - means[0], y[keep] - means[1]
    for values, mean in zip(centered, means, strict=True):
        if np.abs(values).max() <= 1e-12 * max(np.abs(mean).max(), 1e-300):
            raise DataError("Latents that are constant over time have nothing to compare.")
    return *centered, means
