"""What read-outs and decoders are given: latents, behavior and a split of one session, checked."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.sessions import as_dataset, same_clock, split_session, warn_trained

DEFAULT_SPLIT: dict[str, Any] = {"scheme": "blocks", "window_s": 2.0, "seed": 0}
PREDICTED = "time", "behavior_dim"  # dims of what decoders return
Session = xr.Dataset | xr.DataTree


class Inputs(NamedTuple):
    """Latents and behavior of one session, on one clock."""

    latents: xr.DataArray
    session: xr.Dataset
    name: str | None  # subject/session, where the attrs have both
    axes: list[str]
    behavior: np.ndarray  # (time, axis)
    values: np.ndarray  # (time, feature)
    observed: np.ndarray  # (time, feature) bool
    split: xr.DataArray  # (time,) with the session's trials

    def filled(self, train: np.ndarray) -> np.ndarray:
        """Values, those not observed at the column's mean over observed training bins."""
        seen = self.observed & np.isfinite(self.values)
        total = np.where(seen, self.values, 0.0)[train].sum(axis=0)
        mean = total / np.maximum(seen[train].sum(axis=0), 1)
        return np.where(self.observed, self.values, mean)

    def predicted(self, values: np.ndarray, **attrs: Any) -> xr.DataArray:
        """(time, axis) values as every decoder returns them."""
        coords = {"time": self.session["time"].variable, "behavior_dim": self.axes}
        coords["split"], attrs = ("time", self.split.values), self.split.attrs | attrs
        return xr.DataArray(values, coords, PREDICTED, "predicted_behavior", attrs)


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
        what = f"These are latents of session {attrs['session']}, the behavior is of {name}"
        raise DataError(f"{what}: encode {name}, or decode with the latents' own session.")
    own = DEFAULT_SPLIT | split_in(attrs)
    source = "given" if split is not None else "latents" if "scheme" in attrs else "default"
    if split is None:
        asked: dict[str, Any] = own | ({"scheme": "paper"} if protocol else {})
        split = split_session(session, **asked)
    check_clock(split, session)
    split = split.assign_attrs(split_from=source)
    known = attrs.get("encoded_as", "") == attrs.get("session") and set(own) <= set(attrs)
    if known and any(split.attrs.get(key) != value for key, value in own.items()):
        warn_trained(split, split_session(session, **own))  # the model's own
    if "trial" in session.coords:
        split = split.assign_coords(trial=("time", session["trial"].values))
    behavior = session["behavior"].transpose("time", "behavior_dim")
    axes, moved = [*map(str, behavior["behavior_dim"].values)], behavior.values.astype(np.float64)
    return Inputs(latents, session, name, axes, moved, values, observed, split)


def split_in(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """What attrs tell of a split: ``scheme``, ``window_s`` and ``seed``, those that are there."""
    return {key: attrs[key] for key in DEFAULT_SPLIT if key in attrs}


def check_clock(given: xr.DataArray, clock: xr.Dataset) -> None:
    """Refuse latents, predictions or a split that are not on this clock."""
    time, bin_size_s = clock["time"], float(clock.attrs["bin_size_s"])
    theirs = getattr(given, "coords", {}).get("time", time[:0])
    if not same_clock(theirs, time, bin_size_s=bin_size_s):
        has, needed = (
            f"{t.size} bins from {t.min(initial=np.inf):.3f} to {t.max(initial=-np.inf):.3f} s"
            for t in (theirs.to_numpy(), time.to_numpy())
        )
        raise DataError(
            f"{getattr(given, 'name', None) or 'An array'} is not on the session's clock: it has "
            f"{has}, the session {needed}. Encode or split this very session, or reindex."
        )


def features_of(latents: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """(time, feature) float64 and whether each was observed."""
    dims = getattr(latents, "dims", ())
    if len(dims) != 2 or "time" not in dims or "time" not in latents.coords:
        what = f"of dims 'time' and one other, with their times, not {dims or type(latents)}"
        raise DataError(f"Latents are a DataArray {what}: as encode gives, or session['lfp'].")
    latents = latents.transpose("time", ...)
    observed = latents.coords.get("observed", xr.ones_like(latents, dtype=bool))
    return latents.values.astype(np.float64), observed.transpose("time", ...).values.astype(bool)


def check_enough(bins: int, least: int, part: str, readout: str) -> None:
    """Refuse a split with too few usable bins."""
    if bins < least:
        what = f"Too few usable bins, without NaN or a lag over an edge, in the {part!r} split"
        cure = "give a longer session, a shorter lag_s, or a shorter window_s"
        raise DataError(f"{what} for the {readout} read-out: {cure}.")
