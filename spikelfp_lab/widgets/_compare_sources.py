"""What a comparison is made of: which model reads which session, why another cannot, and how time is split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.models import encode
from spikelfp_lab.models.autoencoder import VARIABLES, Autoencoder
from spikelfp_lab.sessions import session_name, split_session

Source: TypeAlias = Autoencoder | xr.DataArray
Pair: TypeAlias = tuple[str, str]  # label of a model, name of a session


def sources_of(
    models: Mapping[str, Any], sessions: Mapping[str, xr.Dataset]
) -> tuple[dict[Pair, Source], dict[Pair, str]]:
    """Who gives the latents of each pair of model and session, and why the others cannot.

    Parameters
    ----------
    models : mapping
        Label -> model, or latents (time, latent) of the only session, or session name -> either.
    sessions : mapping
        Name -> session.

    Returns
    -------
    tuple of dict
        (label, session) -> model or latents, and (label, session) -> reason. Each pair is in one of them.

    Raises
    ------
    ConfigError
        No models, or something that is neither a model, latents nor a mapping of them.
    DataError
        Nobody can read anything.

    Examples
    --------
    >>> time = np.arange(100) / 10
    >>> session = xr.Dataset(coords={"time": time}, attrs={"subject": "I", "session": "s01"})
    >>> latents = xr.DataArray(np.ones((100, 3)), dims=("time", "latent"), coords={"time": time})
    >>> found, reasons = sources_of({"Mine": {"I/s01": latents}, "Other": {}}, {"I/s01": session})
    >>> list(found), reasons
    ([('Mine', 'I/s01')], {('Other', 'I/s01'): 'no model was given for this session'})
    """
    if not isinstance(models, Mapping) or not models:
        raise ConfigError(
            "There are no models to compare: give a dict of label -> model, or label -> {session name: model}."
        )
    found: dict[Pair, Source] = {}
    reasons: dict[Pair, str] = {}
    for label, given in models.items():
        for name, session in sessions.items():
            pair = (str(label), name)
            source = _given_for(str(label), given, name, len(sessions))
            if source is None:
                reasons[pair] = "no model was given for this session"
            elif reason := why_unreadable(source, session, name):
                reasons[pair] = reason
            else:
                found[pair] = source
    if not found:
        listed = "; ".join(f"{label} on {name}: {why}" for (label, name), why in reasons.items())
        raise DataError(f"None of the models can read any of the sessions. {listed}.")
    return found, reasons


def why_unreadable(source: Source, session: xr.Dataset, name: str) -> str:
    """Why a model cannot read a session, in words; empty if it can.

    Examples
    --------
    >>> from spikelfp_lab import ModelConfig
    >>> model = Autoencoder(ModelConfig(), modality="lfp", sessions={"I/s01": 4}, bin_size_s=0.01)
    >>> why_unreadable(model, xr.Dataset(attrs={"subject": "I", "session": "s01"}), "I/s01")
    'it reads LFP, which the session does not have'
    """
    if isinstance(source, xr.DataArray):
        same = source.ndim == 2 and source.dims[0] == "time" and "time" in source.coords
        same = same and source.sizes["time"] == session.sizes["time"]
        if not same or not np.allclose(source["time"], session["time"]):
            return "the latents given are not (time, latent) on the clock of the session"
        return ""
    reads = VARIABLES[source.modality]
    if not any(variable in session for variable in reads):
        spoken = " or ".join({"lfp": "LFP"}.get(variable, variable) for variable in reads)
        return f"it reads {spoken}, which the session does not have"
    known = vocabulary_name(source, session, name)
    if known is None:
        names = list(source.sessions)
        some = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
        return f"the session is not in its vocabulary ({some})"
    size = source.sessions[known]
    for variable, wanted in zip(reads, (size,) if isinstance(size, int) else size, strict=True):
        if variable in session and session[variable].shape[1] != wanted:
            what = "units" if variable == "spikes" else "channels"
            return (
                f"it knows {wanted} {what} of the session, which has {session[variable].shape[1]}"
            )
    bin_size = float(session.attrs["bin_size_s"])
    if not np.isclose(bin_size, source.bin_size_s, rtol=1e-3):
        return f"it reads bins of {source.bin_size_s:g} s, the session has {bin_size:g} s"
    return ""


def vocabulary_name(model: Autoencoder, session: xr.Dataset, name: str) -> str | None:
    """What a model calls a session: its own name, or the one the cohort gives it; None if neither is known."""
    return next((known for known in (session_name(session), name) if known in model.sessions), None)


def latents_from(
    source: Source, session: xr.Dataset, name: str, *, layer: int | None = None
) -> xr.DataArray:
    """Latents (time, latent) of a session, of the last layer or another."""
    if isinstance(source, xr.DataArray):
        return source
    known = vocabulary_name(source, session, name)
    borrowed = None if known == session_name(session) else known
    return encode(source, session, as_session=borrowed, layer=layer, progress=False)


def split_of(source: Source, session: xr.Dataset) -> xr.DataArray:
    """How time was split in a model's training, as ``decode`` takes it: (time,) codes of ``split_session``."""
    said = source.attrs if isinstance(source, xr.DataArray) else source.info.get("train", {})
    return split_session(
        session,
        scheme=said.get("scheme", "blocks"),
        window_s=said.get("window_s", 2.0),
        seed=said.get("seed", 0),
    )


def _given_for(label: str, given: Any, name: str, n_sessions: int) -> Source | None:
    if isinstance(given, Autoencoder):
        return given
    if isinstance(given, xr.DataArray):
        if n_sessions > 1:
            raise ConfigError(
                f"The latents of {label!r} are of one session, but there are {n_sessions}: "
                "give {session name: latents}."
            )
        return given
    if isinstance(given, Mapping):
        one = given.get(name)
        if one is None or isinstance(one, Autoencoder | xr.DataArray):
            return one
        given = one
    raise ConfigError(
        f"{label!r} is a {type(given).__name__}: give a model (from pretrain, distill or load), "
        "latents (from encode), or {session name: model}."
    )
