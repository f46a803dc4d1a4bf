"""The one ridge regression: on lagged features, from one matrix of sums a fold."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import linalg

# Relative to the variance of a standardized feature: one grid for any number of features and lags.
PENALTIES = tuple(10.0**exponent for exponent in range(-5, 3))
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
    features: np.ndarray,
    target: np.ndarray,
    rows: np.ndarray,
    *,
    lags: Sequence[int] | np.ndarray = (0,),
    penalty: float | None = None,
) -> Ridge:
    """Fit (time, feature) to (time, axis) at some rows, by default with the penalty, one for all
    axes, that has the least error over contiguous folds of the rows; 0 is ordinary least squares.
    """
    lags, axes = np.asarray(lags), target.shape[1]
    mean, scale = standardization(features[rows])
    center, spread = standardization(target[rows])
    x, y = (features - mean) / scale, (target - center) / spread
    folds = [_sums(x, y, fold, lags) for fold in np.array_split(rows, FOLDS)]
    total = np.sum(folds, axis=0)
    if penalty is None:
        error = np.zeros(len(PENALTIES))
        for own in folds:
            xx, xy, yy = own[:-axes, :-axes], own[:-axes, -axes:], np.diag(own)[-axes:].sum()
            for i, weights in enumerate(_solve(total - own, axes, PENALTIES)):
                error[i] += yy - 2 * (weights * xy).sum() + (weights * (xx @ weights)).sum()
        penalty = PENALTIES[int(np.argmin(error))]
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
    n_lags, width = lags.size, x.shape[1]
    rest = np.concatenate([np.ones((rows.size, 1)), y[rows]], axis=1)
    right = np.concatenate([x[rows + lags[0]], rest], axis=1)
    products = np.stack([x[rows + lag].T @ right for lag in lags])
    mixed = products[:, :, width:].reshape(n_lags * width, -1)
    breaks = np.flatnonzero(np.diff(rows) != 1)
    first, last = rows[np.r_[0, breaks + 1]], rows[np.r_[breaks, rows.size - 1]]
    lost = x[first[:, None] + lags[:-1]].reshape(first.size, -1)
    won = x[last[:, None] + 1 + lags[:-1]].reshape(last.size, -1)
    change = (won.T @ won - lost.T @ lost).reshape(n_lags - 1, width, n_lags - 1, width)
    gram = np.empty((n_lags, width, n_lags, width))
    gram[0] = products[:, :, :width].transpose(2, 0, 1)
    for i in range(1, n_lags):
        gram[i, :, 0] = gram[0, :, i].T
        gram[i, :, 1:] = gram[i - 1, :, :-1] + change[i - 1]
    return np.block([[gram.reshape(n_lags * width, -1), mixed], [mixed.T, rest.T @ rest]])


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
            shrunk = gram + penalty * unit * np.eye(n)
            factor = linalg.cho_factor(shrunk, overwrite_a=True, check_finite=False)
            weights = linalg.cho_solve(factor, target, check_finite=False)
        else:  # of minimal norm where it is not unique
            weights = linalg.pinvh(gram, rtol=1e-12) @ target
        weights = weights / scale[:, None]
        yield np.concatenate([weights, [mean[n + 1 :] - mean[:n] @ weights]])
