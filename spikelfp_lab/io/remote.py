"""NWB files wherever they lie: on the disk, behind an http(s) address, in the DANDI archive.

A file on the disk and a file behind an address are opened in the same way, as HDF5 over something
that can be read by byte range, so that of a large file only what is needed is fetched. Sessions
made from an address are kept in the folder of :func:`spikelfp_lab.sessions.cache_folder`.

Of a file that a user names no hash is known: what comes over https is what the server has. Only
https to public addresses is read, see :mod:`spikelfp_lab.io._web`.
"""

import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from spikelfp_lab._guard import reading, said
from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPError
from spikelfp_lab.io._hdf5 import check_hdf5
from spikelfp_lab.io._web import WebSession, plain_name, without_secrets
from spikelfp_lab.io.prepare import cache_folder, cached_session

if TYPE_CHECKING:
    import h5py

_CURE = "It may be damaged or incomplete: copy it again, or look at it with pynwb.validate."
_DANDI = re.compile(r"dandi:(?P<dandiset>\d{6})(@(?P<version>[^/]+))?/(?P<path>.+)", re.IGNORECASE)
# What pynwb says of things that are checked here anyway, or that concern no one: every file made
# with another version of the format brings its own copy of it.
_KNOWN_WARNINGS = re.compile(
    r"Ignoring the following cached namespace|does not match the length of (timestamps|electrodes)"
    r"|Length of data does not match length of timestamps|has a rate of 0.0 Hz"
)


def is_remote(where: str | os.PathLike) -> bool:
    """Tell an address (http, https or dandi) from a path.

    Parameters
    ----------
    where : str or path
        Of an NWB file.

    Returns
    -------
    bool

    Raises
    ------
    ConfigError
        For an address of another kind, such as s3.

    Examples
    --------
    >>> is_remote("https://example.org/a.nwb"), is_remote("folder/a.nwb")
    (True, False)
    """
    text = str(where) if isinstance(where, str) else ""
    if text.lower().startswith("dandi:"):
        return True
    kind = re.match(r"([A-Za-z][A-Za-z0-9+.\-]*)://", text)
    if kind and kind[1].lower() not in ("http", "https"):
        raise ConfigError(
            f"{plain_name(text)} is an address of kind {kind[1]!r}, which is not read: give one that "
            "begins with https://, 'dandi:000688/path/in/the/dandiset.nwb', or a path."
        )
    return bool(kind)


def kept(
    where: str, options: Mapping[str, Any], make: Callable[[], xr.Dataset], *, cache: bool
) -> xr.Dataset:
    """The session of an address: from the cache folder, or made and kept there.

    Parameters
    ----------
    where : str
        The address.
    options : mapping of JSON values
        Whatever else tells this session from another of the same address.
    make : function
        Makes the session. When it fails, nothing is kept.
    cache : bool
        False makes it and keeps nothing.

    Returns
    -------
    xr.Dataset

    Raises
    ------
    DataError
        When the disk is full, or the session that is kept there is damaged.

    Examples
    --------
    >>> kept("https://example.org/a.nwb", {}, lambda: xr.Dataset(), cache=False).sizes
    Frozen({})
    """
    if not cache:
        return make()
    return cached_session(_cache_path(where, options), make)


