"""Locks: one process at a time makes what is made once; another one says whom it waits for, and then takes what was made."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from spikelfp_lab._files import LOCK, check_writable, settle, write_whole
from spikelfp_lab.errors import ConfigError, SpikeLFPWarning

HOLDER = "holder.json"


def unfinished_of(path: Path) -> Path:
    """The folder in which ``path`` is made.

    >>> unfinished_of(Path("runs/teacher-1f")).name
    'teacher-1f.unfinished'
    """
    return path.with_name(f"{path.name}.unfinished")


def made_once(path: Path, make: Callable[[Path], None]) -> None:
    """Make what belongs at ``path``, unless it is there; nothing is made twice, in however many processes this is called.

    The lock is in the folder of the unfinished work. It is the operating system's: a process that was killed holds it no longer, and the next one goes on
    with what is left in the folder. Processes that make different things do not wait for each other. Between machines that share the folder by NFS the
    same holds since version 4; where a file system has no such locks, ``filelock`` takes a weaker one and says so.

    Parameters
    ----------
    path : Path
        Appears at one stroke, when it is whole: ``make`` renames it into place.
    make : function
        Called with the folder of unfinished work, which exists then and is removed afterwards.

    Raises
    ------
    DataError
        Nothing can be written there; before anything is made.
    ConfigError
        Several processes that ``torchrun`` started would make it together: each but one would wait for ever.

    Warns
    -----
    SpikeLFPWarning
        Another process is at it: which one, where, since when, and how to do without. It is waited for.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     place = Path(folder, "a.txt")
    ...     for _ in range(2):
    ...         made_once(place, lambda unfinished: print(place.write_text("made once")))
    ...     [path.name for path in Path(folder).iterdir()]
    9
    ['a.txt']
    """
    folder = unfinished_of(path)
    if not path.exists():
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError(
                f"{path.name} is not there yet, and a study trains each model in one process: train it without torchrun first (python -m spikelfp_lab.study), or "
                "call pretrain, finetune and distill themselves"
            )
        check_writable(path.parent)
        with _only_one(folder):
            if not path.exists():  # else it was made while this process waited
                write_whole(folder / HOLDER, json.dumps(_me()).encode())
                make(folder)
    # Also what a process has left that was killed right here.
    shutil.rmtree(folder, ignore_errors=True)
    settle(path)


def in_the_works(runs: Path) -> list[str]:
    """What living processes are making in ``runs`` now, and which ones: a sentence each."""
    told = []
    for folder in sorted(runs.glob("*.unfinished")):
        if (folder / LOCK).exists():
            lock = FileLock(folder / LOCK)
            try:
                lock.acquire(timeout=0)
                lock.release()
            except Timeout:
                told.append(_who(folder))
            except OSError:  # finished, and its folder gone
                continue
    return told


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / LOCK)
    patience = 0.2  # beyond a mere look by in_the_works()
    while not lock.is_locked:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=patience, poll_interval=0.1)
        except FileNotFoundError:  # whoever held it has finished and removed the folder
            continue
        except Timeout:
            if patience > 0:
                warnings.warn(
                    f"{_who(folder)}. It is waited for and not made twice; interrupt to stop waiting. "
                    "To make it apart from that process, choose another runs folder (SPIKELFP_RUNS).",
                    SpikeLFPWarning,
                    stacklevel=4,
                )
            patience = -1
    try:
        yield
    finally:
        lock.release()


def _me() -> dict[str, str | int]:
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    return {"process": os.getpid(), "host": socket.gethostname(), "since": since}


def _who(folder: Path) -> str:
    name, end = folder.name.removesuffix(".unfinished"), time.monotonic() + 1
    while True:
        try:
            holder = json.loads((folder / HOLDER).read_text())
            return f"{name} is being made by process {holder['process']} on {holder['host']} since {holder['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            if time.monotonic() > end:  # it writes its name right after it has the lock
                return f"{name} is being made by another process"
            time.sleep(0.05)
