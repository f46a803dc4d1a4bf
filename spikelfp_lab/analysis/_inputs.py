"""What read-outs and decoders are given: latents, behavior and a split of one session, checked."""

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from spikelfp_lab._ridge import FOLDS
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.sessions import as_dataset, same_clock, split_session, warn_trained

DEFAULT_SPLIT: dict[str, Any] = {"scheme": "blocks", "window_s": 2.0, "seed": 0}


Session = xr.Dataset | xr.DataTree


class Inputs(NamedTuple):
    """Latents and behavior of one session, on one clock."""

    session: xr.Dataset
    name: str | None  # subject/session, where the attrs have both
    axes: list[str]
    behavior: np.ndarray  # (time, axis)
    values: np.ndarray  # (time, feature)
    observed: np.ndarray  # (time, feature) bool
    split: xr.DataArray  # (time,) with the session's trials


def inputs_of(
    latents: xr.DataArray, session: Session, split: xr.DataArray | None, protocol: str | None = None
) -> Inputs:
    """With the split that is given, else that of the latents' model, else the default."""
    session = as_dataset(session)
    if protocol not in (None, "paper"):
        raise ConfigError(f"Unknown protocol {protocol!r}: give None or 'paper'.")
    if "behavior" not in session:
        raise DataError("The session has no 'behavior' to decode: use a session that has one.")
    values, observed = features_of(latents)
    check_clock(latents, session)
    names = [session.attrs.get(key) for key in ("subject", "session")]
    attrs, name = latents.attrs, "/".join(map(str, names)) if all(names) else None
    if name and "encoded_as" in attrs and attrs.get("session", name) != name:
        raise DataError(
            f"These are latents of session {attrs['session']}, the behavior is of {name}: encode "
            f"{name}, or decode with the session that the latents are of."
        )
    own = DEFAULT_SPLIT | {key: attrs[key] for key in DEFAULT_SPLIT if key in attrs}
    if split is None:
        asked = own | ({"scheme": "paper"} if protocol else {})
        source = "latents" if "scheme" in attrs else "default"
        split = split_session(session, **asked).assign_attrs(split_from=source)
    else:
        check_clock(split, session)
        split = split.assign_attrs(split_from="given")
    trained_here = attrs.get("encoded_as", "") == attrs.get("session")
    other = any(split.attrs.get(key) != value for key, value in own.items())
    if trained_here and other and set(DEFAULT_SPLIT) <= set(attrs):
        warn_trained(split, split_session(session, **own))
    if "trial" in session.coords:
        split = split.assign_coords(trial=("time", session["trial"].values))
    behavior = session["behavior"].transpose("time", "behavior_dim")
    axes = list(map(str, behavior["behavior_dim"].values))
    return Inputs(session, name, axes, behavior.values.astype(float), values, observed, split)


def check_clock(given: xr.DataArray, clock: xr.Dataset) -> None:
    """Refuse latents, predictions or a split that are not on this clock."""
    time, bin_size_s = clock["time"], float(clock.attrs["bin_size_s"])
    theirs = getattr(given, "coords", {}).get("time", time[:0])
    if not same_clock(theirs, time, bin_size_s=bin_size_s):
        has, needed = (
            f"{t.size} bins" + (f" ({t.min():g} to {t.max():g} s)" if t.size else "")
            for t in (theirs, time)
        )
        raise DataError(
            f"{getattr(given, 'name', None) or 'An array'} is not on the session's clock: it has "
            f"{has}, the session has {needed}. Encode (split_session) this very session, or "
            "reindex to session['time']."
        )


def features_of(latents: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """(time, feature) float64 and whether each was observed."""
    dims = getattr(latents, "dims", ())
    if len(dims) != 2 or "time" not in dims or "time" not in latents.coords:
        raise DataError(
            "Latents must be a DataArray with the dims 'time' and one other, and their times, not "
            f"{dims or type(latents)}: give what encode returns, or session['lfp']."
        )
    latents = latents.transpose("time", ...)
    observed = latents.coords.get("observed", xr.ones_like(latents, dtype=bool))
    return latents.values.astype(np.float64), observed.transpose("time", ...).values.astype(bool)


def filled(values: np.ndarray, observed: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Entries that were not observed at the column's mean over observed training bins."""
    seen = observed & np.isfinite(values)
    total = np.where(seen, values, 0.0)[train].sum(axis=0)
    return np.where(observed, values, total / np.maximum(seen[train].sum(axis=0), 1))


def too_few(part: str, readout: str) -> DataError:
    """The error for a split with too few usable bins."""
    return DataError(
        f"Too few usable bins in the {part!r} split for the {readout} read-out ({2 * FOLDS} in "
        "training, without NaN or a lag over an edge): give a longer session, a shorter lag_s, or "
        "a split of a shorter window_s."
    )
