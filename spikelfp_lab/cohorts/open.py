"""Open a cohort: a data set by its name, or a folder of sessions."""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import xarray as xr

from spikelfp_lab._files import settle
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.io import prepare_sessions
from spikelfp_lab.io.open import is_nwb, open_session
from spikelfp_lab.sessions import cohort_from_sessions, session_name, warn_quality

DATASETS = ("simulated", "cao2021", "v1_gamma", "makin", "flint")


def open_cohort(name_or_folder: str | os.PathLike, **options: Any) -> xr.DataTree:
    """Open a cohort: a data set by name, or a folder of sessions.

    Parameters
    ----------
    name_or_folder : str or path
        ``"simulated"``, ``"cao2021"``, ``"v1_gamma"``, ``"makin"``, ``"flint"``, or a folder with
        ``.zarr`` or ``.nwb`` sessions in it or one level down. A folder of that very name:
        ``"./simulated"``.
    **options
        Passed to the data set's ``cohort`` function. A folder takes ``n_jobs`` (processes that
        read, see :func:`prepare_sessions`), ``progress``, and for its ``.nwb`` files what
        :func:`open_session` takes.

    Returns
    -------
    xr.DataTree
        Leaves ``subject/session``, each a session; a SpikeLFPWarning for each session of a data set
        in which :func:`spikelfp_lab.check_quality` finds something wrong.

    Raises
    ------
    DataError, ConfigError
        For an unknown name, a folder without sessions, options that ``.zarr`` does not take.

    Examples
    --------
    >>> tree = open_cohort("simulated", n_sessions=1, duration_s=10, progress=False)
    >>> tree["I/s01"]["lfp"].shape
    (1000, 32)
    """
    if name_or_folder in DATASETS:
        cohort = import_module(f"spikelfp_lab.cohorts.{name_or_folder}").cohort(**options)
        for leaf in cohort.leaves:
            warn_quality(leaf)
        return cohort
    folder, paths = Path(name_or_folder), session_paths(name_or_folder)
    n_jobs, progress = options.pop("n_jobs", None), options.pop("progress", True)
    if options and not any(map(is_nwb, paths)):
        raise ConfigError(f"Saved sessions take no options, got {', '.join(options)}.")
    label, for_nwb = f"Opening {folder.name}", options | {"progress": False}
    jobs = [(path, for_nwb if is_nwb(path) else {}) for path in paths]
    sessions = prepare_sessions(_open, jobs, n_jobs=n_jobs, label=label, progress=progress)
    first: dict[str, Path] = {}
    for path, name in zip(paths, map(session_name, sessions), strict=True):
        if first.setdefault(name, path) is not path:
            what = f"{first[name]} and {path} hold sessions of the same name, {name}"
            raise DataError(f"{what}. Move one away, or give each its own subject and session.")
    return cohort_from_sessions(sessions)


def session_paths(name_or_folder: str | os.PathLike) -> list[Path]:
    """The sessions of a folder, in it or one level down; a DataError where there are none."""
    folder = Path(name_or_folder)
    if not folder.is_dir():
        what = f"Unknown cohort {str(name_or_folder)!r}: it is neither a folder nor one of "
        raise DataError(f"{what}{str(DATASETS)[1:-1]}. Check the spelling or the path.")
    if folder.suffix == ".zarr":
        raise DataError(f"{folder} is a single session. Open it with open_session.")
    if paths := _visible(folder, ".zarr") + _visible(folder, ".nwb"):
        return paths
    raise DataError(f"No .zarr or .nwb session in {folder} or its folders.")


def _open(path: Path, options: dict[str, Any]) -> xr.Dataset:
    return open_session(path, **options)


def _visible(folder: Path, suffix: str) -> list[Path]:
    """Files of that kind in the folder and one level down, none that a killed process left."""
    for left in [*folder.glob(f".*{suffix}.*.tmp"), *folder.glob(f"*/.*{suffix}.*.tmp")]:
        # it may hold the session that it was about to replace
        settle(left.with_name(left.name.removeprefix(".").rsplit(".", 2)[0]))
    there = sorted([*folder.glob("[!.]*"), *folder.glob("[!.]*/[!.]*")])
    return [p for p in there if p.suffix.lower() == suffix and p.parent.suffix != ".zarr"]
