"""The structure of a MATLAB 5 file, looked through before scipy reads it.

Scipy follows cells in cells and structs in structs by recursion in compiled code, where a file that
is nested deeply enough, or an array without dimensions, ends the process; and it takes the memory that
dimensions declare before it looks for what should fill them. So the same steps are gone here first,
without either, and what is not as the format has it is refused.

The format: MathWorks, *MAT-File Format*, level 5.
"""

import math
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from spikelfp_lab._guard import SMALL, check_size, said
from spikelfp_lab.errors import DataError

_MOST_PACKED = (
    100  # to one: a whole variable, of samples and times of spikes, packs to a few to one
)
_MOST_DIMS = 32  # of numpy, when scipy took it over
_DEEPEST = 64  # a Subject holds Trials, which hold Neurons, which hold numbers: 4
_MATRIX, _COMPRESSED = 14, 15  # types of elements
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _LAST_NUMBER, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 15, 16, 17  # fmt: skip
_NUMBERS = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 12, 13))  # types of elements, from int8 to uint64
_TEXTS = frozenset((16, 17, 18))  # UTF-8, UTF-16, UTF-32
_COMPLEX = 0x800
_AT_ONCE = 1 << 20


def check_matlab5(path: Path, names: Sequence[str]) -> None:
    """Refuse a file whose variables are malformed, nested without end, or declare what is not there.

    Parameters
    ----------
    path : Path
        Of a MATLAB 5 file.
    names : sequence of str
        The variables that will be read; of the others, nothing is looked at.

    Raises
    ------
    DataError
    """
    size, wanted = path.stat().st_size, {*names}
    with path.open("rb") as file:
        order = {b"IM": "<", b"MI": ">"}.get(file.read(128)[126:128])
        while order and wanted and len(tag := file.read(8)) == 8:
            kind, length = struct.unpack(f"{order}II", tag)
            end = file.tell() + length
            left = size - file.tell()
            try:
                if kind == _COMPRESSED:
                    stored = min(length, left)
                    source = _Packed(file, stored)
                    _, declared = struct.unpack(f"{order}II", source.read(8))
                    what = f"A variable of {path}"
                    check_size(declared, stored=stored, what=what, packed=_MOST_PACKED)
                    look = _Look(source, order, source.room, path)
                else:
                    look = _Look(_Plain(file, left), order, left, path)
                wanted.discard(look.variable(names))
            except (EOFError, struct.error, zlib.error) as error:
                raise DataError(
                    f"{path} cannot be read as a MATLAB 5 file: it ends early, or an array in it is not as the "
                    f"format has it ({said(error)}). Move it away and get it again."
                ) from error
            if end > size:
                return
            file.seek(end)


class _Plain:
    """Bytes of a file as they lie there."""

    def __init__(self, file: BinaryIO, left: int):
        self.file, self.left = file, left

    def read(self, count: int) -> bytes:
        if count > self.left:
            raise EOFError("no more bytes")
        self.left -= count
        return self.file.read(count)

    def skip(self, count: int) -> None:
        if count > self.left:
            raise EOFError("no more bytes")
        self.left -= count
        self.file.seek(count, 1)


class _Packed:
    """Bytes of a compressed element, unpacked a piece at a time."""

    def __init__(self, file: BinaryIO, left: int):
        self.file, self.left = file, left
        self.room = max(_MOST_PACKED * left, SMALL)  # bytes that may still come
        self.unpack, self.ready, self.at = zlib.decompressobj(), b"", 0

    def _more(self) -> None:
        packed = self.unpack.unconsumed_tail
        if not packed:
            packed = self.file.read(min(_AT_ONCE, self.left))
            self.left -= len(packed)
        self.ready, self.at = self.unpack.decompress(packed, _AT_ONCE), 0
        self.room -= len(self.ready)
        if self.room < 0:
            raise EOFError("it unpacks to more than recordings do")
        if not self.ready and not self.left and not self.unpack.unconsumed_tail:
            raise EOFError("no more bytes")

    def read(self, count: int) -> bytes:
        if count > _AT_ONCE:
            raise EOFError(f"a name or dimensions of {count} bytes")
        parts = []
        while count:
            part = self.ready[self.at : self.at + count]
            parts.append(part)
            self.at += len(part)
            count -= len(part)
            if count:
                self._more()
        return b"".join(parts)

    def skip(self, count: int) -> None:
        while count:
            part = min(count, len(self.ready) - self.at)
            self.at += part
            count -= part
            if count:
                self._more()


