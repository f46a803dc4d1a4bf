"""HDF5 files that are not trusted: looked through once, before anything of them is read.

No object may lead out of the file, but for files beside it where that is allowed; none may be
nested without end; and none may declare more than the file could hold.
"""

import math
from pathlib import Path
from typing import Any

import h5py
from h5py import h5o  # pyright: ignore[reportAttributeAccessIssue]  # compiled, without types

from spikelfp_lab._guard import check_size
from spikelfp_lab.errors import DataError

_DEEPEST = 64  # groups in groups: libraries walk them by recursion


def check_hdf5(
    file: h5py.File,
    name: str,
    *,
    path: Path | None = None,
    seen: frozenset[Path] = frozenset(),
    local: bool = True,
) -> None:
    """Refuse a file that leads elsewhere, is nested without end, or declares what is not there.

    Parameters
    ----------
    file : h5py.File
        Open for reading.
    name : str
        Of the file, for messages.
    path : Path, optional
        Of the file: other files in its folder may then be pointed at. None: no other file may.
    seen : frozenset of Path
        Files that point at this one.
    local : bool
        False for a file that is read over a network, where the storage of an array, which would
        take many requests, is not asked for.

    Raises
    ------
    DataError
        Names the object, and the cure.
    """
    todo: list[tuple[h5py.Group, str, int]] = [(file, "", 0)]
    known = {_address(file)}
    while todo:
        group, inside, depth = todo.pop()
        if depth > _DEEPEST:
            raise DataError(
                f"{name} has more than {_DEEPEST} groups within each other, at {inside[:80]}...: it "
                "is no recording, or damaged. Copy it again from its source."
            )
        for key in group:
            link = group.get(key, getlink=True)
            where = f"{inside}/{key}".lstrip("/")
            if isinstance(link, h5py.ExternalLink):
                _elsewhere(where, link.filename, name, path, seen)
            if not isinstance(link, h5py.HardLink):
                continue  # what a soft link leads to is in this file, and found there
            item = group[key]
            if (address := _address(item)) in known:
                continue  # groups can hold each other
            known.add(address)
            if isinstance(item, h5py.Group):
                todo.append((item, where, depth + 1))
            elif isinstance(item, h5py.Dataset):
                check_dataset(item, where, name, path=path, seen=seen, local=local)


def _address(item: Any) -> tuple[Any, ...]:
    info = h5o.get_info(item.id)
    return info.fileno, info.addr


def check_dataset(
    data: h5py.Dataset,
    where: str,
    name: str,
    *,
    path: Path | None = None,
    seen: frozenset[Path] = frozenset(),
    local: bool = True,
) -> None:
    """The same for a single dataset, ``where`` of the file ``name``."""
    files = [file for file, *_ in data.external or ()]
    if data.is_virtual:
        files += [each.file_name for each in data.virtual_sources() if each.file_name != "."]
    others = [_elsewhere(where, file, name, path, seen) for file in files]
    declared = math.prod(data.shape or ()) * data.id.get_type().get_size()
    whole_file = data.file.id.get_filesize()
    if not local or data.is_virtual or others:
        stored = whole_file + sum(other.stat().st_size for other in others)
    else:
        stored = min(data.id.get_storage_size(), whole_file)
    check_size(declared, stored=stored, what=f"{where} of {name}", whole=False)


def _elsewhere(where: str, file: str, name: str, path: Path | None, seen: frozenset[Path]) -> Path:
    """The other file that an object points at, if it may be followed.

    A recording from elsewhere must not pull any file of this machine into a session.
    """
    if path is None:
        raise DataError(
            f"{where} of {name} points at another file, {file[:200]}, and is not followed. Copy the "
            "data into one file, or get the original file again."
        )
    target = (path.parent / file).resolve()
    if not target.is_relative_to(path.parent):
        raise DataError(
            f"{where} of {name} points at another file, {file[:200]}, outside the folder of this one, "
            "and is not followed. Put both files into one folder, or copy the data into one."
        )
    if not target.is_file():
        raise DataError(
            f"{where} of {name} points at another file, {file[:200]}, which is not there. "
            f"Put it at {target}."
        )
    if target not in seen and target != path and h5py.is_hdf5(target):
        with h5py.File(target, "r") as other:
            inside = f"{file[:200]}, at which {name} points,"
            check_hdf5(other, inside, path=target, seen=seen | {path, target})
    return target
