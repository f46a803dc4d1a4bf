"""Recordings that take long to bring into shape: kept once made, and made in parallel."""

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pooch
import xarray as xr
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from spikelfp_lab._files import check_writable
from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPError, SpikeLFPWarning
from spikelfp_lab.io.store import read_session, save_session

LOADER_VERSION = 4
"""Part of the name of every kept session; raise it when loaders make other numbers."""


def cache_folder(name: str) -> Path:
    """Where the files of a data set are kept: in ``SPIKELFP_DATA``, or the user's cache folder.

    >>> cache_folder("makin").name
    'makin'
    """
    root = os.environ.get("SPIKELFP_DATA") or pooch.os_cache("spikelfp_lab")
    return Path(root).expanduser() / name


def cached_session(path: Path, make: Callable[[], xr.Dataset]) -> xr.Dataset:
    """The session kept at ``path`` (``.zarr``); made by ``make()`` and kept there first if needed.

    The name must tell apart whatever ``make`` makes differently. When it fails, nothing is kept. A
    DataError says how to go on when the disk is full, or what is kept is damaged.
    """
    if not path.exists():
        check_writable(path.parent)  # before the work, not after it
        session = make()
        try:
            save_session(session, path)
        except DataError:
            if not path.exists():  # else another process was first, with the same session
                raise
    try:
        return read_session(path)
    except SpikeLFPError as error:
        cure = f"Remove {path}, and it is made again."
        raise DataError(f"What was kept of a session is damaged. {cure} ({error})") from error


def prepare_sessions(
    make: Callable[..., xr.Dataset],
    arguments: Sequence[tuple[Any, ...]],
    *,
    n_jobs: int | None = None,
    label: str = "Preparing",
    progress: bool = True,
) -> list[xr.Dataset]:
    """Call ``make(*arguments[i])`` for each session, in parallel processes; in the same order.

    ``joblib.parallel_config`` decides where: with ``backend="dask"`` and a
    ``dask.distributed.Client`` they are spread over a cluster. What the package warns of in other
    processes is said in this one.

    Parameters
    ----------
    make : function
        Importable by its name, for other processes to find it.
    arguments : sequence of tuples
        One a session.
    n_jobs : int, optional
        Processes: None for what ``joblib.parallel_config`` says (or one), -1 for one a core.
    label, progress : str, bool
        What the progress bar says, and whether to show one.

    Raises
    ------
    ConfigError
        When ``n_jobs`` is 0.

    Examples
    --------
    >>> prepare_sessions(xr.Dataset, [(), ()], progress=False)[0].sizes
    Frozen({})
    """
    if n_jobs == 0:
        raise ConfigError("n_jobs is 0: give the number of processes, or -1 for one a core")
    jobs = [delayed(_with_warnings)(os.getpid(), make, *each) for each in arguments]
    made: Any = Parallel(n_jobs=n_jobs, return_as="generator")(jobs)
    bar = tqdm(made, total=len(jobs), desc=label, unit="session", disable=not progress)
    sessions = []
    for session, messages in bar:
        for message in messages:
            warnings.warn(message, stacklevel=2)
        sessions.append(session)
    return sessions


def _with_warnings(parent: int, make: Callable, *arguments: Any) -> tuple[xr.Dataset, list]:
    """A session and the warnings of another process, which are seen by no one."""
    if os.getpid() == parent:
        return make(*arguments), []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpikeLFPWarning)
        return make(*arguments), [each.message for each in caught]
