"""Sessions on disk: Zarr stores (format 2), written atomically, read whole or not at all."""

import math
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from spikelfp_lab._files import refuse_existing, settle, whole
from spikelfp_lab._guard import check_size, reading
from spikelfp_lab.errors import DataError
from spikelfp_lab.sessions.schema import as_dataset, validate_session
from spikelfp_lab.sessions.tree import cohort_from_sessions, iterate_sessions

_CURE = "Copy it again from its source, or build and save it again with save_session."
_CHUNK_BYTES = 4 << 20  # large enough for few files, small enough to read a stretch


def save_session(
    session: xr.Dataset | xr.DataTree, path: str | os.PathLike, *, overwrite: bool = False
) -> Path:
    """Save a session as a Zarr store, absent or complete at any time; returns the path.

    Parameters
    ----------
    session : xr.Dataset or xr.DataTree
        A valid session.
    path : path
        A folder to be made, ending in ``.zarr``. Parent folders are made.
    overwrite : bool
        Replace a store that is there already.

    Raises
    ------
    SchemaError, DataError
        When the session is not valid; when the path does not end in ``.zarr``, or exists and
        ``overwrite`` is False; when the disk is full or the folder read-only. What was there
        before is untouched then.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import spikelfp_lab as sl
    >>> cohort = sl.open_cohort("simulated", n_sessions=1, duration_s=10, progress=False)
    >>> with TemporaryDirectory() as folder:
    ...     back = sl.open_session(save_session(cohort["I/s01"], f"{folder}/s01.zarr"))
    >>> back.identical(cohort["I/s01"].to_dataset())
    True
    """
    path, dataset = Path(path), as_dataset(session)
    validate_session(dataset)
    if path.suffix != ".zarr":
        raise DataError(f"Sessions are saved as Zarr: {path} should end in '.zarr'.")
    dataset = _with_plain_text(dataset.drop_encoding())
    encoding = {name: _encoding(variable) for name, variable in dataset.variables.items()}
    with whole(path, overwrite=overwrite) as partial:
        try:
            # empty chunks are written too: then a missing chunk is known to be lost
            dataset.to_zarr(partial, mode="w-", zarr_format=2, consolidated=True,
                            encoding=encoding, write_empty_chunks=True)  # fmt: skip
        except (TypeError, ValueError) as error:
            cure = "Rename or drop the attribute or variable that is named."
            raise DataError(f"The session cannot be stored at {path}: {error} {cure}") from error
    return path


def save_cohort(
    cohort: xr.DataTree | Mapping[str, xr.Dataset],
    folder: str | os.PathLike,
    *,
    overwrite: bool = False,
) -> Path:
    """Save every session of a cohort as ``folder/subject/session.zarr``, by their attributes.

    ``open_cohort(folder)`` opens them. Raises as :func:`save_session`, and a DataError when two
    sessions share a name; nothing is written then.

    >>> save_cohort(cohort, "sessions")  # doctest: +SKIP
    """
    folder = Path(folder)
    named = iterate_sessions(cohort_from_sessions(iterate_sessions(cohort).values()))
    places = {folder / f"{name}.zarr": session for name, session in named.items()}
    for place in () if overwrite else places:
        refuse_existing(place)
    for place, session in places.items():
        save_session(session, place, overwrite=overwrite)
    return folder


def read_session(path: str | os.PathLike) -> xr.Dataset:
    """What is saved at ``path`` by us or by xarray, without a look at its quality."""
    path = Path(path)
    settle(path)
    if not path.exists():
        cure = "Check the path, or save one there with save_session."
        raise DataError(f"No session at {path}. {cure}")
    if path.suffix != ".zarr" or not path.is_dir():
        what = "is not a session: a .zarr folder or a .nwb file is needed"
        raise DataError(f"{path} {what}. Check the path.")
    with reading(path, "is damaged or incomplete", _CURE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's, about stray files and format 3
        _check_whole(path)
        as_stored: dict[str, Any] = {"decode_times": False, "use_zarr_fill_value_as_mask": False}
        stored = xr.load_dataset(path, engine="zarr", **as_stored)
        dataset = _with_plain_text(stored.drop_encoding())
        validate_session(dataset)
    return dataset


def _with_plain_text(dataset: xr.Dataset) -> xr.Dataset:
    """Text as NumPy has it, where an index or the store holds objects."""
    text = {
        name: (variable.dims, variable.values.astype(str), variable.attrs)
        for name, variable in dataset.variables.items()
        if variable.dtype.kind in "OT"
    }
    return dataset.assign(text)


def _encoding(variable: xr.Variable) -> dict[str, Any]:
    """Chunks of some MB, each with a checksum."""
    import numcodecs  # slow to import, and windows or splits do not need it

    size, shape = variable.dtype.itemsize, variable.shape
    zstd = numcodecs.Zstd(level=3, checksum=True)
    options: dict[str, Any] = {"compressors": [zstd], "_FillValue": None}
    if shape:
        rows = _CHUNK_BYTES // max(size * math.prod(shape[1:]), 1)
        options["chunks"] = (max(min(rows, shape[0]), 1), *shape[1:])
    if variable.dtype.kind in "iuf" and size > 1:
        options["filters"] = [numcodecs.Shuffle(size)]
    return options


def _check_whole(path: Path) -> None:
    """No chunk of ours is missing, and nothing declares more than the store could hold."""
    import zarr

    declared, lost = 0, []
    for name, array in zarr.open_group(path, mode="r").arrays():
        declared += max(math.prod(array.shape), math.prod(array.chunks)) * array.dtype.itemsize
        there = sum(bool(re.fullmatch(r"\d+(\.\d+)*", one.name)) for one in (path / name).iterdir())
        # xarray leaves out chunks that hold the fill value only; ours have checksums
        ours = any(getattr(codec, "checksum", False) for codec in array.compressors)
        if ours and there < array.nchunks:
            lost.append(f"{array.nchunks - there} of {array.nchunks} chunks of {name} are missing")
    stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    check_size(declared, stored=stored, what=f"The session at {path}")
    if lost:
        raise ValueError(", ".join(lost))
