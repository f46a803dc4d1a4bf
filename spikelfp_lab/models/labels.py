"""Identity by label: a session's units and channels in the order that the model knows them in."""

from __future__ import annotations

import warnings

import xarray as xr

from spikelfp_lab.errors import CheckpointError, SpikeLFPWarning
from spikelfp_lab.models.autoencoder import DIMS, VARIABLES, Autoencoder


def labels_of(session: xr.Dataset) -> dict[str, list[str]]:
    """Dimension -> labels of a session's units and channels, as text."""
    return {
        dim: [str(label) for label in session[dim].to_numpy()]
        for dim in DIMS.values()
        if dim in session.dims and dim in session.coords
    }


def in_order_of(
    model: Autoencoder, session: xr.Dataset, name: str, own_name: str | None = None
) -> xr.Dataset:
    """The session with units and channels in the order of the model's session ``name``.

    Channels are matched by label; units too, but only within their own session (``own_name``, by
    default ``name``): another session's units are others, whatever they are called. Without
    labels (models of version 0.1.0 and the authors'), by place, which is said once a model.
    """
    if name not in model.sessions:
        return session
    found = labels_of(session)
    known = model.labels.get(name) or {}
    for variable in VARIABLES[model.modality]:
        dim = DIMS[variable]
        if variable not in session or (dim == "unit" and own_name not in (None, name)):
            continue
        if dim not in known:
            if model.by_place:
                model.by_place = False
                warnings.warn(
                    f"the model was saved without labels of its {dim}s: session {name} is matched "
                    f"to it by place. Give the same {dim}s in the same order.",
                    SpikeLFPWarning,
                    stacklevel=3,
                )
            continue
        wanted, given = known[dim], found.get(dim, [])
        if given == wanted:
            continue
        place = {label: index for index, label in enumerate(given)}
        missing = [label for label in wanted if label not in place]
        extra = [label for label in given if label not in set(wanted)]
        if missing or extra:
            raise CheckpointError(
                f"session {name!r} has {len(wanted)} {dim}s in this model, the data have "
                f"{len(given)}; {len(missing)} are missing {_some(missing)}, {len(extra)} unknown "
                f"{_some(extra)}. Give session {own_name or name} with the model's {dim}s "
                f"(session.sel; assign_coords where names alone differ), or finetune(model, "
                "session) under another name."
            )
        session = session.isel({dim: [place[label] for label in wanted]})
    return session


def _some(labels: list[str]) -> str:
    return f"[{', '.join(labels[:6])}{', ...' if len(labels) > 6 else ''}]"
