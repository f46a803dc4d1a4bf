"""Archives that are not trusted: published models come in zip files (.npz, and what ``torch.save`` writes).

Nothing is ever unpacked to the disk, so names in an archive lead nowhere. What is left is how much memory it takes.
"""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

MOST_PACKED = 20
"""Bytes that one stored byte can stand for: learned numbers hardly pack at all, and few files are mostly zeros."""

MOST_MEMBERS = 100_000
"""A model has a member for each of its parameters."""

_SMALL = 64 << 20


def check_archive(path: Path) -> None:
    """Refuse a zip file that would unpack to more than it can hold, and every tar file.

    Parameters
    ----------
    path : Path
        A file of any kind; those that are no archive pass.

    Raises
    ------
    ValueError
        Says what is wrong with it.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with zipfile.ZipFile(f"{folder}/a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
    ...         archive.writestr("zeros.npy", bytes(100_000_000))
    ...     check_archive(Path(folder, "a.npz"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: it unpacks from 97,... to 100,000,000 bytes, which is no model
    """
    if tarfile.is_tarfile(path):  # which PyTorch before version 1 wrote, and its reader unpacks
        raise ValueError("it is a tar file, as PyTorch wrote before version 1; save it anew")
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    stored = path.stat().st_size
    unpacked = sum(member.file_size for member in members)
    if len(members) > MOST_MEMBERS:
        raise ValueError(f"it has {len(members):,} members")
    if len({member.filename for member in members}) < len(members):
        raise ValueError("it has members of the same name, of which readers take one or another")
    # members that share their bytes are how a small file stands for a large one without packing it much
    if (
        unpacked > max(_SMALL, MOST_PACKED * stored)
        or sum(m.compress_size for m in members) > stored
    ):
        raise ValueError(f"it unpacks from {stored:,} to {unpacked:,} bytes, which is no model")
