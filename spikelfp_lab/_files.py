"""Atomic, crash-safe writes, and file locks around what is made once.

Everything is written into a hidden *workspace* beside its place, flushed, and renamed. The locks
are the operating system's: a killed process loses them, and the next writer clears away what it
left.
"""

import errno
import glob
import os
import shutil
import socket
import sys
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from spikelfp_lab._guard import reason
from spikelfp_lab.errors import DataError, SpikeLFPWarning

LOCK, HOLDER = "lock", "holder.txt"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def whole(place: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """A path for a file or folder; it becomes ``place`` when the block ends without an error."""
    if not overwrite:
        refuse_existing(place)
    with workspace(place) as folder:
        partial, old = folder / f"partial{place.suffix}", folder / "old"
        yield partial
        for each in (partial, *partial.rglob("*")):
            _fsync(each)
        if partial.is_dir() and overwrite and os.path.lexists(place):
            os.rename(place, old)  # a folder with content cannot be replaced in one step
        os.replace(partial, place)
        if os.path.lexists(old):
            os.rename(old, folder / "gone")  # settle() would put "old" back
        _fsync(place.parent)


def refuse_existing(place: Path) -> None:
    """Raise a DataError when there is anything at the place."""
    if os.path.lexists(place):
        cure = "Pass overwrite=True to replace it, or choose another path."
        raise DataError(f"{place} exists already and is not overwritten. {cure}")


def write_whole(place: Path, content: bytes) -> None:
    """Write a file atomically."""
    with whole(place) as partial:
        partial.write_bytes(content)


@contextmanager
def workspace(place: Path) -> Iterator[Path]:
    """A hidden, locked folder beside ``place``; an OSError inside becomes a DataError."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        settle(place)
        lock = None
        while lock is None:  # another one if a cleaner takes it for a leftover
            folder = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.tmp")
            with suppress(Timeout):
                lock = _acquire(folder, timeout=0)
        try:
            yield folder
        finally:
            lock.release()
            settle(place)
            for pause in (0.05, 0.2, 1.0) if sys.exc_info()[0] else ():
                time.sleep(pause)  # other threads of Zarr may write in it for a moment
                settle(place)
    except OSError as error:
        raise DataError(_explanation(place, error)) from error


def settle(place: Path) -> None:
    """Clear away what no living process writes beside ``place``, and put back what was moved."""
    for left in place.parent.glob(f".{glob.escape(place.name)}.*.tmp"):
        if left.is_symlink():  # not ours
            continue
        with suppress(OSError):  # held by a living process (Timeout is one), or read-only
            lock = _acquire(left, timeout=0)
            with suppress(OSError):
                if not os.path.lexists(place):
                    os.rename(left / "old", place)
            lock.release()
            shutil.rmtree(left, ignore_errors=True)


def check_writable(folder: Path) -> None:
    """Raise a DataError now if nothing can be written in the folder, not after hours of work."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    with workspace(there / "writable") as temporary:
        (temporary / "partial").write_bytes(b"yes")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is made; wait, with one warning, while another has it.

    Under torchrun take it in one process only: the others would wait for the first.
    """
    try:
        lock = _acquire(folder, timeout=0.2)  # beyond a moment's contention
    except Timeout:
        holder = "another process"
        with suppress(OSError):  # not yet written
            holder = (folder / HOLDER).read_text()
        cure = "interrupt to stop, or choose another folder (SPIKELFP_RUNS for a study)."
        message = f"{folder.name} is being made by {holder}. Waiting for its result; {cure}"
        warnings.warn(message, SpikeLFPWarning, stacklevel=4)
        lock = _acquire(folder, timeout=-1)
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S%z")
        me = f"process {os.getpid()} on {socket.gethostname()} since {since}"
        write_whole(folder / HOLDER, me.encode())
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def _acquire(folder: Path, *, timeout: float) -> FileLock:
    """The lock of a folder, which is made, again if another process removes it meanwhile."""
    while True:
        lock = FileLock(folder / LOCK)
        with suppress(FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=timeout, poll_interval=0.1)
            if (folder / LOCK).exists():
                return lock
            lock.release()


def _fsync(path: Path) -> None:
    """fsync; a folder only where the system can open one."""
    if os.name == "posix" or not path.is_dir():
        handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _explanation(place: Path, error: OSError) -> str:
    """What could not be written, the system's reason, and the cure."""
    there, cure = next(filter(Path.is_dir, place.parents), Path()), ""
    if error.errno in _FULL:
        free = shutil.disk_usage(there).free / 1e6
        why = f"the disk is full ({free:,.1f} MB are free in {there}; {error})"
        cure = " Make room, or choose a folder on another disk (SPIKELFP_DATA: that of the cache)."
    elif error.errno in _REFUSED:
        why = f"{there} is a folder in which nothing may be written ({error})"
        cure = " Choose another folder (SPIKELFP_DATA: that of the cache), or the right to write."
    else:
        why = f"({reason(error)})"
    return f"{place} could not be written: {why}. What was there before is untouched.{cure}"
