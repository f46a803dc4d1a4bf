"""Files and folders that are whole or not there, whatever becomes of the process or of the disk.

What is written goes to a *workspace* first, a hidden folder beside its place, and is renamed when it is whole and on the disk. A workspace is locked as long
as its process lives. One that was killed leaves it behind unlocked, and whoever writes to the same place next clears it away.

The locks are the operating system's (``flock`` on POSIX), which a process loses however it ends. They hold on NFS between machines since version 4, and
in version 3 where its lock daemon runs; of a machine that crashed they are freed when its lease ends.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from spikelfp_lab.errors import DataError

LOCK = "lock"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def workspace(place: Path) -> Iterator[Path]:
    """A hidden folder beside ``place`` to write in; gone in the end, whatever happens.

    What is made there goes to ``place`` by :func:`put`. Raises a DataError for whatever the operating system refuses meanwhile: it says what could not be
    written, why, how much room there is, and the cure.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with workspace(Path(folder, "a.txt")) as temporary:
    ...         _ = (temporary / "partial").write_text("whole")
    ...         put(temporary / "partial", Path(folder, "a.txt"))
    ...     [path.name for path in Path(folder).iterdir()]
    ['a.txt']
    """
    with _explained(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        settle(place)
        folder, lock = _locked_folder(place)
        try:
            yield folder
        finally:
            lock.release()
            shutil.rmtree(folder, ignore_errors=True)


def put(new: Path, place: Path, *, overwrite: bool = True) -> None:
    """Move what was made and flushed in a workspace into place; what is there is moved aside before a folder, and back should that fail.

    Raises an OSError where a folder with content is in the way and ``overwrite`` is False.
    """
    old, gone = new.with_name("old"), new.with_name("gone")
    if new.is_dir() and overwrite and os.path.lexists(place):
        os.rename(place, old)  # a folder with content cannot be replaced at one stroke
    try:
        (os.rename if new.is_dir() else os.replace)(new, place)
    except OSError:
        with suppress(OSError):  # nothing was there, or another process has put its own
            os.rename(old, place)
        raise
    if os.path.lexists(old):
        os.rename(old, gone)  # "old" is what settle() puts back, and this one is not wanted back
    _fsync(place.parent)


def settle(place: Path) -> None:
    """Clear away what killed processes left beside ``place``; one that was killed between two renames had moved aside what was there: put it back."""
    for left in place.parent.glob(f".{glob.escape(place.name)}.*.tmp"):
        if left.is_symlink():  # not ours: it could lead anywhere
            continue
        lock = FileLock(left / LOCK)
        try:
            lock.acquire(timeout=0)
        except OSError:  # held by a living process (Timeout is one), read-only, or gone by now
            continue
        with suppress(OSError):
            if not os.path.lexists(place):
                os.rename(left / "old", place)
        lock.release()
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def whole_file(place: Path) -> Iterator[Path]:
    """A path to write a file to, which becomes ``place`` at one stroke once it is written, and nothing if it is not."""
    with workspace(place) as folder:
        yield folder / "partial"
        flush(folder / "partial")
        put(folder / "partial", place)


def write_whole(place: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new one, never half."""
    with whole_file(place) as partial:
        partial.write_bytes(content)


def check_writable(folder: Path) -> None:
    """Raise a DataError where nothing can be written, in the folder or where it would be made: better before hours of work than after."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    with workspace(there / "writable") as temporary:
        (temporary / "partial").write_bytes(b"yes")


def flush(path: Path) -> None:
    """Bring a file, or a folder with all that is in it, from the system's memory to the disk."""
    if path.is_dir():
        for parent, _, files in os.walk(path):
            for file in files:
                _fsync(Path(parent, file))
            _fsync(Path(parent))
    else:
        _fsync(path)


def _fsync(path: Path) -> None:
    if path.is_dir() and os.name != "posix":
        return  # Windows cannot open a folder
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _locked_folder(place: Path) -> tuple[Path, FileLock]:
    while True:
        folder = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.tmp")
        folder.mkdir()
        lock = FileLock(folder / LOCK)
        with suppress(Timeout, FileNotFoundError):
            lock.acquire(timeout=0)
            if (folder / LOCK).exists():
                return folder, lock
            lock.release()
        # another process has taken the folder for one that was left behind, before it was locked


@contextmanager
def _explained(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(_explanation(place, error)) from error


def _explanation(place: Path, error: OSError) -> str:
    there = next((each for each in place.parents if each.is_dir()), Path())
    if error.errno in _FULL:
        free = shutil.disk_usage(there).free
        return (
            f"{place} could not be written: the disk is full ({free / 1e6:,.1f} MB are free in {there}; {error}). "
            "What was there before is untouched. Make room, or choose a folder on another disk, and run it again."
        )
    if error.errno in _REFUSED:
        return (
            f"{place} could not be written: {there} is a folder in which nothing may be written ({error}). "
            "Choose another folder, or get the right to write in this one."
        )
    return f"{place} could not be written ({type(error).__name__}: {error}). What was there before is untouched."