@contextmanager
def opened_nwb(where: str | os.PathLike) -> Iterator[tuple[Any, Any, list[str]]]:
    """Open an NWB 2 file for reading; its data are read when they are sliced.

    Parameters
    ----------
    where : str or path
        A path, an https address, or ``"dandi:000688/path/in/the/dandiset.nwb"``. An address of
        this machine or a private network, which may be http, needs ``SPIKELFP_ALLOW_PRIVATE=1``.

    Yields
    ------
    pynwb.NWBFile, pynwb.NWBHDF5IO, list of str
        The file and what reads it, both closed in the end; what pynwb warns of.

    Raises
    ------
    DataError
        When it cannot be reached or read, is not NWB 2, or points at files elsewhere, or its
        address is refused. Also for what fails later, while its data are read.
    ConfigError
        For an address of an unknown kind, or a DANDI address without the ``dandi`` package.

    Examples
    --------
    >>> with opened_nwb("missing.nwb"):
    ...     pass
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.DataError: No file at missing.nwb. Check the path.
    """
    from pynwb import NWBHDF5IO

    remote = is_remote(where)
    name = plain_name(where)
    with reading(name, "cannot be read as NWB", _CURE), ExitStack() as stack:
        hdf5 = stack.enter_context(_from_address(str(where)) if remote else _from_disk(where))
        try:
            _check_nwb(hdf5, name)
            check_hdf5(hdf5, name, path=None if remote else Path(where).resolve(), local=not remote)
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                io = NWBHDF5IO(file=hdf5, mode="r", load_namespaces=True)
                stack.callback(io.close)
                nwbfile = io.read()
        except SpikeLFPError:
            raise
        except Exception as error:  # pynwb and hdmf raise a dozen types for invalid files
            raise _unreadable(name, error) from error
        texts = dict.fromkeys(str(each.message) for each in warned)
        try:
            yield nwbfile, io, [each for each in texts if not _KNOWN_WARNINGS.search(each)]
        except (SpikeLFPError, Warning, MemoryError):
            raise
        except Exception as error:  # of remfile, h5py, hdmf, or of numbers that make no sense
            raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> DataError:
    what = without_secrets(said(error))
    if len(error.args) > 1 and type(error).__name__ == "ConstructError":
        # of pynwb: all of the object, and why it cannot be
        where = str(error.args[0]).partition(" ")[0].removeprefix("root/")
        what = f"{where}: {said(Exception(error.args[-1]))}"
    unknown = re.search(r"'?([\w\-]+)'? not a namespace", str(error))
    if unknown:
        package = unknown[1]
        return DataError(
            f"{name} has objects of the extension {package!r}, whose definition is neither in the "
            f"file nor installed. Install it (pip install {package}) and import "
            f"{package.replace('-', '_')} before the file is opened."
        )
    return DataError(f"{name} cannot be read as NWB ({type(error).__name__}: {what}). {_CURE}")


def is_nwb_zarr(path: str | os.PathLike) -> bool:
    """Whether a folder is an NWB file that hdmf-zarr wrote."""
    for name in (".zattrs", "zarr.json", ".zmetadata"):
        if (Path(path) / name).is_file():
            return b"nwb_version" in (Path(path) / name).read_bytes()[:100_000]
    return False


@contextmanager
def _from_disk(where: str | os.PathLike) -> "Iterator[h5py.File]":
    import h5py

    path = Path(where)
    if path.is_dir():
        what = "is NWB in Zarr, which is not read here" if is_nwb_zarr(path) else "is a folder"
        raise DataError(
            f"{path} {what}; NWB is read from HDF5 files. Give a file (NWBHDF5IO.export of pynwb "
            "writes one from what NWBZarrIO of hdmf-zarr reads)."
        )
    if not path.exists():
        raise DataError(f"No file at {path}. Check the path.")
    if not path.is_file():  # a pipe would be waited for
        raise DataError(f"{path} is a pipe or a device; NWB is read from HDF5 files. Give a file.")
    try:
        hdf5 = h5py.File(path, "r")
    except OSError as error:
        if not h5py.is_hdf5(path):
            raise DataError(
                f"{path} is not an HDF5 file ({path.stat().st_size} bytes), so it is no NWB file. "
                "Check the path, or copy it again."
            ) from error
        raise DataError(
            f"{path} cannot be opened ({error}). It may be truncated: copy it again."
        ) from error
    with hdf5:
        yield hdf5


@contextmanager
def _from_address(where: str) -> "Iterator[h5py.File]":
    import h5py
    import remfile

    url = _dandi_url(where) if where.lower().startswith("dandi:") else where
    with ExitStack() as stack:
        session = stack.enter_context(WebSession())
        length = _length(session, url)
        try:
            file = remfile.File(url, _size=length)
            if file.session is not None:
                file.session.close()
            file.session = session
            hdf5 = stack.enter_context(h5py.File(file, "r"))
        except Exception as error:  # remfile raises plain exceptions
            raise DataError(
                f"{plain_name(where)} cannot be opened as HDF5 ({type(error).__name__}: "
                f"{without_secrets(str(error))}), so it is no NWB file, or a damaged one. Check the address in a browser."
            ) from error
        yield hdf5


