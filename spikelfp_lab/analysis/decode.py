"""Linear read-outs: how well latents (or raw channels, or counts) tell the behavior.

Two read-outs are always reported side by side. *One-frame* sees the latent of the same bin only;
*lagged* sees every bin within ``lag_s`` on either side. A latent that carries its own history wins
in the first and not in the second, which is why one of them alone would flatter it.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from scipy import linalg

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.sessions.schema import as_dataset
from spikelfp_lab.sessions.windows import TEST, TRAIN, VAL, split_session, usable_runs

READOUTS = ("one_frame", "lagged")
SPLITS = {"train": TRAIN, "val": VAL, "test": TEST}
# Relative to the mean variance of a (standardized) feature, so that one grid serves 8 latents and
# 96 channels x 21 lags alike; the ends are "no shrinkage to speak of" and "nothing but the mean".
PENALTIES = tuple(10.0**exponent for exponent in range(-5, 3))
FOLDS = 5


def decode(
    latents: xr.DataArray,
    session: xr.Dataset | xr.DataTree,
    *,
    readouts: Sequence[str] = READOUTS,
    lag_s: float = 0.1,
    scheme: str | None = None,
    window_s: float | None = None,
    seed: int | None = None,
    protocol: str | None = None,
) -> pd.DataFrame:
    """R² of linear read-outs of the behavior, fitted on the training split.

    Ridge regression on features standardized by training statistics; the penalty is the one that
    predicts best over five contiguous folds *of the training split*, and is the same for all axes.
    Bins where a feature or the behavior is NaN are left out, and so is every bin whose lags would
    reach over a gap in time, a trial's edge, a NaN or the edge of its split.

    Parameters
    ----------
    latents : xr.DataArray
        (time, any one other dim), on the clock of the session; any numeric dtype. A baseline is the
        same call: ``decode(session["lfp"], session)``.
    session : xr.Dataset or xr.DataTree
        A session with ``behavior``, or a leaf of a cohort.
    readouts : sequence of {"one_frame", "lagged"}
        Which read-outs; both by default.
    lag_s : float
        Reach of the lagged read-out on either side, in seconds: all bins within it are used.
    scheme, window_s, seed
        The split, as in :func:`spikelfp_lab.sessions.split_session`. By default that which the
        latents' model was trained with (``encode`` keeps it in their attrs), so that its training
        bins do not end up in the test split; "blocks", 2 s and 0 where the latents name none.
    protocol : {None, "paper"}
        "paper" for that of Erturk et al.: ordinary least squares, their shuffled 10 s windows
        (whatever ``scheme``), and one more split, "valtest": both pooled.

    Returns
    -------
    pd.DataFrame
        Columns ``readout``, ``split``, ``axis`` (a name of ``behavior_dim``) and ``r2`` (float64):
        1 - SS_res / SS_tot, about the mean of the evaluated split; NaN where an axis is constant.

    Raises
    ------
    DataError
        No behavior; latents on another clock; no usable bin in a split.
    ConfigError
        An unknown read-out, protocol or scheme.

    References
    ----------
    Erturk, Hashemi & Shanechi, NeurIPS 2025, arXiv 2512.12461 (the one-frame read-out); reporting
    the lagged one beside it is this package's rule.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> time = np.arange(3000) / 100
    >>> velocity = np.stack([np.sin(2 * time), np.cos(3 * time)], axis=1)
    >>> session = xr.Dataset(
    ...     {"behavior": (("time", "behavior_dim"), velocity.astype("float32"))},
    ...     coords={"time": time, "behavior_dim": ["vx", "vy"]},
    ...     attrs={"bin_size_s": 0.01},
    ... )
    >>> latents = xr.DataArray(velocity @ [[1, 2], [3, 4]], dims=("time", "latent"))
    >>> latents = latents.assign_coords(time=time)
    >>> scores = decode(latents, session, readouts=["one_frame"], window_s=0.5)
    >>> scores.query("split == 'test'").round(3).to_dict("list")["r2"]
    [1.0, 1.0]
    """
    scheme, window_s, seed = _split_of(latents, scheme, window_s, seed)
    parts: dict[str, tuple[int, ...]] = {name: (code,) for name, code in SPLITS.items()}
    if protocol == "paper":
        parts["valtest"] = (VAL, TEST)
    if isinstance(readouts, str):
        readouts = (readouts,)
    rows = []
    for readout in readouts:
        predicted = predict(
            latents,
            session,
            readout=readout,
            lag_s=lag_s,
            scheme=scheme,
            window_s=window_s,
            seed=seed,
            protocol=protocol,
        )
        true = _behavior(as_dataset(session))
        split = predicted["split"].values
        scored = np.isfinite(true).all(axis=1) & np.isfinite(predicted.values).all(axis=1)
        for part, codes in parts.items():
            use = scored & np.isin(split, codes)
            if not use.any():
                raise _no_rows(part, readout, lag_s, window_s)
            r2 = r2_by_axis(true[use], predicted.values[use])
            for axis, value in zip(predicted["behavior_dim"].values, r2, strict=True):
                rows.append((readout, part, str(axis), float(value)))
    return pd.DataFrame(rows, columns=["readout", "split", "axis", "r2"])


def predict(
    latents: xr.DataArray,
    session: xr.Dataset | xr.DataTree,
    *,
    readout: str = "lagged",
    lag_s: float = 0.1,
    scheme: str | None = None,
    window_s: float | None = None,
    seed: int | None = None,
    protocol: str | None = None,
) -> xr.DataArray:
    """The behavior as one read-out decodes it: what :func:`decode` scores, for figures.

    Parameters
    ----------
    latents, session, lag_s, scheme, window_s, seed, protocol
        As for :func:`decode`.
    readout : {"one_frame", "lagged"}
        Which read-out.

    Returns
    -------
    xr.DataArray
        (time, behavior_dim) float64 on the session's clock, in the units of ``behavior``; NaN where
        the read-out cannot be applied. Coordinate ``split`` (time) as of ``split_session``: 0
        train, 1 val, 2 test, -1 guard. ``attrs`` name the read-out and the ``relative_penalty``.

    Raises
    ------
    DataError, ConfigError
        As :func:`decode`.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> time = np.arange(2000) / 100
    >>> session = xr.Dataset(
    ...     {"behavior": (("time", "behavior_dim"), np.sin(time)[:, None])},
    ...     coords={"time": time, "behavior_dim": ["vx"]},
    ...     attrs={"bin_size_s": 0.01},
    ... )
    >>> latents = session["behavior"].rename(behavior_dim="latent") * 3
    >>> decoded = predict(latents, session, readout="one_frame", window_s=0.5)
    >>> bool(abs(decoded - session["behavior"]).max() < 1e-3)
    True
    """
    if readout not in READOUTS:
        raise ConfigError(f"Unknown read-out {readout!r}: give one of {', '.join(READOUTS)}.")
    if protocol not in (None, "paper"):
        raise ConfigError(f"Unknown protocol {protocol!r}: give None or 'paper'.")
    session = as_dataset(session)
    behavior = _behavior(session)
    features = _features(latents, session)
    scheme, window_s, seed = _split_of(latents, scheme, window_s, seed)
    if protocol == "paper":
        scheme = "paper"
    split = split_session(session, scheme=scheme, window_s=window_s, seed=seed).values

    reach = 0
    if readout == "lagged":  # a hair more than lag_s, or 0.3 s of 0.1 s bins would be two bins
        reach = int(np.floor(lag_s / float(session.attrs["bin_size_s"]) + 1e-6))
    rows = _whole_rows(session, split, np.asarray(np.isfinite(features).all(axis=1)), reach)
    train = rows[(split[rows] == TRAIN) & np.isfinite(behavior[rows]).all(axis=1)]
    if len(train) < 2 * FOLDS:
        raise _no_rows("train", readout, lag_s, window_s)

    # Everything below is invariant to this shift and scale; it only keeps the sums well conditioned.
    features = (features - features[train].mean(axis=0)) / _scale(features[train].var(axis=0))
    lags = np.arange(-reach, reach + 1)
    folds = [_moments(features, behavior, fold, lags=lags) for fold in np.array_split(train, FOLDS)]
    penalty = 0.0 if protocol == "paper" else _best_penalty(folds, behavior.shape[1])
    (weights,) = _solve(np.sum(folds, axis=0), behavior.shape[1], [penalty])

    predicted = np.full(behavior.shape, np.nan)
    predicted[rows] = weights[-1]
    by_lag = weights[:-1].reshape(len(lags), features.shape[1], -1)
    for lag, weight in zip(lags, by_lag, strict=True):
        predicted[rows] += features[rows + lag] @ weight
    return xr.DataArray(
        predicted,
        dims=("time", "behavior_dim"),
        coords={
            "time": session["time"],
            "behavior_dim": session["behavior_dim"],
            "split": ("time", split),
        },
        name="predicted_behavior",
        attrs={"readout": readout, "lag_s": lag_s, "relative_penalty": float(penalty)},
    )


def r2_by_axis(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """1 - SS_res / SS_tot of each column, about the mean of ``true``; NaN for a constant column.

    Parameters
    ----------
    true, predicted : np.ndarray
        (n, axis), in the same units, without NaN.

    Returns
    -------
    np.ndarray
        (axis,) float64.

    Examples
    --------
    >>> r2_by_axis(np.array([[0.0], [1.0], [2.0]]), np.array([[0.0], [1.0], [1.0]])).tolist()
    [0.5]
    """
    residual = ((true - predicted) ** 2).sum(axis=0)
    total = ((true - true.mean(axis=0)) ** 2).sum(axis=0)
    return 1 - np.divide(residual, total, out=np.full(total.shape, np.nan), where=total > 0)


def _split_of(
    latents: xr.DataArray, scheme: str | None, window_s: float | None, seed: int | None
) -> tuple[str, float, int]:
    """What is asked for, else what the latents say, else the default."""
    said = getattr(latents, "attrs", {})
    return (
        said.get("scheme", "blocks") if scheme is None else scheme,
        said.get("window_s", 2.0) if window_s is None else window_s,
        said.get("seed", 0) if seed is None else seed,
    )


def _behavior(session: xr.Dataset) -> np.ndarray:
    if "behavior" not in session:
        raise DataError(
            "The session has no 'behavior' to decode: use a session that has one, or add a "
            "(time, behavior_dim) variable of that name."
        )
    return session["behavior"].transpose("time", "behavior_dim").values.astype(np.float64)


def _features(latents: xr.DataArray, session: xr.Dataset) -> np.ndarray:
    """Latents as (time, feature) float64 on the session's clock."""
    dims = getattr(latents, "dims", None)
    if dims is None or len(dims) != 2 or "time" not in dims:
        raise DataError(
            f"Latents must be a DataArray with the dims 'time' and one other, not {dims or type(latents)}: "
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
        f"The latents are not on the session's clock: they have {problem}, the session has "
        f"{time.size} bins from {time[0]:g} to {time[-1]:g} s. Encode this very session, or reindex "
        "the latents to session['time'] (NaN where there is none)."
    )


