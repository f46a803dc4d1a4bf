"""Ridge regression on lagged features from sums alone: what every linear read-out is fitted with."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy import linalg

from spikelfp_lab.sessions.windows import usable_runs

# Relative to the mean variance of a (standardized) feature, so that one grid serves 8 latents and
# 96 channels x 21 lags alike; the ends are "no shrinkage to speak of" and "nothing but the mean".
PENALTIES = tuple(10.0**exponent for exponent in range(-5, 3))
FOLDS = 5


def whole_rows(
    session: xr.Dataset, split: np.ndarray, finite: np.ndarray, lags: np.ndarray
) -> np.ndarray:
    """(n,) bins that are, with those at all lags from them, finite and of one run and one split."""
    run = np.full(finite.size, -1)
    for number, (start, stop) in enumerate(usable_runs(session, variables=())):
        run[start:stop] = number
    usable = finite & (run >= 0)
    change = (np.diff(run) != 0) | (np.diff(split) != 0) | (np.diff(usable.astype(np.int8)) != 0)
    stretch = np.concatenate([[0], np.cumsum(change)])
    before, after = max(0, -int(lags[0])), max(0, int(lags[-1]))
    center = np.arange(before, finite.size - after)
    # Stretches are numbered in order, so equal ends mean that everything between them is the same.
    whole = (stretch[center - before] == stretch[center + after]) & usable[center]
    return center[whole]


def moments(
    features: np.ndarray, behavior: np.ndarray, rows: np.ndarray, *, lags: np.ndarray
) -> np.ndarray:
    """Sum over rows of z z^T, z = [lagged features (lag-major), 1, behavior]: all a fit needs.

    Such sums add and subtract, so each fold is visited once. Two lags (i + 1, j + 1) see over a
    stretch of rows what (i, j) saw, less its first bin and plus one more; so only the first lag is
    multiplied with all others, and the lagged features are made at the ends of stretches only.
    """
    n_lags, width = lags.size, features.shape[1]
    rest = np.concatenate([np.ones((rows.size, 1)), behavior[rows]], axis=1)
    right = np.concatenate([features[rows + lags[0]], rest], axis=1)
    products = np.stack([features[rows + lag].T @ right for lag in lags])
    mixed = products[:, :, width:].reshape(n_lags * width, -1)

    ends = np.flatnonzero(np.diff(rows) != 1)
    first = rows[np.concatenate([[0], ends + 1])]
    last = rows[np.concatenate([ends, [rows.size - 1]])]
    inner = lags[:-1]  # the bins after the last are still within the reach of the last
    lost = features[first[:, None] + inner].reshape(first.size, -1)
    won = features[last[:, None] + 1 + inner].reshape(last.size, -1)
    change = (won.T @ won - lost.T @ lost).reshape(n_lags - 1, width, n_lags - 1, width)

    cross = np.empty((n_lags, width, n_lags, width))
    cross[0] = products[:, :, :width].transpose(2, 0, 1)
    for i in range(1, n_lags):
        cross[i, :, 0] = cross[0, :, i].T
        cross[i, :, 1:] = cross[i - 1, :, :-1] + change[i - 1]
    square = cross.reshape(n_lags * width, -1)
    return np.block([[square, mixed], [mixed.T, rest.T @ rest]])


def deviation(variance: np.ndarray) -> np.ndarray:
    """Standard deviation, and 1 for what is constant but for rounding."""
    return np.sqrt(np.where(variance > 1e-12, variance, 1.0))


def solve(sums: np.ndarray, n_axes: int, penalties: Sequence[float]) -> list[np.ndarray]:
    """Weights (features + 1, axes), intercept last, of a ridge on standardized features.

    A penalty of 0 is ordinary least squares, the solution of minimal norm where it is not unique.
    """
    one = len(sums) - n_axes - 1  # index of the constant, after the features
    mean = sums[one] / sums[one, one]
    scale = deviation(np.diag(sums)[:one] / sums[one, one] - mean[:one] ** 2)
    correlation = sums[:one] / sums[one, one]
    correlation -= np.outer(mean[:one], mean)
    correlation /= scale[:, None]
    target = correlation[:, one + 1 :]
    gram = correlation[:, :one] / scale
    unit = np.trace(gram) / one or 1.0
    solutions = []
    for penalty in penalties:
        if penalty == 0:
            weights = linalg.pinvh(gram, rtol=1e-12) @ target
        else:
            shrunk = np.array(gram, order="F")  # the order LAPACK can factor in place
            shrunk[np.diag_indices_from(shrunk)] += penalty * unit
            factor = linalg.cho_factor(shrunk, overwrite_a=True, check_finite=False)
            weights = linalg.cho_solve(factor, target, check_finite=False)
        weights = weights / scale[:, None]
        intercept = mean[one + 1 :] - mean[:one] @ weights
        solutions.append(np.concatenate([weights, intercept[None]]))
    return solutions


def best_penalty(folds: Sequence[np.ndarray], n_axes: int) -> float:
    """The penalty with the least held-out squared error, each axis in units of its variance."""
    total = np.sum(folds, axis=0)
    count, mean = total[-n_axes - 1, -n_axes - 1], total[-n_axes - 1, -n_axes:]
    variance = np.diag(total)[-n_axes:] / count - (mean / count) ** 2
    error = np.zeros(len(PENALTIES))
    for held_out in folds:
        xx, xy = held_out[:-n_axes, :-n_axes], held_out[:-n_axes, -n_axes:]
        yy = np.diag(held_out)[-n_axes:]
        for i, weights in enumerate(solve(total - held_out, n_axes, PENALTIES)):
            squared = yy - 2 * (weights * xy).sum(axis=0) + (weights * (xx @ weights)).sum(axis=0)
            error[i] += (squared / np.where(variance > 0, variance, np.inf)).sum()
    return float(PENALTIES[np.argmin(error)])
