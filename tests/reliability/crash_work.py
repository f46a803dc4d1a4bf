"""What is killed: four small pieces of real work, each of which can be started again at any moment
and then goes on.
"""

import json
import os
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Imported for the victims' sake: the first optimizer, store or recording of a process would take
# seconds to import them.
import numcodecs  # noqa: F401
import numpy as np
import pynwb  # noqa: F401
import remfile  # noqa: F401
import torch
import torch._dynamo
import zarr  # noqa: F401

from spikelfp_lab import (
    CheckpointError,
    DataError,
    ModelConfig,
    TrainConfig,
    distill,
    finetune,
    load,
    pretrain,
)
from spikelfp_lab.cohorts import open_cohort
from spikelfp_lab.io.nwb_write import write_nwb
from spikelfp_lab.io.open import open_session
from spikelfp_lab.io.store import save_cohort, save_session
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.sessions import cohort_from_sessions, iterate_sessions
from spikelfp_lab.study import Study, in_parallel
from spikelfp_lab.study.parallel import close_pool
from spikelfp_lab.study.specs import ModelSpec, single, student, untrained
from spikelfp_lab.study.study import _train_one
from tests.factories import make_session
from tests.io.nwb_files import add_lfp, add_units, start_file, write

MODEL = ModelConfig(
    width=16, layers=1, heads=1, spike_patch=16, channel_patch=8, predictor_width=16
)
TRAIN = TrainConfig(steps=24, batch=2, window_s=0.4, val_every=3, drop_inputs=0.3)
VERSIONS = 3  # of what is overwritten
STARTS = "starts.jsonl"  # which training began at which step, a line each


class Starts:
    """A callback that writes down at which step a training begins."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name

    @contextmanager
    def watch(self, model, *, step, steps):
        line = json.dumps({"name": self.name, "step": step}) + "\n"
        handle = os.open(self.folder / STARTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, line.encode())
        os.close(handle)
        yield

    def __call__(self, history):
        pass


def train(folder: Path) -> None:
    """Teacher, fine-tuned teacher, student: each trains, goes on, or is found in its folder."""
    sessions = {f"I/s0{i}": make_session(bins=600, session=f"s0{i}", seed=i) for i in (1, 2, 3)}
    new = sessions.pop("I/s03")

    def once(name: str, make: Callable[..., Autoencoder]) -> Autoencoder:
        options = {"train": TRAIN, "device": "cpu", "progress": False}
        return make(callbacks=[Starts(folder, name)], folder=folder / "models" / name, **options)

    teacher = once("teacher", lambda **o: pretrain(sessions, "spikes", model=MODEL, **o))
    tuned = once("tuned", lambda **o: finetune(teacher, new, **o))
    once("student", lambda **o: distill(new, tuned, model=MODEL, force=True, **o))


def cache(folder: Path) -> None:
    """Simulated sessions of a study; a folder of sessions; a session and a model that are
    overwritten again and again.
    """
    study = Study(preset="smoke", runs=folder / "runs", progress=False)
    for name in ("I/s01", "I/s02", "I/s03"):
        session = study._simulated(name, 20.0)
        path = folder / "copies" / f"{name}.zarr"
        if not path.exists():
            save_session(session, path)
    assert len(iterate_sessions(open_cohort(folder / "copies", progress=False))) == 3

    path, first = folder / "over.zarr", 0
    try:
        first = open_session(path).attrs["version"] + 1
    except DataError as error:
        if "No session at" not in str(error):
            raise
    for version in range(first, VERSIONS):
        session = make_session(bins=2000, units=30, channels=16, seed=version)
        save_session(session.assign_attrs(version=version), path, overwrite=True)

    path, first = folder / "over", 0
    try:
        first = load(path).info["version"] + 1
    except CheckpointError as error:
        if "not a saved model" not in str(error):
            raise
    for version in range(first, VERSIONS):
        torch.manual_seed(version)
        model = Autoencoder(MODEL, modality="lfp", sessions={"I/s01": 4}, bin_size_s=0.02)
        model.info = {"version": version}
        model.save(path, overwrite=True)


def recordings(folder: Path) -> None:
    """Two NWB files with broadband voltage, written before the killing starts."""
    for number in (1, 2):
        rng = np.random.default_rng(number)
        nwbfile = start_file(session_id=f"day_{number}")
        add_units(nwbfile, [np.sort(rng.uniform(0.01, 9.9, 60)) for _ in range(3)])
        voltage = rng.normal(scale=1e-5, size=(10 * 4000, 3)).cumsum(axis=0)
        add_lfp(nwbfile, voltage, inside=None, name="raw", rate_hz=4000.0)
        write(nwbfile, folder / f"{number}.nwb")


def preprocess(folder: Path) -> None:
    """Broadband to LFP sessions: of files behind an address through the cache, of a file on the
    disk, and back to NWB.
    """
    os.environ["SPIKELFP_DATA"] = str(folder / "cache")
    for number in (1, 2):
        session = open_session(f"{os.environ['CRASH_SERVER']}/{number}.nwb", progress=False)
        path = folder / "written" / f"{number}.nwb"
        if not path.exists():
            write_nwb(session, path)
    path = folder / "local.zarr"
    if not path.exists():
        session = open_session(Path(os.environ["CRASH_FILES"], "1.nwb"), progress=False)
        save_session(session, path)


def stages(study: Study) -> list[list[ModelSpec]]:
    """Little work: most of the time goes into starting the worker processes."""
    random = untrained("I/s03", 0, "spikes")
    quick = {"steps": 30, "batch": 2, "val_every": 5}
    students = [
        student(
            study,
            "I/s03",
            0,
            f"noise_{noise}",
            start=random,
            control="random",
            changes={"train": quick | {"noise": noise}},
        )
        for noise in (0.0, 0.1, 0.2)
    ]
    return [[random, single(study, "lfp", "I/s03", 0)], students]


def grid(folder: Path) -> None:
    """Models of a study in two worker processes, stage by stage, as ``Study.train`` does."""
    if not (folder / "cohort").exists():
        sessions = [make_session(bins=1000, session=f"s0{i}", seed=i) for i in (1, 2, 3)]
        save_cohort(cohort_from_sessions(sessions), folder / ".cohort")
        os.rename(folder / ".cohort", folder / "cohort")
    study = Study(
        cohort_name=str(folder / "cohort"), preset="smoke", runs=folder / "runs", progress=False
    )
    for specs in stages(study):
        in_parallel(study, _train_one, [(spec,) for spec in specs], desc="grid", unit="model")
    close_pool()


@dataclass(frozen=True)
class Work:
    """A piece of work and what is known of it.

    ``share`` is its part of all kills, ``overwritten`` what it replaces on purpose, ``kills`` how
    it is killed: at "any moment", after a "write" has begun, at an "operation" of the file system,
    or "alone" while its worker processes live on."""

    run: Callable[[Path], None]
    share: int
    overwritten: tuple[str, ...] = ()
    kills: tuple[str, ...] = ("any moment", "write", "operation")


WORKS = {
    "training": Work(train, 40),
    "caching": Work(cache, 28, overwritten=("over", "over.zarr")),
    "preprocessing": Work(preprocess, 22),
    "grid": Work(grid, 10, kills=("any moment", "write", "alone")),
}
