"""MATLAB files as plain arrays: 7.3 (HDF5, arrays transposed, cells behind references) and 5.

Both kinds hold data only: nothing of a file is executed, and a 7.3 file that points to other
files (external links or storage) is refused.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import io

from spikelfp_lab._guard import reading, said
from spikelfp_lab.errors import DataError
from spikelfp_lab.io._hdf5 import check_dataset, check_hdf5
from spikelfp_lab.io._matlab5 import check_matlab5

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_USERBLOCK = 512  # MATLAB writes its own header in front of the HDF5 file


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a MATLAB 7.3 or another HDF5 file for reading.

    Parameters
    ----------
    path : Path
        Of the file.

    Yields
    ------
    h5py.File

    Raises
    ------
    DataError
        When it is missing, truncated or no HDF5 file, MATLAB 5 among them, points to other files, or
        declares what it does not hold; also for damage that is only found while it is being read.
    """
    if not path.is_file():
        raise DataError(f"No file at {path}. Check the path.")
    head = _head(path)
    if _HDF5_SIGNATURE not in (head[:8], head[_USERBLOCK : _USERBLOCK + 8]):
        what = (
            "a MATLAB 5 file, but MATLAB 7.3 (HDF5) is expected"
            if head.startswith(b"MATLAB 5.0")
            else f"no HDF5 file, it begins with {head[:8]!r}"
        )
        raise DataError(f"{path} is {what}. Get the original file of the data set.")
    # HDF5 has no types of its own for damage
    with (
        reading(path, "is damaged or incomplete", "Move it away and get it again."),
        h5py.File(path, "r") as file,
    ):
        check_hdf5(file, str(path))
        yield file


def dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """A dataset of the file itself.

    Parameters
    ----------
    group : h5py.Group
        The file, or a group in it.
    name : str
        Path in the group.

    Returns
    -------
    h5py.Dataset

    Raises
    ------
    DataError
        When it is missing, is a group, or points to another file.
    """
    parts = name.split("/")
    for depth in range(1, len(parts) + 1):
        part = "/".join(parts[:depth])
        if part not in group:
            there = ", ".join(sorted(group)) or "nothing"
            raise DataError(
                f"{_where(group)} lacks {part!r}; it has {there}. "
                "Is it a file of this data set, and whole?"
            )
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise DataError(
                f"{part!r} of {_where(group)} is a link, which is not followed. The file is not as "
                "published; get it again."
            )
    found = group[name]
    if not isinstance(found, h5py.Dataset):
        raise DataError(
            f"{name!r} of {_where(group)} is a group; an array is needed. Is it a file of this data set?"
        )
    return found


def matrix(group: h5py.Group, name: str, *, columns: Sequence[int]) -> np.ndarray:
    """A numeric array as MATLAB shows it, one row a sample.

    Parameters
    ----------
    group : h5py.Group
        The file.
    name : str
        Of the variable.
    columns : sequence of int
        Numbers of columns it may have.

    Returns
    -------
    np.ndarray
        (n, columns) float64; the array on the disk is (columns, n).

    Raises
    ------
    DataError
        When it is missing, holds no numbers, or has another shape.
    """
    found = dataset(group, name)
    _need_numbers(found, name)
    if found.ndim != 2 or found.shape[0] not in columns or "MATLAB_empty" in found.attrs:
        wanted = " or ".join(map(str, columns))
        raise DataError(
            f"{name!r} of {_where(group)} has the shape {found.shape} on the disk; "
            f"({wanted}, samples) is needed. Is it a file of this data set, and whole?"
        )
    return np.asarray(found[()], np.float64).T


def cell(group: h5py.Group, name: str) -> np.ndarray:
    """The references of a cell array, as MATLAB shows it.

    Parameters
    ----------
    group : h5py.Group
        The file.
    name : str
        Of the variable.

    Returns
    -------
    np.ndarray
        (rows, columns) of references, for :func:`numbers_behind` and :func:`text_behind`.

    Raises
    ------
    DataError
        When it is missing, or no cell array.
    """
    found = dataset(group, name)
    if h5py.check_ref_dtype(found.dtype) is not h5py.Reference or found.ndim != 2:
        raise DataError(
            f"{name!r} of {_where(group)} is {found.dtype} of the shape {found.shape}; "
            "a cell array (object references in two dimensions) is needed. Is it a file of this data "
            "set?"
        )
    return found[()].T


