"""Downloads: https, hashes where they are known, and the size asked before anything is written."""

import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import pooch
import requests
from tqdm.auto import tqdm

from spikelfp_lab._files import write_whole
from spikelfp_lab._guard import reading
from spikelfp_lab.cohorts._published import refuse_if
from spikelfp_lab.errors import DataError
from spikelfp_lab.io.remote import need_https

ZENODO = "https://zenodo.org"
_SPARE_BYTES = 1 << 30  # left free on the disk
_ATTEMPTS, _CHUNK_BYTES, _TIMEOUT_S = 5, 1 << 20, (10.0, 60.0)
_LOST = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


@dataclass(frozen=True)
class RemoteFile:
    """A file to download: its address, place, hash ("md5:...", "sha256:...") and size in bytes."""

    url: str
    path: Path
    hash: str
    size: int = 0  # not known: the server is asked

    @property
    def part(self) -> Path:
        """Where it grows; named by its hash too, so that parts of two versions never mix."""
        return self.path.with_name(f".{self.path.name}.{self.hash.partition(':')[2][:12]}.part")


def fetch(files: Sequence[RemoteFile], *, progress: bool = True) -> None:
    """Download the files that are not there yet; an interrupted one goes on where it stopped.

    A file gets its name only once its hash is right. Raises a DataError, before anything is
    written, if the disk has no room for all of them, and if a download fails.
    """
    missing = [_sized(file) for file in files if not file.path.exists()]
    if not missing:
        return
    for file in missing:
        file.path.parent.mkdir(parents=True, exist_ok=True)
    folder = missing[0].path.parent
    needed = sum(max(file.size - _size(file.part), 0) for file in missing)
    free = shutil.disk_usage(folder).free
    text = f"{needed / 1e9:.1f} GB to download ({len(missing)} files) into {folder}"
    if needed + _SPARE_BYTES > free:
        cure = "Choose fewer sessions, leave out broadband, or set SPIKELFP_DATA to a larger disk."
        raise DataError(f"{text}, where {free / 1e9:.1f} GB are free. {cure}")
    if progress:
        tqdm.write(text, file=sys.stderr)
    with tqdm(total=needed, unit="B", unit_scale=True, disable=not progress) as bar:
        for file in missing:
            bar.set_description(file.path.name)
            with _downloading(file):
                _complete(file, bar)
                file.part.replace(file.path)


def fetch_verified(files: Sequence[RemoteFile], *, progress: bool = True) -> None:
    """As :func:`fetch`, and refuse those that are there but have another SHA-256."""
    fetch(files, progress=progress)
    for file in files:
        found = f"sha256:{pooch.file_hash(str(file.path))}"
        refuse_if(found != file.hash, file.path, f"it has {found}, not {file.hash}")


def record_files(record: int, folder: Path) -> list[RemoteFile]:
    """The files of a Zenodo record, asked once; the answer is kept in ``folder/records``."""
    kept = folder / "records" / f"{record}-files.json"
    cure = f"Remove {kept} if it is there and try again, or put the files of "
    cure += f"https://doi.org/10.5281/zenodo.{record} into {folder}."
    with reading(f"Zenodo record {record}", "has no list of files", cure):
        if not kept.is_file():
            answer = requests.get(f"{ZENODO}/api/records/{record}", timeout=_TIMEOUT_S)
            answer.raise_for_status()
            write_whole(kept, json.dumps(answer.json()["files"], indent=1).encode())
        return [
            RemoteFile(f"{ZENODO}/records/{record}/files/{quote(entry['key'])}?download=1",
                       folder / Path(entry["key"]).name, entry["checksum"], int(entry["size"]))
            for entry in json.loads(kept.read_text())
        ]  # fmt: skip


def _downloading(file: RemoteFile) -> AbstractContextManager[None]:
    """Whatever goes wrong is one error, which says how to go on."""
    cure = f"Call again to go on, or get it by other means and put it at {file.path}."
    return reading(file.path.name, f"could not be downloaded from {file.url}", cure)


def _sized(file: RemoteFile) -> RemoteFile:
    """The file with its size, as its server says it where it is not known."""
    need_https(file.url)
    if file.size:
        return file
    with _downloading(file):
        answer = requests.head(file.url, allow_redirects=True, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        return replace(file, size=int(answer.headers.get("Content-Length", 0)))


def _complete(file: RemoteFile, bar: tqdm) -> None:
    """The whole part, whose hash is right; a connection that is lost is taken up again."""
    for left in reversed(range(_ATTEMPTS)):
        try:
            _append(file, bar)
            break
        except _LOST:
            if not left:
                raise
    kind, _, known = file.hash.partition(":")
    if (found := pooch.file_hash(str(file.part), alg=kind)) != known:
        file.part.unlink()
        raise ValueError(f"its hash is {found}, not {known}")


def _append(file: RemoteFile, bar: tqdm) -> None:
    """Append what is missing; from the start if the server gives the whole file anyway."""
    start = _size(file.part)
    if start and start >= file.size:  # whole, or wrong, which its hash will tell
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(file.url, headers=headers, stream=True, timeout=_TIMEOUT_S) as answer:
        answer.raise_for_status()
        with file.part.open("ab" if answer.status_code == 206 else "wb") as out:
            for chunk in answer.iter_content(_CHUNK_BYTES):
                out.write(chunk)
                bar.update(len(chunk))
    if (stored := _size(file.part)) < file.size:
        raise requests.ConnectionError(f"stopped after {stored} of {file.size} bytes")


def _size(path: Path) -> int:
    """Bytes of a file, 0 if it is not there."""
    return path.stat().st_size if path.exists() else 0
