"""The training loop: one for every model; what is learned comes from the objective it is given.

AdamW, linear warm-up and cosine decay, gradient clipping, validation, best weights kept, early
stopping. Random numbers depend on (seed, step, shard) alone and the state is written at every
validation: a run killed at any moment and started again ends, on the CPU, with the same weights bit
for bit; with another number of processes, the same to rounding."""

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor
from tqdm.auto import tqdm

from spikelfp_lab.configs import TrainConfig
from spikelfp_lab.errors import CheckpointError, DataError
from spikelfp_lab.models.autoencoder import VARIABLES, Autoencoder, Modality
from spikelfp_lab.models.device import autocast
from spikelfp_lab.models.transformer import compiled
from spikelfp_lab.training.batches import SessionWindows, add_to_vocabulary, augment, prepare
from spikelfp_lab.training.runs import STATE, State, kept
from spikelfp_lab.training.shards import Processes, Shards

EXTREME = "Its best weights are kept. Look for extreme values in the data, or lower TrainConfig.lr."
Callback = Callable[[pd.DataFrame], None]
Sessions = xr.Dataset | xr.DataTree | Mapping[str, xr.Dataset]
TEACHER = "teacher"  # part of a student under this name while both are trained


class StopTraining(Exception):
    """Raised by a callback to end training at once, with its best weights, as if patience had run
    out; the same call with the same ``folder`` goes on from this step.

    >>> def enough(history):
    ...     if history["step"].max() >= 1000:
    ...         raise StopTraining
    """


class Objective:
    """What a model learns from the sessions of a cohort, by the goals of a config."""

    most: int | None = None  # validation windows of a session

    def __init__(self, cohort: Shards, goal: Any):
        self.cohort, self.goal = cohort, goal

    def terms(
        self, model: Autoencoder, windows: SessionWindows, starts: np.ndarray, inputs: Tensor
    ) -> dict[str, Tensor]:
        """Terms of the loss at ``starts``, of which ``inputs`` are shown; "loss" is minimized."""
        raise NotImplementedError

    def loss(self, model: Autoencoder, step: int) -> dict[str, Tensor]:
        """Terms of a training step, of the shard whose turn it is."""
        windows, starts = self.cohort.draw(step)
        inputs = windows.cut(windows.values, starts)
        inputs = augment(inputs, self.cohort.train, windows.n_units)
        return self.terms(model, windows, starts, inputs)

    def validate(self, model: Autoencoder) -> dict[str, float]:
        """Mean terms over sessions; the lowest "score" marks the best weights."""

        def measure(windows: SessionWindows) -> dict[str, float]:
            starts = windows.some_val(self.most)
            terms = self.terms(model, windows, starts, windows.cut(windows.values, starts))
            values = {name: term.item() for name, term in terms.items()}
            ranks = ("behavior", "centered alignment", "loss")
            return {"score": next(values[name] for name in ranks if name in values)} | values

        return self.cohort.average(measure)


def learning_rate(step: int, train: TrainConfig) -> float:
    """A linear rise over the warm-up, then half a cosine down to ``final_lr``.

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
    groups: list[tuple[float, list[Tensor]]] = [(train.weight_decay, []), (0.0, [])]
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        table = parts[0] == "tokenizer" and not {"space", "maps", "table"}.isdisjoint(parts)
        groups[parameter.dim() < 2 or table][1].append(parameter)
    rows = [{"weight_decay": decay, "params": own} for decay, own in groups]
    return torch.optim.AdamW(rows, lr=train.lr, fused=True)


def looks_each_step(device: torch.device) -> bool:
    """Whether losses are checked at every step; on a GPU, at validation only, to avoid a sync."""
    return device.type == "cpu"


def sum_gradients(model: torch.nn.Module, loss: Tensor, processes: Processes) -> Tensor:
    """Give every process the sum of all gradients, and return that of ``loss``, in one tensor.

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
    cohort: Shards,
    label: str,
    progress: bool = True,
    folder: Path | None = None,
    callbacks: Sequence[Callback] = (),
) -> Autoencoder:
    """Train ``model``, on its device, in place; return it with its best weights and its history.

    The objective draws from ``cohort``, which has the config. ``folder`` keeps the state of an
    unfinished run, from which it goes on. Callbacks get the tidy history after each validation, in
    the first process alone; one may raise :class:`StopTraining`. One with a method ``watch(model,
    *, step, steps)`` gives a context manager by it, within which training takes place.

    A loss or gradient that is not finite is a DataError that names step and session: on the CPU
    before it is applied, on a GPU at the next validation. The model has its best weights then.
    """
    device, train, processes = next(model.parameters()).device, cohort.train, cohort.processes
    optimizer = make_optimizer(model, train)
    state, looks = State(model, optimizer), looks_each_step(device)
    with processes.together():
        if folder is not None and (folder / STATE).exists():
            state.read(folder / STATE)
    if len(steps := {*processes.gather([state.step])}) > 1:
        text = f"the processes go on from different steps, {sorted(steps)}: folder must lie where"
        raise CheckpointError(f"{text} all of them see it")
    shown = progress and processes.is_main
    bar = tqdm(total=train.steps, initial=state.step, desc=label, disable=not shown, unit="step")
    losses, parts, totals = {}, [], {}  # since the last validation, on the device: nothing waits
    model.train()
    with ExitStack() as around:
        around.enter_context(bar)
        around.enter_context(compiled(model, train.compile))
        callbacks = callbacks if processes.is_main else ()
        with processes.together():
            for callback in callbacks:
                if watch := getattr(callback, "watch", None):
                    around.enter_context(watch(model, step=state.step, steps=train.steps))
        while state.step < train.steps and not state.stopped:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(state.step, train)
            sums: dict[str, Any] = defaultdict(float)
            for weight in cohort.turns(state.step):
                with autocast(device):
                    terms = objective.loss(model, state.step)
                (weight * terms["loss"]).backward()
                losses[state.step, cohort.turn] = terms["loss"].detach()
                for name, value in terms.items():
                    sums[name] += weight * value.detach()
            loss = sum_gradients(model, sums["loss"], processes)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), train.clip)
            parts.append(sums)
            totals[state.step] = torch.stack([loss, norm])
            state.step += 1
            validates = state.step % train.val_every == 0 or state.step == train.steps
            seen = [totals[state.step - 1]] if looks else [*totals.values()] if validates else []
            if seen and not torch.stack(seen).isfinite().all():
                _end(model, state)
                raise DataError(f"{label}: {_broken(losses, totals, cohort)}. {EXTREME}")
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            bar.update()
            if not validates:
                continue

            columns = {name: torch.stack([row[name] for row in parts]) for name in sums}
            means = {name: processes.sum(values.mean()).item() for name, values in columns.items()}
            losses, parts, totals = {}, [], {}
            model.eval()
            with torch.inference_mode(), autocast(device):
                metrics = objective.validate(model)
            model.train()
            if not math.isfinite(metrics["score"]):
                _end(model, state)
                what = f"the validation score is {metrics['score']} at step {state.step}"
                raise DataError(f"{label}: {what}. {EXTREME}")
            state.record(means, metrics, train.patience)
            bar.set_postfix(loss=f"{means['loss']:.3f}", val=f"{metrics['score']:.3f}")
            stop = False
            with processes.together():
                if processes.is_main and folder is not None:
                    state.write(folder / STATE)
                try:
                    for callback in callbacks:
                        callback(state.history())
                except StopTraining:
                    stop = True
            if processes.any(stop):
                model.info["stopped_at"] = state.step  # by a callback: not finished
                break
    return _end(model, state)


