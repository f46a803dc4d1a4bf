"""A full disk and a read-only folder: one clear error, before the work where it can be known, and
nothing half-written.
"""

import errno
import json
import os
import re
import shutil
import subprocess
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from spikelfp_lab import DataError, ModelConfig, TrainConfig, load, pretrain
from spikelfp_lab.io.open import open_session
from spikelfp_lab.io.prepare import cached_session
from spikelfp_lab.io.store import save_session
from spikelfp_lab.models import Autoencoder
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
    """A folder whose disk can be filled and freed: a real small one, or (with ``patch``) one where
    flushing fails as on a full one.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch | None):
        self.folder, self.patch, self.filler = folder, patch, folder / "filler"

    def fill(self, spare: int = 8 << 10) -> None:
        def full(_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        if self.patch:
            self.patch.setattr(os, "fsync", full)
        else:
            disk = os.statvfs(self.folder)
            self.filler.write_bytes(bytes(max(disk.f_bavail * disk.f_bsize - spare, 0)))

    def free(self) -> None:
        self.patch.undo() if self.patch else self.filler.unlink()

    def names(self) -> set[str]:
        return {str(p.relative_to(self.folder)) for p in self.folder.rglob("*")} - {"filler"}


@pytest.fixture(params=[True, False], ids=["a small disk", "flushing fails"])
def disk(request, tmp_path, monkeypatch):
    real = request.param
    with mounted(tmp_path / "disk", "32m") if real else nullcontext(tmp_path) as folder:
        yield Disk(folder, None if real else monkeypatch)


def save_model(seed: int, path: Path) -> Path:
    torch.manual_seed(seed)
    model = Autoencoder(MODEL, modality="lfp", sessions={"I/s01": 5}, bin_size_s=0.02)
    model.info = {"seed": seed}
    return model.save(path, overwrite=True)


def save_data(seed: int, path: Path) -> Path:
    session = make_session(bins=600 if seed == 1 else 4000, seed=seed)
    return save_session(session.assign_attrs(seed=seed), path, overwrite=True)


@pytest.mark.parametrize(
    "save, seed_of, name",
    [
        (save_model, lambda path: load(path).info["seed"], "student"),
        (save_data, lambda path: open_session(path).attrs["seed"], "s.zarr"),
    ],
)
def test_what_does_not_fit_leaves_the_old_one(disk, save, seed_of, name):
    path = save(1, disk.folder / name)
    before = disk.names()
    disk.fill()
    for target in (path, disk.folder / f"another-{name}"):
        with pytest.raises(DataError, match=f"{re.escape(str(target))}.*{FULL}"):
            save(2, target)
    assert disk.names() == before and seed_of(path) == 1
    disk.free()
    assert seed_of(save(2, path)) == 2


def train(folder: Path | None, **options) -> Autoencoder:
    session, common = make_session(bins=1500), {"device": "cpu", "progress": False}
    return pretrain(session, "spikes", model=MODEL, train=TRAIN, folder=folder, **common, **options)


def test_a_training_goes_on_after_room_is_made(disk):
    def fill(history):
        if history["step"].max() == 10:
            disk.fill()

    folder = disk.folder / "run"
    with pytest.raises(DataError, match=f"state.safetensors.*{FULL}"):
        train(folder, callbacks=[fill])
    assert disk.names() == {"run", "run/lock", "run/run.json", "run/state.safetensors"}
    with safe_open(folder / "state.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["state"])["step"] == 10
    disk.free()
    again, undisturbed = train(folder), train(None)
    assert again.digest() == undisturbed.digest() and again.history.equals(undisturbed.history)


@pytest.fixture
def read_only(tmp_path):
    """Makes a folder read-only, for root too."""
    if os.geteuid() != 0:
        (tmp_path / "disk").mkdir()
        yield lambda: (tmp_path / "disk").chmod(0o555)
        (tmp_path / "disk").chmod(0o755)
        return
    with mounted(tmp_path / "disk", "64m") as folder:
        yield lambda: subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


def test_a_read_only_folder_is_known_before_the_work_starts(read_only, tmp_path, monkeypatch):
    folder = tmp_path / "disk"
    finished = train(folder / "done").digest()
    read_only()
    assert train(folder / "done").digest() == finished  # what is finished can be used
    monkeypatch.setattr("spikelfp_lab.training.loop.fit", None)  # nothing is begun
    for match, work in (
        ("Choose another folder", lambda: train(folder / "run")),
        ("SPIKELFP_DATA", lambda: cached_session(folder / "deep" / "s.zarr", None)),
        ("could not be written", lambda: save_model(1, folder / "student")),
        ("could not be written", lambda: save_data(1, folder / "s.zarr")),
    ):
        with pytest.raises(DataError, match=f"(?s)(?=.*{match}).*nothing may be written"):
            work()
