"""NWB files on the disk, behind an https address, or in the DANDI archive, opened as HDF5."""

import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import xarray as xr

from spikelfp_lab._guard import check_hdf5, need_file, reading
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.io.prepare import LOADER_VERSION, cache_folder, cached_session

_CURE = "It may be damaged or incomplete: copy it again, or look at it with pynwb.validate."
_DANDI = "'dandi:000688/path/in/the/dandiset.nwb'"
_NAMESPACES = {"core", "hdmf-common", "hdmf-experimental"}  # which pynwb brings itself
# What pynwb says of things that are checked here anyway, or that concern no one
_KNOWN_WARNINGS = re.compile(
    r"Ignoring the following cached namespace|does not match the length of (timestamps|electrodes)"
    r"|Length of data does not match length of timestamps|has a rate of 0.0 Hz"
)


def is_remote(where: str | os.PathLike) -> bool:
    """Tell an address from a path."""
    return bool(re.match(r"[a-z][a-z0-9+.\-]*://|dandi:", os.fspath(where), re.IGNORECASE))


def need_https(url: str) -> None:
    """Refuse http, but for a server on this machine: what comes could be changed on the way."""
    kind = url.partition(":")[0].lower()
    if kind not in ("http", "https"):
        cure = f"give one that begins with https://, {_DANDI}, or a path."
        raise ConfigError(f"{plain_name(url)} is of kind {kind!r}, which is not read: {cure}")
    if kind == "http" and not re.match(r"http://(localhost|127\.0\.0\.1)[:/]", url.lower()):
        cure = "Use an https address, or download the file by other means and give its path."
        raise DataError(f"{plain_name(url)} is not encrypted. {cure}")


def plain_name(where: str | os.PathLike) -> str:
    """An address without its query, user and password, which may be secret."""
    text = str(where)
    return re.sub(r"://[^/@]*@", "://", text.partition("?")[0]) if "://" in text else text


def kept(where: str, options: Mapping[str, Any], make: Callable[[], xr.Dataset]) -> xr.Dataset:
    """The session of an address and options: from the cache folder, or made and kept there."""
    text = json.dumps([where, dict(options), LOADER_VERSION], sort_keys=True)
    stem = re.sub(r"[^A-Za-z0-9_\-]+", "_", Path(plain_name(where)).stem)[:60] or "session"
    name = f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.zarr"
    return cached_session(cache_folder("nwb") / name, make)


@contextmanager
def opened_nwb(where: str | os.PathLike) -> Iterator[tuple[Any, list[str]]]:
    """Open an NWB 2 file: yields the NWBFile, and what pynwb warns of.

    Whatever goes wrong, also later while data are read, is a DataError that names the file.
    """
    import h5py
    from pynwb import NWBHDF5IO

    remote, name = is_remote(where), plain_name(where)
    cure = "It is truncated, or not an HDF5 file: check path or address, or copy it again."
    with reading(name, "cannot be read as NWB", _CURE), ExitStack() as stack:
        with reading(name, "cannot be opened as HDF5", cure):
            source = _at_address(str(where)) if remote else _on_disk(Path(where))
            hdf5: Any = stack.enter_context(h5py.File(source, "r"))
        _check_nwb(hdf5, name)
        check_hdf5(hdf5, name, local=not remote)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            # those of extensions only: reading the others' can hang on a damaged file
            own = set(hdf5.get("specifications", ())) - _NAMESPACES
            io = NWBHDF5IO(file=hdf5, mode="r", load_namespaces=bool(own))
            stack.callback(io.close)
            nwbfile = _read(io, name)
        texts = dict.fromkeys(str(each.message) for each in warned)
        yield nwbfile, [each for each in texts if not _KNOWN_WARNINGS.search(each)]


def is_nwb_zarr(path: str | os.PathLike) -> bool:
    """Whether a folder is an NWB file that hdmf-zarr wrote."""
    files = (Path(path) / name for name in (".zattrs", "zarr.json", ".zmetadata"))
    first = next((file.read_bytes() for file in files if file.is_file()), b"")
    return b"nwb_version" in first[:100_000]


