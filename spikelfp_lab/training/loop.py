"""The training loop: one for every model; what is learned comes from the objective it is given.

AdamW, linear warm-up and cosine decay, gradient clipping, validation, best weights kept, early
stopping. Random numbers are seeded anew at every step from (seed, step, shard), and the whole state
is written at every validation, so that a run killed at any moment and started again ends, on the
CPU, with the same weights bit for bit; with another number of processes, the same to rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from spikelfp_lab.configs import TrainConfig
from spikelfp_lab.errors import CheckpointError, ConfigError, DataError
from spikelfp_lab.models.autoencoder import Autoencoder
from spikelfp_lab.models.device import autocast
from spikelfp_lab.models.transformer import compiled
from spikelfp_lab.training.processes import Processes
from spikelfp_lab.training.runs import STATE
from spikelfp_lab.training.shards import Shards, seed_step
from spikelfp_lab.training.state import Recent, State

Callback = Callable[[pd.DataFrame], None]


class StopTraining(Exception):
    """Raised by a callback to end training at once, with its best weights, as if patience had run
    out.

    The state of the run is not marked as stopped: the same call with the same ``folder`` goes on
    from this step.

    >>> def enough(history):
    ...     if history["step"].max() >= 1000:
    ...         raise StopTraining
    """


class Objective(Protocol):
    """What a model learns."""

    def loss(self, model: Autoencoder, step: int) -> dict[str, Tensor]:
        """Terms of the training loss of a step, of the shard whose turn it is; ``"loss"`` is the
        one that is minimized.
        """
        ...

    def validate(self, model: Autoencoder) -> dict[str, float]:
        """Metrics on validation windows; the lowest ``"score"`` marks the best weights."""
        ...


def learning_rate(step: int, train: TrainConfig) -> float:
    """Learning rate of a step: a linear rise over the warm-up, then half a cosine down to
    ``final_lr``.

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


def looks_each_step(device: torch.device) -> bool:
    """Whether losses are looked at in every step. On a GPU that would mean to wait for each, so
    there all are looked at together at the next validation.
    """
    return device.type == "cpu"


def sum_gradients(model: torch.nn.Module, loss: Tensor, processes: Processes) -> Tensor:
    """Give every process the sum of all processes' gradients, and return that of ``loss``, (), all
    in one tensor.

    A parameter that has a gradient in no process keeps none: AdamW must leave the tables of
    sessions that were not drawn alone."""
    if processes.count == 1:
        return loss
    parameters = list(model.parameters())
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    has = torch.tensor([float(p.grad is not None) for p in parameters], device=loss.device)
    flat = processes.sum(torch.cat([*(part.flatten() for part in parts), has, loss.view(1)]))
    *parts, has, loss = flat.split([p.numel() for p in parameters] + [len(parameters), 1])
    for parameter, part, anybody in zip(parameters, parts, has.tolist(), strict=True):
        parameter.grad = part.view_as(parameter) if anybody else None
    return loss.squeeze()


