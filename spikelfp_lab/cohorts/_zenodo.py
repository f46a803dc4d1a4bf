"""Files of Zenodo records: what a record holds, and downloads that go on where they stopped."""

import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pooch
import requests
from tqdm.auto import tqdm

from spikelfp_lab.errors import DataError
from spikelfp_lab.io._web import SPARE_BYTES, WebSession, check_size, read

ZENODO = "https://zenodo.org"

_ATTEMPTS = 5
_CHUNK_BYTES = 1 << 20
_LIST_BYTES = 10 << 20  # of a list of files, which is about 30 kB
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a record: its name, its size in bytes, and its MD5 as Zenodo gives it."""

    record: int
    name: str
    size: int
    md5: str

    @property
    def url(self) -> str:
        """Where it is downloaded from."""
        return f"{ZENODO}/records/{self.record}/files/{quote(self.name)}?download=1"


def record_files(record: int, folder: Path) -> list[RemoteFile]:
    """The files of a record, asked from Zenodo once and kept.

    Parameters
    ----------
    record : int
        Number of the record, the end of its DOI.
    folder : Path
        Of the data set; the answer is kept in ``records/`` there.

    Returns
    -------
    list of RemoteFile

    Raises
    ------
    DataError
        When Zenodo cannot be reached, or its answer is not a list of files.
    """
    kept = folder / "records" / f"{record}.json"
    if kept.is_file():
        try:
            return [RemoteFile(**entry) for entry in json.loads(kept.read_text())]
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{kept} is damaged ({error}). Remove it to ask Zenodo again."
            ) from error
    url = f"{ZENODO}/api/records/{record}"
    try:
        answer = json.loads(read(url, limit_bytes=_LIST_BYTES))
    except (requests.RequestException, ValueError, DataError) as error:
        raise DataError(
            f"Zenodo did not say what record {record} holds ({type(error).__name__}: {error}). "
            f"Try again later, or put the files of https://doi.org/10.5281/zenodo.{record} into "
            f"{folder}."
        ) from error
    files = _files(record, answer, url)
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_name(f".{kept.name}.{uuid4().hex[:12]}")
    partial.write_text(json.dumps([asdict(file) for file in files], indent=1))
    os.replace(partial, kept)
    return files


def download(files: Sequence[RemoteFile], folder: Path, *, progress: bool) -> None:
    """Download the files that are not in the folder yet, checked by size and MD5.

    What an interrupted download has brought stays in a hidden ``.part`` file, and the next call
    goes on from there. A file appears under its name only when it is whole and right.

    Parameters
    ----------
    files : sequence of RemoteFile
        What is needed.
    folder : Path
        Where to put them; made if needed.
    progress : bool
        Whether to say first how much it is, and to show progress bars.

    Raises
    ------
    DataError
        When the disk has not enough space or a file is said to be longer than 50 GB (before
        anything is downloaded), or a download fails.
    """
    missing = [file for file in files if not (folder / file.name).exists()]
    if not missing:
        return
    for file in missing:
        check_size(file.size, file.name)
    folder.mkdir(parents=True, exist_ok=True)
    _check_space(missing, folder, progress=progress)
    for file in missing:
        try:
            pooch.retrieve(
                file.url,
                known_hash=f"md5:{file.md5}",
                fname=file.name,
                path=folder,
                # pooch declares its downloaders with the arguments of its processors
                downloader=_Resuming(file, folder, progress=progress),  # pyright: ignore[reportArgumentType]
            )
        except (OSError, ValueError, DataError) as error:
            raise DataError(
                f"{file.name} of Zenodo record {file.record} could not be downloaded "
                f"({type(error).__name__}: {error}). Call again to go on from where it stopped, "
                f"or get {file.url} by other means and put it at {folder / file.name}."
            ) from error


class _Resuming:
    """A downloader for pooch that asks only for the bytes that are not there yet."""

    def __init__(self, file: RemoteFile, folder: Path, *, progress: bool) -> None:
        self.file, self.progress = file, progress
        self.part = _part(file, folder)

    def __call__(self, url: str, output_file: Any, _pooch: Any) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._fetch(url)
                break
            except (
                requests.ConnectionError,
                requests.Timeout,
                requests.exceptions.ChunkedEncodingError,
            ):
                if attempt == _ATTEMPTS:
                    raise
        os.replace(self.part, output_file)

    def _fetch(self, url: str) -> None:
        start = _size(self.part)
        if start >= self.file.size:  # whole, or wrong, which its MD5 will tell
            return
        headers = {"Range": f"bytes={start}-"} if start else {}
        with (
            WebSession() as session,
            session.get(url, headers=headers, stream=True) as response,
        ):
            response.raise_for_status()
            start = _begins_at(response, asked=start)
            with (
                self.part.open("ab" if start else "wb") as out,
                tqdm(
                    desc=self.file.name,
                    total=self.file.size,
                    initial=start,
                    unit="B",
                    unit_scale=True,
                    disable=not self.progress,
                ) as bar,
            ):
                for chunk in response.iter_content(_CHUNK_BYTES):
                    out.write(chunk)
                    bar.update(len(chunk))
                    if out.tell() > self.file.size:
                        break
        if _size(self.part) < self.file.size:
            raise requests.ConnectionError(
                f"the server stopped after {_size(self.part)} of {self.file.size} bytes"
            )


def _begins_at(response: requests.Response, *, asked: int) -> int:
    """The first byte of the answer: 0 when the server gives the whole file whatever is asked."""
    if not asked or response.status_code != 206:
        return 0
    given = response.headers.get("Content-Range", "")
    if not given.startswith(f"bytes {asked}-"):
        raise ValueError(f"the server answered the bytes from {asked} with {given!r}")
    return asked


def _files(record: int, answer: Any, url: str) -> list[RemoteFile]:
    """The list of files in an answer of Zenodo, which has had two forms."""
    try:
        files = [
            RemoteFile(
                record=record,
                name=str(entry.get("key") or entry["filename"]),
                size=int(entry["size"] if "size" in entry else entry["filesize"]),
                md5=str(entry["checksum"]).removeprefix("md5:"),
            )
            for entry in answer["files"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{url} did not answer with a list of files ({type(error).__name__}: {error}). "
            "Look at the address in a browser; Zenodo may have changed."
        ) from error
    for file in files:
        if not (_PLAIN_NAME.fullmatch(file.name) and re.fullmatch(r"[0-9a-f]{32}", file.md5)):
            raise DataError(
                f"{url} lists {file.name!r} with MD5 {file.md5!r}, which is not usable."
            )
    return files


def _check_space(files: Sequence[RemoteFile], folder: Path, *, progress: bool) -> None:
    needed = sum(max(file.size - _size(_part(file, folder)), 0) for file in files)
    free = shutil.disk_usage(folder).free
    text = (
        f"{needed / 1e9:.1f} GB to download ({len(files)} files) into {folder}, "
        f"where {free / 1e9:.1f} GB are free"
    )
    if needed + SPARE_BYTES > free:
        raise DataError(
            f"{text}: not enough. Choose fewer sessions, leave out the broadband recordings "
            "(broadband=False), or set SPIKELFP_DATA to a folder on a larger disk."
        )
    if progress:
        tqdm.write(text, file=sys.stderr)


def _part(file: RemoteFile, folder: Path) -> Path:
    # named by its content too, so that parts of two versions of a file never mix
    return folder / f".{file.name}.{file.md5[:12]}.part"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
