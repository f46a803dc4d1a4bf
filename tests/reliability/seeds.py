"""Valid files of every format, small, made once by the package's own writers and the factories.

Each format says what is damaged (a file or a folder, by its path under the case's folder) and how
it is opened. Whatever opens is checked: a session against the schema, a model by encoding.
"""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from hdmf.backends.hdf5 import H5DataIO
from scipy import io

import spikelfp_lab as sl
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
    open: Callable[[Path], Any]
    target: str = ""  # what is damaged, below the seed


def open_session(path: Path) -> None:
    options = {"progress": False} if path.suffix == ".nwb" else {}
    sl.validate_session(sl.open_session(path, **options))


def open_cohort(path: Path) -> None:
    iterate_sessions(sl.open_cohort(path, progress=False))


def open_flint(path: Path) -> None:
    sl.validate_session(flint.session("e1_1", folder=path.parent))


def open_makin(path: Path, *, broadband: bool) -> None:
    # as makin.session does once the files are there, so that no download is begun when they are not
    options = path.parent / MAKIN, broadband, False, "sorted", 0.01, False
    kept = path.parent / "prepared" / "a.zarr"
    sl.validate_session(kept_session(kept, makin._build, *options))


def open_model(path: Path, *, load: Callable[[Path], Autoencoder]) -> None:
    model = load(path)
    for name in list(model.sessions)[:2]:
        values = torch.zeros(1, 4, model.n_inputs(name))
        with torch.inference_mode():
            assert model.latents(values, name).shape == (1, 4, model.config.width)


def make_zarr(path: Path) -> None:
    save_session(make_session(bins=200, trial_bins=50, nan_lfp=[3]), path)


def make_cohort(path: Path) -> None:
    save_cohort({"a": make_session(bins=100), "b": make_session(bins=100, session="s02")}, path)
    whole_file(path / "third.nwb")


def make_model(path: Path) -> None:
    config = sl.ModelConfig(
        width=32, layers=1, spike_patch=16, predictor_width=32, affine_space=True
    )
    sessions = {"I/s01": 5, "I/s02": 40}
    model = Autoencoder(config, modality="lfp", sessions=sessions, bin_size_s=0.02, n_behavior=2)
    model.info = {"made_by": "the fuzzer", "seed": 3, "train": {"window_s": 2.0}}
    model.save(path)


def make_official(path: Path, *, modality: str) -> None:
    weights = {key: value.contiguous() for key, value in published(modality)[1].items()}
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(weights, path)
    elif path.suffix == ".npz":
        np.savez_compressed(path, **{key: value.numpy() for key, value in weights.items()})
    else:
        torch.save({"epoch": 3, "state_dict": weights}, path)


def make_flint(path: Path, *, compressed: bool) -> None:
    write_flint(path, trials=2, steps=100, neurons=3)
    if not compressed:
        io.savemat(path, {"Subject": io.loadmat(path)["Subject"]})


def make_makin(path: Path, *, broadband: bool) -> None:
    write_makin_mat(path.with_suffix(".mat"), duration_s=8.0, start_s=10.0)
    if broadband:
        write_makin_nwb(path.with_suffix(".nwb"), duration_s=9.0, start_s=10.0, channels=2)


def make_nwb(path: Path) -> None:
    """What :func:`whole_file` does not have: timestamps, intervals, columns, compression."""
    nwbfile = start_file()
    columns = {"quality": ["good", "mua", "good"], "depth": [1.0, 2.0, 3.0]}
    add_units(nwbfile, spike_trains(3), obs_intervals=[[[0.0, 10.0]]] * 3, **columns)
    wave = tones(rate_hz=250.0) * 1e-6
    compressed = H5DataIO(wave, compression="gzip", chunks=(500, 3))
    add_lfp(nwbfile, compressed, timestamps=np.arange(len(wave)) / 250.0)
    nwbfile.electrodes.add_column(name="is_bad", description="bad", data=[False, True, False])
    moved = np.random.default_rng(0).normal(size=(500, 2)).cumsum(axis=0)
    add_position(nwbfile, moved, timestamps=np.arange(500) / 50.0)
    nwbfile.add_trial(start_time=1.0, stop_time=4.0)
    write(nwbfile, path)


FLINT, MAKIN_FILE = "cache/flint/Flint_2012_e1.mat", f"cache/makin/{MAKIN}"
load, official = partial(open_model, load=sl.load), partial(open_model, load=sl.load_official)
FORMATS: dict[str, Format] = {
    "zarr": Format("input/s01.zarr", make_zarr, open_session),
    "cohort": Format("input/cohort", make_cohort, open_cohort),
    "nwb": Format("input/rat1.nwb", make_nwb, open_session),
    "nwb described": Format("input/rat1.nwb", whole_file, lambda path: repr(sl.describe_nwb(path))),
    "nwb written here": Format(
        "input/s01.nwb", lambda path: sl.write_nwb(make_session(bins=200), path), open_session
    ),
    "matlab 5": Format(FLINT, partial(make_flint, compressed=True), open_flint),
    "matlab 5 plain": Format(FLINT, partial(make_flint, compressed=False), open_flint),
    **{
        name: Format(
            MAKIN_FILE + ending,
            partial(make_makin, broadband=broadband),
            partial(open_makin, broadband=broadband),
        )
        for name, ending, broadband in (("matlab 7.3", ".mat", False), ("nwb 1", ".nwb", True))
    },
    "model": Format("input/student", make_model, load, target="model.safetensors"),
    "config": Format("input/student", make_model, load, target="config.json"),
    **{
        f"official {name.rpartition('.')[2]}": Format(
            f"input/{name}", partial(make_official, modality=name.partition(".")[0]), official
        )
        for name in ("lfp.safetensors", "spikes.npz", "lfp.pt")
    },
}


def make_seeds(folder: Path, names: Iterable[str]) -> None:
    """A folder for each of these formats, with its valid files as a case finds them."""
    for name in names:
        path = folder / name / FORMATS[name].seed
        path.parent.mkdir(parents=True)
        FORMATS[name].make(path)


def lay_out(seeds: Path, name: str, case: Path) -> tuple[Path, Path]:
    """A copy of a format's seed in the folder of a case: what is opened, and what is damaged."""
    shutil.copytree(seeds / name, case, symlinks=True, dirs_exist_ok=True)
    opened = case / FORMATS[name].seed
    return opened, opened / FORMATS[name].target
