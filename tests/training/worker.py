"""What the tests have several processes do, started by torchrun: ``-m tests.training.worker FOLDER
JOB ...``.

Each job's result is left in the folder, once a process. The same jobs run in the tests' own
process, where they are one process's."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import safetensors.torch
import torch

from spikelfp_lab import (
    DistillConfig,
    MaskConfig,
    ModelConfig,
    SpikeLFPError,
    TrainConfig,
    distill,
    encode,
    finetune,
    pretrain,
)
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.training import StopTraining, batches, loop
from tests.factories import make_session

MODEL = ModelConfig(
    width=32, layers=1, spike_patch=16, channel_patch=8, predictor_width=32, affine_space=True
)
STUDENT = replace(MODEL, predictor_layers=0, affine_space=False)
TRAIN = TrainConfig(
    steps=20, batch=8, window_s=0.4, lr=1e-3, val_every=5, drop_inputs=0.3, shards=4
)
FEW = replace(TRAIN, steps=3, val_every=3)  # too few to draw from every session
OPTIONS: dict[str, Any] = {"device": "cpu", "progress": False}
VERBS = [sys.modules[f"spikelfp_lab.training.{verb}"] for verb in ("pretraining", "distillation")]
RANK = int(os.environ.get("RANK", "0"))


def sessions() -> dict[str, Any]:
    """Six sessions of different lengths and numbers of units."""
    return {
        f"I/s{i + 1:02}": make_session(
            bins=900 + 250 * i, units=6 + i, session=f"s{i + 1:02}", seed=i
        )
        for i in range(6)
    }


@contextmanager
def recorded(record: dict[str, Any]):
    """Keep the gradients of the first step, what has moments at the end, and the names of sessions
    that were prepared and encoded.
    """
    real = {"optimizer": loop.make_optimizer, "prepare": batches.prepare, "encode": encode}
    optimizers = []

    def optimizer(model, train):
        made = real["optimizer"](model, train)
        optimizers.append((model, made))

        def keep(*_):
            if "gradients" not in record:
                record["gradients"] = {
                    name: p.grad.clone()
                    for name, p in model.named_parameters()
                    if p.grad is not None
                }

        made.register_step_pre_hook(keep)
        return made

    def prepare(session, name, **options):
        record.setdefault("prepared", []).append(name)
        return real["prepare"](session, name, **options)

    def encode_one(teacher, session, **options):
        record.setdefault("encoded", []).append(options["as_session"])
        return real["encode"](teacher, session, **options)

    with (
        patch.object(loop, "make_optimizer", optimizer),
        patch.object(VERBS[0], "prepare", prepare),
        patch.object(VERBS[1], "prepare", prepare),
        patch.object(VERBS[1], "encode", encode_one),
    ):
        yield
    model, made = optimizers[-1]
    record["moments"] = [name for name, p in model.named_parameters() if p in made.state]


def few(**options) -> Autoencoder:
    """A few steps, without clipping, so that gradients are what was summed."""
    return pretrain(
        sessions(), "spikes", model=MODEL, train=replace(FEW, clip=1e9), **OPTIONS, **options
    )


def long(folder: Path | None = None, **options) -> Autoencoder:
    mask = MaskConfig(units=0.25, behavior=0.5)
    return pretrain(
        sessions(),
        "spikes",
        model=MODEL,
        mask=mask,
        train=TRAIN,
        folder=folder,
        **OPTIONS,
        **options,
    )


def tuned() -> Autoencoder:
    """Of one session, in all four shards."""
    before = pretrain(make_session(), "lfp", model=MODEL, train=replace(FEW, shards=2), **OPTIONS)
    return finetune(before, make_session(session="s02", bins=1200), train=FEW, **OPTIONS)


def student(folder: Path | None = None, **options) -> Autoencoder:
    """Of two sessions, in four shards; its teacher is found in the folder once it is trained."""
    taught = {name: sessions()[name] for name in ("I/s02", "I/s05")}
    kept = None if folder is None else folder / "teacher"
    teacher = pretrain(taught, "spikes", model=MODEL, train=FEW, folder=kept, **OPTIONS)
    goal = DistillConfig(target="behavior", mask_ratio=0.2)
    return distill(
        taught,
        teacher,
        model=STUDENT,
        distill=goal,
        train=TRAIN,
        force=True,
        folder=folder,
        **OPTIONS,
        **options,
    )


def killed(folder: Path) -> Autoencoder:
    """The process that writes the state is killed after its third validation."""

    def kill(history: pd.DataFrame) -> None:
        if history["step"].max() >= 15:
            os.kill(os.getpid(), signal.SIGKILL)

    return long(folder / "killed", callbacks=[kill])


def interrupted(folder: Path, make: Callable[..., Autoencoder] = long) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(history: pd.DataFrame) -> None:
        if history["step"].max() >= 10:
            raise Interrupted

    try:
        make(folder, callbacks=[interrupt])
    except Interrupted:
        return
    raise AssertionError("not interrupted")


def stopped() -> Autoencoder:
    def stop(history: pd.DataFrame) -> None:
        if history["step"].max() >= 10:
            raise StopTraining

    return long(callbacks=[stop])


def extreme() -> Autoencoder:
    """The second of six sessions overflows a float's square."""
    real = batches.prepare

    def prepare(session, name, **options):
        windows = real(session, name, **options)
        if name == "I/s02":
            windows.values *= 1e30
        return windows

    with patch.object(VERBS[0], "prepare", prepare):
        return pretrain(sessions(), "lfp", model=MODEL, train=TRAIN, **OPTIONS)


