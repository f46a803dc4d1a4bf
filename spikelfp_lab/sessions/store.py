"""Sessions on disk, and cohorts: DataTrees whose leaves ``subject/session`` are sessions."""

import os
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import xarray as xr

from spikelfp_lab._files import settle
from spikelfp_lab.errors import ConfigError, DataError, SchemaError
from spikelfp_lab.sessions._untrusted import reading
from spikelfp_lab.sessions._zarr import read_zarr, refuse_existing, write_zarr
from spikelfp_lab.sessions.quality import warn_quality
from spikelfp_lab.sessions.schema import as_dataset, session_name, validate_session

DATASETS = ("simulated", "cao2021", "makin", "flint")


def save_session(
    session: xr.Dataset | xr.DataTree, path: str | os.PathLike, *, overwrite: bool = False
) -> Path:
    """Save a session as a Zarr store.

    The store is written to a temporary folder beside ``path``, flushed to the disk and renamed, so
    that ``path`` is either absent or complete. Every chunk carries a checksum.

    Parameters
    ----------
    session : xr.Dataset or xr.DataTree
        A valid session.
    path : path
        A folder to be made, ending in ``.zarr``. Parent folders are made.
    overwrite : bool
        Replace a store that is there already. After a process was killed in between, whoever
        opens or saves at ``path`` next finds the old store or the new one there.

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


def open_session(path: str | os.PathLike, **options: Any) -> xr.Dataset:
    """Open a recording as a session and load it into memory.

    Parameters
    ----------
    path : path or str
        A ``.zarr`` folder, as from :func:`save_session`; an NWB file, ``.nwb``; an https address
        of one; or ``"dandi:<dandiset>/<path in it>"``.
    **options
        For NWB, such as ``lfp="LFP"`` where a file has several; see
        :func:`spikelfp_lab.datasets.nwb.open_nwb`. A ``.zarr`` folder takes none.

    Returns
    -------
    xr.Dataset
        A valid session.

    Raises
    ------
    DataError
        When the path is missing, damaged or incomplete, or of a kind this version cannot read.
    SchemaError
        When the store is whole, but holds no valid session.
    ConfigError
        For an option that is not known.

    Warns
    -----
    SpikeLFPWarning
        Lists what :func:`spikelfp_lab.check_quality` finds wrong with the data, if anything.

    Examples
    --------
    >>> try:
    ...     open_session("missing.zarr")
    ... except DataError as error:
    ...     print(error)
    No session at missing.zarr. Check the path, or save one there with save_session.
    """
    dataset = read_session(path, **options)
    warn_quality(dataset)
    return dataset


def read_session(path: str | os.PathLike, **options: Any) -> xr.Dataset:
    """What :func:`open_session` opens, without a look at its quality."""
    if _is_nwb(path):
        from spikelfp_lab.datasets.nwb import open_nwb  # which is built on this room

        return open_nwb(path, **options)  # whose errors name the file
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
    if options:
        raise ConfigError(f"A saved session takes no options, got {', '.join(options)}.")
    dataset = read_zarr(path)
    with reading(path, "holds no session", "Build and save it again with save_session."):
        validate_session(dataset)
    return dataset


def open_cohort(name_or_folder: str | os.PathLike, **options: Any) -> xr.DataTree:
    """Open a cohort: a data set by name, or a folder of sessions.

    Parameters
    ----------
    name_or_folder : str or path
        ``"simulated"``, ``"cao2021"``, ``"makin"``, ``"flint"``, or a folder with ``.zarr`` or
        ``.nwb`` sessions in it or one level down. A folder of that very name: ``"./simulated"``.
    **options
        Passed to the data set's ``cohort`` function. A folder takes ``n_jobs`` (processes that
        read, see :func:`prepare_sessions`), ``progress``, and for its ``.nwb`` files what
        :func:`open_session` takes.

    Returns
    -------
    xr.DataTree
        Leaves ``subject/session``, the dataset of each a session.

    Raises
    ------
    DataError
        For a name that is neither a data set nor a folder, or a folder without sessions.
    ConfigError
        For options that a folder of ``.zarr`` sessions does not take.

    Warns
    -----
    SpikeLFPWarning
        For each session in which :func:`spikelfp_lab.check_quality` finds something wrong.

    Examples
    --------
    >>> try:
    ...     open_cohort("simulatde")
    ... except DataError as error:
    ...     print("'simulated', 'cao2021'" in str(error))
    True
    """
    if name_or_folder in DATASETS:
        # imported here, because the data sets are built on this room
        cohort = import_module(f"spikelfp_lab.datasets.{name_or_folder}").cohort(**options)
        for leaf in cohort.leaves:
            warn_quality(leaf)
        return cohort
    folder = Path(name_or_folder)
    if not folder.is_dir():
        raise DataError(
            f"Unknown cohort {str(name_or_folder)!r}: it is neither a folder nor one of "
            f"{', '.join(map(repr, DATASETS))}. Check the spelling or the path."
        )
    if folder.suffix == ".zarr":
        raise DataError(f"{folder} is a single session. Open it with open_session.")
    paths = _visible(folder, ".zarr") + _visible(folder, ".nwb")
    if not paths:
        raise DataError(
            f"No .zarr or .nwb session in {folder} or its folders. Save some with save_session."
        )
    from spikelfp_lab.sessions.prepare import prepare_sessions  # which is built on this file

    n_jobs, progress = options.pop("n_jobs", None), options.pop("progress", True)
    if options and not any(_is_nwb(path) for path in paths):
        raise ConfigError(f"Saved sessions take no options, got {', '.join(options)}.")
    sessions = prepare_sessions(
        _open_one,
        [(path, options | {"progress": False} if _is_nwb(path) else {}) for path in paths],
        n_jobs=n_jobs,
        label=f"Opening {folder.name}",
        progress=progress,
    )
    first: dict[str, Path] = {}
    for path, session in zip(paths, sessions, strict=True):
        if (other := first.setdefault(session_name(session), path)) is not path:
            raise DataError(
                f"{other} and {path} hold sessions of the same name, {session_name(session)}. Move one of them out of "
                "the folder, or give each its own attrs 'subject' and 'session'."
            )
    return cohort_from_sessions(sessions)


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
    >>> import numpy as np
    >>> from tempfile import TemporaryDirectory
    >>> from spikelfp_lab.sessions import build_session, session_clock
    >>> session = build_session(
    ...     session_clock(0.0, 1.0, bin_size_s=0.1), bin_size_s=0.1, spikes=np.ones((10, 3)),
    ...     subject="I", session="s01", source="example")
    >>> with TemporaryDirectory() as folder:
    ...     cohort = open_cohort(save_cohort({"first": session}, folder))
    ...     list(iterate_sessions(cohort))
    ['I/s01']
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


def cohort_from_sessions(sessions: Iterable[xr.Dataset | xr.DataTree]) -> xr.DataTree:
    """Make a cohort of sessions.

    Parameters
    ----------
    sessions : iterable of xr.Dataset or xr.DataTree
        Sessions, in the order the cohort will have within each subject.

    Returns
    -------
    xr.DataTree
        Leaves ``subject/session``; the parents hold nothing, no coordinates either.

    Raises
    ------
    DataError
        When there are none, or two share a name.

    Examples
    --------
    >>> sessions = [xr.Dataset(attrs={"subject": "I", "session": s}) for s in ("s01", "s02")]
    >>> [leaf.path for leaf in cohort_from_sessions(sessions).leaves]
    ['/I/s01', '/I/s02']
    """
    named: dict[str, xr.Dataset] = {}
    for session in sessions:
        dataset = as_dataset(session)
        name = session_name(dataset)
        if name in named:
            raise DataError(
                f"Two sessions are named {name}. Give each its own attrs 'subject' and 'session'."
            )
        named[name] = dataset
    if not named:
        raise DataError("A cohort needs at least one session, but none was given.")
    return xr.DataTree.from_dict(named)


def iterate_sessions(
    sessions: xr.Dataset | xr.DataTree | Mapping[str, xr.Dataset | xr.DataTree],
) -> dict[str, xr.Dataset]:
    """Give the sessions of whatever the verbs accept, by name and validated.

    Parameters
    ----------
    sessions : xr.Dataset, xr.DataTree or mapping
        A session, a cohort or a branch or leaf of one, or a mapping of name -> session.

    Returns
    -------
    dict
        Name -> session, in order; names are ``subject/session``, or the mapping's own.

    Raises
    ------
    SchemaError
        For another type, or when one of the sessions is not valid.
    DataError
        When there are no sessions, or two share a name.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelfp_lab.sessions import build_session, session_clock
    >>> session = build_session(
    ...     session_clock(0.0, 1.0, bin_size_s=0.1), bin_size_s=0.1, spikes=np.ones((10, 3)),
    ...     subject="I", session="s01", source="example")
    >>> list(iterate_sessions(session)), list(iterate_sessions({"mine": session}))
    (['I/s01'], ['mine'])
    """
    # a Dataset is itself a Mapping, so it comes first
    if isinstance(sessions, xr.Dataset):
        named = {session_name(sessions): sessions}
    elif isinstance(sessions, xr.DataTree):
        named = {}
        for leaf in sessions.leaves:
            dataset = leaf.to_dataset()
            name = session_name(dataset)
            if name in named:
                raise DataError(f"Two sessions of the cohort are named {name} in their attrs.")
            named[name] = dataset
    elif isinstance(sessions, Mapping):
        named = {str(name): as_dataset(session) for name, session in sessions.items()}
    else:
        raise SchemaError(
            f"Sessions come as a session, a cohort or a dict of name -> session, not as a "
            f"{type(sessions).__name__}. For a list, use cohort_from_sessions first."
        )
    if not named:
        raise DataError("No sessions were given: the dict or cohort is empty.")
    for dataset in named.values():
        validate_session(dataset)
    return named


def _is_nwb(path: str | os.PathLike) -> bool:
    """An address, or a path that ends in ``.nwb``."""
    text = os.fspath(path)
    return "://" in text or text.startswith("dandi:") or text.endswith(".nwb")


def _open_one(path: Path, options: dict[str, Any]) -> xr.Dataset:
    return open_session(path, **options)


def _visible(folder: Path, suffix: str) -> list[Path]:
    for left in [*folder.glob(f".*{suffix}.*.tmp"), *folder.glob(f"*/.*{suffix}.*.tmp")]:
        # of a process that was killed: it may hold the session that it was about to replace
        place = left.with_name(left.name.removeprefix(".").rsplit(".", 2)[0])
        settle(place)
    found = [*folder.glob(f"*{suffix}"), *folder.glob(f"*/*{suffix}")]
    return sorted(
        path
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.parent.suffix != ".zarr"
    )
