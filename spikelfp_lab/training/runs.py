"""Folders of trainings: what is finished is found, what is not goes on, what differs is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from spikelfp_lab._files import check_writable, locked, write_whole
from spikelfp_lab.errors import CheckpointError
from spikelfp_lab.models.autoencoder import DIMS, Autoencoder, load
from spikelfp_lab.models.checkpoint import contents, is_model
from spikelfp_lab.training.processes import Processes

TRAINING_VERSION = 1  # raise by hand when the same configs and data come to give other weights
RUN, STATE = "run.json", "state.safetensors"
_OWN = (RUN, STATE, "config.json", "model.safetensors")


def data_digest(session: xr.Dataset, variables: Sequence[str]) -> str:
    """A short hash of variables, their labels, and the coordinates that decide on windows."""
    total = hashlib.sha256()
    coords = {"time", "trial", "observed", *(DIMS.get(name, "behavior_dim") for name in variables)}
    for name in [*variables, *sorted(coords)]:
        if name in session.variables:
            values = session[name].to_numpy()
            plain = values.astype("U") if values.dtype.kind in "OU" else values
            total.update(name.encode() + str((plain.dtype.kind, plain.shape)).encode())
            total.update(np.ascontiguousarray(plain).tobytes())
    return total.hexdigest()[:12]


def data_digests(
    named: Mapping[str, xr.Dataset], variables: Sequence[str], processes: Processes
) -> dict[str, str]:
    """Name -> digest; of several processes each reads its part of the sessions."""
    with processes.together():
        own = [
            (name, data_digest(session, variables))
            for i, (name, session) in enumerate(named.items())
            if i % processes.count == processes.rank
        ]
    found = dict(processes.gather(own))
    return {name: found[name] for name in named}


def kept(
    folder: str | Path | None,
    recipe: Callable[[], dict[str, Any]],
    train: Callable[[Path | None], Autoencoder],
    *,
    overwrite: bool,
    processes: Processes,
) -> Autoencoder:
    """The model of a recipe (JSON): found in the folder, or trained there.

    A second process that asks for the same folder waits for the first and takes its result.
    Training that a callback stopped is not finished: the next call goes on with it.
    """
    if folder is None:
        return train(None)
    folder, wanted = Path(folder), {"TRAINING_VERSION": TRAINING_VERSION} | recipe()
    with ExitStack() as stack:
        with processes.together():
            if processes.is_main:
                if overwrite or not is_model(folder):  # what is finished is only read
                    check_writable(folder)
                    stack.enter_context(locked(folder))
                _claim(folder, wanted, overwrite)
        with processes.together():
            found = load(folder).to(processes.device) if is_model(folder) else None
        if found is not None:
            return found
        model = train(folder)
        with processes.together():
            if processes.is_main and "stopped_at" not in model.info:
                for name, content in contents(model).items():  # config.json last: it is finished
                    write_whole(folder / name, content)
                (folder / STATE).unlink(missing_ok=True)
    return model


def _claim(folder: Path, wanted: dict[str, Any], overwrite: bool) -> None:
    """Refuse a folder of another training, or clear it; then say whose it is."""
    there = [folder / name for name in reversed(_OWN) if (folder / name).exists()]
    wanted = json.loads(json.dumps(wanted))
    if there and not overwrite:
        cure = "Pass overwrite=True, or choose another folder (in the repository: `make clean`)."
        if not (folder / RUN).exists():
            raise CheckpointError(
                f"{folder} holds {there[-1].name} of version 0.1.0, or a model that was saved "
                f"there and not trained there. {cure}"
            )
        try:
            found = json.loads((folder / RUN).read_bytes())
            differences = list(_differences(found, wanted))
        except (ValueError, AttributeError) as error:
            raise CheckpointError(f"{folder / RUN} is damaged ({error}). {cure}") from error
        if differences:
            listed = "; ".join(differences[:5]) + ("; ..." if len(differences) > 5 else "")
            raise CheckpointError(f"{folder} holds another training: {listed}. {cure}")
        return
    for path in there:
        path.unlink()
    write_whole(folder / RUN, json.dumps(wanted, indent=1).encode())


def _differences(found: Any, wanted: Any, name: str = "") -> Iterator[str]:
    """What differs between two recipes, in words."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in dict.fromkeys([*found, *wanted]):
            deeper = f"{name}.{key}" if name else key
            yield from _differences(found.get(key), wanted.get(key), deeper)
    elif found != wanted:
        yield f"{name} is {found!r} there, and {wanted!r} is asked for"
