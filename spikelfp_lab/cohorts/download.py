"""Downloads: https, hashes where they are known, and the size asked before anything is written."""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pooch
import requests
from tqdm.auto import tqdm

from spikelfp_lab._files import write_whole
from spikelfp_lab._guard import reading
from spikelfp_lab.errors import DataError
from spikelfp_lab.io.remote import need_https

ZENODO = "https://zenodo.org"
_SPARE_BYTES = 1 << 30  # left free on the disk
_ATTEMPTS, _CHUNK_BYTES, _TIMEOUT_S = 5, 1 << 20, (10.0, 60.0)


@dataclass(frozen=True)
class RemoteFile:
    """A file to download: its address, place, hash ("md5:...", "sha256:...") and size in bytes."""

    url: str
    path: Path
    hash: str
    size: int


def fetch(files: Sequence[RemoteFile], *, progress: bool = True) -> None:
    """Download the files that are not there yet; an interrupted one goes on where it stopped.

    A file gets its name only once its hash is right. Raises a DataError, before anything is
    written, if the disk has no room for all of them, and if a download fails.
    """
    missing = [file for file in files if not file.path.exists()]
    if not missing:
        return
    folder = missing[0].path.parent
    folder.mkdir(parents=True, exist_ok=True)
    needed = sum(max(file.size - _size(_part(file)), 0) for file in missing)
    free = shutil.disk_usage(folder).free
    text = f"{needed / 1e9:.1f} GB to download ({len(missing)} files) into {folder}"
    if needed + _SPARE_BYTES > free:
        raise DataError(
            f"{text}, where {free / 1e9:.1f} GB are free. Choose fewer sessions, leave out the "
            "broadband recordings (broadband=False), or set SPIKELFP_DATA to a larger disk."
        )
    if progress:
        tqdm.write(text, file=sys.stderr)
    for file in missing:
        what = f"could not be downloaded from {file.url}"
        cure = f"Call again to go on, or get it by other means and put it at {file.path}."
        with reading(file.path.name, what, cure):
            pooch.retrieve(
                file.url,
                known_hash=file.hash,
                fname=file.path.name,
                path=file.path.parent,
                downloader=_Resuming(file, progress),  # pyright: ignore[reportArgumentType]
            )


def size_of(url: str) -> int:
    """Bytes of a file, as its server says before it sends it; 0 if it does not."""
    need_https(url)
    answer = requests.head(url, allow_redirects=True, timeout=_TIMEOUT_S)
    answer.raise_for_status()
    return int(answer.headers.get("Content-Length", 0))


def record_files(record: int, folder: Path) -> list[RemoteFile]:
    """The files of a Zenodo record, asked once; the answer is kept in ``folder/records``."""
    kept = folder / "records" / f"{record}.json"
    cure = f"Remove {kept} if it is there and try again, or put the files of "
    cure += f"https://doi.org/10.5281/zenodo.{record} into {folder}."
    with reading(f"Zenodo record {record}", "has no list of files", cure):
        if kept.is_file():
            listed = json.loads(kept.read_text())
        else:
            url = f"{ZENODO}/api/records/{record}"
            need_https(url)
            answer = requests.get(url, timeout=_TIMEOUT_S)
            answer.raise_for_status()
            listed = [_listed(entry) for entry in answer.json()["files"]]
            write_whole(kept, json.dumps(listed, indent=1).encode())
        return [
            RemoteFile(
                url=f"{ZENODO}/records/{record}/files/{quote(entry['name'])}?download=1",
                path=folder / Path(entry["name"]).name,
                hash=f"md5:{entry['md5']}",
                size=int(entry["size"]),
            )
            for entry in listed
        ]


def _listed(entry: dict[str, Any]) -> dict[str, Any]:
    """Name, size and MD5 in an answer of Zenodo, which has had two forms."""
    return {
        "name": entry.get("key") or entry["filename"],
        "size": entry["size"] if "size" in entry else entry["filesize"],
        "md5": entry["checksum"].removeprefix("md5:"),
    }


@dataclass
class _Resuming:
    """A downloader for pooch that asks only for the bytes that are not there yet."""

    file: RemoteFile
    progress: bool

    def __call__(self, url: str, output_file: Any, _pooch: Any) -> None:
        """Try some times, and hand the whole file to pooch, which checks its hash."""
        need_https(url)
        cut = requests.exceptions.ChunkedEncodingError
        lost = (requests.ConnectionError, requests.Timeout, cut)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._fetch(url, _part(self.file))
                break
            except lost:
                if attempt == _ATTEMPTS:
                    raise
        os.replace(_part(self.file), output_file)

    def _fetch(self, url: str, part: Path) -> None:
        """Append what is missing; from the start if the server gives the whole file anyway."""
        start, total = _size(part), self.file.size
        if start and start >= total:  # whole, or wrong, which its hash will tell
            return
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as answer:
            answer.raise_for_status()
            start = start if answer.status_code == 206 else 0
            bar = tqdm(desc=self.file.path.name, total=total, initial=start, unit="B",
                       unit_scale=True, disable=not self.progress)  # fmt: skip
            with bar, part.open("ab" if start else "wb") as out:
                for chunk in answer.iter_content(_CHUNK_BYTES):
                    out.write(chunk)
                    bar.update(len(chunk))
        if _size(part) < total:
            raise requests.ConnectionError(f"stopped after {_size(part)} of {total} bytes")


def _part(file: RemoteFile) -> Path:
    """Where it grows; named by its hash too, so that parts of two versions never mix."""
    return file.path.with_name(f".{file.path.name}.{file.hash.partition(':')[2][:12]}.part")


def _size(path: Path) -> int:
    """Bytes of a file, 0 if it is not there."""
    return path.stat().st_size if path.exists() else 0
