"""What is looked at after each kill: is every file that has its final name whole, is all that was
finished still there and the same?
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import xarray as xr

from spikelfp_lab import load
from spikelfp_lab._files import settle
from spikelfp_lab.io.open import open_session
from tests.reliability.crash_work import STARTS

PLAIN = {"lock", STARTS}  # files without a content of their own


def hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def finished(folder: Path) -> list[Path]:
    """Final things: models, sessions, NWB files, cohorts."""
    found = [path.parent for path in folder.rglob("model.safetensors")]
    found += [*folder.rglob("*.zarr"), *folder.rglob("*.nwb")]
    return sorted(path for path in found if not hidden(path, folder))


def digest(path: Path) -> str:
    """SHA-256 of a model's files, or of a session's values, names and attributes; whatever cannot
    be read raises an error.
    """
    total = hashlib.sha256()
    if (path / "model.safetensors").exists():
        load(path)
        for name in ("config.json", "model.safetensors"):
            total.update((path / name).read_bytes())
        return total.hexdigest()
    _add(total, open_session(path))
    return total.hexdigest()


def _add(total: Any, session: xr.Dataset) -> None:
    for name in sorted(map(str, session.variables)):
        values = session[name].to_numpy()
        total.update(f"{name} {values.dtype} {values.shape}".encode())
        total.update(np.ascontiguousarray(values).tobytes())
    total.update(json.dumps(session.attrs, sort_keys=True, default=str).encode())


def read(folder: Path, whole: list[Path]) -> tuple[dict[str, str], list[str]]:
    """Digests of what is finished, and everything under a final name that cannot be read; temporary
    things (hidden names) may be as they are.
    """
    digests, bad = {}, []
    for path in sorted(folder.rglob("*")):
        if hidden(path, folder) or any(path.is_relative_to(each) for each in whole):
            continue
        try:
            if path.is_dir() or path.name in PLAIN:
                continue
            if path.suffix == ".safetensors":
                with safetensors.safe_open(path, framework="pt") as file:
                    json.loads(file.metadata()["state"])
                    for key in file.keys():  # noqa: SIM118
                        file.get_tensor(key)
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif not any(part.endswith(".zarr") for part in path.parts):
                raise ValueError("a file that no one knows")
        except Exception as error:
            bad.append(f"{path.relative_to(folder)}: {type(error).__name__}: {error}")
    for path in whole:
        try:
            digests[str(path.relative_to(folder))] = digest(path)
        except Exception as error:
            bad.append(f"{path.relative_to(folder)}: {type(error).__name__}: {error}")
    return digests, bad


def identity(path: Path) -> list[int]:
    """Which file or folder it is on the disk: made again, it would be another."""
    inner = [path / "model.safetensors", path / ".zmetadata"]
    file = next((each for each in inner if each.exists()), path)
    return [file.stat().st_ino, file.stat().st_mtime_ns]


def steps(folder: Path) -> dict[str, int]:
    """The step that each unfinished training has reached."""
    reached = {}
    for path in folder.glob("models/*/state.safetensors"):
        with safetensors.safe_open(path, framework="pt") as file:
            reached[path.parent.name] = json.loads(file.metadata()["state"])["step"]
    return reached


def look(folder: Path, overwritten: tuple[str, ...]) -> dict[str, Any]:
    """All that is remembered of a folder between one kill and the next."""
    aside = [name for name in overwritten if (folder / name).parent.is_dir()]
    aside = [name for name in aside if not (folder / name).exists()]
    for name in aside:
        settle(folder / name)  # as whoever opens it does
    done = finished(folder)
    names = [str(path.relative_to(folder)) for path in done]
    digests, bad = read(folder, done)
    return {
        "digests": digests,
        "unreadable": bad,
        "identity": {
            name: identity(path)
            for name, path in zip(names, done, strict=True)
            if name not in overwritten
        },
        "overwritten": [name for name in names if name in overwritten],
        "put back": sum((folder / name).exists() for name in aside),
        "steps": steps(folder),
        "temporary": sum(path.suffix == ".tmp" for path in folder.rglob(".*")),
    }


def left_over(folder: Path) -> list[str]:
    """What should be gone when all is done."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.suffix in (".tmp", ".partial")
    ]
