"""Open one recording, whatever it is in."""

import os
from pathlib import Path
from typing import Any

import xarray as xr

from spikelfp_lab.errors import ConfigError
from spikelfp_lab.io.nwb_read import open_nwb
from spikelfp_lab.io.remote import is_nwb_zarr, is_remote
from spikelfp_lab.io.store import read_session
from spikelfp_lab.sessions.quality import warn_quality


def open_session(path: str | os.PathLike, **options: Any) -> xr.Dataset:
    """Open a recording as a session and load it into memory.

    Parameters
    ----------
    path : path or str
        A ``.zarr`` folder, as from :func:`save_session`; an NWB file; an https address of one; or
        ``"dandi:<dandiset>/<path in it>"``.
    **options
        For NWB, such as ``lfp="LFP"`` where a file has several; see
        :func:`spikelfp_lab.io.nwb_read.open_nwb`. A ``.zarr`` folder takes none.

    Raises
    ------
    DataError, SchemaError, ConfigError
        When the path is missing, damaged, or of a kind that is not read; when a store is whole,
        but holds no valid session; for an option that is not known.

    Warns
    -----
    SpikeLFPWarning
        Lists what :func:`spikelfp_lab.check_quality` finds wrong with the data, if anything.

    Examples
    --------
    >>> try:
    ...     open_session("missing.zarr")
    ... except Exception as error:
    ...     print(error)
    No session at missing.zarr. Check the path, or save one there with save_session.
    """
    if is_nwb(path):
        dataset = open_nwb(path, **options)
    elif options:
        raise ConfigError(f"A saved session takes no options, got {', '.join(options)}.")
    else:
        dataset = read_session(path)
    warn_quality(dataset)
    return dataset


def is_nwb(path: str | os.PathLike) -> bool:
    """An address, a path that ends in ``.nwb``, any other file, or NWB in a folder of Zarr's."""
    place = Path(path)
    ending = place.suffix.lower() == ".nwb"
    return is_remote(path) or ending or place.is_file() or is_nwb_zarr(place)