class _Look:
    """The steps of scipy through a variable, by a list of what is still to come."""

    def __init__(self, source: _Plain | _Packed, order: str, room: int, path: Path):
        self.source, self.order, self.room, self.path = source, order, room, path
        self.todo: list[tuple[int, int]] = []  # how many matrices follow, and how deep

    def variable(self, names: Sequence[str]) -> str:
        """Go through the variable if it is one of these; its name."""
        name = self._header(1)
        while name in names and self.todo:
            count, depth = self.todo.pop()
            if count > 1:
                self.todo.append((count - 1, depth))
            kind, length = struct.unpack(f"{self.order}II", self.source.read(8))
            if kind != _MATRIX:
                raise EOFError(f"an element of type {kind}")
            if length:
                self._header(depth + 1)
        return name

    def _header(self, depth: int) -> str:
        """Go over a matrix: what it holds itself is skipped, what is in it is noted as still to come."""
        if depth > _DEEPEST:
            raise DataError(
                f"{self.path} has cells or structs more than {_DEEPEST} deep in each other: it is no "
                "recording, or damaged. Get the original file again."
            )
        self.source.skip(8)
        flags, _ = struct.unpack(f"{self.order}II", self.source.read(8))
        kind = flags & 0xFF
        if kind == _OPAQUE:
            for _ in range(3):
                self._element(keep=False)
            self.todo.append((1, depth))
            return ""
        raw = self._element()
        dims = struct.unpack(f"{self.order}{len(raw) // 4}i", raw[: len(raw) // 4 * 4])
        if not 2 <= len(dims) <= _MOST_DIMS or min(dims) < 0:
            raise EOFError(f"dimensions {dims[:9]}")
        name = self._element().decode("latin1")
        count = math.prod(dims)
        if kind in (_CELL, _STRUCT, _OBJECT):
            if 8 * count > self.room:  # each takes a tag at least
                raise DataError(
                    f"{self.path} has a cell or struct array of {' x '.join(map(str, dims))}, for which "
                    "the file is too small: it is damaged. Get the original file again."
                )
            if kind == _OBJECT:
                self._element()
            if kind != _CELL:
                width = struct.unpack(f"{self.order}i", self._element()[:4])[0]
                fields = len(self._element())
                if width < 1:
                    raise EOFError(f"names of fields of {width} letters")
                count *= fields // width
            if count:
                self.todo.append((count, depth))
        elif kind == _FUNCTION:
            self.todo.append((1, depth))
        elif kind <= _LAST_NUMBER:
            parts = 3 if kind == _SPARSE else 1
            for _ in range(parts + bool(flags & _COMPLEX and kind != _CHAR)):
                self._element(keep=False, among=_NUMBERS | _TEXTS if kind == _CHAR else _NUMBERS)
        else:
            raise EOFError(f"an array of class {kind}")
        return name

    def _element(self, *, keep: bool = True, among: frozenset[int] | None = None) -> bytes:
        """The content of an element, of one of these types; of a long one, if it is not kept, nothing."""
        tag = self.source.read(8)
        (first,) = struct.unpack(f"{self.order}I", tag[:4])
        kind = first & 0xFFFF
        if among is not None and kind not in among:  # scipy would look it up where nothing is
            raise EOFError(f"numbers of type {kind}")
        if first >> 16:  # a small element, in its own tag
            return tag[4 : 4 + min(first >> 16, 4)]
        (length,) = struct.unpack(f"{self.order}I", tag[4:])
        padding = -length % 8
        take: Callable[[int], bytes | None] = self.source.read if keep else self.source.skip
        content = take(length) or b""
        self.source.skip(padding)
        return content
