"""One dataset in one Zarr store (format 2): written atomically, read whole or not at all."""

import math
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from spikelfp_lab._files import whole_folder
from spikelfp_lab._guard import check_size, reading
from spikelfp_lab.errors import DataError

_CURE = "Copy it again from its source, or build and save it again with save_session."
_CHUNK_BYTES = 4 << 20  # large enough for few files, small enough to read a stretch


def write_zarr(dataset: xr.Dataset, path: Path, *, overwrite: bool) -> None:
    """Write a dataset; a DataError if it cannot be stored, or something else is at ``path``."""
    if not overwrite:
        refuse_existing(path)
    with whole_folder(path, overwrite=overwrite) as partial:
        try:
            _write(dataset, partial)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"The session cannot be stored at {path}: {error} "
                "Rename or drop the attribute or variable that is named."
            ) from error


def read_zarr(path: Path) -> xr.Dataset:
    """Load a store, ours or one that xarray wrote; a DataError if it is damaged or incomplete."""
    with reading(path, "is damaged or incomplete", _CURE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's, about stray files and format 3
        _check_whole(path)
        with xr.open_zarr(
            path, chunks=None, decode_times=False, use_zarr_fill_value_as_mask=False
        ) as stored:
            dataset = stored.load().drop_encoding()
    text = [name for name, one in dataset.variables.items() if one.dtype.kind in "OT"]
    return dataset.assign(
        {name: dataset[name].copy(data=dataset[name].values.astype(str)) for name in text}
    )


def refuse_existing(path: Path) -> None:
    """Raise a DataError when there is anything at the path."""
    if os.path.lexists(path):
        raise DataError(
            f"{path} exists already and is not overwritten. "
            "Pass overwrite=True to replace it, or choose another path."
        )


def _write(dataset: xr.Dataset, path: Path) -> None:
    """Format 2 in chunks of some MB, each with a checksum."""
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
    # empty chunks are written too: then a missing chunk is known to be lost
    dataset.to_zarr(path, mode="w-", zarr_format=2, consolidated=True, encoding=encoding,
                    write_empty_chunks=True)  # fmt: skip


def _check_whole(path: Path) -> None:
    """No chunk of ours is missing, and nothing declares more than the store could hold."""
    import zarr

    declared, lost = 0, []
    for name, array in zarr.open_group(path, mode="r").arrays():
        size = max(math.prod(array.shape), math.prod(array.chunks))
        declared += size * array.dtype.itemsize
        there = sum(bool(re.fullmatch(r"\d+(\.\d+)*", one.name)) for one in (path / name).iterdir())
        # xarray leaves out chunks that hold the fill value only; ours have checksums
        ours = any(getattr(codec, "checksum", False) for codec in array.compressors)
        if ours and there < array.nchunks:
            lost.append(f"{array.nchunks - there} of {array.nchunks} chunks of {name} are missing")
    stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    check_size(declared, stored=stored, what=f"The session at {path}")
    if lost:
        raise ValueError(", ".join(lost))
