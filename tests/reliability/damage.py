"""What can happen to a file: bits flipped, cut off, shapes wrong, parts missing, sizes declared
huge.

A damage takes a path and a random generator, and says what it did.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import safetensors.numpy

Rng = np.random.Generator
Damage = Callable[[Path, Rng], str]
NUMBERS = (np.nan, np.inf, -np.inf, 0, -1, -0.5, 1e300, 1e-300, 3, 2**31, -(2**63), 1e15)
DTYPES = ("i1", "u2", "i8", "f2", "f8", "c16", "S3", "?")


def pick(rng: Rng, among: Any) -> Any:
    """One of a sequence, itself and not as NumPy would have it."""
    return among[int(rng.integers(len(among)))]


def one_file(path: Path, rng: Rng) -> Path:
    """The file itself, or one in the folder."""
    return path if path.is_file() else pick(rng, sorted(p for p in path.rglob("*") if p.is_file()))


def flipped(path: Path, rng: Rng) -> str:
    """A few bits, anywhere or near the beginning."""
    path = one_file(path, rng)
    content = np.fromfile(path, np.uint8)
    end = content.size if rng.random() < 0.5 else min(content.size, 4096)
    where = rng.integers(0, max(end, 1), int(rng.integers(1, 33))) if content.size else []
    content[where] ^= np.uint8(1) << rng.integers(0, 8, len(where)).astype(np.uint8)
    path.write_bytes(content.tobytes())
    return f"{path.name}: {len(where)} bits flipped"


def moved(path: Path, rng: Rng) -> str:
    """A block zeroed, left out, doubled or random, or all of the file something else."""
    path = one_file(path, rng)
    content = path.read_bytes()
    first = int(rng.integers(0, len(content) + 1))
    last = min(len(content), first + int(2 ** rng.integers(0, 14)))
    new = {
        "zeroed": content[:first] + bytes(last - first) + content[last:],
        "left out": content[:first] + content[last:],
        "doubled": content[:last] + content[first:],
        "random": content[:first] + rng.bytes(last - first) + content[last:],
        "garbage": rng.bytes(int(rng.integers(0, 5000))),
    }
    how = pick(rng, list(new))
    path.write_bytes(new[how])
    return f"{path.name}: bytes {first} to {last} {how}"


def truncated(path: Path, rng: Rng) -> str:
    """Cut off somewhere; often to nothing or near an end."""
    path = one_file(path, rng)
    size = path.stat().st_size
    keep = pick(rng, [0, 1, 8, 512, size // 2, size - 1, int(rng.integers(0, size + 1))])
    os.truncate(path, max(0, min(keep, size)))
    return f"{path.name}: {keep} of {size} bytes left"


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


def json_changed(path: Path, rng: Rng) -> str:
    """A value of a JSON file is gone, of another type, or a number that is no use there."""
    content = json.loads(path.read_text())
    holder, key = pick(rng, _places(content))
    how = pick(rng, ["removed", "number", "text", "list", "null"])
    if how == "removed":
        del holder[key]
    else:
        new = {"number": pick(rng, NUMBERS), "text": "x", "list": [], "null": None}
        holder[key] = new[how]
    path.write_text(json.dumps(content))
    return f"{path.name}: {key} {how}"


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
        array[what] = pick(rng, ["|i1", "<u2", "<i8", "<f2", "<f8", "<c16", "|S3", "|b1", "|O"])
    elif array[what]:
        at = int(rng.integers(len(array[what])))
        array[what][at] = pick(rng, [0, 1, array[what][at] + 1, 10**6, 10**9, 10**12, 2**62])
    (path / ".zmetadata").write_text(json.dumps(whole))
    (path / name).write_text(json.dumps(array))
    return f"{name}: {what} {array[what]}"


def cohort_member(path: Path, rng: Rng) -> str:
    """Something happens to one of its sessions."""
    member = pick(rng, sorted(path.rglob("*.zarr")))
    return f"{member.name}: {pick(rng, [*ANY, zarr_missing, zarr_declared])(member, rng)}"


def hdf5(kind: str) -> Damage:
    """An object of an HDF5 file is removed, or an array of another shape, dtype, value or size."""

    def damage(path: Path, rng: Rng) -> str:
        with h5py.File(path, "r+") as file:
            found: list[Any] = []
            file.visititems(lambda _, item: found.append(item))
            if kind == "removed":
                name = pick(rng, found).name
                del file[name]
                return f"{name} removed"
            item = pick(rng, [one for one in found if isinstance(one, h5py.Dataset)])
            name, shape, attrs = item.name, item.shape or (), dict(item.attrs)
            values = np.asarray(item[()]) if item.dtype.kind in "iuf" else np.zeros(shape or 3)
            if kind == "values":
                values = np.array(values, float)
                values[
                    tuple(int(rng.integers(n)) for n in values.shape) if values.size else ...
                ] = pick(rng, NUMBERS)
            elif kind == "dtype":
                values = np.nan_to_num(values).astype(pick(rng, DTYPES))
            elif kind == "shape":
                cut = values[: int(rng.integers(0, 5))] if values.ndim else np.zeros(3)
                values = pick(rng, [values.T, values[None], values.ravel(), cut])
            del file[name]
            if kind == "huge":
                size = pick(rng, [10**9, 10**12, 2**50])
                new = file.create_dataset(name, (size, *shape[1:]), "f8", chunks=(64, *shape[1:]))
            else:
                new = file.create_dataset(name, data=values)
            for key, value in attrs.items():
                new.attrs[key] = value
            return f"{name} {kind}: {new.dtype} {new.shape}"

    return damage


def tensors(path: Path, rng: Rng) -> str:
    """A tensor of a safetensors file is missing, or of another shape, dtype or value."""
    weights = safetensors.numpy.load_file(path)
    name, how = pick(rng, sorted(weights)), pick(rng, ["missing", "shape", "dtype", "values"])
    value = weights.pop(name)
    changed = {
        "shape": value.ravel()[: value.size // 2],
        "dtype": value.astype(pick(rng, ["i4", "f2", "f8"])),
        "values": np.full_like(value, np.nan),
    }
    if how != "missing":
        weights[name] = np.ascontiguousarray(changed[how])
    safetensors.numpy.save_file(weights, path)
    return f"{name}: {how}"


ANY: list[Damage] = [flipped, moved, truncated]
HDF5 = [hdf5(kind) for kind in ("removed", "values", "dtype", "shape", "huge")]
DAMAGES: dict[str, list[Damage]] = {
    "zarr": [*ANY, zarr_missing, zarr_declared],
    "cohort": [cohort_member],
    "nwb": [*ANY, *HDF5],
    "nwb described": [*ANY, *HDF5],
    "nwb written here": [*ANY, *HDF5],
    "matlab 5": ANY,
    "matlab 5 plain": ANY,
    "matlab 7.3": [*ANY, *HDF5],
    "nwb 1": [*ANY, *HDF5],
    "model": [*ANY, tensors],
    "config": [*ANY, json_changed],
    "official safetensors": [*ANY, tensors],
    "official npz": ANY,
    "official pt": ANY,
}
