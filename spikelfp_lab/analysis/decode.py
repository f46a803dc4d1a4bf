"""Linear read-outs: how well latents (or raw channels, or counts) tell the behavior.

Two read-outs are always reported side by side. *One-frame* sees the latent of the same bin only;
*lagged* sees every bin within ``lag_s`` on either side. A latent that carries its own history wins
in the first and not in the second, which is why one of them alone would flatter it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab.analysis._read_out import behavior_of, features_of, fit_lagged_ridge, too_few
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.sessions import warn_trained
from spikelfp_lab.sessions.schema import as_dataset
from spikelfp_lab.sessions.windows import TEST, TRAIN, VAL, split_session

READOUTS = ("one_frame", "lagged")
COLUMNS = ("readout", "split", "axis", "r2")
SPLITS = {"train": TRAIN, "val": VAL, "test": TEST}


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

    Warns
    -----
    SpikeLFPWarning
        When test time of the split asked for is time that the latents' model was trained on.

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
        rows.extend(score(predicted, session).itertuples(index=False, name=None))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def score(
    predicted: xr.DataArray, session: xr.Dataset | xr.DataTree, *, readout: str | None = None
) -> pd.DataFrame:
    """R² of any prediction of the behavior on each split: the rows that :func:`decode` gives.

    Bins where the prediction or the behavior is NaN are left out.

    Parameters
    ----------
    predicted : xr.DataArray
        (time, behavior_dim), in the units of ``behavior``, on the clock of the session, with the
        coordinate ``split`` (time) of ``split_session``: what :func:`predict`, :func:`wiener`,
        :func:`kalman`, :func:`gru` and :func:`psid` return. With the attribute ``protocol`` =
        "paper" there is one more split, "valtest": both pooled.
    session : xr.Dataset or xr.DataTree
        A session with ``behavior``, or a leaf of a cohort.
    readout : str, optional
        Name in the column ``readout``; by default the prediction's attribute of that name.

    Returns
    -------
    pd.DataFrame
        Columns ``readout``, ``split``, ``axis`` and ``r2``, as :func:`decode`.

    Raises
    ------
    DataError
        No behavior, or axes other than those predicted; a prediction on another clock, or without
        ``split``; no bin to score in a split.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from spikelfp_lab import split_session
    >>> time = np.arange(2000) / 100
    >>> session = xr.Dataset(
    ...     {"behavior": (("time", "behavior_dim"), np.sin(time)[:, None])},
    ...     coords={"time": time, "behavior_dim": ["vx"]},
    ...     attrs={"bin_size_s": 0.01},
    ... )
    >>> guess = session["behavior"].assign_coords(split=split_session(session, window_s=0.5))
    >>> score(guess, session, readout="the truth")["r2"].tolist()
    [1.0, 1.0, 1.0]
    """
    session = as_dataset(session)
    true = behavior_of(session)
    said = predicted.attrs
    readout = readout or str(said.get("readout", "predicted"))
    if set(predicted.dims) != {"time", "behavior_dim"} or "split" not in predicted.coords:
        raise DataError(
            "A prediction needs the dims 'time' and 'behavior_dim' and the coordinate 'split' "
            f"(time); this one has the dims {predicted.dims} and the coordinates "
            f"{', '.join(map(str, predicted.coords))}. Add it: predicted.assign_coords("
            "split=split_session(session, window_s=...))."
        )
    axes, own = (list(map(str, x["behavior_dim"].values)) for x in (predicted, session))
    if axes != own:
        raise DataError(
            f"The prediction is of {', '.join(axes)}, the session's behavior has "
            f"{', '.join(own)}: predict this very session."
        )
    values = features_of(predicted, session, what="predictions")
    parts: dict[str, tuple[int, ...]] = {name: (code,) for name, code in SPLITS.items()}
    if said.get("protocol") == "paper":
        parts["valtest"] = (VAL, TEST)
    split = predicted["split"].values
    scored = np.isfinite(true).all(axis=1) & np.isfinite(values).all(axis=1)
    rows = []
    for part, codes in parts.items():
        use = scored & np.isin(split, codes)
        if not use.any():
            raise too_few(part, readout, said.get("lag_s", 0.0), said.get("window_s"))
        for axis, value in zip(axes, r2_by_axis(true[use], values[use]), strict=True):
            rows.append((readout, part, axis, float(value)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


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
        train, 1 val, 2 test, -1 guard. ``attrs`` name the read-out, the ``relative_penalty`` and the
        split's scheme, window and seed.

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
    apply = fit_read_out(
        latents,
        session,
        readout=readout,
        lag_s=lag_s,
        scheme=scheme,
        window_s=window_s,
        seed=seed,
        protocol=protocol,
    )
    return apply(latents)


def fit_read_out(
    latents: xr.DataArray,
    session: xr.Dataset | xr.DataTree,
    *,
    readout: str = "lagged",
    lag_s: float = 0.1,
    scheme: str | None = None,
    window_s: float | None = None,
    seed: int | None = None,
    protocol: str | None = None,
) -> Callable[[xr.DataArray], xr.DataArray]:
    """The read-out that :func:`predict` fits, to be applied to other latents of the session too.

    Parameters
    ----------
    latents, session, readout, lag_s, scheme, window_s, seed, protocol
        As for :func:`predict`.

    Returns
    -------
    callable
        Latents (time, feature) -> what :func:`predict` returns, without another fit.

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
    >>> apply = fit_read_out(latents, session, readout="one_frame", window_s=0.5)
    >>> apply(latents).equals(predict(latents, session, readout="one_frame", window_s=0.5))
    True
    """
    session = as_dataset(session)
    split = split_for(
        latents, session, scheme=scheme, window_s=window_s, seed=seed, protocol=protocol
    )
    options = _ridge_options(readout, session, lag_s, protocol)
    fitted = fit_lagged_ridge(latents, session, split, **options)
    return lambda others: fitted.apply(others, session, split)


def _ridge_options(
    readout: str, session: xr.Dataset, lag_s: float, protocol: str | None
) -> dict[str, Any]:
    if readout not in READOUTS:
        raise ConfigError(f"Unknown read-out {readout!r}: give one of {', '.join(READOUTS)}.")
    reach = reach_in_bins(lag_s, session) if readout == "lagged" else 0
    return {
        "lags": np.arange(-reach, reach + 1),
        "penalty": 0.0 if protocol == "paper" else None,
        "attrs": {"readout": readout, "lag_s": lag_s}
        | ({"protocol": protocol} if protocol else {}),
    }


def split_for(
    latents: xr.DataArray,
    session: xr.Dataset,
    *,
    scheme: str | None,
    window_s: float | None,
    seed: int | None,
    protocol: str | None,
) -> xr.DataArray:
    """The split of a session that is asked for, else that of the latents' model, else the default."""
    if protocol not in (None, "paper"):
        raise ConfigError(f"Unknown protocol {protocol!r}: give None or 'paper'.")
    scheme, window_s, seed = _split_of(latents, scheme, window_s, seed)
    if protocol == "paper":
        scheme = "paper"
    split = split_session(session, scheme=scheme, window_s=window_s, seed=seed)
    said = getattr(latents, "attrs", {})
    own = said.get("encoded_as") is not None and said["encoded_as"] == said.get("session")
    if own and {"scheme", "window_s", "seed"} <= set(said):  # the model was trained on this session
        trained_on = {key: said[key] for key in ("scheme", "window_s", "seed")}
        if any(split.attrs[key] != value for key, value in trained_on.items()):
            warn_trained(split, split_session(session, **trained_on))
    return split


def reach_in_bins(lag_s: float, session: xr.Dataset) -> int:
    """Bins within ``lag_s``; a hair more than it, or 0.3 s of 0.1 s bins would be two bins."""
    return int(np.floor(lag_s / float(session.attrs["bin_size_s"]) + 1e-6))


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
