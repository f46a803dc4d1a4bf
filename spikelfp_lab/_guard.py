"""Files are not trusted: what they declare is checked before memory is taken, and whatever goes
wrong while they are read becomes one error that names them."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spikelfp_lab.errors import DataError, SpikeLFPError

MOST_PACKED = 1100
"""Bytes that one stored byte can stand for: deflate, the tightest in wide use, reaches 1,032."""

SMALL = 64 << 20
"""Bytes below which it is no matter what a file declares."""

_LONGEST = 300  # characters of what another library has to say


def check_size(
    declared: int, *, stored: int, what: str, whole: bool = True, packed: int = MOST_PACKED
) -> None:
    """Refuse an array that cannot be there: it declares more than the file could hold.

    Parameters
    ----------
    declared : int
        Bytes it would take in memory.
    stored : int
        Bytes that the file has of it.
    what : str
        The array and its file, for the message.
    whole : bool
        Whether it is read whole, so that it has to fit into memory, too.
    packed : int
        Bytes that one stored byte can stand for.

    Raises
    ------
    DataError

    Examples
    --------
    >>> check_size(10**15, stored=4096, what="lfp of a.nwb")
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.DataError: lfp of a.nwb declares 1,000,000.000 GB, and the file has 4,096 bytes \
of it: it is damaged, or was never filled. Copy the file again from its source.
    """
    if declared > max(SMALL, packed * stored):
        raise DataError(
            f"{what} declares {declared / 1e9:,.3f} GB, and the file has {stored:,} bytes of it: it is "
            "damaged, or was never filled. Copy the file again from its source."
        )
    if whole and declared > (free := available_memory()):
        raise DataError(
            f"{what} takes {declared / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free. "
            "Close other programs, or open it on a machine with more."
        )


def available_memory() -> float:
    """Bytes that are free on this machine, or at least in it; infinite where that is not known."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return 1024.0 * int(line.split()[1])
    except OSError:
        pass
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


NO_STORABLE_NAME = (
    "is a name of a variable that no folder of a store can have; rename it to one of at most 128 characters "
    "without '/', '\\' and a leading '.'."
)


def is_storable_name(name: object) -> bool:
    """Whether a variable can have the name: it becomes that of a folder in a store.

    Examples
    --------
    >>> is_storable_name("lfp"), is_storable_name("../lfp")
    (True, False)
    """
    return isinstance(name, str) and bool(re.fullmatch(r"[^./\\\0][^/\\\0]{0,127}", name))


@contextmanager
def reading(
    path: str | os.PathLike, what: str, cure: str, *, kind: type[SpikeLFPError] = DataError
) -> Iterator[None]:
    """Whatever is raised inside becomes one error of the package, which names the file.

    Bytes of any kind may be wrong, so any error may come of them, from any of the libraries below.

    Parameters
    ----------
    path : path or str
        The file, folder or address.
    what : str
        What it then is: "is damaged or incomplete".
    cure : str
        A sentence.
    kind : type
        Of the error; those of the package stay what they are.

    Examples
    --------
    >>> with reading("data/a.nwb", "is damaged", "Copy it again."):
    ...     {}["units"]
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.DataError: data/a.nwb is damaged (KeyError: 'units'). Copy it again.
    """
    name = Path(os.fspath(path).partition("?")[0]).name
    try:
        yield
    except Warning:  # of someone who has warnings raised
        raise
    except SpikeLFPError as error:
        if name in str(error):
            raise
        raise type(error)(f"{name}: {error}") from error
    except MemoryError as error:
        raise kind(
            f"{path} takes more memory than there is ({said(error)}). Close other programs, or open it "
            "on a machine with more. If it is small, it is damaged: copy it again."
        ) from error
    except Exception as error:
        raise kind(f"{path} {what} ({type(error).__name__}: {said(error)}). {cure}") from error


def said(error: BaseException) -> str:
    """The first line of a message, and not all of a long one."""
    line = (str(error).splitlines() or ["no message"])[0]
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
