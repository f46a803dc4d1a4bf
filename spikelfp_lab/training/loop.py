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

import pandas as pd
import torch
import xarray as xr
from torch import Tensor
from tqdm.auto import tqdm

from spikelfp_lab.configs import ModelConfig, TrainConfig
from spikelfp_lab.errors import CheckpointError, ConfigError, DataError
from spikelfp_lab.models.autoencoder import VARIABLES, Autoencoder, Modality
from spikelfp_lab.models.device import autocast
from spikelfp_lab.models.transformer import compiled
from spikelfp_lab.training.batches import SessionWindows, add_tables, augment, prepare, spread
from spikelfp_lab.training.runs import STATE, State, kept
from spikelfp_lab.training.shards import Processes, Shards

EXTREME = "Its best weights are kept. Look for extreme values in the data, or lower TrainConfig.lr."
Callback = Callable[[pd.DataFrame], None]
Sessions = xr.Dataset | xr.DataTree | Mapping[str, xr.Dataset]
# (model, name of the session, inputs, the "values" and targets) -> terms, whose "loss" is minimized
Objective = Callable[[Autoencoder, str, Tensor, dict[str, Tensor]], dict[str, Tensor]]
TEACHER = "teacher"  # part of a student under this name while both are trained


class StopTraining(Exception):
    """Raised by a callback to end training at once, with its best weights, as if patience had run
    out; the same call with the same ``folder`` goes on from this step.

    >>> def enough(history):
    ...     if history["step"].max() >= 1000:
    ...         raise StopTraining
    """


def validate(
    model: Autoencoder, objective: Objective, cohort: Shards, most: int | None = None
) -> dict[str, float]:
    """Mean terms over sessions, of so many windows at most; the lowest "score" is the best."""

    def measure(windows: SessionWindows) -> dict[str, float]:
        wanted = windows.cut(spread(windows.val, most))
        terms = objective(model, windows.name, wanted["values"], wanted)
        values = {name: term.item() for name, term in terms.items()}
        ranks = ("behavior", "centered alignment", "loss")
        return {"score": next(values[name] for name in ranks if name in values)} | values

    with torch.inference_mode(), autocast(next(model.parameters()).device):
        return cohort.average(measure)


def learning_rate(step: int, train: TrainConfig) -> float:
    """A linear rise over the warm-up, then half a cosine down to ``final_lr``."""
    rise = max(1, round(train.warmup * train.steps))
    if step < rise:
        return train.lr * (step + 1) / rise
    done = (step - rise) / max(1, train.steps - rise)
    return train.lr * (train.final_lr + (1 - train.final_lr) * 0.5 * (1 + math.cos(math.pi * done)))


def make_optimizer(model: Autoencoder, train: TrainConfig) -> torch.optim.AdamW:
    """AdamW; only matrices decay, not biases, norms, or the tokenizer's tables."""
    groups: list[tuple[float, list[Tensor]]] = [(train.weight_decay, []), (0.0, [])]
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
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
    model: Autoencoder, objective: Objective, *, cohort: Shards, label: str,
    most: int | None = None, progress: bool = True, folder: Path | None = None,
    callbacks: Sequence[Callback] = (),
) -> Autoencoder:  # fmt: skip
    """Train ``model``, on its device, in place; return it with its best weights and its history.

    Windows are drawn from ``cohort``, which has the config; ``most`` of each session validate.
    ``folder`` keeps the state of an unfinished run, from which it goes on. Callbacks get the tidy
    history after each validation, in the first process alone; one may raise :class:`StopTraining`.
    One with a method ``watch(model, *, step, steps)`` gives a context manager by it, within which
    training takes place.

    A loss or gradient that is not finite is a DataError that names step and session: on the CPU
    before it is applied, on a GPU at the next validation. The model has its best weights then.
    """
    device, train, processes = next(model.parameters()).device, cohort.train, cohort.processes
    state, looks = State(model, make_optimizer(model, train)), looks_each_step(device)
    with processes.together():
        if folder is not None and (folder / STATE).exists():
            state.read(folder / STATE)
    if len(steps := {*processes.gather([state.step])}) > 1:
        text = f"the processes go on from different steps, {sorted(steps)}: folder must lie where"
        raise CheckpointError(f"{text} all of them see it")
    callbacks = callbacks if processes.is_main else ()
    shown = {"total": train.steps, "initial": state.step, "desc": label, "unit": "step"}
    shown["disable"] = not (progress and processes.is_main)
    losses, terms, totals = [], [], []  # since the last validation, on the device: nothing waits
    model.train()
    with tqdm(**shown) as bar, compiled(model, train.compile), ExitStack() as around:
        with processes.together():
            for callback in callbacks:
                if watch := getattr(callback, "watch", None):
                    around.enter_context(watch(model, step=state.step, steps=train.steps))
        while state.step < train.steps and not state.stopped:
            terms.append(defaultdict(float))
            for weight, windows, starts in cohort.turns(state.step):
                wanted = windows.cut(starts)
                inputs = augment(wanted["values"], train, windows.n_units, windows.per_channel)
                with autocast(device):
                    found = objective(model, windows.name, inputs, wanted)
                (weight * found["loss"]).backward()
                losses.append((len(totals), windows.name, found["loss"].detach()))
                for name, value in found.items():
                    terms[-1][name] += weight * value.detach()
            loss = sum_gradients(model, terms[-1]["loss"], processes)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), train.clip)
            totals.append(torch.stack([loss, norm]))
            validates = (state.step + 1) % train.val_every == 0 or state.step + 1 == train.steps
            if looks or validates:
                fine = torch.stack(totals).isfinite().all(dim=1).tolist()
                if not all(fine):
                    state.finish()
                    step, bad = state.step + 1 - len(fine), fine.index(False)
                    drawn = [(name, bool(x.isfinite())) for at, name, x in losses if at == bad]
                    what = _broken(processes.gather(drawn), step + bad + 1)
                    raise DataError(f"{label}: {what}. {EXTREME}")
            state.apply(learning_rate(state.step, train))
            bar.update()
            if not validates:
                continue

            columns = {name: torch.stack([row[name] for row in terms]) for name in terms[0]}
            means = {name: processes.sum(values.mean()).item() for name, values in columns.items()}
            losses, terms, totals = [], [], []
            metrics = validate(model.eval(), objective, cohort, most)
            model.train()
            if not math.isfinite(metrics["score"]):
                state.finish()
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
    return state.finish()


