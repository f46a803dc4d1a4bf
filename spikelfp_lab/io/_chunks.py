"""Zarr stores that are not trusted: looked through before anything of them is unpacked.

A store could name arrays by paths, hold links to other files, or declare what takes all memory, and
some codecs of Zarr run code. So only plain files, plain names and two codecs that hold bytes are
read, and each chunk must unpack to as much as its array declares.
"""

import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from spikelfp_lab._guard import check_size, is_storable_name
from spikelfp_lab.errors import DataError

_CODECS = ("zstd", "blosc")
_FILTERS = ("shuffle", "vlen-utf8")
_LONGEST_METADATA = 64 << 20
_MOST_DIMS = 8
_ZSTD = b"\x28\xb5\x2f\xfd"


def check_store(path: Path) -> None:
    """Refuse a store with anything in it that is no session's.

    Parameters
    ----------
    path : Path
        The folder.

    Raises
    ------
    DataError
        For what leads out of the store, would run code, or declares more than there is.
    ValueError, KeyError, TypeError, OSError
        For damage, in many forms.
    """
    chunks = _chunk_files(path)
    for name in (".zmetadata", ".zattrs", ".zgroup"):
        if (path / name).exists() and (size := (path / name).stat().st_size) > _LONGEST_METADATA:
            raise ValueError(f"{name} has {size:,} bytes")
    entries = json.loads((path / ".zmetadata").read_bytes())["metadata"]
    for key in entries:
        name, _, kind = key.rpartition("/")
        if kind in (".zgroup", ".zattrs") and not name:
            continue
        if kind not in (".zarray", ".zattrs") or not is_storable_name(name):
            raise DataError(
                f"{path} holds {key[:100]!r}, which is no array of a session. Open it with "
                "xarray.open_zarr if you trust it, and save what is wanted with save_session."
            )
    sizes: Counter[str] = Counter()
    for key, array in entries.items():
        if key.endswith("/.zarray"):
            name = key.removesuffix("/.zarray")
            sizes["declared"] += _check_array(path, name, array, chunks.get(name, []))
            sizes["stored"] += sum(file.stat().st_size for file in chunks.get(name, []))
    check_size(sizes["declared"], stored=sizes["stored"], what=f"The session at {path}")


def _chunk_files(path: Path) -> dict[str, list[Path]]:
    """Files by the array that they are of. Links are not followed, a pipe would be waited for."""
    found: dict[str, list[Path]] = {}
    todo = [path]
    while todo:
        folder = todo.pop()
        with os.scandir(folder) as scanned:
            entries = list(scanned)
        for entry in entries:
            inside = Path(entry.path).relative_to(path)
            if entry.is_dir(follow_symlinks=False):
                todo.append(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False):
                what = "a link" if entry.is_symlink() else "no file"
                raise DataError(
                    f"{str(inside)[:200]} in {path} is {what}; a session is made of files alone, and links are "
                    "not followed. If you trust it, copy it as files (cp -rL) and open the copy."
                )
            elif not entry.name.startswith(".") and len(inside.parts) > 1:
                found.setdefault(inside.parts[0], []).append(Path(entry.path))
    return found


def _check_array(path: Path, name: str, array: dict[str, Any], files: list[Path]) -> int:
    """Bytes that the array takes; its chunks are as many and as large as it declares."""
    shape, chunks = _whole(array["shape"], 0), _whole(array["chunks"], 1)
    if len(shape) != len(chunks) or len(shape) > _MOST_DIMS:
        raise ValueError(f"{name} has the shape {shape} in chunks of {chunks}")
    if not isinstance(array["dtype"], str):
        raise ValueError(f"{name} has the dtype {str(array['dtype'])[:100]}")
    dtype = np.dtype(array["dtype"])
    filters = [each["id"] for each in array.get("filters") or []]
    codec = (array["compressor"] or {"id": None})["id"]
    text = dtype.kind == "O"
    # what else Zarr has would run what the store holds (pickle), or is not bounded
    unknown = {*filters} - {*_FILTERS} | {codec} - {None, *_CODECS}
    if unknown or text != ("vlen-utf8" in filters) or len(filters) > 2:
        raise DataError(
            f"{name} in {path} is {dtype} packed by {[*filters, codec]}, which is not read: sessions hold "
            f"numbers and text, packed by {', '.join((*_FILTERS, *_CODECS))}. Open it with xarray.open_zarr "
            "if you trust it, and save it with save_session."
        )
    count = math.prod(-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True))
    if count > len(files):
        raise ValueError(f"{count - len(files)} of {count} chunks of {name} are missing")
    each = math.prod(chunks) * dtype.itemsize
    total = max(count * each, math.prod(shape) * dtype.itemsize)
    stored = sum(file.stat().st_size for file in files)
    check_size(total, stored=stored, what=f"{name} of {path}")
    for file in files:
        size = _unpacked(file, codec)
        if text:
            total += size
            check_size(total, stored=stored, what=f"{name} of {path}")
        elif size != each:
            raise ValueError(
                f"chunk {file.name} of {name} has {size} bytes, where {each} are declared"
            )
    return total


def _whole(numbers: Any, least: int) -> list[int]:
    if not isinstance(numbers, list) or any(type(n) is not int or n < least for n in numbers):
        raise ValueError(f"{str(numbers)[:100]} are no sizes")
    return numbers


def _unpacked(file: Path, codec: str | None) -> int:
    """Bytes that a chunk says it unpacks to."""
    if codec is None:
        return file.stat().st_size
    content = file.read_bytes()
    if codec == "zstd":
        return _zstd_size(content)
    if len(content) < 16 or int.from_bytes(content[12:16], "little") != len(content):
        raise ValueError(f"chunk {file.name} is no whole chunk of blosc")
    return int.from_bytes(content[4:8], "little")


def _zstd_size(content: bytes) -> int:
    """Bytes that all frames unpack to, from their headers (RFC 8878)."""
    total = at = 0
    while at < len(content):
        if content[at : at + 4] != _ZSTD or at + 5 > len(content):
            raise ValueError("a chunk is no frame of zstd")
        flags = content[at + 4]
        single = flags >> 5 & 1
        at += 5 + (not single) + (0, 1, 2, 4)[flags & 3]
        width = (single, 2, 4, 8)[flags >> 6]
        if not width:
            raise ValueError("a chunk does not say how long it is")
        total += int.from_bytes(content[at : at + width], "little") + (256 if width == 2 else 0)
        at += width
        last = False
        while not last:
            header = int.from_bytes(content[at : at + 3], "little")
            if at + 3 > len(content):
                raise ValueError("a chunk is cut short")
            last = bool(header & 1)
            at += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
        at += 4 * (flags >> 2 & 1)
    if at != len(content):
        raise ValueError("a chunk is cut short")
    return total