def _broken(
    losses: dict[tuple[int, int], Tensor], totals: dict[int, Tensor], cohort: Shards
) -> str:
    """What to say of the first step that was not finite, the same in every process."""
    step = next(step for step, total in totals.items() if not total.isfinite().all())
    shards = [s for (at, s), loss in losses.items() if at == step and not loss.isfinite()]
    lost = cohort.processes.gather(shards)
    names = {cohort.drawn(step, s): s for s in sorted(lost) or range(cohort.train.shards)}
    what = f"the {'loss' if lost else 'gradient'} is no longer finite at step {step + 1}"
    return f"{what} in session {' or '.join(names)}"


def carry_out(
    verb: str,
    named: Mapping[str, xr.Dataset],
    modality: Modality,
    make: Callable[[], Autoencoder],
    objective: Callable[[Shards], Objective],
    goals: dict[str, Any],
    recipe: dict[str, Any],
    info: dict[str, Any],
    *,
    behavior: bool,
    device: str | torch.device,
    folder: str | Path | None,
    overwrite: bool,
    ready: Callable[..., SessionWindows] | None = None,
    teacher: Autoencoder | None = None,
    **options: Any,
) -> Autoencoder:
    """What all verbs do: find the model of this recipe and these data in ``folder``, or ``make``
    one, give it the sessions' tables, and train it by its configs, ``goals``.

    ``ready`` makes a session ready, as :func:`prepare` does; ``teacher`` learns with its student.
    """
    processes, train = Processes.join(device), goals["train"]
    plain = partial(prepare, modality=modality, train=train, behavior=behavior)
    ready = partial(ready or plain, device=processes.device)
    own = {key: config.to_dict() for key, config in goals.items()}
    label = f"{verb} {modality} ({', '.join(named) if len(named) < 4 else len(named)})"

    def run(folder: Path | None) -> Autoencoder:
        cohort = Shards(named, ready, modality=modality, train=train, processes=processes)
        torch.manual_seed(train.seed)
        model = make()
        if behavior:
            axes = {tuple(map(str, each["behavior_dim"].to_numpy())) for each in named.values()}
            if len(axes) > 1:
                raise DataError(f"the sessions' behavior differs, {axes}: one read-out needs one")
            model.add_behavior(axes.pop())
        if teacher:
            model.add_module(TEACHER, copy.deepcopy(teacher))
        model.to(processes.device)
        for known in cohort.sessions:
            add_to_vocabulary(model, known)
        model.info = {"made_by": verb} | own | info
        fit(model, objective(cohort), cohort=cohort, label=label, folder=folder, **options)
        if teacher:
            delattr(model, TEACHER)
        return model

    recipe = {"verb": verb} | own | recipe
    reads = (*VARIABLES["both" if verb == "distill" else modality], *["behavior"] * behavior)
    return kept(folder, recipe, named, reads, run, overwrite=overwrite, processes=processes)


def _end(model: Autoencoder, state: State) -> Autoencoder:
    """Leave the model with its best weights and their history."""
    model.load_state_dict(state.best)
    model.history = state.history()
    model.info["best_step"] = state.best_step
    return model.eval()