def late() -> Autoencoder:
    """The same, found at the next validation, as on a GPU."""
    with patch.object(loop, "looks_each_step", lambda device: False):
        return extreme()


def lacking() -> Autoencoder:
    """One process finds that a session has no LFP."""
    named = sessions()
    named["I/s02"] = named["I/s02"].drop_vars("lfp")
    return pretrain(named, "lfp", model=MODEL, train=TRAIN, **OPTIONS)


def failing() -> Autoencoder:
    def fail(history: pd.DataFrame) -> None:
        raise OSError("disk full")

    return long(callbacks=[fail])


def unshared() -> Autoencoder:
    return pretrain(make_session(), "lfp", model=MODEL, train=replace(FEW, shards=1), **OPTIONS)


def unlike() -> Autoencoder:
    return pretrain(
        make_session(), "lfp", model=MODEL, train=replace(FEW, lr=0.1 + RANK), **OPTIONS
    )


def keep(folder: Path, job: str, model: Autoencoder, record: dict[str, Any]) -> None:
    """Leave a job's result as files."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"gradient.{k}": v for k, v in record.pop("gradients", {}).items()}
    safetensors.torch.save_file(
        {k: v.contiguous() for k, v in tensors.items()}, folder / f"{job}.{RANK}.safetensors"
    )
    history = model.history.values.tolist()
    (folder / f"{job}.{RANK}.json").write_text(json.dumps(record | {"history": history}))


RESUMED = {  # on the states of other numbers of processes
    "resumed": lambda folder: long(folder / "killed"),
    "taken over": lambda folder: long(folder / "of one"),
    "student taken over": lambda folder: student(folder / "student of one"),
}
TRAINED = {"few": few, "long": long, "tuned": tuned, "student": student, "stopped": stopped}
REFUSED = {
    "extreme": extreme,
    "late": late,
    "lacking": lacking,
    "failing": failing,
    "unshared": unshared,
    "unlike": unlike,
}


def do(folder: Path, job: str) -> None:
    record: dict[str, Any] = {}
    if job in REFUSED:
        try:
            REFUSED[job]()
        except (SpikeLFPError, OSError) as error:
            record = {"error": type(error).__name__, "message": str(error)}
        (folder / f"{job}.{RANK}.json").write_text(json.dumps(record))
        return
    with recorded(record):
        if job == "killed":
            model = killed(folder)
        elif job in RESUMED:
            model = RESUMED[job](folder)
        else:
            model = TRAINED[job]()
    keep(folder, job, model, record)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for job in sys.argv[2:]:
        do(Path(sys.argv[1]), job)
