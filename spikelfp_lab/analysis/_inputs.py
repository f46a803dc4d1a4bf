"""What read-outs and decoders are given: latents, behavior and a split of one session, checked."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np
import xarray as xr

from spikelfp_lab._ridge import FOLDS
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.sessions import same_clock, split_session, usable_runs, warn_trained

DEFAULT_SPLIT: dict[str, Any] = {"scheme": "blocks", "window_s": 2.0, "seed": 0}
P = ParamSpec("P")
R = TypeVar("R")


def takes_split(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse the keywords of 0.1.0 that described a split, naming their successor."""
    known = set(inspect.signature(function).parameters)

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if old := {"scheme", "window_s", "seed"} & (set(kwargs) - known):
            raise ConfigError(
                f"{function.__name__} no longer takes {', '.join(sorted(old))}: give "
                "split=split_session(session, scheme=..., window_s=..., seed=...)."
            )
        return function(*args, **kwargs)

    return wrapped


def split_for(
    latents: xr.DataArray,
    session: xr.Dataset,
    split: xr.DataArray | None,
    protocol: str | None = None,
) -> xr.DataArray:
    """The split that is given, else that of the latents' model, else the default."""
    if protocol not in (None, "paper"):
        raise ConfigError(f"Unknown protocol {protocol!r}: give None or 'paper'.")
    attrs, name = getattr(latents, "attrs", {}), name_of(session)
    if name and "encoded_as" in attrs and attrs.get("session", name) != name:
        raise DataError(
            f"These are latents of session {attrs['session']}, the behavior is of {name}: encode "
            f"{name}, or decode with the session that the latents are of."
        )
    own = {key: attrs.get(key, value) for key, value in DEFAULT_SPLIT.items()}
    if split is None:
        asked = {**own, "scheme": "paper"} if protocol == "paper" else own
        source = "latents" if "scheme" in attrs else "default"
        split = split_session(session, **asked).assign_attrs(split_from=source)
    else:
        check_split(split, session["time"], float(session.attrs["bin_size_s"]))
        split = split.assign_attrs(split_from="given")
    encoded_as = attrs.get("encoded_as")
    trained_here = encoded_as is not None and encoded_as == attrs.get("session")
    other = any(split.attrs.get(key) != value for key, value in own.items())
    if other and trained_here and set(DEFAULT_SPLIT) <= set(attrs):
        warn_trained(split, split_session(session, **own))
    return split


def check_split(split: xr.DataArray, time: xr.DataArray, bin_size_s: float) -> None:
    """Refuse a split that is not one of this clock."""
    dims = getattr(split, "dims", type(split).__name__)
    timed = dims == ("time",) and "time" in split.coords
    if not timed or not same_clock(split["time"], time, bin_size_s=bin_size_s):
        raise DataError(
            f"split (of {dims}) is not on the session's clock, {time.size} bins: give "
            "split=split_session(session, ...) of this very session."
        )


def reach_in_bins(lag_s: float, session: xr.Dataset) -> int:
    """Bins within ``lag_s``; a hair more than it, or 0.3 s of 0.1 s bins would be two bins."""
    if not (np.isfinite(lag_s) and lag_s >= 0):
        raise ConfigError(f"lag_s is {lag_s}: give the seconds that lags reach, 0 or more.")
    return int(np.floor(lag_s / float(session.attrs["bin_size_s"]) + 1e-6))


def as_prediction(
    values: np.ndarray, time: xr.DataArray, axes: Sequence[str], attrs: dict[str, Any]
) -> xr.DataArray:
    """(time, behavior_dim) values with their coordinates and attrs."""
    coords = {"time": time.variable, "behavior_dim": list(axes)}
    return xr.DataArray(values, coords, ("time", "behavior_dim"), "predicted_behavior", attrs)


def behavior_of(session: xr.Dataset) -> np.ndarray:
    """(time, axis) float64."""
    if "behavior" not in session:
        raise DataError(
            "The session has no 'behavior' to decode: use a session that has one, or add a "
            "(time, behavior_dim) variable of that name."
        )
    return session["behavior"].transpose("time", "behavior_dim").values.astype(np.float64)