def fit(
    model: Autoencoder,
    objective: Objective,
    *,
    train: TrainConfig,
    label: str,
    cohort: Shards | None = None,
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
    cohort : Shards, optional
        What the objective draws from: its shards and the processes that share them. Without, all is
        one shard of this process.
    folder : Path, optional
        Where the state of an unfinished run is kept; a run started again with the same
        ``fingerprint`` goes on from there. Several processes need one that all of them see.
    fingerprint : str
        Hash of initial weights, configs and data; a state with another one is refused.
    callbacks : sequence of functions
        Called with the tidy history after each validation; one may raise :class:`StopTraining`. A
        callback that has a method ``watch(model, *, step, steps)`` gets the model, the step that
        training begins at and the last one: the method gives a context manager, within which
        training takes place. Of several processes the first alone calls them.

    Raises
    ------
    DataError
        Nothing can be written in ``folder``: raised before the first step. Or the loss or its
        gradient is no longer finite; says at which step and in which session. On the CPU it is
        raised at that step, before the gradient is applied; on a GPU at the next validation, since
        to look at a number there means to wait for it. ``model`` has its best weights then, and
        ``folder`` the state of the last validation.
    CheckpointError
        ``folder`` holds the state of another run: other configs, data or first weights.
    ConfigError
        The processes were given different configs or data.
    """
    device = next(model.parameters()).device
    processes = Processes(device) if cohort is None else cohort.processes
    turns = partial(_one_turn, train) if cohort is None else cohort.turns
    optimizer = make_optimizer(model, train)
    state = State(model, optimizer, fingerprint)
    state_file = None if folder is None else folder / STATE
    with processes.together():
        if state_file is not None and state_file.exists():
            state.read(state_file)
    _check_alike(state, processes)

    bar = tqdm(
        total=train.steps,
        initial=state.step,
        desc=label,
        disable=not (progress and processes.is_main),
        unit="step",
    )
    recent = Recent()
    model.train()
    with ExitStack() as around:
        around.enter_context(bar)
        around.enter_context(compiled(model, train.compile))
        with processes.together():
            for callback in callbacks if processes.is_main else ():
                if watch := getattr(callback, "watch", None):
                    around.enter_context(watch(model, step=state.step, steps=train.steps))
        while state.step < train.steps and not state.stopped:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(state.step, train)
            for weight in turns(state.step):
                with autocast(device):
                    terms = objective.loss(model, state.step)
                (weight * terms["loss"]).backward()
                recent.add(weight, terms)
            loss = sum_gradients(model, recent.loss(), processes)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), train.clip)
            recent.end_step(loss, norm)
            state.step += 1
            validates = state.step % train.val_every == 0 or state.step == train.steps
            looks = looks_each_step(device)
            if (looks or validates) and not recent.finite(1 if looks else 0):
                error = recent.error(label, state, cohort)
                _end(model, state)
                raise error
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            bar.update()
            if not validates:
                continue

            means = recent.means(processes)
            recent = Recent()
            model.eval()
            with torch.inference_mode(), autocast(device):
                metrics = objective.validate(model)
            model.train()
            if not math.isfinite(metrics["score"]):
                _end(model, state)
                raise DataError(
                    f"{label}: the validation score is {metrics['score']} at step {state.step}. "
                    "Look for extreme values in the validation part of the data."
                )
            state.record(means, metrics, train.patience)
            bar.set_postfix(loss=f"{means['loss']:.3f}", val=f"{metrics['score']:.3f}")
            stop = False
            with processes.together():
                if processes.is_main and state_file is not None:
                    state.write(state_file)
                try:
                    for callback in callbacks if processes.is_main else ():
                        callback(state.history())
                except StopTraining:
                    stop = True
            if processes.any(stop):
                model.info["stopped_at"] = state.step  # by a callback: not finished
                break
    return _end(model, state)


def _one_turn(train: TrainConfig, step: int) -> Iterator[float]:
    """The turn of a training without shards."""
    seed_step(train, step)
    yield 1.0


def _end(model: Autoencoder, state: State) -> Autoencoder:
    """Leave the model with its best weights and their history."""
    model.load_state_dict(state.best)
    model.history = state.history()
    model.info["best_step"] = state.best_step
    return model.eval()


def _check_alike(state: State, processes: Processes) -> None:
    """Refuse processes that would train different models, or that begin at different steps, in all
    of them.
    """
    both = processes.gather([(state.fingerprint, state.step)])
    fingerprints, steps = zip(*both, strict=True)
    if len(set(fingerprints)) > 1:
        raise ConfigError(
            "the processes of this training were given different configs, sessions or first "
            "weights: every process must run the same script on the same data"
        )
    if len(set(steps)) > 1:
        raise CheckpointError(
            f"the processes of this training go on from different steps, {list(steps)}: folder "
            "must lie on a file system that all of them see"
        )
