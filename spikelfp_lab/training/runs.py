"""Folders of trainings: what is finished is found, what is not goes on, what differs is refused."""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors
import safetensors.torch
import torch
import xarray as xr

from spikelfp_lab._files import HOLDER, check_writable, locked, settle, write_whole
from spikelfp_lab._guard import reading
from spikelfp_lab.configs import DistillConfig, MaskConfig, ModelConfig, TrainConfig
from spikelfp_lab.errors import CheckpointError, ConfigError
from spikelfp_lab.models.autoencoder import DIMS, Autoencoder, contents, is_model, load
from spikelfp_lab.training.shards import Processes

CONFIGS = {"model": ModelConfig, "mask": MaskConfig, "train": TrainConfig, "distill": DistillConfig}
TRAINING_VERSION = 1  # raise by hand when the same configs and data come to give other weights
RUN, STATE = "run.json", "state.safetensors"
_OWN = ("model.safetensors", "config.json", STATE, RUN)  # in the order in which they are cleared


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


def kept(
    folder: str | Path | None, recipe: dict[str, Any], named: Mapping[str, xr.Dataset],
    variables: Sequence[str], train: Callable[[Path | None], Autoencoder], *, overwrite: bool,
    processes: Processes,
) -> Autoencoder:  # fmt: skip
    """The model of a recipe and these variables of sessions: found in the folder, or trained."""
    wanted = {"TRAINING_VERSION": TRAINING_VERSION} | json.loads(json.dumps(recipe))
    if any(other != (wanted, [*named]) for other in processes.gather([(wanted, [*named])])):
        text = "the processes of this training were given different configs, sessions or weights"
        raise ConfigError(f"{text}: run the same script on the same data in all of them")
    if folder is None:
        return train(None)
    folder, mine = Path(folder), [*named][processes.rank :: processes.count]
    with processes.together():
        own = [(name, data_digest(named[name], variables)) for name in mine]
    wanted["data"] = dict(processes.gather(own))
    with ExitStack() as stack:
        with processes.together():
            if processes.is_main:
                if overwrite or not is_model(folder):  # what is finished is only read
                    check_writable(folder)
                    stack.enter_context(locked(folder))
                _claim(folder, wanted, overwrite)
                for name in (*_OWN, HOLDER):  # of writers that were killed
                    settle(folder / name)
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
    there = [folder / name for name in _OWN if (folder / name).exists()]
    if there and not overwrite:
        cure = "Pass overwrite=True, or choose another folder (in the repository: `make clean`)."
        if not (folder / RUN).exists():
            raise CheckpointError(f"{folder} holds {there[0].name} that is of no training. {cure}")
        with reading(folder / RUN, "is damaged", cure, kind=CheckpointError):
            found = json.loads((folder / RUN).read_bytes())
            for part in CONFIGS.keys() & found.keys():  # fields that came later are at rest there
                own = CONFIGS[part].from_dict(found[part]).to_dict()
                found[part] = json.loads(json.dumps(own))
            differences = list(_differences(found, wanted))
        if differences:
            listed = "; ".join(differences[:5]) + ("; ..." if len(differences) > 5 else "")
            raise CheckpointError(f"{folder} holds another training: {listed}. {cure}")
        return
    for path in there:
        path.unlink()
    write_whole(folder / RUN, json.dumps(wanted, indent=1).encode())


def _differences(found: dict[str, Any], wanted: dict[str, Any], name: str = "") -> Iterator[str]:
    """What differs between two recipes, in words."""
    for key in dict.fromkeys([*found, *wanted]):
        there, asked = found.get(key), wanted.get(key)
        if isinstance(there, dict) and isinstance(asked, dict):
            yield from _differences(there, asked, f"{name}{key}.")
        elif there != asked:
            yield f"{name}{key} is {there!r} there, and {asked!r} is asked for"


class State:
    """All that a run needs to go on, in one safetensors file."""

    plain = ("step", "best_step", "best_score", "worse", "stopped", "rows")  # what is JSON of it

    def __init__(self, model: Autoencoder, optimizer: torch.optim.Optimizer):
        self.model, self.optimizer = model, optimizer
        self.best = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        self.step, self.best_step, self.best_score = 0, 0, math.inf
        self.worse, self.stopped = 0, False
        self.rows: list[tuple[int, str, str, float]] = []

    def history(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=["step", "split", "metric", "value"])

    def apply(self, rate: float) -> None:
        """Take a step of the optimizer at a learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def record(self, means: dict[str, float], metrics: dict[str, float], patience: int | None):
        """Keep what a validation found, and the weights where they are the best so far."""
        for split, found in (("train", means), ("val", metrics)):
            self.rows += [(self.step, split, name, value) for name, value in found.items()]
        if metrics["score"] < self.best_score:
            self.best_score, self.best_step, self.worse = metrics["score"], self.step, 0
            self.best = {key: value.clone() for key, value in self.model.state_dict().items()}
        else:
            self.worse += 1
            self.stopped = patience is not None and self.worse >= patience

    def finish(self) -> Autoencoder:
        """The model with its best weights and their history."""
        self.model.load_state_dict(self.best)
        self.model.history = self.history()
        self.model.info["best_step"] = self.best_step
        return self.model.eval()

    def write(self, path: Path) -> None:
        parts = {"model": self.model.state_dict(), "best": self.best}
        moments = self.optimizer.state_dict()["state"]
        parts |= {f"optimizer.{index}": values for index, values in moments.items()}
        tensors = {
            f"{part}.{name}": value.detach().contiguous().cpu()
            for part, values in parts.items()
            for name, value in values.items()
        }
        plain = json.dumps({name: getattr(self, name) for name in self.plain})
        write_whole(path, safetensors.torch.save(tensors, {"state": plain}))

    def read(self, path: Path) -> None:
        cure = "Pass overwrite=True to train anew, or delete it."
        with reading(path, "is damaged", cure, kind=CheckpointError):
            with safetensors.safe_open(path, framework="pt") as file:
                plain = json.loads(file.metadata()["state"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            keys, moments = self.best, self.optimizer.state_dict() | {"state": defaultdict(dict)}
            for key in tensors.keys() - {f"{p}.{k}" for p in ("model", "best") for k in keys}:
                _, index, name = key.split(".")
                moments["state"][int(index)][name] = tensors[key]
            self.model.load_state_dict({key: tensors[f"model.{key}"] for key in keys})
            self.best = {k: tensors[f"best.{k}"].to(old.device) for k, old in keys.items()}
            self.optimizer.load_state_dict(moments)
            for name in self.plain:
                setattr(self, name, plain[name])
