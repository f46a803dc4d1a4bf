"""Valid files of every format, small, made once by the package's own writers and the factories.

Each format says what is damaged (a file or a folder, by its path under the case's folder) and how
it is opened. Whatever opens is checked: a session against the schema, a model by encoding.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from scipy import io

import spikelfp_lab as sl
from spikelfp_lab.cohorts import flint, makin
from spikelfp_lab.cohorts._published import kept_session
from spikelfp_lab.io.store import save_cohort, save_session
from spikelfp_lab.models import Autoencoder
from tests.factories import make_session
from tests.io.matlab_files import write_flint, write_makin_mat, write_makin_nwb
from tests.io.nwb_files import whole_file
from tests.models.test_official import write_published

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


def open_makin(path: Path) -> None:
    # as makin.session does once the files are there, so that no download is begun when they are not
    options = path.parent / MAKIN, path.suffix == ".nwb", False, "sorted", 0.01, False
    kept = path.parent / "prepared" / "a.zarr"
    sl.validate_session(kept_session(kept, makin._build, *options))


def open_model(path: Path, *, load: Callable[[Path], Autoencoder]) -> None:
    model = load(path)
    for name in list(model.sessions)[:2]:
        values = torch.zeros(1, 4, len(model.statistics(name)[0]))
        with torch.inference_mode():
            assert model.latents(values, name).shape == (1, 4, model.config.width)


def open_flint(path: Path) -> None:
    sl.validate_session(flint.session("e1_1", folder=path.parent))


def make_cohort(path: Path) -> None:
    save_cohort({"a": make_session(bins=100), "b": make_session(bins=100, session="s02")}, path)
    whole_file(path / "third.nwb")


def make_model(path: Path) -> None:
    config = sl.ModelConfig(width=64, layers=1, predictor_width=32, affine_space=True)
    sessions = {"I/s01": 5, "I/s02": 40}
    model = Autoencoder(config, modality="lfp", sessions=sessions, bin_size_s=0.02, n_behavior=2)
    model.info = {"made_by": "the fuzzer", "seed": 3, "train": {"window_s": 2.0}}
    model.save(path)


def make_flint(path: Path, *, compressed: bool) -> None:
    write_flint(path, trials=2, steps=100, neurons=3)
    if not compressed:
        io.savemat(path, {"Subject": io.loadmat(path)["Subject"]})


def make_makin(path: Path) -> None:
    write_makin_mat(path.with_suffix(".mat"), duration_s=8.0, start_s=10.0)
    if path.suffix == ".nwb":
        write_makin_nwb(path, duration_s=9.0, start_s=10.0, channels=2)


SESSION = make_session(bins=200, trial_bins=50, nan_lfp=[3])
FLINT, MAKIN_FILE = "cache/flint/Flint_2012_e1.mat", f"cache/makin/{MAKIN}"
load, official = partial(open_model, load=sl.load), partial(open_model, load=sl.load_official)
FORMATS: dict[str, Format] = {
    "zarr": Format("input/s01.zarr", partial(save_session, SESSION), open_session),
    "cohort": Format(
        "input/cohort", make_cohort, partial(sl.open_cohort, progress=False), target="I/s01.zarr"
    ),
    "nwb": Format("input/rat1.nwb", whole_file, open_session),
    "nwb described": Format("input/rat1.nwb", whole_file, lambda path: repr(sl.describe_nwb(path))),
    "nwb written here": Format("input/s01.nwb", partial(sl.write_nwb, SESSION), open_session),
    "matlab 5": Format(FLINT, partial(make_flint, compressed=True), open_flint),
    "matlab 5 plain": Format(FLINT, partial(make_flint, compressed=False), open_flint),
    "matlab 7.3": Format(f"{MAKIN_FILE}.mat", make_makin, open_makin),
    "nwb 1": Format(f"{MAKIN_FILE}.nwb", make_makin, open_makin),
    "model": Format("input/student", make_model, load, target="model.safetensors"),
    "config": Format("input/student", make_model, load, target="config.json"),
}
for ending, modality in {"safetensors": "lfp", "npz": "spikes", "pt": "lfp"}.items():
    make = partial(write_published, modality=modality)
    FORMATS[f"official {ending}"] = Format(f"input/{modality}.{ending}", make, official)


def make_seeds(folder: Path) -> None:
    """A folder for each format, with its valid files as a case finds them."""
    for name, kind in FORMATS.items():
        path = folder / name / kind.seed
        path.parent.mkdir(parents=True)
        kind.make(path)


def lay_out(seeds: Path, name: str, case: Path) -> tuple[Path, Path]:
    """A copy of a format's seed in the folder of a case: what is opened, and what is damaged."""
    shutil.copytree(seeds / name, case, symlinks=True, dirs_exist_ok=True)
    opened = case / FORMATS[name].seed
    return opened, opened / FORMATS[name].target
