"""What is killed: four small pieces of real work, each of which can be started again at any moment
and then goes on.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Imported for the victims' sake: the first optimizer, store or recording of a process would take
# seconds to import them.
import numcodecs  # noqa: F401
import numpy as np
import pynwb  # noqa: F401
import torch
import torch._dynamo
import zarr  # noqa: F401

import spikelfp_lab as sl
from spikelfp_lab import CheckpointError, DataError, ModelConfig, TrainConfig
from spikelfp_lab.io.prepare import cached_session
from spikelfp_lab.io.store import save_cohort, save_session
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.sessions import iterate_sessions
from spikelfp_lab.study import Study
from spikelfp_lab.study.parallel import close_pool
from spikelfp_lab.study.specs import of_session
from tests.factories import make_session
from tests.io.nwb_files import whole_file

MODEL = ModelConfig(width=16, layers=1, heads=1, spike_patch=16, predictor_width=16)
TRAIN = TrainConfig(steps=24, batch=2, window_s=0.4, val_every=3, drop_inputs=0.3)
VERSIONS = 3  # of what is overwritten


def train(folder: Path) -> None:
    """Teacher, fine-tuned teacher, student: each trains, goes on, or is found in its folder."""
    sessions = {f"I/s0{i}": make_session(bins=600, session=f"s0{i}", seed=i) for i in (1, 2, 3)}
    new, common = sessions.pop("I/s03"), {"train": TRAIN, "device": "cpu", "progress": False}

    teacher = sl.pretrain(sessions, "spikes", model=MODEL, folder=folder / "teacher", **common)
    tuned = sl.finetune(teacher, new, folder=folder / "tuned", **common)
    sl.distill(new, tuned, model=MODEL, force=True, folder=folder / "student", **common)


def cache(folder: Path) -> None:
    """Simulated sessions of a study; a folder of sessions; a session and a model that are
    overwritten again and again.
    """
    study = Study(preset="smoke", runs=folder / "runs", progress=False)
    for name in ("I/s01", "I/s02"):
        session, path = study._simulated(name, 20.0), folder / "copies" / f"{name}.zarr"
        if not path.exists():
            save_session(session, path)
    assert len(iterate_sessions(sl.open_cohort(folder / "copies", progress=False))) == 2

    def next_version(path, find):
        try:
            return find(path)["version"] + 1
        except (DataError, CheckpointError):
            if path.exists():
                raise
            return 0

    path = folder / "over.zarr"
    for version in range(next_version(path, lambda path: sl.open_session(path).attrs), VERSIONS):
        session = make_session(bins=2000, units=30, channels=16, seed=version)
        save_session(session.assign_attrs(version=version), path, overwrite=True)
    path = folder / "over"
    for version in range(next_version(path, lambda path: sl.load(path).info), VERSIONS):
        torch.manual_seed(version)
        model = Autoencoder(MODEL, modality="lfp", sessions={"I/s01": 4}, bin_size_s=0.02)
        model.info = {"version": version}
        model.save(path, overwrite=True)


def recordings(folder: Path) -> None:
    """Two NWB files with broadband voltage, written before the killing starts."""
    for seed in (1, 2):
        voltage = np.random.default_rng(seed).normal(scale=1e-5, size=(40_000, 3)).cumsum(axis=0)
        raw = {"data": voltage, "inside": None, "name": "raw", "rate_hz": 4000.0}
        whole_file(folder / f"{seed}.nwb", **raw)


def preprocess(folder: Path) -> None:
    """Recordings of broadband voltage become LFP sessions in the cache, and NWB again."""
    for recording in sorted(Path(os.environ["CRASH_FILES"]).iterdir()):
        session = cached_session(
            folder / "cache" / f"{recording.stem}.zarr",
            lambda recording=recording: sl.open_session(recording, progress=False),
        )
        path = folder / "written" / recording.name
        if not path.exists():
            sl.write_nwb(session, path)


def grid(folder: Path) -> None:
    """Models of a study in two worker processes, stage by stage."""
    cohort = folder / "cohort"
    if not cohort.exists():
        sessions = {f"s{i}": make_session(bins=1000, session=f"s{i}", seed=i) for i in (1, 2, 3)}
        save_cohort(sessions, folder / ".cohort")
        os.rename(folder / ".cohort", cohort)
    study = Study(cohort_name=str(cohort), preset="smoke", runs=folder / "runs", progress=False)
    teacher, students = of_session(study, "random_teacher", "I/s3", 0), []
    for noise in (0.0, 0.1, 0.2):  # little work: most of the time goes into starting the workers
        quick = {"steps": 30, "batch": 2, "val_every": 5, "noise": noise}
        more = {"start": teacher, "control": "random", "changes": {"train": quick}}
        students.append(of_session(study, f"noise_{noise}", "I/s3", 0, **more))
    study.make([of_session(study, "ss_lfp", "I/s3", 0), *students])
    close_pool()


@dataclass(frozen=True)
class Work:
    """A piece of work, its share of 100 kills, what it overwrites, and how it is killed: at "any
    moment", at an "operation", or "alone" while its workers live on.
    """

    run: Callable[[Path], None]
    share: int
    overwritten: tuple[str, ...] = ()
    kills: tuple[str, ...] = ("any moment", "operation", "operation")


WORKS = {
    "training": Work(train, 40),
    "caching": Work(cache, 28, overwritten=("over", "over.zarr")),
    "preprocessing": Work(preprocess, 22),
    "grid": Work(grid, 10, kills=("any moment", "alone")),
}