def _broken(drawn: list[tuple[str, bool]], step: int) -> str:
    """What to say of the sessions of a step, by name and whether the loss was finite."""
    lost = [name for name, finite in drawn if not finite]
    names = " or ".join(dict.fromkeys(lost or [name for name, _ in drawn]))
    what = f"the {'loss' if lost else 'gradient'} is no longer finite at step {step}"
    return f"{what} in session {names}"


def carry_out(
    verb: str, start: ModelConfig | Autoencoder, named: Mapping[str, xr.Dataset],
    modality: Modality, objective: Callable[..., dict[str, Tensor]], goals: dict[str, Any],
    recipe: dict[str, Any], info: dict[str, Any], *, behavior: bool, device: str | torch.device,
    folder: str | Path | None, overwrite: bool, ready: Callable[..., SessionWindows] | None = None,
    teacher: Autoencoder | None = None, teacher_width: int = 0, **options: Any,
) -> Autoencoder:  # fmt: skip
    """What all verbs do: find the model of this recipe and these data in ``folder``, or make one
    (a copy, where ``start`` is a model), give it the sessions' tables, and train it by its configs,
    ``goals``: what is learned, and "train". ``ready`` makes a session ready, as :func:`prepare`
    does; ``teacher`` learns with its student, which has maps to latents of a ``teacher_width``.
    """
    processes, (goal, train) = Processes.join(device), goals.values()
    if train.tables_only and isinstance(start, ModelConfig):
        raise ConfigError(f"tables_only is for finetune: {verb} starts from random weights")
    shape = start if isinstance(start, ModelConfig) else start.config
    options_of = {"train": train, "behavior": behavior, "shape": shape}
    ready = ready or partial(prepare, modality=modality, **options_of)
    make = partial(ready, device=processes.device)
    own = {key: config.to_dict() for key, config in goals.items()}
    label = f"{verb} {modality} ({', '.join(named) if len(named) < 4 else len(named)})"

    def run(folder: Path | None) -> Autoencoder:
        cohort = Shards(named, make, modality=modality, train=train, processes=processes)
        torch.manual_seed(train.seed)
        if isinstance(start, ModelConfig):
            bin_size_s = cohort.sessions[0].bin_size_s
            fields = {"bin_size_s": bin_size_s, "teacher_width": teacher_width}
            model = Autoencoder(start, modality=modality, sessions={}, **fields)
        else:
            model = copy.deepcopy(start)
        learned_before = model.behavior_head is not None
        if behavior:
            axes = {tuple(map(str, each["behavior_dim"].to_numpy())) for each in named.values()}
            if len(axes) > 1:
                raise DataError(f"the sessions' behavior differs, {axes}: one read-out needs one")
            model.add_behavior(axes.pop())
        if teacher:
            model.add_module(TEACHER, copy.deepcopy(teacher))
        for known in cohort.sessions:
            add_tables(model, known)
        if train.tables_only:
            model.requires_grad_(False)
            trained = [each for name in named for each in model.tables(name)]
            if model.behavior_head and not learned_before:
                trained += model.behavior_head.parameters()
            for each in trained:
                each.requires_grad_()
        model.to(processes.device)
        model.info = {"made_by": verb} | own | info
        learned = partial(objective, goal)
        fit(model, learned, cohort=cohort, label=label, folder=folder, **options)
        model.requires_grad_()
        if teacher:
            delattr(model, TEACHER)
        return model

    recipe = {"verb": verb} | own | recipe
    reads = (*VARIABLES["both" if verb == "distill" else modality], *["behavior"] * behavior)
    return kept(folder, recipe, named, reads, run, overwrite=overwrite, processes=processes)
