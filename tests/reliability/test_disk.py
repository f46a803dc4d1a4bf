"""A full disk and a read-only folder: one clear error, before the work where it can be known, and
nothing half-written.
"""

import errno
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spikelfp_lab import DataError, ModelConfig, TrainConfig, load, pretrain
from spikelfp_lab.io.open import open_session
from spikelfp_lab.io.prepare import cached_session
from spikelfp_lab.io.store import save_cohort, save_session
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.presets import PRESETS
from spikelfp_lab.sessions import cohort_from_sessions
from spikelfp_lab.study import Study
from spikelfp_lab.study.specs import pretrained, single
from tests.factories import make_session

MODEL = ModelConfig(width=32, layers=1, spike_patch=16, channel_patch=8, predictor_width=32)
TRAIN = TrainConfig(steps=20, batch=2, window_s=0.4, val_every=5)
FULL = r"disk is full \([\d,]+\.\d MB are free in .*untouched\. Make room, or choose a folder"


@contextmanager
def mounted(folder: Path, size: str):
    """A disk of its own; skips where none can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs takes Linux and the rights of root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Disk:
    """A folder whose disk can be filled and freed: a real small one, or flushing to it that fails
    as on a full one.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch | None = None):
        self.folder, self.patch = folder, patch
        self.filler = folder / "filler"

    def fill(self, spare: int = 8 << 10) -> None:
        if self.patch is None:
            free = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_bsize
            self.filler.write_bytes(bytes(max(free - spare, 0)))
            return

        def full(_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        self.patch.setattr(os, "fsync", full)

    def free(self) -> None:
        if self.patch is None:
            self.filler.unlink()
        else:
            self.patch.undo()

    def names(self) -> set[str]:
        return {str(p.relative_to(self.folder)) for p in self.folder.rglob("*")} - {"filler"}


@pytest.fixture(params=["a small disk", "flushing fails"])
def disk(request, tmp_path):
    if request.param == "flushing fails":
        (tmp_path / "disk").mkdir()
        with pytest.MonkeyPatch.context() as patch:
            yield Disk(tmp_path / "disk", patch)
        return
    with mounted(tmp_path / "disk", "32m") as folder:
        yield Disk(folder)


@pytest.fixture
def read_only(tmp_path):
    """Makes a folder read-only, for root too."""
    if os.geteuid() != 0:
        yield lambda: (tmp_path / "disk").chmod(0o555)
        (tmp_path / "disk").chmod(0o755)
        return
    with mounted(tmp_path / "disk", "64m") as folder:
        yield lambda: subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


def small_model(seed: int) -> Autoencoder:
    torch.manual_seed(seed)
    model = Autoencoder(MODEL, modality="lfp", sessions={"I/s01": 5}, bin_size_s=0.02)
    model.info = {"seed": seed}
    return model


def test_a_model_that_does_not_fit_leaves_the_old_one(disk):
    path = small_model(1).save(disk.folder / "student")
    before = disk.names()
    disk.fill()
    for target in (path, disk.folder / "another"):
        with pytest.raises(DataError, match=FULL) as caught:
            small_model(2).save(target, overwrite=True)
        assert str(target) in str(caught.value)
    assert disk.names() == before and load(path).info == {"seed": 1}
    disk.free()
    assert load(small_model(2).save(path, overwrite=True)).info == {"seed": 2}


def test_a_session_that_does_not_fit_leaves_the_old_one(disk):
    old, new = make_session(seed=1), make_session(bins=4000, seed=2)
    path = save_session(old, disk.folder / "s.zarr")
    before = disk.names()
    disk.fill()
    for target in (path, disk.folder / "another.zarr"):
        with pytest.raises(DataError, match=FULL) as caught:
            save_session(new, target, overwrite=True)
        assert str(target) in str(caught.value)
    assert disk.names() == before and open_session(path).identical(old)
    disk.free()
    assert open_session(save_session(new, path, overwrite=True)).identical(new)


def test_a_cache_that_is_full_names_its_variable(disk):
    path = disk.folder / "s.zarr"
    if disk.patch is None:
        disk.fill(256 << 10)  # enough for the check, not for the session
    big = make_session(bins=40_000)
    if disk.patch is not None:
        disk.fill()
    with pytest.raises(DataError, match=f"{FULL}.*SPIKELFP_DATA"):
        cached_session(path, lambda: big)
    assert disk.names() == set()
    disk.free()
    assert cached_session(path, lambda: big).identical(big)


def train(folder: Path | None, **options) -> Autoencoder:
    session = make_session(bins=1500)
    return pretrain(
        session,
        "spikes",
        model=MODEL,
        train=TRAIN,
        device="cpu",
        progress=False,
        folder=folder,
        **options,
    )


def test_a_training_goes_on_after_room_is_made(disk):
    def fill(history):
        if history["step"].max() == 10:
            disk.fill()

    folder = disk.folder / "run"
    with pytest.raises(DataError, match=FULL) as caught:
        train(folder, callbacks=[fill])
    assert "state.safetensors" in str(caught.value)
    kept = {"run", "run/lock", "run/run.json", "run/state.safetensors"}
    assert disk.names() == kept
    disk.free()
    begun = []

    class Watch:
        def watch(self, model, *, step, steps):
            begun.append(step)
            return open(os.devnull)

        def __call__(self, history):
            pass

    again, undisturbed = train(folder, callbacks=[Watch()]), train(None)
    assert begun == [10]
    assert again.digest() == undisturbed.digest() and again.history.equals(undisturbed.history)


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    for role, preset in PRESETS["smoke"].items():
        quick = replace(preset.train, steps=4, batch=2, window_s=0.4, val_every=2)
        monkeypatch.setitem(PRESETS["smoke"], role, replace(preset, train=quick, finetune=quick))
    sessions = [make_session(bins=1400, session=f"s0{i}", seed=i) for i in range(1, 4)]
    save_cohort(cohort_from_sessions(sessions), tmp_path / "cohort")
    return Study(
        cohort_name=str(tmp_path / "cohort"),
        preset="smoke",
        runs=tmp_path / "disk" / "runs",
        progress=False,
    )


def test_a_study_goes_on_after_room_is_made(disk, study):
    finished = study.model(single(study, "lfp", "I/s03", 0)).digest()
    disk.fill(64 << 10)  # enough to begin, not for the state
    with pytest.raises(DataError, match=FULL):
        study.model(pretrained(study, "spikes", 0))
    disk.free()
    again = replace(study, _loaded={})
    assert again.model(pretrained(again, "spikes", 0)).history["step"].max() == 4
    assert again.model(single(again, "lfp", "I/s03", 0)).digest() == finished
    assert all(not name.endswith(".tmp") for name in disk.names())


def never(*_, **__):
    pytest.fail("trained before it was known that nothing can be written")


def test_a_read_only_folder_is_known_before_a_training_starts(read_only, study, monkeypatch):
    finished = study.model(single(study, "lfp", "I/s03", 0)).digest()
    read_only()
    again = replace(study, _loaded={})
    assert (
        again.model(single(again, "lfp", "I/s03", 0)).digest() == finished
    )  # what is finished can be used, without a word
    monkeypatch.setattr("spikelfp_lab.training.loop.fit", never)
    with pytest.raises(DataError, match=r"nothing may be written.*Choose another folder"):
        again.model(pretrained(again, "spikes", 0))


def test_training_in_processes_says_that_the_folder_is_read_only(read_only, study):
    study.runs.parent.mkdir(exist_ok=True)
    read_only()
    with pytest.raises(DataError, match="nothing may be written"):
        study.train("comparison")


def test_a_read_only_state_folder_is_known_before_the_first_step(read_only, tmp_path):
    read_only()
    with pytest.raises(DataError, match="nothing may be written"):
        pretrain(
            make_session(), "spikes", model=MODEL, train=TRAIN, progress=False, device="cpu",
            folder=tmp_path / "disk" / "run",
            callbacks=[lambda history: pytest.fail("it was trained")],
        )  # fmt: skip


def test_a_read_only_cache_is_known_before_the_work(read_only, tmp_path):
    (tmp_path / "disk").mkdir(exist_ok=True)
    read_only()
    with pytest.raises(DataError, match=r"nothing may be written.*SPIKELFP_DATA"):
        cached_session(tmp_path / "disk" / "deep" / "s.zarr", never)


def test_a_read_only_folder_is_one_clear_error_when_saving(read_only, tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir(exist_ok=True)
    read_only()
    for save in (
        lambda: small_model(1).save(folder / "student"),
        lambda: save_session(make_session(), folder / "s.zarr"),
    ):
        with pytest.raises(DataError, match=f"{re.escape(str(folder))} is a folder in which"):
            save()
