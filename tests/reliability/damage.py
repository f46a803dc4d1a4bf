"""What can happen to a file: bits flipped, cut off, shapes wrong, parts missing, sizes declared
huge.

A damage takes a path and a random generator, and says what it did.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Rng = np.random.Generator
Damage = Callable[[Path, Rng], str]
NUMBERS = (np.nan, np.inf, -np.inf, 0, -1, -0.5, 1e300, 1e-300, 3, 2**31, -(2**63), 1e15)
DTYPES = ("i1", "<u2", "<i8", "<f2", "<f8", "<c16", "S3", "?", "O")


def pick(rng: Rng, among: Any) -> Any:
    """One of a sequence, itself and not as NumPy would have it."""
    return among[int(rng.integers(len(among)))]


def bytes_changed(path: Path, rng: Rng) -> str:
    """A block zeroed, left out, doubled or random; some bits flipped; cut off; or all garbage."""
    path = path if path.is_file() else pick(rng, sorted(p for p in path.rglob("*") if p.is_file()))
    content = path.read_bytes()
    size = len(content)
    first = int(rng.integers(0, size + 1))
    last = min(size, first + int(2 ** rng.integers(0, 14)))
    kept = pick(rng, [0, 1, 8, 512, size // 2, max(size - 1, 0), first])
    flipped = np.frombuffer(content, np.uint8).copy()
    near = size if rng.random() < 0.5 else min(size, 4096)
    where = rng.integers(0, max(near, 1), int(rng.integers(1, 33))) if size else []
    flipped[where] ^= np.uint8(1) << rng.integers(0, 8, len(where)).astype(np.uint8)
    new = {
        "zeroed": content[:first] + bytes(last - first) + content[last:],
        "left out": content[:first] + content[last:],
        "doubled": content[:last] + content[first:],
        "random": content[:first] + rng.bytes(last - first) + content[last:],
        "garbage": rng.bytes(int(rng.integers(0, 5000))),
        "cut": content[:kept],
        "flipped": flipped.tobytes(),
    }
    how = pick(rng, [*new, *["cut", "flipped"] * 4])
    path.write_bytes(new[how])
    return f"{path.name}: {how} ({first} to {last}, {kept} kept, {len(where)} bits)"


def json_changed(path: Path, rng: Rng) -> str:
    """A value of a JSON file is gone, of another type, or a number that is no use there."""
    content = json.loads(path.read_text())
    holder = pick(rng, [content, *(each for each in content.values() if isinstance(each, dict))])
    key = pick(rng, list(holder)) if holder else "more"
    holder[key] = new = pick(rng, ["gone", pick(rng, NUMBERS), "x", [], None])
    if new == "gone":
        del holder[key]
    path.write_text(json.dumps(content))
    return f"{path.name}: {key} is {new}"


def zarr_missing(path: Path, rng: Rng) -> str:
    """An array, a chunk or a file of metadata is gone."""
    gone = pick(rng, sorted(path.rglob("*")))
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    return f"{gone.name} removed"


def zarr_declared(path: Path, rng: Rng) -> str:
    """An array declares another shape, chunks or dtype, some of them huge."""
    whole = json.loads((path / ".zmetadata").read_text())
    name = pick(rng, [key for key in whole["metadata"] if key.endswith("/.zarray")])
    array, what = whole["metadata"][name], pick(rng, ["shape", "chunks", "dtype"])
    if what == "dtype":
        array[what] = np.dtype(pick(rng, DTYPES)).str
    elif array[what]:
        at = int(rng.integers(len(array[what])))
        array[what][at] = pick(rng, [0, 1, array[what][at] + 1, 10**6, 10**9, 10**12, 2**62])
    (path / ".zmetadata").write_text(json.dumps(whole))
    (path / name).write_text(json.dumps(array))
    return f"{name}: {what} {array[what]}"


def hdf5_changed(path: Path, rng: Rng) -> str:
    """An object of an HDF5 file is removed, or an array of another shape, dtype, value or size."""
    kind = pick(rng, ["removed", "values", "dtype", "shape", "huge"])
    with h5py.File(path, "r+") as file:
        found: list[Any] = []
        file.visititems(lambda _, item: found.append(item))
        arrays = [one for one in found if isinstance(one, h5py.Dataset)]
        item = pick(rng, found if kind == "removed" else arrays)
        name, attrs = item.name, dict(item.attrs)
        if kind == "removed":
            del file[name]
            return f"{name} removed"
        shape = item.shape or ()
        values = np.asarray(item[()]) if item.dtype.kind in "iuf" else np.zeros(shape or 3)
        if kind == "values":
            values = np.array(values, float)
            where = tuple(int(rng.integers(n)) for n in values.shape) if values.size else ...
            values[where] = pick(rng, NUMBERS)
        elif kind == "dtype":
            values = np.nan_to_num(values).astype(pick(rng, DTYPES[:-1]))
        elif kind == "shape":
            cut = values[: int(rng.integers(0, 5))] if values.ndim else np.zeros(3)
            values = pick(rng, [values.T, values[None], values.ravel(), cut])
        del file[name]
        if kind == "huge":
            size = (pick(rng, [10**9, 10**12, 2**50]), *shape[1:])
            new = file.create_dataset(name, size, "f8", chunks=(64, *shape[1:]))
        else:
            new = file.create_dataset(name, data=values)
        for key, value in attrs.items():
            new.attrs[key] = value
        return f"{name} {kind}: {new.dtype} {new.shape}"


ZARR = [*[bytes_changed] * 3, zarr_missing, zarr_declared]
HDF5 = [*[bytes_changed] * 3, *[hdf5_changed] * 5]
DAMAGES: dict[str, list[Damage]] = {
    "zarr": ZARR,
    "cohort": ZARR,
    **dict.fromkeys(("nwb", "nwb described", "nwb written here", "matlab 7.3", "nwb 1"), HDF5),
    "config": [*[bytes_changed] * 3, json_changed],
}  # and bytes changed in all other formats
