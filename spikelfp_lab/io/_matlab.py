"""MATLAB files as plain arrays: 7.3 (HDF5, arrays transposed, cells behind references) and 5."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import io

from spikelfp_lab._guard import check_hdf5, need_file, reading
from spikelfp_lab.errors import DataError

_CURE = "Move it away and get the original file of the data set again."


def refuse_if(wrong: object, where: object, what: str) -> None:
    """Refuse a file that departs from the published layout."""
    if wrong:
        raise DataError(f"{where} is not as published: {what}. {_CURE}")


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a MATLAB 7.3 or another HDF5 file; damage, also while it is read, is a DataError."""
    need_file(path)
    with reading(path, "is damaged or incomplete", _CURE):
        older = not h5py.is_hdf5(path) and path.read_bytes()[:10] == b"MATLAB 5.0"
        refuse_if(older, path, "it is a MATLAB 5 file, and MATLAB 7.3 is expected")
        with h5py.File(path, "r") as file:
            check_hdf5(file, str(path))
            yield file


def read_matlab5(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Variables of a MATLAB 5 file; structs are objects with their fields as attributes."""
    need_file(path)
    newer = h5py.is_hdf5(path)
    refuse_if(newer, path, "it is a MATLAB 7.3 (HDF5) file, and MATLAB 5 is expected")
    with reading(path, "cannot be read as a MATLAB 5 file", _CURE):
        content = io.loadmat(path, variable_names=list(names), struct_as_record=False)
    missing = [name for name in names if name not in content]
    refuse_if(missing, path, f"it lacks {', '.join(missing)}")
    return {name: content[name] for name in names}


def dataset(group: h5py.Group, name: str) -> Any:
    """A dataset of a file, or an error that says what there is."""
    found, there = group.get(name), ", ".join(sorted(group)) or "nothing"
    lacks = f"no array {name!r}; it has {there}"
    refuse_if(not isinstance(found, h5py.Dataset), group.file.filename, lacks)
    return found


def matrix(file: h5py.File, name: str, *, columns: Sequence[int]) -> np.ndarray:
    """A numeric array as MATLAB shows it, (n, columns) float64, with one of these widths."""
    found = dataset(file, name)
    fits = found.ndim == 2 and found.shape[0] in columns and found.dtype.kind in "fiu"
    fits = fits and not found.attrs.get("MATLAB_empty", 0)
    _need(fits, found, repr(name), f"numbers ({' or '.join(map(str, columns))}, samples) are")
    return np.asarray(found[()], np.float64).T


def cell(file: h5py.File, name: str) -> np.ndarray:
    """(rows, columns) references of a cell array, as MATLAB shows it."""
    found = dataset(file, name)
    fits = h5py.check_ref_dtype(found.dtype) is h5py.Reference and found.ndim == 2
    _need(fits, found, repr(name), "a cell array is")
    return found[()].T


def numbers_behind(file: h5py.File, reference: h5py.Reference, *, what: str) -> np.ndarray:
    """(n,) float64, the vector in a cell; MATLAB stores an empty one as its dimensions."""
    found: Any = file[reference]
    if found.attrs.get("MATLAB_empty", 0):
        return np.empty(0)
    flat = found.ndim < 2 or (found.ndim == 2 and (1 in found.shape or not found.size))
    _need(flat and found.dtype.kind in "fiu", found, what, "a vector of numbers is")
    return np.asarray(found[()], np.float64).ravel()


def text_behind(file: h5py.File, reference: h5py.Reference, *, what: str) -> str:
    """The text in a cell: code points in uint16, without blanks and NUL at its ends."""
    found: Any = file[reference]
    if found.attrs.get("MATLAB_empty", 0):
        return ""
    _need(found.dtype == np.uint16, found, what, "text is")
    return "".join(map(chr, np.ravel(found[()]).tolist())).strip(" \0")


def _need(fits: bool, found: h5py.Dataset, what: str, wanted: str) -> None:
    """Refuse an array of another type or shape."""
    wrong = f"{what} is {found.dtype} of the shape {found.shape} on the disk; {wanted} needed"
    refuse_if(not fits, found.file.filename, wrong)
