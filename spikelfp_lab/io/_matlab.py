"""MATLAB files as plain arrays: 7.3 (HDF5, arrays transposed, cells behind references) and 5."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import io

from spikelfp_lab._guard import check_hdf5, reading
from spikelfp_lab.errors import DataError

_CURE = "Move it away and get the original file of the data set again."


def not_published(path: object, what: str) -> DataError:
    """The error for a file that departs from the published layout."""
    return DataError(f"{path} is not as published: {what}. {_CURE}")


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a MATLAB 7.3 or another HDF5 file; damage, also while it is read, is a DataError."""
    if not path.is_file():
        raise DataError(f"No file at {path}. Check the path.")
    with reading(path, "is damaged or incomplete", _CURE):
        if not h5py.is_hdf5(path) and path.read_bytes()[:10] == b"MATLAB 5.0":
            raise not_published(path, "it is a MATLAB 5 file, and MATLAB 7.3 is expected")
        with h5py.File(path, "r") as file:
            check_hdf5(file, str(path))
            yield file


def read_matlab5(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Variables of a MATLAB 5 file; structs are objects with their fields as attributes."""
    if not path.is_file():
        raise DataError(f"No file at {path}. Check the path.")
    if h5py.is_hdf5(path):
        raise not_published(path, "it is a MATLAB 7.3 (HDF5) file, and MATLAB 5 is expected")
    with reading(path, "cannot be read as a MATLAB 5 file", _CURE):
        content = io.loadmat(path, variable_names=list(names), struct_as_record=False)
    if missing := [name for name in names if name not in content]:
        raise not_published(path, f"it lacks {', '.join(missing)}")
    return {name: content[name] for name in names}


def dataset(group: h5py.Group, name: str) -> Any:
    """A dataset of a file, or an error that says what there is."""
    found = group.get(name)
    if not isinstance(found, h5py.Dataset):
        there = ", ".join(sorted(group)) or "nothing"
        raise not_published(group.file.filename, f"no array {name!r}; it has {there}")
    return found


def matrix(file: h5py.File, name: str, *, columns: Sequence[int]) -> np.ndarray:
    """A numeric array as MATLAB shows it, (n, columns) float64, with one of these widths."""
    found: Any = dataset(file, name)
    empty = found.attrs.get("MATLAB_empty", 0)
    if found.ndim != 2 or found.shape[0] not in columns or empty or found.dtype.kind not in "fiu":
        wanted = f"numbers ({' or '.join(map(str, columns))}, samples) are needed"
        what = f"{name!r} is {found.dtype} of the shape {found.shape} on the disk; {wanted}"
        raise not_published(file.filename, what)
    return np.asarray(found[()], np.float64).T


def cell(file: h5py.File, name: str) -> np.ndarray:
    """(rows, columns) references of a cell array, as MATLAB shows it."""
    found: Any = dataset(file, name)
    if h5py.check_ref_dtype(found.dtype) is not h5py.Reference or found.ndim != 2:
        what = f"{name!r} is {found.dtype} of the shape {found.shape}; a cell array is needed"
        raise not_published(file.filename, what)
    return found[()].T


def numbers_behind(file: h5py.File, reference: h5py.Reference, *, what: str) -> np.ndarray:
    """(n,) float64, the vector in a cell; MATLAB stores an empty one as its dimensions."""
    found: Any = file[reference]
    if found.attrs.get("MATLAB_empty", 0):
        return np.empty(0)
    long = found.ndim > 2 or (found.ndim == 2 and 1 not in found.shape and found.size)
    if found.dtype.kind not in "fiu" or long:
        wrong = f"{what} is {found.dtype} of the shape {found.shape}; a vector of numbers is needed"
        raise not_published(file.filename, wrong)
    return np.asarray(found[()], np.float64).ravel()


def text_behind(file: h5py.File, reference: h5py.Reference, *, what: str) -> str:
    """The text in a cell: code points in uint16, without blanks and NUL at its ends."""
    found: Any = file[reference]
    if found.attrs.get("MATLAB_empty", 0):
        return ""
    if found.dtype != np.uint16:
        raise not_published(file.filename, f"{what} is {found.dtype}; text is needed")
    return "".join(map(chr, np.ravel(found[()]).tolist())).strip(" \0")