def _read(io: Any, name: str) -> Any:
    """The NWBFile; of what pynwb cannot make an object of, the place and the reason."""
    from hdmf.build import ConstructError

    try:
        return io.read()
    except ConstructError as error:  # says all of the object
        where = str(error.args[0]).partition(" ")[0].removeprefix("root/")
        raise ValueError(f"{where}: {error.args[-1]}") from error
    except Exception as error:
        if not (unknown := re.search(r"'?([\w\-]+)'? not a namespace", str(error))):
            raise
        package, module = unknown[1], unknown[1].replace("-", "_")
        what = f"has objects of the extension {package!r}, which is neither in it nor installed"
        cure = f"Install it (pip install {package}) and import {module} before you open the file."
        raise DataError(f"{name} {what}. {cure}") from error


def _on_disk(path: Path) -> Path:
    """The path itself, if it may be of an HDF5 file."""
    if path.is_dir():
        what = "is NWB in Zarr, which is not read here" if is_nwb_zarr(path) else "is a folder"
        cure = "(NWBHDF5IO.export of pynwb writes one from what NWBZarrIO of hdmf-zarr reads)"
        raise DataError(f"{path} {what}; NWB is read from HDF5 files. Give a file {cure}.")
    need_file(path)
    return path


def _at_address(where: str) -> Any:
    """A file of remfile, which fetches what is read of it."""
    import remfile
    import requests

    url, name = _dandi_url(where), plain_name(where)
    need_https(url)
    probe: dict[str, Any] = {"headers": {"Range": "bytes=0-0"}, "stream": True, "timeout": 60}
    cure = "Check address and connection, or download the file and give its path."
    with reading(name, "cannot be reached", cure), requests.get(url, **probe) as answer:
        said = f"{answer.status_code} {answer.reason}"
    if answer.status_code != 206:
        what = f"The server of {name} answers {said}, where a part of the file is asked for (206)"
        cure = "Check the address: it may ask for a login, or have expired. Where whole files only "
        raise DataError(f"{what}. {cure}are given (200), download it and give its path.")
    return remfile.File(url)


def _dandi_url(where: str) -> str:
    """The https address of a file in a dandiset; any other address stays as it is."""
    if not where.lower().startswith("dandi:"):
        return where
    if not (parts := re.fullmatch(r"dandi:(\d{6})(?:@([^/]+))?/(.+)", where, re.IGNORECASE)):
        cure = f"write {_DANDI}, or 'dandi:000688@0.250122.1735/path' for one version."
        raise ConfigError(f"{where!r} is no DANDI address: {cure}")
    cure = "Install it: pip install 'spikelfp_lab[dandi]'."
    with reading(where, "needs the package dandi", cure, kind=ConfigError):
        from dandi.dandiapi import DandiAPIClient  # pyright: ignore[reportMissingImports]

    dandiset, version, path = parts.groups()
    cure = "Check number, path and connection, or download the file and give its path."
    with reading(where, "cannot be found in DANDI", cure), DandiAPIClient() as client:
        asset = client.get_dandiset(dandiset, version).get_asset_by_path(path)
        return asset.get_content_url(follow_redirects=1, strip_query=True)


def _check_nwb(hdf5: Any, name: str) -> None:
    """Refuse NWB 1 and other HDF5."""
    cure = "Read its arrays with h5py and make a session of them with session_from_arrays."
    if "nwb_version" in hdf5:  # a dataset in version 1, an attribute since
        raise DataError(f"{name} is NWB 1, which pynwb cannot read. Convert it to NWB 2. {cure}")
    if "nwb_version" not in hdf5.attrs:
        found = ", ".join(list(hdf5)[:8]) or "nothing"
        raise DataError(f"{name} is HDF5 but not NWB: no nwb_version, it holds {found}. {cure}")
    if "units/spike_times" in hdf5 and "units/spike_times_index" not in hdf5:
        what = "which tells the unit of each spike"
        raise DataError(f"units of {name} has no spike_times_index, {what}. Write it. {cure}")
