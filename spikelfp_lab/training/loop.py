"""The training loop: one for every model; what is learned comes from the objective it is given.

AdamW, linear warm-up and cosine decay, gradient clipping, validation, best weights kept, early stopping. Random numbers are seeded anew at
every step from (seed, step), and the whole state is written at every validation, so that a run killed at any moment and started again
ends, on the CPU, with the same weights bit for bit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pandas as pd
import safetensors
import safetensors.torch
import torch
from torch import Tensor
from tqdm.auto import tqdm

from spikelfp_lab.configs import TrainConfig
from spikelfp_lab.errors import CheckpointError, DataError
from spikelfp_lab.models.autoencoder import Autoencoder
from spikelfp_lab.models.checkpoint import write_atomic
from spikelfp_lab.models.device import autocast

Callback = Callable[[pd.DataFrame], None]


class StopTraining(Exception):
    """Raised by a callback to end training at once, with its best weights, as if patience had run out.

    The state of the run is not marked as stopped: the same call with the same ``folder`` goes on from this step.

    >>> def enough(history):
    ...     if history["step"].max() >= 1000:
    ...         raise StopTraining
    """


class Objective(Protocol):
    """What a model learns."""

    def loss(self, model: Autoencoder, step: int) -> dict[str, Tensor]:
        """Terms of the training loss of a step; ``"loss"`` is the one that is minimized."""
        ...

    def validate(self, model: Autoencoder) -> dict[str, float]:
        """Metrics on validation windows; the lowest ``"score"`` marks the best weights."""
        ...


def learning_rate(step: int, train: TrainConfig) -> float:
    """Learning rate of a step: a linear rise over the warm-up, then half a cosine down to ``final_lr``.

    >>> round(learning_rate(99, TrainConfig(steps=1000, warmup=0.1, lr=1e-3)), 6)
    0.001
    """
    rise = max(1, round(train.warmup * train.steps))
    if step < rise:
        return train.lr * (step + 1) / rise
    done = (step - rise) / max(1, train.steps - rise)
    return train.lr * (train.final_lr + (1 - train.final_lr) * 0.5 * (1 + math.cos(math.pi * done)))


def make_optimizer(model: Autoencoder, train: TrainConfig) -> torch.optim.AdamW:
    """AdamW; only matrices decay, not biases, norms, or the tokenizer's tables."""
    decay, keep = [], []
    for name, parameter in model.named_parameters():
        table = name.startswith("tokenizer.") and bool(
            {"space", "maps", "table"} & {*name.split(".")}
        )
        (keep if parameter.dim() < 2 or table else decay).append(parameter)
    groups = [
        {"params": decay, "weight_decay": train.weight_decay},
        {"params": keep, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=train.lr, fused=True)


def fit(
    model: Autoencoder,
    objective: Objective,
    *,
    train: TrainConfig,
    label: str,
    progress: bool = True,
    folder: Path | None = None,
    fingerprint: str = "",
    callbacks: Sequence[Callback] = (),
) -> Autoencoder:
    """Train ``model`` in place and return it with its best weights, its ``history`` set.

    Parameters
    ----------
    model : Autoencoder
        On its device.
    objective : Objective
    train : TrainConfig
    label : str
        In front of the progress bar.
    folder : Path, optional
        Where the state of an unfinished run is kept; a run started again with the same ``fingerprint`` goes on from there.
    fingerprint : str
        Hash of initial weights, configs and data; a state with another one is refused.
    callbacks : sequence of functions
        Called with the tidy history after each validation; one may raise :class:`StopTraining`. A callback that has a method
        ``watch(model, *, step, steps)`` gets the model, the step that training begins at and the last one: the method gives a context manager,
        within which training takes place.

    Raises
    ------
    DataError
        The loss is no longer finite; says at which step.
    CheckpointError
        ``folder`` holds the state of another run: other configs, data or first weights.
    """
    optimizer = make_optimizer(model, train)
    state = _State(model, optimizer, fingerprint)
    state_file = None if folder is None else folder / "state.safetensors"
    if state_file is not None and state_file.exists():
        state.read(state_file)
    device = next(model.parameters()).device

    bar = tqdm(total=train.steps, initial=state.step, desc=label, disable=not progress, unit="step")
    losses: dict[str, list[Tensor]] = {}
    model.train()
    with ExitStack() as around:
        around.enter_context(bar)
        for callback in callbacks:
            if watch := getattr(callback, "watch", None):
                around.enter_context(watch(model, step=state.step, steps=train.steps))
        while state.step < train.steps and not state.stopped:
            torch.manual_seed(train.seed * 1_000_003 + state.step)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(state.step, train)
            with autocast(device):
                terms = objective.loss(model, state.step)
            terms["loss"].backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), train.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            for name, value in terms.items():
                losses.setdefault(name, []).append(value.detach())
            state.step += 1
            bar.update()

            if state.step % train.val_every == 0 or state.step == train.steps:
                means = {name: torch.stack(values).mean().item() for name, values in losses.items()}
                losses.clear()
                if not (math.isfinite(means["loss"]) and math.isfinite(norm.item())):
                    raise DataError(
                        f"{label}: the loss is no longer finite at step {state.step} (last validation was fine). "
                        "Look for extreme values in the data, or lower TrainConfig.lr."
                    )
                model.eval()
                with torch.inference_mode(), autocast(device):
                    metrics = objective.validate(model)
                model.train()
                if not math.isfinite(metrics["score"]):
                    raise DataError(
                        f"{label}: the validation score is {metrics['score']} at step {state.step}. "
                        "Look for extreme values in the validation part of the data."
                    )
                state.record(means, metrics, train.patience)
                bar.set_postfix(loss=f"{means['loss']:.3f}", val=f"{metrics['score']:.3f}")
                if state_file is not None:
                    state.write(state_file)
                try:
                    for callback in callbacks:
                        callback(state.history())
                except StopTraining:
                    break
    model.load_state_dict(state.best)
    model.history = state.history()
    model.info["best_step"] = state.best_step
    return model.eval()


class _State:
    """All that a run needs to go on: weights, best weights, optimizer, step and history, in one safetensors file."""

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
        write_atomic(path, safetensors.torch.save(contiguous, {"state": json.dumps(plain)}))

    def read(self, path: Path) -> None:
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                plain = json.loads(file.metadata()["state"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path} is damaged: delete it to start this training anew"
            ) from error
        if plain["fingerprint"] != self.fingerprint:
            raise CheckpointError(
                f"{path} belongs to a run with other configs or other data: choose another folder, or delete it to start anew"
            )
        part = {
            prefix: {
                key.removeprefix(f"{prefix}."): value
                for key, value in tensors.items()
                if key.startswith(f"{prefix}.")
            }
            for prefix in ("model", "best", "optimizer")
        }
        self.model.load_state_dict(part["model"])
        device = next(self.model.parameters()).device
        self.best = {key: value.to(device) for key, value in part["best"].items()}
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in part["optimizer"].items():
            index, name = key.split(".")
            moments.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        for name in ("step", "best_step", "best_score", "worse", "stopped"):
            setattr(self, name, plain[name])
        self.rows = [tuple(row) for row in plain["rows"]]