def _no_rows(part: str, readout: str, lag_s: float, window_s: float) -> DataError:
    reach = f", nor within {lag_s:g} s of an edge" if readout == "lagged" else ""
    return DataError(
        f"Too few usable bins in the {part!r} split for the {readout} read-out: it needs at least "
        f"{2 * FOLDS if part == 'train' else 1} where neither latents nor behavior are NaN{reach}. "
        f"Give a longer session, a shorter lag_s, or a shorter window_s (now {window_s:g} s)."
    )


def _whole_rows(
    session: xr.Dataset, split: np.ndarray, finite: np.ndarray, reach: int
) -> np.ndarray:
    """(n,) bins whose neighbors within `reach` bins are finite and of one run and one split."""
    run = np.full(finite.size, -1)
    for number, (start, stop) in enumerate(usable_runs(session, variables=())):
        run[start:stop] = number
    usable = finite & (run >= 0)
    change = (np.diff(run) != 0) | (np.diff(split) != 0) | (np.diff(usable.astype(np.int8)) != 0)
    stretch = np.concatenate([[0], np.cumsum(change)])
    center = np.arange(reach, finite.size - reach)
    # Stretches are numbered in order, so equal ends mean that everything between them is the same.
    whole = (stretch[center - reach] == stretch[center + reach]) & usable[center]
    return center[whole]


