"""What the loaders of published data sets share: their files, what they refuse, what is kept."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import xarray as xr
from scipy import io

from spikelfp_lab._guard import check_hdf5, need_file, reading
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.io.prepare import LOADER_VERSION, cache_folder, cached_session, prepare_sessions
from spikelfp_lab.sessions import cohort_from_sessions

CURE = "Move it away and get the original file of the data set again."


def refuse_if(wrong: object, where: object, what: str) -> None:
    """Refuse a file that departs from the published layout."""
    if wrong:
        raise DataError(f"{where} is not as published: {what}. {CURE}")


@contextmanager
def opened_hdf5(path: Path, kind: str) -> Iterator[Any]:
    """An h5py.File; whatever goes wrong, also while it is read, is a DataError."""
    need_file(path)
    what = f"is damaged, or not {kind} as published"
    with reading(path, what, CURE), h5py.File(path, "r") as file:
        check_hdf5(file, str(path))
        yield file


def read_matlab5(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Variables of a MATLAB 5 file; structs are objects with their fields as attributes."""
    need_file(path)
    with reading(path, "is damaged, or not MATLAB 5 as published", CURE):
        content = io.loadmat(path, variable_names=list(names), struct_as_record=False)
        return {name: content[name] for name in names}


def check_option(what: str, given: object, there: Sequence, *, of: str) -> None:
    """Refuse what is not among those that there are.

    >>> check_option("protocol", "papers", (None, "paper"), of="makin")
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.ConfigError: No protocol 'papers' in makin. There are: None, paper.
    """
    if given not in there:
        listed = ", ".join(map(str, there[:12])) + (", ..." if len(there) > 12 else "")
        raise ConfigError(f"No {what} {given!r} in {of}. There are: {listed}.")


def check_names(what: str, names: Sequence[str], there: Sequence[str], *, of: str) -> None:
    """Refuse no names, repeated and unknown ones."""
    if isinstance(names, str) or not names or len(set(names)) < len(names):
        raise ConfigError(f"{what}s must be a sequence of different names, got {names!r}.")
    for name in names:
        check_option(what, name, there, of=of)


def kept_at(data_set: str, *parts: str) -> Path:
    """Where a prepared session is kept; the parts tell apart whatever is made differently."""
    return cache_folder(data_set) / "prepared" / f"{'-'.join(parts)}-v{LOADER_VERSION}.zarr"


def opened_cohort(
    data_set: str, build: Callable[..., xr.Dataset], jobs: Sequence[tuple], **how: Any
) -> xr.DataTree:
    """The cohort of the sessions that are built of these arguments."""
    return cohort_from_sessions(prepare_sessions(build, jobs, label=f"Opening {data_set}", **how))


def kept_session(kept: Path, build: Callable, path: Path, *options: Any) -> xr.Dataset:
    """The session built of a file, kept as Zarr once made; runs in parallel processes."""

    def make() -> xr.Dataset:
        with reading(path, "is not as published", CURE):
            return build(path, *options)

    return cached_session(kept, make)