def _length(session: WebSession, url: str) -> int:
    """Ask for the first byte: is it there, of how many, and does the server give parts of a file?"""
    import requests

    name = plain_name(url)
    try:
        with session.get(url, headers={"Range": "bytes=0-0"}, stream=True) as answer:
            status, reason = answer.status_code, answer.reason
            of = re.fullmatch(r"bytes 0-0/(\d+)", answer.headers.get("Content-Range", ""))
    except (requests.RequestException, ValueError) as error:
        raise DataError(
            f"{name} cannot be reached ({type(error).__name__}). Check the address and the "
            "connection, or download the file by other means and give its path."
        ) from error
    if status == 200:
        raise DataError(
            f"The server of {name} gives whole files only (it ignores Range requests), so the "
            "file cannot be streamed. Download it and give its path."
        )
    if status != 206:
        cure = "Check the address."
        if status in (401, 403):
            cure = "It asks for a login, or the signed address has expired: get a new one."
        raise DataError(f"The server of {name} answers {status} {reason}. {cure}")
    if of is None:
        raise DataError(
            f"The server of {name} does not say how long the file is, so it cannot be streamed. "
            "Download it and give its path."
        )
    return int(of[1])


def _dandi_url(where: str) -> str:
    parts = _DANDI.fullmatch(where)
    if parts is None:
        raise ConfigError(
            f"{where!r} is no DANDI address: write 'dandi:000688/path/in/the/dandiset.nwb', or "
            "'dandi:000688@0.250122.1735/path' for one version."
        )
    try:
        from dandi.dandiapi import DandiAPIClient  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            f"{where} needs the package dandi, which is not installed. Install it with "
            "pip install 'spikelfp_lab[dandi]'."
        ) from error
    from dandi.exceptions import NotFoundError  # pyright: ignore[reportMissingImports]
    from requests import RequestException

    dandiset, path = parts["dandiset"], parts["path"]
    try:
        with DandiAPIClient() as client:
            files = client.get_dandiset(dandiset, parts["version"])
            try:
                asset = files.get_asset_by_path(path)
            except NotFoundError as error:
                near = files.get_assets_with_path_prefix(path.split("/")[0])
                some = [each.path for each, _ in zip(near, range(10), strict=False)]
                there = f" There are, for instance: {', '.join(some)}." if some else ""
                raise DataError(f"No file {path} in dandiset {dandiset}.{there}") from error
            return asset.get_content_url(follow_redirects=1, strip_query=True)
    except NotFoundError as error:
        raise DataError(f"DANDI does not know {where} ({error}). Check the number.") from error
    except RequestException as error:
        raise DataError(
            f"DANDI cannot be reached for {where} ({type(error).__name__}). Check the connection, "
            "or download the file and give its path."
        ) from error


def _cache_path(where: str, options: Mapping[str, Any]) -> Path:
    text = json.dumps([where, dict(sorted(options.items()))], sort_keys=True)
    stem = re.sub(r"[^A-Za-z0-9_\-]+", "_", Path(plain_name(where)).stem)[:60] or "session"
    return cache_folder("nwb") / f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.zarr"


def _check_nwb(hdf5: "h5py.File", name: str) -> None:
    if "nwb_version" in hdf5:  # a dataset in version 1, an attribute since
        raise DataError(
            f"{name} is NWB 1, which pynwb cannot read. Convert it to NWB 2, or read its arrays "
            "with h5py and make a session of them with session_from_arrays."
        )
    if "nwb_version" not in hdf5.attrs:
        found = ", ".join(list(hdf5)[:8]) or "nothing"
        raise DataError(
            f"{name} is HDF5 but not NWB: it has no nwb_version. It holds {found}. Read its arrays "
            "with h5py and make a session of them with session_from_arrays."
        )
