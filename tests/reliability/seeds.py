"""Valid files of every format, small, made once by the package's own writers and the factories.

Each format says what is mutated (a file or a folder, by its path under the case's folder) and how
it is opened. Whatever opens is checked: a session against the schema, a model by encoding.
"""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
import xarray as xr
from hdmf.backends.hdf5 import H5DataIO
from scipy import io

import spikelfp_lab as sl
from spikelfp_lab import ModelConfig
from spikelfp_lab.cohorts import flint, makin
from spikelfp_lab.cohorts._published import kept_session
from spikelfp_lab.io.store import save_cohort, save_session
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.sessions import iterate_sessions
from tests.factories import make_session
from tests.io.matlab_files import write_flint, write_makin_mat, write_makin_nwb
from tests.io.nwb_files import (
    add_lfp,
    add_position,
    add_units,
    spike_trains,
    start_file,
    tones,
    whole_file,
    write,
)
from tests.models.test_official import published

MAKIN = "indy_20160622_01"


@dataclass(frozen=True)
class Format:
    """A kind of file: where its seed lies under a case's folder, and how it is made and opened."""

    seed: str
    make: Callable[[Path], Any]
    open: Callable[[Path], None]
    target: str = ""  # what is mutated, below the seed


def _session(session: xr.Dataset) -> None:
    sl.validate_session(session)


def _model(model: Autoencoder) -> None:
    for name in list(model.sessions)[:2]:
        values = torch.zeros(1, 4, model.n_inputs(name))
        with torch.inference_mode():
            assert model.latents(values, name).shape == (1, 4, model.config.width)


def _open_session(path: Path) -> None:
    _session(sl.open_session(path, **({"progress": False} if path.suffix == ".nwb" else {})))


def _describe(path: Path) -> None:
    assert isinstance(repr(sl.describe_nwb(path)), str)


def _open_cohort(path: Path) -> None:
    for session in iterate_sessions(sl.open_cohort(path, progress=False)).values():
        _session(session)


def _open_flint(path: Path) -> None:
    _session(flint.session("e1_1", folder=path.parent))


def _open_makin(path: Path, *, broadband: bool) -> None:
    # as makin.session does once the files are there, so that no download is begun when they are not
    options = path.parent / MAKIN, broadband, False, "sorted", 0.01, False
    _session(kept_session(path.parent / "prepared" / "a.zarr", makin._build, *options))


def _load(path: Path) -> None:
    _model(sl.load(path))


def _load_official(path: Path) -> None:
    _model(sl.load_official(path))


def _make_zarr(path: Path, **options: Any) -> None:
    save_session(make_session(bins=200, trial_bins=50, nan_lfp=[3], **options), path)


def _make_cohort(path: Path) -> None:
    save_cohort({"a": make_session(bins=100), "b": make_session(bins=100, session="s02")}, path)
    whole_file(path / "third.nwb")


def _make_model(path: Path) -> None:
    config = ModelConfig(width=32, layers=1, spike_patch=16, predictor_width=32, affine_space=True)
    torch.manual_seed(0)
    model = Autoencoder(
        config, modality="lfp", sessions={"I/s01": 5, "I/s02": 40}, bin_size_s=0.02, n_behavior=2
    )
    model.history = pd.DataFrame(
        {"step": [1], "split": ["val"], "metric": ["loss"], "value": [0.5]}
    )
    model.info = {"made_by": "the fuzzer", "seed": 3, "train": {"window_s": 2.0}}
    model.save(path)


def _make_official(path: Path, *, modality: str) -> None:
    weights = {key: value.contiguous() for key, value in published(modality)[1].items()}
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(weights, path)
    elif path.suffix == ".npz":
        np.savez_compressed(path, **{key: value.numpy() for key, value in weights.items()})
    else:
        torch.save({"epoch": 3, "state_dict": weights}, path)


