"""What a model reads of a session: values, their z-scoring, and identity by label."""

import warnings

import numpy as np
import xarray as xr

from spikelfp_lab.errors import CheckpointError, SpikeLFPWarning
from spikelfp_lab.models.autoencoder import DIMS, VARIABLES, Autoencoder
from spikelfp_lab.sessions import TRAIN, channel_statistics, observed_mask, split_session


def values_of(session: xr.Dataset, variable: str) -> np.ndarray:
    """Spikes or LFP (time, unit or channel); NaN where a unit was not observed."""
    values, observed = session[variable].to_numpy(), observed_mask(session)
    if variable == "spikes" and observed is not None:
        return np.where(observed, values, np.float32(np.nan))
    return values


def z_scoring(
    session: xr.Dataset, values: np.ndarray, *, scheme: str, window_s: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and SD (C,) of values (T, C), whose last columns are the session's channels, on training
    time, or all time under the paper's scheme; 0 and 1 for counts.
    """
    mean, std = np.zeros(values.shape[1], np.float32), np.ones(values.shape[1], np.float32)
    use = np.ones(len(values), bool)
    if scheme != "paper":
        split = split_session(session, scheme=scheme, window_s=window_s, seed=seed)
        use = split.to_numpy() == TRAIN
    channels = slice(values.shape[1] - session.sizes["channel"], None)
    mean[channels], std[channels] = channel_statistics(values[:, channels], use)
    return mean, std


def labels_of(session: xr.Dataset) -> dict[str, list[str]]:
    """Dimension -> labels of a session's units and channels, as text."""
    dims = [dim for dim in DIMS.values() if dim in session.dims and dim in session.coords]
    return {dim: [str(label) for label in session[dim].to_numpy()] for dim in dims}


def in_order_of(
    model: Autoencoder, session: xr.Dataset, name: str, own_name: str | None = None
) -> xr.Dataset:
    """The session with units and channels in the order of the model's session ``name``.

    Channels are matched by label; units too, but only within their own session (``own_name``, by
    default ``name``). Without labels (models of 0.1.0 and the authors'), by place, which is said.
    """
    found, known = labels_of(session), model.labels.get(name) or {}
    for variable in VARIABLES[model.modality] if name in model.sessions else ():
        dim = DIMS[variable]
        if variable not in session or (dim == "unit" and own_name not in (None, name)):
            continue
        if dim not in known and model.by_place:
            model.by_place = False
            warnings.warn(
                f"the model was saved without labels of its {dim}s: session {name} is matched "
                f"to it by place. Give the same {dim}s in the same order.",
                SpikeLFPWarning,
                stacklevel=3,
            )
        given = found.get(dim, [])
        wanted = known.get(dim, given)
        missing = [label for label in wanted if label not in given]
        extra = [label for label in given if label not in wanted]
        if missing or extra:
            raise CheckpointError(
                f"session {name!r} has {len(wanted)} {dim}s in this model, the data have "
                f"{len(given)}; {len(missing)} are missing {_some(missing)}, {len(extra)} unknown "
                f"{_some(extra)}. Give session {own_name or name} with the model's {dim}s "
                "(session.sel; assign_coords where names alone differ), or finetune(model, "
                "session) under another name."
            )
        if given != wanted:
            session = session.isel({dim: [given.index(label) for label in wanted]})
    return session


def _some(labels: list[str]) -> str:
    return f"[{', '.join(labels[:6])}{', ...' if len(labels) > 6 else ''}]"
