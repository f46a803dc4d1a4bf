"""The one ridge regression: on lagged features, from one matrix of sums a fold."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import linalg

# Relative to the variance of a standardized feature: one grid for any number of features and lags.
PENALTIES = tuple(10.0**exponent for exponent in range(-5, 3))
USUAL = 3, 4, 5  # places in PENALTIES
FOLDS = 5


class Ridge(NamedTuple):
    """Target at t from the features at t + each of ``lags``."""

    lags: np.ndarray  # (lag,) neighboring bins, consecutive
    mean: np.ndarray  # (feature,) over the rows it was fitted to
    scale: np.ndarray  # (feature,)
    weights: np.ndarray  # (lag, feature, axis), of the standardized features
    intercept: np.ndarray  # (axis,)
    penalty: float  # relative: scikit-learn's alpha over the number of rows

    def predict(self, features: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(row, axis) from features (time, feature) that are finite at all lags of the rows."""
        scaled = (features - self.mean) / self.scale
        steps = zip(self.lags, self.weights, strict=True)
        return sum((scaled[rows + lag] @ weight for lag, weight in steps), self.intercept)


def fit_ridge(
    features: np.ndarray, target: np.ndarray, rows: np.ndarray, *,
    lags: Sequence[int] | np.ndarray = (0,), penalty: float | None = None,
) -> Ridge:  # fmt: skip
    """Fit (time, feature) to (time, axis) at some rows, by default with the penalty, one for all
    axes, whose error over contiguous folds of the rows is a minimum; 0 is ordinary least squares.
    """
    lags, axes = np.asarray(lags), target.shape[1]
    mean, scale = standardization(features[rows])
    center, spread = standardization(target[rows])
    x, y = (features - mean) / scale, (target - center) / spread
    folds = [_sums(x, y, fold, lags) for fold in np.array_split(rows, FOLDS)]
    total = sum(folds[1:], folds[0])
    if penalty is None:
        penalty = _best_penalty(total, folds, axes)
    (weights,) = _solve(total, axes, [penalty])
    weights = weights * spread
    by_lag = weights[:-1].reshape(lags.size, -1, axes)
    return Ridge(lags, mean, scale, by_lag, center + weights[-1], float(penalty))


def standardization(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and SD of each column; SD 1 for one that is constant but for rounding."""
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    return mean, np.where(deviation > 1e-12 * np.abs(mean), deviation, 1.0)


def _sums(x: np.ndarray, y: np.ndarray, rows: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """Sum over rows of z z^T, z = [features at each lag, 1, targets]: all that a fit needs."""
    # Lags (i + 1, j + 1) see over a stretch of rows what (i, j) saw, less its first bin and plus
    # one more. So only the first lag is multiplied with all others; the rest is mended at the ends.
    width, n = x.shape[1], lags.size * x.shape[1]
    rest = np.concatenate([np.ones((rows.size, 1)), y[rows]], axis=1)
    right = np.concatenate([x[rows + lags[0]], rest], axis=1)
    products = np.concatenate([x[rows + lag].T @ right for lag in lags])
    breaks = np.flatnonzero(np.diff(rows) != 1)
    first, last = rows[np.r_[0, breaks + 1]], rows[np.r_[breaks, rows.size - 1]]
    lost = x[first[:, None] + lags[:-1]].reshape(first.size, -1)
    won = x[last[:, None] + 1 + lags[:-1]].reshape(last.size, -1)
    change = won.T @ won - lost.T @ lost
    sums = np.empty((n + rest.shape[1], n + rest.shape[1]))
    sums[n:, n:] = rest.T @ rest
    for place, known in (
        (slice(width), products[:, :width]),
        (slice(n, None), products[:, width:]),
    ):
        sums[:n, place], sums[place, :n] = known, known.T
    for low in range(width, n, width):
        here, before = slice(low, low + width), slice(low - width, low)
        sums[here, width:n] = sums[before, : n - width] + change[before]
    return sums


def _best_penalty(total: np.ndarray, folds: list[np.ndarray], axes: int) -> float:
    """From the usual ones of the grid down to where both neighbors have more error."""
    errors: dict[int, float] = {}
    asked = list(USUAL)
    while asked:
        errors |= dict.fromkeys(asked, 0.0)
        for own in folds:
            xx, xy, yy = own[:-axes, :-axes], own[:-axes, -axes:], np.diag(own)[-axes:].sum()
            fitted = _solve(total - own, axes, [PENALTIES[i] for i in asked])
            for i, weights in zip(asked, fitted, strict=True):
                errors[i] += yy - 2 * (weights * xy).sum() + (weights * (xx @ weights)).sum()
        best = min(errors, key=lambda i: errors[i])
        asked = [i for i in (best - 1, best + 1) if 0 <= i < len(PENALTIES) and i not in errors]
    return PENALTIES[best]


def _solve(sums: np.ndarray, axes: int, penalties: Sequence[float]) -> Iterator[np.ndarray]:
    """For each penalty the weights (features + 1, axes), intercept last; lags are scaled too."""
    n = len(sums) - axes - 1  # index of the constant, after the features
    mean = sums[n] / sums[n, n]
    variance = np.diag(sums)[:n] / sums[n, n] - mean[:n] ** 2
    scale = np.sqrt(np.where(variance > 1e-12, variance, 1.0))
    covariance = (sums[:n] / sums[n, n] - np.outer(mean[:n], mean)) / scale[:, None]
    gram, target = covariance[:, :n] / scale, covariance[:, n + 1 :]
    unit = np.trace(gram) / n or 1.0
    for penalty in penalties:
        if penalty:
            shrunk = gram.T.copy(order="F")  # symmetric, and in the order of LAPACK
            shrunk[np.diag_indices(n)] += penalty * unit
            factor = linalg.cho_factor(shrunk, overwrite_a=True, check_finite=False)
            weights = linalg.cho_solve(factor, target, check_finite=False)
        else:  # of minimal norm where it is not unique
            weights = linalg.pinvh(gram, rtol=1e-12) @ target
        weights = weights / scale[:, None]
        yield np.concatenate([weights, [mean[n + 1 :] - mean[:n] @ weights]])