def _make_flint(path: Path, *, compressed: bool) -> None:
    write_flint(path, trials=2, steps=100, neurons=3)
    if not compressed:
        io.savemat(path, {"Subject": io.loadmat(path)["Subject"]})


def _make_makin(path: Path, *, broadband: bool) -> None:
    write_makin_mat(path.with_suffix(".mat"), duration_s=8.0, start_s=10.0)
    if broadband:
        write_makin_nwb(path.with_suffix(".nwb"), duration_s=9.0, start_s=10.0, channels=2)


def _make_rich(path: Path) -> None:
    """What :func:`whole_file` does not have: timestamps, intervals, columns, compression."""
    nwbfile = start_file()
    trains = spike_trains(3)
    observed = [[[0.0, 10.0]]] * 3
    add_units(
        nwbfile,
        trains,
        obs_intervals=observed,
        quality=["good", "mua", "good"],
        depth=[1.0, 2.0, 3.0],
    )
    wave = tones(rate_hz=250.0) * 1e-6
    times = np.arange(len(wave)) / 250.0
    add_lfp(nwbfile, H5DataIO(wave, compression="gzip", chunks=(500, 3)), timestamps=times)
    nwbfile.electrodes.add_column(name="is_bad", description="bad", data=[False, True, False])
    moved = np.random.default_rng(0).normal(size=(500, 2)).cumsum(axis=0)
    add_position(nwbfile, moved, timestamps=np.arange(500) / 50.0)
    nwbfile.add_trial(start_time=1.0, stop_time=4.0)
    write(nwbfile, path)


def _make_written_here(path: Path) -> None:
    sl.write_nwb(make_session(bins=200, trial_bins=50), path)


_FLINT = "cache/flint/Flint_2012_e1.mat"
_MAKIN = f"cache/makin/{MAKIN}"

FORMATS: dict[str, Format] = {
    "zarr": Format("input/s01.zarr", _make_zarr, _open_session),
    "cohort": Format("input/cohort", _make_cohort, _open_cohort),
    "nwb": Format("input/rat1.nwb", _make_rich, _open_session),
    "nwb described": Format("input/rat1.nwb", whole_file, _describe),
    "nwb written here": Format("input/s01.nwb", _make_written_here, _open_session),
    "matlab 5": Format(_FLINT, partial(_make_flint, compressed=True), _open_flint),
    "matlab 5 plain": Format(_FLINT, partial(_make_flint, compressed=False), _open_flint),
    "matlab 7.3": Format(
        f"{_MAKIN}.mat",
        partial(_make_makin, broadband=False),
        partial(_open_makin, broadband=False),
    ),
    "nwb 1": Format(
        f"{_MAKIN}.nwb", partial(_make_makin, broadband=True), partial(_open_makin, broadband=True)
    ),
    "model": Format("input/student", _make_model, _load, target="model.safetensors"),
    "config": Format("input/student", _make_model, _load, target="config.json"),
    "official safetensors": Format(
        "input/lfp.safetensors", partial(_make_official, modality="lfp"), _load_official
    ),
    "official npz": Format(
        "input/spikes.npz", partial(_make_official, modality="spikes"), _load_official
    ),
    "official pt": Format("input/lfp.pt", partial(_make_official, modality="lfp"), _load_official),
}


def make_seeds(folder: Path, names: Iterable[str]) -> None:
    """A folder for each of these formats, with its valid files as a case finds them."""
    for name in names:
        path = folder / name / FORMATS[name].seed
        path.parent.mkdir(parents=True)
        FORMATS[name].make(path)


def lay_out(seeds: Path, name: str, case: Path) -> tuple[Path, Path]:
    """A copy of a format's seed in the folder of a case: what is opened, and what is mutated."""
    shutil.copytree(seeds / name, case, symlinks=True, dirs_exist_ok=True)
    opened = case / FORMATS[name].seed
    return opened, opened / FORMATS[name].target if FORMATS[name].target else opened