def features_of(
    latents: xr.DataArray, session: xr.Dataset | None = None, *, what: str = "latents"
) -> tuple[np.ndarray, np.ndarray]:
    """(time, feature) float64 and whether each was observed; on the session's clock, if given."""
    dims = getattr(latents, "dims", None)
    if dims is None or len(dims) != 2 or "time" not in dims:
        raise DataError(
            f"{what.capitalize()} must be a DataArray with the dims 'time' and one other, not "
            f"{dims or type(latents)}: give what encode returns, or session['lfp']."
        )
    if "time" not in latents.coords:
        problem = f"{latents.sizes['time']} bins untimed"
    elif session is not None and not same_clock(
        latents["time"], session["time"], bin_size_s=float(session.attrs["bin_size_s"])
    ):
        first, last = latents["time"].values[[0, -1]]
        problem = f"{latents.sizes['time']} bins from {first:g} to {last:g} s"
    else:
        latents = latents.transpose("time", ...)
        values = latents.values.astype(np.float64)
        if "observed" not in latents.coords:
            return values, np.ones(values.shape, bool)
        return values, latents["observed"].transpose("time", ...).values.astype(bool)
    time = latents["time"] if session is None else session["time"].values
    raise DataError(
        f"The {what} are not on the session's clock: they have {problem}, the session has "
        f"{time.size} bins from {time[0]:g} to {time[-1]:g} s. Encode this very session, or "
        f"reindex the {what} to session['time'] (NaN where there is none)."
    )


def filled(values: np.ndarray, observed: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Entries that were not observed at the column's mean over observed training bins."""
    if observed.all():
        return values
    finite = observed & np.isfinite(values)
    total = np.where(finite, values, 0.0)[train].sum(axis=0)
    return np.where(observed, values, total / np.maximum(finite[train].sum(axis=0), 1))


def labels_of(latents: xr.DataArray) -> tuple[Any, ...] | None:
    """Labels of the dim that is not time, None if there are none."""
    dim = next(dim for dim in latents.dims if dim != "time")
    return tuple(latents[dim].values.tolist()) if dim in latents.coords else None


def too_few(part: str, readout: str, lag_s: float, window_s: float | None) -> DataError:
    """The error for a split with too few usable bins."""
    reach = "" if readout == "one_frame" or not lag_s else f", nor within {lag_s:g} s of an edge"
    window = "" if window_s is None else f" (now {window_s:g} s)"
    return DataError(
        f"Too few usable bins in the {part!r} split for the {readout} read-out: it needs at least "
        f"{2 * FOLDS if part == 'train' else 1} where neither latents nor behavior are NaN{reach}. "
        f"Give a longer session, a shorter lag_s, or a split of a shorter window_s{window}."
    )


def whole_rows(
    clock: xr.Dataset, split: np.ndarray, finite: np.ndarray, lags: np.ndarray
) -> np.ndarray:
    """(n,) bins that, with those at all lags from them, are finite and of one run and one split."""
    run = np.full(finite.size, -1)
    for number, (start, stop) in enumerate(usable_runs(clock, variables=())):
        run[start:stop] = number
    usable = finite & (run >= 0)
    change = (np.diff(run) != 0) | (np.diff(split) != 0) | (np.diff(usable.astype(np.int8)) != 0)
    stretch = np.concatenate([[0], np.cumsum(change)])
    before, after = -int(lags[0]), int(lags[-1])
    center = np.arange(before, finite.size - after)
    # Stretches are numbered in order, so equal ends mean that everything between them is the same.
    whole = (stretch[center - before] == stretch[center + after]) & usable[center]
    return center[whole]


def name_of(session: xr.Dataset) -> str | None:
    """subject/session where the attrs have both."""
    names = [session.attrs.get(key) for key in ("subject", "session")]
    return "/".join(map(str, names)) if all(names) else None


def some(names: Sequence[Any]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(str, names[:5])) + more if names else "none"
