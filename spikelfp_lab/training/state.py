"""What a training keeps: its state, from which a killed run goes on, and the steps since the last
validation.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from spikelfp_lab._files import write_whole
from spikelfp_lab.errors import CheckpointError, DataError
from spikelfp_lab.models.autoencoder import Autoencoder
from spikelfp_lab.training.processes import Processes
from spikelfp_lab.training.shards import Shards


class State:
    """All that a run needs to go on: weights, best weights, optimizer, step and history, in one
    safetensors file.
    """

    def __init__(self, model: Autoencoder, optimizer: torch.optim.Optimizer, fingerprint: str):
        self.model, self.optimizer, self.fingerprint = model, optimizer, fingerprint
        self.best = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        self.step, self.best_step, self.best_score = 0, 0, math.inf
        self.worse, self.stopped = 0, False
        self.rows: list[tuple[int, str, str, float]] = []

    def history(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=["step", "split", "metric", "value"])

    def record(
        self, means: dict[str, float], metrics: dict[str, float], patience: int | None
    ) -> None:
        self.rows += [(self.step, "train", name, value) for name, value in means.items()]
        self.rows += [(self.step, "val", name, value) for name, value in metrics.items()]
        if metrics["score"] < self.best_score:
            self.best_score, self.best_step, self.worse = metrics["score"], self.step, 0
            self.best = {key: tensor.clone() for key, tensor in self.model.state_dict().items()}
        else:
            self.worse += 1
            self.stopped = patience is not None and self.worse >= patience

    def write(self, path: Path) -> None:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in moments.items()}
        plain = {
            "fingerprint": self.fingerprint,
            "step": self.step,
            "best_step": self.best_step,
            "best_score": self.best_score,
            "worse": self.worse,
            "stopped": self.stopped,
            "rows": self.rows,
        }
        contiguous = {k: v.detach().contiguous().cpu() for k, v in tensors.items()}
        write_whole(path, safetensors.torch.save(contiguous, {"state": json.dumps(plain)}))

    def read(self, path: Path) -> None:
        try:
            self._restore(path)
        except CheckpointError:
            raise
        except Exception as error:  # bytes of any kind may be wrong
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"{path} is damaged ({type(error).__name__}: {reason}). Pass overwrite=True to "
                "train anew, or delete it."
            ) from error

    def _restore(self, path: Path) -> None:
        with safetensors.safe_open(path, framework="pt") as file:
            plain = json.loads(file.metadata()["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if plain["fingerprint"] != self.fingerprint:
            raise CheckpointError(
                f"{path} belongs to a run with other configs or other data. Pass overwrite=True, "
                "or choose another folder."
            )
        part: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
        for key, value in tensors.items():
            kind, _, name = key.partition(".")
            part[kind][name] = value
        self.model.load_state_dict(part["model"])
        device = next(self.model.parameters()).device
        self.best = {key: part["best"][key].to(device) for key in self.best}
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in part["optimizer"].items():
            index, name = key.split(".")
            moments.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        for name in ("step", "best_step", "best_score", "worse", "stopped"):
            setattr(self, name, plain[name])
        self.rows = [tuple(row) for row in plain["rows"]]


class Recent:
    """What happened since the last validation: on the device, so that nothing waits for it."""

    def __init__(self) -> None:
        self.terms: dict[str, list[Tensor]] = {}  # a step, this process's part of the mean
        self.losses: list[Tensor] = []  # a turn
        self.totals: list[Tensor] = []  # a step: loss and gradient norm over all shards
        self.norms: list[Tensor] = []

    def add(self, weight: float, terms: dict[str, Tensor]) -> None:
        """A turn of the step that is under way."""
        self.losses.append(terms["loss"].detach())
        for name, value in terms.items():
            part, values = weight * value.detach(), self.terms.setdefault(name, [])
            if len(values) > len(self.totals):
                values[-1] = values[-1] + part
            else:
                values.append(part)

    def loss(self) -> Tensor:
        """This process's part of the loss of the step that is under way."""
        return self.terms["loss"][-1]

    def end_step(self, total: Tensor, norm: Tensor) -> None:
        self.totals.append(total)
        self.norms.append(norm)

    def finite(self, last: int = 0) -> bool:
        """Whether loss and gradient were finite in the last steps, or in all (0); the same in every
        process.
        """
        return bool(torch.stack(self.totals[-last:] + self.norms[-last:]).isfinite().all())

    def means(self, processes: Processes) -> dict[str, float]:
        """Mean of each term over the steps."""
        return {
            name: processes.sum(torch.stack(values).mean()).item()
            for name, values in self.terms.items()
        }

    def error(self, label: str, state: State, cohort: Shards | None) -> DataError:
        """What to say of the first step that was not finite; the same in every process."""
        n_steps = len(self.totals)
        broken = ~torch.stack(self.losses).view(n_steps, -1).isfinite().cpu()  # (step, own shard)
        lost = broken.new_zeros(n_steps, 1 if cohort is None else cohort.train.shards).float()
        lost[:, [0] if cohort is None else list(cohort.shares)] = broken.float()
        if cohort is not None:
            lost = cohort.processes.sum(lost)
        bad = lost.any(dim=1) | ~torch.stack(self.norms).isfinite().cpu()
        first = int(bad.int().argmax())
        step = state.step - n_steps + first
        what = "loss" if lost[first].any() else "gradient"
        shards = lost[first].nonzero().flatten() if what == "loss" else range(lost.shape[1])
        where = ""
        if cohort is not None:
            names = dict.fromkeys(cohort.drawn(step, int(shard)) for shard in shards)
            where = f" in session {' or '.join(names)}"
        return DataError(
            f"{label}: the {what} is no longer finite at step {step + 1}{where}. The weights kept "
            f"are those of step {state.best_step}. "
            "Look for extreme values in the data, or lower TrainConfig.lr."
        )