def _moments(
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


def _scale(variance: np.ndarray) -> np.ndarray:
    """Standard deviation, and 1 for what is constant but for rounding."""
    return np.sqrt(np.where(variance > 1e-12, variance, 1.0))


def _solve(moments: np.ndarray, n_axes: int, penalties: Sequence[float]) -> list[np.ndarray]:
    """Weights (features + 1, axes), intercept last, of a ridge on standardized features.

    A penalty of 0 is ordinary least squares, the solution of minimal norm where it is not unique.
    """
    one = len(moments) - n_axes - 1  # index of the constant, after the features
    mean = moments[one] / moments[one, one]
    scale = _scale(np.diag(moments)[:one] / moments[one, one] - mean[:one] ** 2)
    correlation = moments[:one] / moments[one, one]
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


def _best_penalty(folds: Sequence[np.ndarray], n_axes: int) -> float:
    """The penalty with the least held-out squared error, each axis in units of its variance."""
    total = np.sum(folds, axis=0)
    count, mean = total[-n_axes - 1, -n_axes - 1], total[-n_axes - 1, -n_axes:]
    variance = np.diag(total)[-n_axes:] / count - (mean / count) ** 2
    error = np.zeros(len(PENALTIES))
    for held_out in folds:
        xx, xy = held_out[:-n_axes, :-n_axes], held_out[:-n_axes, -n_axes:]
        yy = np.diag(held_out)[-n_axes:]
        for i, weights in enumerate(_solve(total - held_out, n_axes, PENALTIES)):
            squared = yy - 2 * (weights * xy).sum(axis=0) + (weights * (xx @ weights)).sum(axis=0)
            error[i] += (squared / np.where(variance > 0, variance, np.inf)).sum()
    return float(PENALTIES[np.argmin(error)])
