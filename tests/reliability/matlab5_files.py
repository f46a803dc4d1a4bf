"""MATLAB 5: fields and arrays changed and written anew, or numbers of its tags changed in place."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from scipy import io

from tests.reliability.any_files import (
    Mutation,
    Rng,
    away,
    expression,
    payload,
    pick,
    weird_number,
    weird_text,
)

_DIMS = struct.pack("<II", 5, 8)  # tag of two dimensions
_FLAGS = struct.pack("<II", 6, 8)  # tag of an array's class and flags


def _places(array: np.ndarray, found: list[tuple[np.ndarray, Any, str]]) -> None:
    """Each field of each struct, as (array, index, field)."""
    for index in np.ndindex(array.shape):
        for field in array.dtype.names or ():
            found.append((array, index, field))
            inner = array[field][index]
            if isinstance(inner, np.ndarray) and inner.dtype.names:
                _places(inner, found)


def _changed(kind: str) -> Mutation:
    def mutate(path: Path, rng: Rng, canary: Path) -> str:
        compressed = io.loadmat(path)
        subject = compressed["Subject"]
        found: list[tuple[np.ndarray, Any, str]] = []
        _places(subject, found)
        array, index, field = pick(rng, found)
        value = array[field][index]
        if kind == "removed":
            content: Any = _without(subject, field) if rng.random() < 0.7 else None
            io.savemat(path, {"Other": subject} if content is None else {"Subject": content})
            return f"without {field if content is not None else 'Subject'}"
        if kind == "shape":
            new = pick(rng, [value[:0], value.T, value[None], value[:1], value.reshape(1, -1), np.empty((0, 0)), np.repeat(value, 2, axis=0)])  # fmt: skip
        elif kind == "dtype":
            objects = np.empty((1, 2), object)
            objects[:] = [[np.ones(3), "text"]]
            new = pick(rng, ["text", np.int8([[1]]), np.array([[True]]), objects, np.array([[1 + 2j]]), {"a": 1}, np.float32([[1.5]]), np.uint64([[2**63]])])  # fmt: skip
        elif kind == "values":
            new = np.array(value, copy=True)
            if new.dtype.kind == "f" and new.size:
                new.reshape(-1)[rng.integers(0, new.size, 3)] = weird_number(rng)
            else:
                new = weird_text(rng, canary)
        elif kind == "traversal":
            if rng.random() < 0.5:
                names = [n for n in array.dtype.names if n != field]
                odd = pick(
                    rng, ["__class__", "__dict__", "_fieldnames", "__init__", "../../canary"]
                )
                new = {**{n: array[n][index] for n in names}, odd[:31]: away(rng, canary)}
            else:
                new = away(rng, canary)
        else:
            new = pick(rng, [np.frombuffer(payload(canary), np.uint8), expression(canary)])
        array[field][index] = new
        io.savemat(path, {"Subject": subject}, do_compression=bool(rng.random() < 0.5))
        return f"{field}: {kind} {getattr(new, 'shape', type(new).__name__)}"

    return mutate


def _without(array: np.ndarray, field: str) -> np.ndarray:
    """The struct array without a field, wherever it is."""
    names = [name for name in array.dtype.names if name != field]
    if not names:
        return np.empty((0, 0))
    new = np.empty(array.shape, [(name, object) for name in names])
    for index in np.ndindex(array.shape):
        for name in names:
            inner = array[name][index]
            structs = isinstance(inner, np.ndarray) and inner.dtype.names
            new[name][index] = _without(inner, field) if structs else inner
    return new


def _plain(content: bytes) -> tuple[bytes, bool]:
    """The elements behind the header, without compression; whether there was any."""
    (kind, size) = struct.unpack("<II", content[128:136])
    if kind != 15:
        return content[128:], False
    return zlib.decompress(content[136 : 136 + size]), True


def _written(path: Path, head: bytes, elements: bytes, compressed: bool) -> None:
    if compressed:
        packed = zlib.compress(elements)
        elements = struct.pack("<II", 15, len(packed)) + packed
    path.write_bytes(head + elements)


def _numbers(path: Path, rng: Rng, canary: Path) -> str:
    """The dimensions, or the length, of arrays changed in place."""
    content = path.read_bytes()
    elements, compressed = _plain(content)
    body = bytearray(elements)
    what = pick(rng, ["dims", "dims", "length", "class", "bomb"])
    if what == "bomb":  # zeros that are packed a thousand to one, 300 MB of them
        size = 300 << 20
        head = struct.pack("<II", 14, 64 + size) + _FLAGS + struct.pack("<II", 6, 0)
        head += _DIMS + struct.pack("<ii", 1, size // 8) + struct.pack("<II", 1, 7) + b"Subject\0"
        _written(path, content[:128], head + struct.pack("<II", 9, size) + bytes(size), True)
        return "300 MB of zeros"
    tag = _FLAGS if what == "class" else _DIMS
    at = [i for i in range(len(body) - 16) if body[i : i + 8] == tag] if len(body) < 1 << 22 else []
    where = pick(rng, at)
    if what == "dims":
        dims = [pick(rng, [2**31 - 1, 2**20, -1, 0, 2**28, 65536, -(2**31), 1]) for _ in range(2)]
        body[where + 8 : where + 16] = struct.pack("<ii", *dims)
    elif what == "class":
        dims = [int(rng.integers(0, 20))]
        body[where + 8] = dims[0]
    else:
        dims = [pick(rng, [2**32 - 1, 2**31, 2**20, 0, 1, 7])]
        body[where + 4 : where + 8] = struct.pack("<I", dims[0])
    _written(path, content[:128], bytes(body), compressed)
    return f"{what} {dims} at {where}"


def deep_variable(depth: int, *, structs: bool) -> bytes:
    """Cells in cells, or structs in structs; built from the sizes, since scipy writes by recursion."""
    kind = 2 if structs else 1
    before = _FLAGS + struct.pack("<II", kind, 0) + _DIMS + struct.pack("<ii", 1, 1)
    nameless, name = struct.pack("<HHI", 1, 0, 0), struct.pack("<II", 1, 7) + b"Subject\0"
    fields = b""
    if structs:
        fields = struct.pack("<HHI", 5, 4, 8) + struct.pack("<II", 1, 8) + b"Trial\0\0\0"
    middle, named = (
        before + nameless + fields,
        before + name + fields,
    )  # the outermost is the variable
    inner = _FLAGS + struct.pack("<II", 6, 0) + _DIMS + struct.pack("<ii", 0, 0)
    inner += nameless + struct.pack("<II", 9, 0)
    sizes = len(inner) + np.arange(depth + 1) * (len(middle) + 8)
    levels = [struct.pack("<II", 14, int(size)) + middle for size in sizes[:0:-1]]
    whole = b"".join(levels) + struct.pack("<II", 14, len(inner)) + inner
    return struct.pack("<II", 14, len(named) + len(whole)) + named + whole


def _deep(path: Path, rng: Rng, canary: Path) -> str:
    depth, structs = int(10 ** rng.uniform(1.5, 5.3)), bool(rng.random() < 0.5)
    variable = deep_variable(depth, structs=structs)
    _written(path, path.read_bytes()[:128], variable, bool(rng.random() < 0.5))
    return f"{'structs' if structs else 'cells'} {depth} deep"


MATLAB5: dict[str, Mutation] = {
    kind: _changed(kind) for kind in ("removed", "shape", "dtype", "values", "traversal", "code")
} | {"huge size": _numbers, "deep nesting": _deep}
