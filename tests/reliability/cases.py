"""The cases: a number and a seed give a format, a mutation and its parameters, each by itself."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tests.reliability.any_files import ANY, Mutation
from tests.reliability.hdf5_files import HDF5
from tests.reliability.json_files import JSON
from tests.reliability.matlab5_files import MATLAB5
from tests.reliability.seeds import FORMATS, lay_out
from tests.reliability.weight_files import NPZ, PT, SAFETENSORS
from tests.reliability.zarr_files import COHORT, ZARR

MUTATIONS: dict[str, dict[str, Mutation]] = {
    name: ANY | own
    for name, own in {
        "zarr": ZARR,
        "cohort": COHORT,
        "nwb": HDF5,
        "nwb described": HDF5,
        "nwb written here": HDF5,
        "matlab 5": MATLAB5,
        "matlab 5 plain": MATLAB5,
        "matlab 7.3": HDF5,
        "nwb 1": HDF5,
        "model": SAFETENSORS,
        "config": JSON,
        "official safetensors": SAFETENSORS,
        "official npz": NPZ,
        "official pt": PT,
    }.items()
}
PAIRS = [(name, mutation) for name, own in MUTATIONS.items() for mutation in own]
assert MUTATIONS.keys() == FORMATS.keys()


@dataclass(frozen=True)
class Case:
    """One case. Numbers that follow each other differ in format, so that few cases cover all."""

    number: int
    seed: int

    @property
    def pair(self) -> tuple[str, str]:
        """Format and mutation: all pairs in turn, in an order that mixes them."""
        order = np.random.default_rng(0).permutation(len(PAIRS))
        return PAIRS[order[self.number % len(PAIRS)]]

    def make(self, seeds: Path, root: Path) -> tuple[Path, Path, str]:
        """Lay out the case below ``root``: what is opened, what was changed, and how."""
        name, mutation = self.pair
        opened, target = lay_out(seeds, name, root / "case")
        canary = make_canaries(root)
        rng = np.random.default_rng([self.seed, self.number])
        return opened, target, MUTATIONS[name][mutation](target, rng, canary)


def make_canaries(root: Path) -> Path:
    """What the names and links of the cases lead to; nothing may change or get in."""
    folder = root / "canary"
    folder.mkdir()
    (folder / "canary.txt").write_text("a canary")
    (folder / "0").write_bytes(bytes(1000))
    with h5py.File(folder / "canary.h5", "w") as file:
        file["data"] = np.full((10_000, 3), 12345.0)
    shutil.copy(folder / "canary.txt", root / "case" / "canary")
    return folder
