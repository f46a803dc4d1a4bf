"""Damaged files: one error that names the file and keeps the library's own reason."""

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spikelfp_lab.errors import DataError, SpikeLFPError

_MOST_PACKED = 1100  # deflate, the tightest in wide use, reaches 1,032
_SMALL = 64 << 20  # bytes below which it does not matter what a file declares


@contextmanager
def reading(
    path: str | os.PathLike, what: str, cure: str, *, kind: type[SpikeLFPError] = DataError
) -> Iterator[None]:
    """Turn whatever is raised inside into one error: the file, what is wrong, the reason, the cure.

    >>> with reading("data/a.nwb", "is damaged", "Copy it again."):
    ...     {}["units"]
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.DataError: data/a.nwb is damaged (KeyError: 'units'). Copy it again.
    """
    try:
        yield
    except Warning:  # of someone who has warnings raised
        raise
    except SpikeLFPError as error:
        name = Path(os.fspath(path).partition("?")[0]).name
        if name in str(error):
            raise
        raise type(error)(f"{name}: {error}") from error
    except Exception as error:
        raise kind(f"{path} {what} ({reason(error)}). {cure}") from error


def need_file(path: Path) -> None:
    """Raise a DataError when there is no file at the path; a pipe would be waited for."""
    if not path.is_file():
        raise DataError(f"No file at {path}. Check the path.")


def reason(error: BaseException) -> str:
    """Type and whole message on one line, without queries of addresses, which may hold secrets."""
    text = re.sub(r"\?[^\s)'\"]+=[^\s)'\"]+", "?...", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text or 'no message'}"


def check_size(declared: int, *, stored: int, what: str, whole: bool = True) -> None:
    """Refuse an array that declares more bytes than the file could hold, or than memory has."""
    if declared > max(_SMALL, _MOST_PACKED * stored):
        has = f"declares {declared / 1e9:,.3f} GB, and the file has {stored:,} bytes of it"
        raise DataError(f"{what} {has}: it is damaged. Copy the file again from its source.")
    if whole and declared > (free := available_memory()):
        has = f"takes {declared / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free"
        raise DataError(f"{what} {has}. Close other programs, or take a machine with more.")


def check_hdf5(file: Any, name: str, *, local: bool = True) -> None:
    """Hold what each dataset of an open h5py.File declares against what the file stores of it."""
    size, folder = file.id.get_filesize(), Path(str(file.filename)).parent

    def check(where: str, item: Any) -> None:
        if not hasattr(item, "dtype"):
            return
        files = [one.file_name for one in item.virtual_sources()] if item.is_virtual else []
        if lost := [one for one in files if local and one != "." and not (folder / one).exists()]:
            raise DataError(f"{where} of {name} needs {lost[0]}, which is not there: copy it too.")
        stored = min(item.id.get_storage_size(), size) if local else size
        declared = 0 if files else math.prod(item.shape or ()) * item.id.get_type().get_size()
        check_size(declared, stored=stored, what=f"{where} of {name}", whole=False)

    file.visititems(check)


def available_memory() -> float:
    """Bytes that are free; infinite where that is not known."""
    with suppress(OSError, StopIteration), open("/proc/meminfo") as file:
        return 1024.0 * next(int(row.split()[1]) for row in file if "MemAvailable" in row)
    return float("inf")
