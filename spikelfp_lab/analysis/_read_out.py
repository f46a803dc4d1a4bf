"""The linear read-out itself: fitted to training time, applied to any latents of the session; and what it checks of what it is given."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from spikelfp_lab._ridge import (
    FOLDS,
    best_penalty,
    deviation,
    moments,
    solve,
    whole_rows,
)
from spikelfp_lab.errors import DataError
from spikelfp_lab.sessions.windows import TRAIN


def as_prediction(
    values: np.ndarray, session: xr.Dataset, split: xr.DataArray, attrs: Mapping[str, Any]
) -> xr.DataArray:
    """(time, behavior_dim) values as :func:`predict` returns them, with the split they were made on."""
    return xr.DataArray(
        values,
        dims=("time", "behavior_dim"),
        coords={
            "time": session["time"],
            "behavior_dim": session["behavior_dim"],
            "split": ("time", split.values),
        },
        name="predicted_behavior",
        attrs={**attrs, **split.attrs},
    )


class LaggedRidge(NamedTuple):
    """A linear read-out of behavior at t from latents at t + each of ``lags``, fitted to training time."""

    lags: np.ndarray
    """(lag,) neighboring bins."""
    mean: np.ndarray
    """(feature,) of the latents over training bins."""
    deviation: np.ndarray
    """(feature,)"""
    weights: np.ndarray
    """(lag * feature + 1, axis); the last row is the constant."""
    attrs: dict[str, Any]
    """What its predictions say of themselves: ``readout``, ``lag_s``, ``relative_penalty``."""

    def apply(
        self, latents: xr.DataArray, session: xr.Dataset, split: xr.DataArray
    ) -> xr.DataArray:
        """Predict from latents of the session, those it was fitted to or others, such as those left when electrodes fail."""
        features = (features_of(latents, session) - self.mean) / self.deviation
        rows = whole_rows(
            session, split.values, np.asarray(np.isfinite(features).all(axis=1)), self.lags
        )
        predicted = np.full((len(features), self.weights.shape[1]), np.nan)
        predicted[rows] = self.weights[-1]
        by_lag = self.weights[:-1].reshape(len(self.lags), features.shape[1], -1)
        for lag, weight in zip(self.lags, by_lag, strict=True):
            predicted[rows] += features[rows + lag] @ weight
        return as_prediction(predicted, session, split, self.attrs)


def fit_lagged_ridge(
    latents: xr.DataArray,
    session: xr.Dataset,
    split: xr.DataArray,
    *,
    lags: np.ndarray,
    penalty: float | None,
    attrs: Mapping[str, Any],
) -> LaggedRidge:
    """Fit a read-out to training time.

    ``penalty`` is that of the ridge, or None for the one that training folds choose. ``attrs`` name
    the ``readout`` and its ``lag_s``, also in errors; they end up in the prediction's.
    """
    behavior = behavior_of(session)
    features = features_of(latents, session)
    rows = whole_rows(session, split.values, np.asarray(np.isfinite(features).all(axis=1)), lags)
    train = rows[(split.values[rows] == TRAIN) & np.isfinite(behavior[rows]).all(axis=1)]
    if len(train) < 2 * FOLDS:
        raise too_few("train", attrs["readout"], attrs["lag_s"], split.attrs["window_s"])

    # Everything below is invariant to this shift and scale; it only keeps the sums well conditioned.
    mean, scale = features[train].mean(axis=0), deviation(features[train].var(axis=0))
    features = (features - mean) / scale
    folds = [moments(features, behavior, fold, lags=lags) for fold in np.array_split(train, FOLDS)]
    penalty = best_penalty(folds, behavior.shape[1]) if penalty is None else penalty
    (weights,) = solve(np.sum(folds, axis=0), behavior.shape[1], [penalty])
    return LaggedRidge(lags, mean, scale, weights, {**attrs, "relative_penalty": float(penalty)})


def behavior_of(session: xr.Dataset) -> np.ndarray:
    if "behavior" not in session:
        raise DataError(
            "The session has no 'behavior' to decode: use a session that has one, or add a "
            "(time, behavior_dim) variable of that name."
        )
    return session["behavior"].transpose("time", "behavior_dim").values.astype(np.float64)


def features_of(latents: xr.DataArray, session: xr.Dataset, *, what: str = "latents") -> np.ndarray:
    """Latents as (time, feature) float64 on the session's clock; ``what`` they are, in errors."""
    dims = getattr(latents, "dims", None)
    if dims is None or len(dims) != 2 or "time" not in dims:
        raise DataError(
            f"{what.capitalize()} must be a DataArray with the dims 'time' and one other, not {dims or type(latents)}: "
            "give what encode returns, or a variable of the session such as session['lfp']."
        )
    time = session["time"].values
    tolerance = 0.01 * float(session.attrs["bin_size_s"])
    if "time" not in latents.coords or latents.sizes["time"] != time.size:
        problem = f"{latents.sizes['time']} bins" + ("" if "time" in latents.coords else " untimed")
    elif np.abs(latents["time"].values - time).max() > tolerance:
        problem = f"times {float(latents['time'][0]):g} to {float(latents['time'][-1]):g} s"
    else:
        return latents.transpose("time", ...).values.astype(np.float64)
    raise DataError(
        f"The {what} are not on the session's clock: they have {problem}, the session has "
        f"{time.size} bins from {time[0]:g} to {time[-1]:g} s. Encode this very session, or reindex "
        f"the {what} to session['time'] (NaN where there is none)."
    )


def too_few(part: str, readout: str, lag_s: float, window_s: float | None) -> DataError:
    reach = f", nor within {lag_s:g} s of an edge" if readout in ("lagged", "wiener") else ""
    window = "" if window_s is None else f" (now {window_s:g} s)"
    return DataError(
        f"Too few usable bins in the {part!r} split for the {readout} read-out: it needs at least "
        f"{2 * FOLDS if part == 'train' else 1} where neither latents nor behavior are NaN{reach}. "
        f"Give a longer session, a shorter lag_s, or a shorter window_s{window}."
    )
