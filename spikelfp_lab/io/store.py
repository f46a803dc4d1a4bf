"""Sessions on disk."""

import os
from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from spikelfp_lab._files import settle
from spikelfp_lab._guard import reading
from spikelfp_lab.errors import DataError
from spikelfp_lab.io._zarr import read_zarr, refuse_existing, write_zarr
from spikelfp_lab.sessions.schema import as_dataset, validate_session
from spikelfp_lab.sessions.tree import cohort_from_sessions, iterate_sessions


def save_session(
    session: xr.Dataset | xr.DataTree, path: str | os.PathLike, *, overwrite: bool = False
) -> Path:
    """Save a session as a Zarr store.

    ``path`` is either absent or complete, and every chunk carries a checksum.

    Parameters
    ----------
    session : xr.Dataset or xr.DataTree
        A valid session.
    path : path
        A folder to be made, ending in ``.zarr``. Parent folders are made.
    overwrite : bool
        Replace a store that is there already.

    Returns
    -------
    Path
        Where it was saved.

    Raises
    ------
    SchemaError
        When the session is not valid.
    DataError
        When the path does not end in ``.zarr``, or exists and ``overwrite`` is False; when the disk
        is full or the folder read-only. What was there before is untouched then.

    Examples
    --------
    >>> import numpy as np
    >>> from tempfile import TemporaryDirectory
    >>> from spikelfp_lab import open_session
    >>> from spikelfp_lab.sessions import build_session, session_clock
    >>> session = build_session(
    ...     session_clock(0.0, 1.0, bin_size_s=0.1), bin_size_s=0.1, spikes=np.ones((10, 3)),
    ...     subject="I", session="s01", source="example")
    >>> with TemporaryDirectory() as folder:
    ...     path = save_session(session, f"{folder}/s01.zarr")
    ...     open_session(path).identical(session)
    True
    """
    dataset = as_dataset(session)
    validate_session(dataset)
    path = Path(path)
    if path.suffix != ".zarr":
        raise DataError(f"Sessions are saved as Zarr: {path} should end in '.zarr'.")
    if not overwrite:
        refuse_existing(path)
    write_zarr(dataset, path, overwrite=overwrite)
    return path


def read_session(path: str | os.PathLike) -> xr.Dataset:
    """What is saved at ``path``, without a look at its quality."""
    path = Path(path)
    settle(path)
    if not path.exists():
        raise DataError(
            f"No session at {path}. Check the path, or save one there with save_session."
        )
    if path.suffix != ".zarr" or not path.is_dir():
        raise DataError(
            f"{path} is not a session: a .zarr folder or a .nwb file is needed. Check the path."
        )
    dataset = read_zarr(path)
    with reading(path, "holds no session", "Build and save it again with save_session."):
        validate_session(dataset)
    return dataset


def save_cohort(
    cohort: xr.DataTree | Mapping[str, xr.Dataset],
    folder: str | os.PathLike,
    *,
    overwrite: bool = False,
) -> Path:
    """Save every session of a cohort as ``folder/subject/session.zarr``.

    Parameters
    ----------
    cohort : xr.DataTree or mapping
        Sessions; the folders are named by their attributes, which the schema keeps from
        being anything but plain names.
    folder : path
        Where to save; made if needed.
    overwrite : bool
        Replace sessions that are there already.

    Returns
    -------
    Path
        The folder; :func:`open_cohort` opens it.

    Raises
    ------
    SchemaError
        When a session is not valid; nothing is written then.
    DataError
        When two sessions share a name, or one is there already and ``overwrite`` is False;
        nothing is written then.

    Examples
    --------
    >>> save_cohort(cohort, "sessions")  # doctest: +SKIP
    """
    folder = Path(folder)
    named = iterate_sessions(cohort_from_sessions(iterate_sessions(cohort).values()))
    paths = {name: folder / f"{name}.zarr" for name in named}
    if not overwrite:
        for path in paths.values():
            refuse_existing(path)
    for name, session in named.items():
        save_session(session, paths[name], overwrite=overwrite)
    return folder
