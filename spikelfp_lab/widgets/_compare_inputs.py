"""What a comparison is given: models and latents, which sessions they can read, and velocity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from spikelfp_lab.errors import ConfigError
from spikelfp_lab.models.autoencoder import VARIABLES, Autoencoder
from spikelfp_lab.sessions import GAP_BINS, same_clock, session_name


def one_axis(values: np.ndarray, data: xr.Dataset, name: str, units: str) -> xr.DataArray:
    coords = {"time": data["time"].values, "behavior_dim": [name]}
    return xr.DataArray(values[:, None], coords, ("time", "behavior_dim"), attrs={"units": units})


def velocity(session: xr.Dataset) -> xr.DataArray:
    """First two axes of velocity: the behavior itself, or the slope of a position."""
    behavior = session["behavior"].transpose("time", "behavior_dim")
    names = [str(name) for name in behavior["behavior_dim"].values]
    if {"vx", "vy"} <= set(names):
        return behavior.sel(behavior_dim=["vx", "vy"])
    behavior = behavior[:, :2]
    if "position" not in str(behavior.attrs.get("kind", "")).lower() and names[:2] != ["x", "y"]:
        return behavior
    bin_size_s = float(session.attrs["bin_size_s"])
    slope = np.gradient(behavior.values.astype(float), axis=0) / bin_size_s
    jump = np.diff(session["time"].values) > GAP_BINS * bin_size_s
    slope[np.append(jump, False) | np.append(False, jump)] = np.nan
    return behavior.copy(data=slope)


def source_of(label: str, given: Any, name: str, *, only: bool) -> Any:
    """The model or latents that were given for a session; None if there are none."""
    one = given.get(name) if isinstance(given, Mapping) else given
    if isinstance(given, xr.DataArray) and not only:
        raise ConfigError(
            f"The latents of {label!r} are of one session: give {{session: latents}}."
        )
    if one is not None and not isinstance(one, Autoencoder | xr.DataArray):
        raise ConfigError(
            f"{label!r} is a {type(one).__name__}: give a model (from pretrain, distill or load), "
            "latents (from encode), or {session name: model}."
        )
    return one


def unreadable(source: Any, session: xr.Dataset, name: str) -> str:
    """Why a model cannot read a session, as far as one sees without encoding; empty if it can."""
    if source is None:
        return "no model was given for this session"
    bin_size_s = float(session.attrs["bin_size_s"])
    if isinstance(source, xr.DataArray):
        timed = source.ndim == 2 and source.dims[0] == "time" and "time" in source.coords
        if timed and same_clock(source["time"], session["time"], bin_size_s=bin_size_s):
            return ""
        return "the latents given are not (time, latent) on the clock of the session"
    reads = VARIABLES[source.modality]
    if not any(variable in session for variable in reads):
        return f"it reads {' or '.join(reads)}, which the session does not have"
    known = [n for n in (session_name(session), name) if n in source.sessions]
    if not known:
        return f"the session is not in its vocabulary ({', '.join(list(source.sessions)[:4])})"
    return ""  # what else is wrong, encode says
