"""One dataset in one Zarr store (format 2): written atomically, read whole or not at all."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from spikelfp_lab._files import flush, put, workspace
from spikelfp_lab._guard import reading
from spikelfp_lab.errors import DataError
from spikelfp_lab.io._chunks import check_store

_CURE = "Copy it again from its source, or build and save it again with save_session."
_CHUNK_BYTES = 4 << 20  # large enough for few files, small enough to read a stretch


def write_zarr(dataset: xr.Dataset, path: Path, *, overwrite: bool) -> None:
    """Write to a temporary folder beside ``path``, flush it to the disk, rename it.

    Raises a DataError when there is something at ``path`` and ``overwrite`` is False, or when it
    cannot be written: the disk is full, the folder read-only.
    """
    if not overwrite:
        refuse_existing(path)
    with workspace(path) as folder:
        temporary = folder / "partial"
        try:
            _write(dataset, temporary)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"The session cannot be stored at {path}: {error} "
                "Rename or drop the attribute or variable that is named."
            ) from error
        _flush(temporary)
        _move_into_place(temporary, path, overwrite=overwrite)


def read_zarr(path: Path) -> xr.Dataset:
    """Load a store that :func:`write_zarr` wrote; a DataError when anything of it is amiss."""
    with reading(path, "is damaged or incomplete", _CURE):
        check_store(path)
        _check_whole(path)
        with xr.open_zarr(
            path,
            chunks=None,
            zarr_format=2,
            consolidated=True,
            # the store holds the values as they are: no time units, no fill values to decode
            decode_times=False,
            mask_and_scale=False,
        ) as stored:
            return stored.load().drop_encoding()


def refuse_existing(path: Path) -> None:
    """Raise a DataError when there is anything at the path."""
    if os.path.lexists(path):
        raise DataError(
            f"{path} exists already and is not overwritten. "
            "Pass overwrite=True to replace it, or choose another path."
        )


def _write(dataset: xr.Dataset, path: Path) -> None:
    import numcodecs  # slow to import, and windows or splits do not need it

    dataset = dataset.drop_encoding()
    encoding: dict[str, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        if variable.dtype.kind not in "biufU":  # text as objects, as some indexes hold it
            text = np.array(variable.values.tolist(), dtype=str)
            dataset = dataset.assign({name: (variable.dims, text, variable.attrs)})
            variable = dataset.variables[name]
        itemsize, shape = variable.dtype.itemsize, variable.shape
        rows = max(_CHUNK_BYTES // max(itemsize * int(np.prod(shape[1:])), 1), 1)
        options: dict[str, Any] = {"compressors": [numcodecs.Zstd(level=3, checksum=True)]}
        if shape:
            options["chunks"] = (max(min(rows, shape[0]), 1), *shape[1:])
        if variable.dtype.kind in "iuf" and itemsize > 1:
            options["filters"] = [numcodecs.Shuffle(itemsize)]
        if variable.dtype.kind == "f":
            options["_FillValue"] = None
        encoding[str(name)] = options
    # empty chunks are written too: then a chunk that is not there is known to be lost
    dataset.to_zarr(
        path,
        mode="w-",
        zarr_format=2,
        consolidated=True,
        encoding=encoding,
        write_empty_chunks=True,
    )


def _flush(folder: Path) -> None:
    flush(folder)


def _move_into_place(temporary: Path, path: Path, *, overwrite: bool) -> None:
    try:
        # never replaces a folder with content, should another process have been faster
        put(temporary, path, overwrite=overwrite)
    except OSError as error:
        raise DataError(f"{path} could not be put in place ({error}). Try again.") from error


def _check_whole(path: Path) -> None:
    import zarr

    group = zarr.open_consolidated(path, mode="r", zarr_format=2)
    for name, array in group.arrays():
        if array.nchunks_initialized < array.nchunks:
            missing = array.nchunks - array.nchunks_initialized
            raise ValueError(f"{missing} of {array.nchunks} chunks of {name} are missing")
