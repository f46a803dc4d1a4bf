"""What can be done to any file, and to the text in it: bytes, lengths, links, payloads.

A mutation takes a path, a random generator and the folder with the canaries (which nothing may touch, and to which the names and links lead). It says what it did, beginning with ``OUTSIDE`` where opening must be refused because the file leads out of its folder.
"""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

OUTSIDE = "outside: "
MARKER = "executed"

Rng = np.random.Generator
Mutation = Callable[[Path, Rng, Path], str]


class Payload:
    """What leaves a marker when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.marker), "w")


def payload(canary: Path) -> bytes:
    """A pickle that leaves the marker."""
    return pickle.dumps(Payload(canary.parent / MARKER))


def expression(canary: Path) -> str:
    """Text that leaves the marker when it is evaluated."""
    return f"__import__('pathlib').Path({str(canary.parent / MARKER)!r}).touch()"


def away(rng: Rng, canary: Path) -> str:
    """A name that leads to the canaries when it is taken for a path."""
    names = ("../canary", "../../canary", "../../../canary", "..\\..\\canary", "..", "/canary")
    return pick(rng, [*names, str(canary), "a/../../../canary", ".\0canary", "~/canary"])


def pick(rng: Rng, among: Any) -> Any:
    """One of a sequence, itself and not as NumPy would have it."""
    return among[int(rng.integers(len(among)))]


def weird_text(rng: Rng, canary: Path) -> str:
    """Text that is no use where it stands."""
    texts = ["", " ", "\0", "é\u202e", "nan", "x" * 5000, "{}", "null", "%s%n", "'; DROP"]
    return pick(rng, [*texts, away(rng, canary), expression(canary)])


def weird_number(rng: Rng) -> float | int:
    """A number that is no use where it stands."""
    numbers = [np.nan, np.inf, -np.inf, 0.0, -1.0, -0.5, 1e300, 1e-300, 5e-324]
    return pick(rng, [*numbers, 2**31, 2**53, -(2**63), 2**63 - 1, 1e9, -1e9, 3, 1e15])


def one_of_its_files(path: Path, rng: Rng) -> Path:
    """The file itself, or one in the folder."""
    if not path.is_dir():
        return path
    return pick(rng, sorted(p for p in path.rglob("*") if p.is_file() and not p.is_symlink()))


def bytes_flipped(path: Path, rng: Rng, canary: Path) -> str:
    """A few bits, anywhere or in the first kilobyte."""
    path = one_of_its_files(path, rng)
    content = np.fromfile(path, np.uint8)
    if not content.size:
        return f"{path.name}: empty already"
    end = content.size if rng.random() < 0.5 else min(content.size, 4096)
    where = rng.integers(0, end, int(rng.integers(1, 33)))
    content[where] ^= (1 << rng.integers(0, 8, where.size)).astype(np.uint8)
    path.write_bytes(content.tobytes())
    return f"{path.name}: bits flipped in {sorted(where.tolist())[:4]} ..."


def bytes_moved(path: Path, rng: Rng, canary: Path) -> str:
    """A block zeroed, left out, doubled, exchanged, random, or all of it something else."""
    path = one_of_its_files(path, rng)
    content = path.read_bytes()
    first, last = sorted(rng.integers(0, len(content) + 1, 2).tolist())
    last = min(last, first + int(2 ** rng.integers(0, 14)))
    block = content[first:last]
    how = pick(rng, ["zeroed", "left out", "doubled", "random", "ones", "garbage", "added"])
    new = {
        "zeroed": content[:first] + bytes(len(block)) + content[last:],
        "left out": content[:first] + content[last:],
        "doubled": content[:last] + block + content[last:],
        "random": content[:first] + rng.bytes(len(block)) + content[last:],
        "ones": content[:first] + b"\xff" * len(block) + content[last:],
        "garbage": rng.bytes(int(rng.integers(0, 5000))),
        "added": content + rng.bytes(int(rng.integers(1, 5000))),
    }[how]
    path.write_bytes(new)
    return f"{path.name}: {len(block)} bytes from {first} {how}"


def truncated(path: Path, rng: Rng, canary: Path) -> str:
    """Cut off somewhere; often to nothing or near an end."""
    path = one_of_its_files(path, rng)
    size = path.stat().st_size
    keep = int(pick(rng, [0, 1, 8, 100, 512, size // 2, size - 1, int(rng.integers(0, size + 1))]))
    os.truncate(path, max(0, min(keep, size)))
    return f"{path.name}: {keep} of {size} bytes left"


def links(path: Path, rng: Rng, canary: Path) -> str:
    """The file or folder becomes a link, a pipe or a folder; a link to itself moved is no harm."""
    how = pick(rng, ["to itself", "to nothing", "to a canary", "moved", "pipe", "zeros", "folder"])
    spare = path.with_name(f"{path.name}-moved")
    path.rename(spare)
    if how == "to itself":
        path.symlink_to(path.name)
    elif how == "to nothing":
        path.symlink_to("gone")
    elif how == "to a canary":
        path.symlink_to(canary / "canary.txt")
    elif how == "moved":
        path.symlink_to(spare.name)
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "zeros":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    if how != "moved":
        shutil.rmtree(spare) if spare.is_dir() else spare.unlink()
    return f"{path.name}: {how}"


def code(path: Path, rng: Rng, canary: Path) -> str:
    """A pickle, or an expression, in place of the file."""
    path = one_of_its_files(path, rng)
    how = pick(rng, ["pickle", "expression"])
    path.write_bytes(payload(canary) if how == "pickle" else expression(canary).encode())
    return f"{path.name}: {how}"


ANY: dict[str, Mutation] = {
    "bytes flipped": bytes_flipped,
    "bytes moved": bytes_moved,
    "truncated": truncated,
    "symlinks": links,
    "code": code,
}
