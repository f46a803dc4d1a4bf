"""Recordings that take long to bring into shape: kept once made, and made in parallel."""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pooch
import xarray as xr
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPError
from spikelfp_lab.sessions.store import open_session, save_session


def cache_folder(name: str) -> Path:
    """Where the files of a data set are kept: the folder ``name`` in that of ``SPIKELFP_DATA``.

    Parameters
    ----------
    name : str
        Of the data set.

    Returns
    -------
    Path
        Not necessarily there yet. Without that environment variable, in the user's cache folder
        of this package.

    Examples
    --------
    >>> cache_folder("makin").name
    'makin'
    """
    root = os.environ.get("SPIKELFP_DATA") or pooch.os_cache("spikelfp_lab")
    return Path(root).expanduser() / name


def cached_session(path: Path, make: Callable[[], xr.Dataset]) -> xr.Dataset:
    """The session kept at ``path``; made and kept there first, when there is none.

    Parameters
    ----------
    path : Path
        Ends in ``.zarr``. Its name must tell apart whatever ``make`` makes differently.
    make : function
        Called without arguments, returns a session. When it fails, nothing is kept.

    Returns
    -------
    xr.Dataset

    Raises
    ------
    DataError
        When the disk is full, or what is kept is damaged; the message says how to go on.

    Examples
    --------
    >>> import numpy as np
    >>> from tempfile import TemporaryDirectory
    >>> from spikelfp_lab.sessions import build_session, session_clock
    >>> def make():
    ...     print("making")
    ...     clock = session_clock(0.0, 1.0, bin_size_s=0.1)
    ...     return build_session(clock, bin_size_s=0.1, spikes=np.ones((10, 3)),
    ...                          subject="I", session="s01", source="example")
    >>> with TemporaryDirectory() as folder:
    ...     first = cached_session(Path(folder) / "s01.zarr", make)
    ...     again = cached_session(Path(folder) / "s01.zarr", make)
    making
    >>> again.identical(first)
    True
    """
    if not path.exists():
        session = make()
        try:
            save_session(session, path)
        except DataError:
            if not path.exists():  # else another process was first, with the same session
                raise
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise DataError(
                f"The session cannot be kept at {path}: {'the disk is full' if full else error}. "
                "Make room, or set SPIKELFP_DATA to a folder elsewhere. Nothing was left there."
            ) from error
    try:
        return open_session(path)
    except SpikeLFPError as error:
        raise DataError(
            f"What was kept of a session is damaged. Remove {path}, and it is made again. ({error})"
        ) from error


def prepare_sessions(
    make: Callable[..., xr.Dataset],
    arguments: Sequence[tuple[Any, ...]],
    *,
    n_jobs: int | None = None,
    label: str = "Preparing",
    progress: bool = True,
) -> list[xr.Dataset]:
    """Call ``make(*arguments[i])`` for each session, in parallel processes.

    It is joblib that runs them, so ``joblib.parallel_config`` decides where: with
    ``parallel_config(backend="dask")`` and a ``dask.distributed.Client`` the sessions are spread
    over a cluster.

    Parameters
    ----------
    make : function
        Importable by its name, for other processes to find it.
    arguments : sequence of tuples
        One a session.
    n_jobs : int, optional
        Processes; None for what ``joblib.parallel_config`` says (one, where it says nothing), -1
        for one a core.
    label : str
        In front of the progress bar.
    progress : bool
        Whether to show one.

    Returns
    -------
    list of xr.Dataset
        In the order of ``arguments``.

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
    run = Parallel(n_jobs=n_jobs, return_as="generator")
    jobs = run(delayed(make)(*each) for each in arguments)
    bar = tqdm(jobs, total=len(arguments), desc=label, unit="session", disable=not progress)
    return [cast(xr.Dataset, session) for session in bar]
