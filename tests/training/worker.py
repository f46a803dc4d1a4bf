"""What the tests have several processes do, started by torchrun: ``-m tests.training.worker FOLDER
JOB ...``. Each job's result is left in the folder, once a process. The same jobs run in the tests'
own process, where they are one process's."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import safetensors.torch
import torch

from spikelfp_lab import (
    DistillConfig,
    MaskConfig,
    ModelConfig,
    SpikeLFPError,
    TrainConfig,
    distill,
    finetune,
    pretrain,
)
from spikelfp_lab.training import StopTraining, loop
from tests.factories import make_session

MODEL = ModelConfig(
    width=32, layers=1, spike_patch=16, channel_patch=8, predictor_width=32, affine_space=True
)
STUDENT = replace(MODEL, predictor_layers=0, affine_space=False)
TRAIN = TrainConfig(
    steps=20, batch=8, window_s=0.4, lr=1e-3, val_every=5, drop_inputs=0.3, shards=4
)
FEW = replace(TRAIN, steps=3, val_every=3)
VERB = sys.modules["spikelfp_lab.training.distillation"]
RANK = int(os.environ.get("RANK", "0"))
quick = partial(pretrain, model=MODEL, train=FEW, device="cpu", progress=False)


def sessions() -> dict:
    """Six sessions of different lengths and numbers of units."""
    names = [f"s{i + 1:02}" for i in range(6)]
    sizes = [{"bins": 900 + 250 * i, "units": 6 + i, "seed": i} for i in range(6)]
    return {f"I/{n}": make_session(session=n, **s) for n, s in zip(names, sizes, strict=True)}


@contextmanager
def recorded(record: dict):
    """Keep the names of what was prepared and encoded."""
    real = loop.prepare, VERB.encode

    def prepare(session, name, **options):
        record.setdefault("prepared", []).append(name)
        return real[0](session, name, **options)

    def encode(teacher, session, **options):
        record.setdefault("encoded", []).append(options["as_session"])
        return real[1](teacher, session, **options)

    with (
        patch.multiple(VERB, prepare=prepare, encode=encode),
        patch.object(loop, "prepare", prepare),
    ):
        yield


def long(folder: Path | None = None, **options):
    mask = MaskConfig(units=0.25, behavior=0.5)
    return quick(sessions(), "spikes", mask=mask, train=TRAIN, folder=folder, **options)


def student():
    """Of two sessions, in four shards, of a teacher that was tuned on one of them, in all four."""
    taught, options = {name: sessions()[name] for name in ("I/s02", "I/s05")}, {"device": "cpu"}
    teacher = quick({"I/s02": taught["I/s02"]}, "spikes")
    teacher = finetune(teacher, {"I/s05": taught["I/s05"]}, train=FEW, progress=False, **options)
    goal = DistillConfig(target="behavior", mask_ratio=0.2)
    options |= {"model": STUDENT, "distill": goal, "train": TRAIN, "force": True}
    return distill(taught, teacher, progress=False, **options)


def at(step: int, do):
    """A callback that does something once so many steps are done."""
    return lambda history: do() if history["step"].max() >= step else None


def fail(error):
    raise error


def killed(folder: Path):
    """The process that writes the state is killed after its third validation."""
    kill = partial(os.kill, os.getpid(), signal.SIGKILL)
    return long(folder / "killed", callbacks=[at(15, kill)])


def stopped():
    return long(callbacks=[at(10, partial(fail, StopTraining()))])


def lacking():
    """One process finds that a session has no LFP."""
    named = sessions()
    named["I/s02"] = named["I/s02"].drop_vars("lfp")
    return quick(named, "lfp", train=TRAIN)


TRAINED = {"long": long, "student": student, "stopped": stopped}
RESUMED = {"killed": killed, "resumed": lambda folder: long(folder / "killed")}
REFUSED = {
    "lacking": lacking,
    "failing": lambda: long(callbacks=[at(5, partial(fail, OSError("disk full")))]),
    "unlike": lambda: quick(make_session(), "lfp", train=replace(FEW, lr=0.1 + RANK)),
}


def do(folder: Path, job: str) -> None:
    record: dict = {}
    if job in REFUSED:
        try:
            REFUSED[job]()
        except (SpikeLFPError, OSError) as error:
            record = {"message": str(error)}
    else:
        with recorded(record):
            run = TRAINED.get(job) or partial(RESUMED[job], folder)
            model = run()
        tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
        safetensors.torch.save_file(tensors, folder / f"{job}.{RANK}.safetensors")
        record["history"] = model.history.values.tolist()
    (folder / f"{job}.{RANK}.json").write_text(json.dumps(record))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for job in sys.argv[2:]:
        do(Path(sys.argv[1]), job)
