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
import torch
import torch._dynamo
import zarr  # noqa: F401

import spikelfp_lab as sl
from spikelfp_lab import CheckpointError, DataError, ModelConfig, TrainConfig
from spikelfp_lab.io.prepare import cached_session
from spikelfp_lab.io.store import save_cohort, save_session
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.sessions import cohort_from_sessions, iterate_sessions
from spikelfp_lab.study import Study, in_parallel
from spikelfp_lab.study.parallel import close_pool
from spikelfp_lab.study.specs import single, student, untrained
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
        handle = os.open(self.folder / STARTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, (json.dumps({"name": self.name, "step": step}) + "\n").encode())
        os.close(handle)
        yield

    def __call__(self, history):
        pass


def train(folder: Path) -> None:
    """Teacher, fine-tuned teacher, student: each trains, goes on, or is found in its folder."""
    sessions = {f"I/s0{i}": make_session(bins=600, session=f"s0{i}", seed=i) for i in (1, 2, 3)}
    new = sessions.pop("I/s03")

    def options(name):
        place, callbacks = folder / "models" / name, [Starts(folder, name)]
        common = {"train": TRAIN, "device": "cpu", "progress": False}
        return {"folder": place, "callbacks": callbacks, **common}

    teacher = sl.pretrain(sessions, "spikes", model=MODEL, **options("teacher"))
    tuned = sl.finetune(teacher, new, **options("tuned"))
    sl.distill(new, tuned, model=MODEL, force=True, **options("student"))


def cache(folder: Path) -> None:
    """Simulated sessions of a study; a folder of sessions; a session and a model that are
    overwritten again and again.
    """
    study = Study(preset="smoke", runs=folder / "runs", progress=False)
    for name in ("I/s01", "I/s02"):
        session = study._simulated(name, 20.0)
        path = folder / "copies" / f"{name}.zarr"
        if not path.exists():
            save_session(session, path)
    assert len(iterate_sessions(sl.open_cohort(folder / "copies", progress=False))) == 2

    session_path, model_path = folder / "over.zarr", folder / "over"
    for version in range(
        next_version(session_path, lambda path: sl.open_session(path).attrs), VERSIONS
    ):
        session = make_session(bins=2000, units=30, channels=16, seed=version)
        save_session(session.assign_attrs(version=version), session_path, overwrite=True)
    for version in range(next_version(model_path, lambda path: sl.load(path).info), VERSIONS):
        torch.manual_seed(version)
        model = Autoencoder(MODEL, modality="lfp", sessions={"I/s01": 4}, bin_size_s=0.02)
        model.info = {"version": version}
        model.save(model_path, overwrite=True)


def next_version(path: Path, find: Callable[[Path], dict]) -> int:
    try:
        return find(path)["version"] + 1
    except (DataError, CheckpointError):
        if path.exists():
            raise
        return 0


def recordings(folder: Path) -> None:
    """Two NWB files with broadband voltage, written before the killing starts."""
    for number in (1, 2):
        rng, nwbfile = np.random.default_rng(number), start_file(session_id=f"day_{number}")
        add_units(nwbfile, [np.sort(rng.uniform(0.01, 9.9, 60)) for _ in range(3)])
        voltage = rng.normal(scale=1e-5, size=(10 * 4000, 3)).cumsum(axis=0)
        add_lfp(nwbfile, voltage, inside=None, name="raw", rate_hz=4000.0)
        write(nwbfile, folder / f"{number}.nwb")


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
    """Models of a study in two worker processes, stage by stage, as ``Study.train`` does."""
    if not (folder / "cohort").exists():
        sessions = [make_session(bins=1000, session=f"s0{i}", seed=i) for i in (1, 2, 3)]
        save_cohort(cohort_from_sessions(sessions), folder / ".cohort")
        os.rename(folder / ".cohort", folder / "cohort")
    cohort, runs = str(folder / "cohort"), folder / "runs"
    study = Study(cohort_name=cohort, preset="smoke", runs=runs, progress=False)
    teacher = untrained("I/s03", 0, "spikes")
    students = []
    for noise in (0.0, 0.1, 0.2):  # little work: most of the time goes into starting the workers
        quick = {"steps": 30, "batch": 2, "val_every": 5, "noise": noise}
        more = {"start": teacher, "control": "random", "changes": {"train": quick}}
        students.append(student(study, "I/s03", 0, f"noise_{noise}", **more))
    for specs in ([teacher, single(study, "lfp", "I/s03", 0)], students):
        in_parallel(study, _train_one, [(spec,) for spec in specs], desc="grid", unit="model")
    close_pool()


@dataclass(frozen=True)
class Work:
    """A piece of work, its share of all kills, what it overwrites, and how it is killed: at "any
    moment", after a "write" has begun, at an "operation", or "alone" while its workers live on.
    """

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