def numbers_behind(file: h5py.File, reference: h5py.Reference, *, what: str) -> np.ndarray:
    """The vector in a cell.

    Parameters
    ----------
    file : h5py.File
        Where the reference is from.
    reference : h5py.Reference
        An element of :func:`cell`.
    what : str
        Names the cell in an error.

    Returns
    -------
    np.ndarray
        (n,) float64; none for an empty cell, which MATLAB stores as its dimensions, two numbers,
        with the attribute ``MATLAB_empty``.

    Raises
    ------
    DataError
        When the reference leads nowhere, or to no vector of numbers.
    """
    found = _behind(file, reference, what)
    if found.attrs.get("MATLAB_empty", 0):
        return np.empty(0)
    _need_numbers(found, what)
    if found.ndim > 2 or (found.ndim == 2 and 1 not in found.shape and found.size):
        raise DataError(
            f"{what} of {file.filename} has the shape {found.shape}; a vector is needed. The file is "
            "not as published; get it again."
        )
    return np.asarray(found[()], np.float64).ravel()


def text_behind(file: h5py.File, reference: h5py.Reference, *, what: str) -> str:
    """The text in a cell: code points in uint16, without blanks and NUL at its ends.

    Parameters
    ----------
    file, reference, what
        As for :func:`numbers_behind`.

    Returns
    -------
    str

    Raises
    ------
    DataError
        When the reference leads nowhere, or to something else.
    """
    found = _behind(file, reference, what)
    if found.attrs.get("MATLAB_empty", 0):
        return ""
    if found.dtype != np.uint16:
        raise DataError(
            f"{what} of {file.filename} is {found.dtype}; text (uint16 code points) is needed. The file "
            "is not as published; get it again."
        )
    return "".join(map(chr, np.ravel(found[()]).tolist())).strip(" \0")


def read_matlab5(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Variables of a MATLAB 5 file; structs are objects with their fields as attributes.

    Parameters
    ----------
    path : Path
        Of the file.
    names : sequence of str
        The variables that are needed.

    Returns
    -------
    dict
        Name -> array.

    Raises
    ------
    DataError
        When it is missing, truncated, of another version, or lacks a variable.
    """
    if not path.is_file():
        raise DataError(f"No file at {path}. Check the path.")
    head = _head(path)
    if _HDF5_SIGNATURE in (head[:8], head[_USERBLOCK : _USERBLOCK + 8]):
        raise DataError(
            f"{path} is a MATLAB 7.3 (HDF5) file, but MATLAB 5 is expected. Get the original "
            "file of the data set, or save it again with save('-v7')."
        )
    # scipy raises half a dozen types for damaged files
    with reading(path, "cannot be read as a MATLAB 5 file", "Move it away and get it again."):
        check_matlab5(path, names)
        content = io.loadmat(path, variable_names=list(names), struct_as_record=False)
    missing = [name for name in names if name not in content]
    if missing:
        raise DataError(
            f"{path} lacks {', '.join(missing)}: it is not a file of this data set. Get it again."
        )
    return {name: content[name] for name in names}


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_USERBLOCK + len(_HDF5_SIGNATURE))


def _behind(file: h5py.File, reference: h5py.Reference, what: str) -> h5py.Dataset:
    try:
        found = file[reference] if reference else None
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{what} of {file.filename} leads nowhere ({said(error)}). Move the file away and get it again."
        ) from error
    # what is reachable by a reference alone has not been looked at when the file was opened
    if not isinstance(found, h5py.Dataset):
        raise DataError(
            f"{what} of {file.filename} leads to no array of this file. Move it away and get it again."
        )
    check_dataset(found, what, file.filename)
    return found


def _need_numbers(found: h5py.Dataset, what: str) -> None:
    if found.dtype.kind not in "fiu":
        raise DataError(
            f"{what!r} of {found.file.filename} is {found.dtype}, where numbers are needed. The file is "
            "not as published; get it again."
        )


def _where(group: h5py.Group) -> str:
    inside = "" if group.name in (None, "/") else f", group {group.name}"
    return f"{group.file.filename}{inside}"
