"""Kill training, caching, preprocessing and the grid with SIGKILL at random moments, start them
again, and see whether it made a difference.

    python -m tests.reliability.crash 200 --seed 0

Each episode begins in an empty folder. The work is started, killed with all its processes, looked
at, started again, until it ends by itself; then what it made is held against what it makes
undisturbed, bit for bit. A kill comes at a moment drawn uniformly from the time that the work
takes, right after a write has begun, or at one of the work's own renames, flushes, new folders or
removals, before or after it. Exits with 1 if anything is amiss.

The parent has imported everything and runs nothing itself: victims are forked from it, which takes
no time. With ``TMPDIR=/dev/shm`` all happens in memory, where flushing takes no time either."""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import safetensors
import torch

from spikelfp_lab import load, open_session
from spikelfp_lab._files import settle
from tests.factories import make_session
from tests.reliability.crash_work import STARTS, WORKS, Work, recordings

LIMIT_S = 300  # longer than this, a run hangs
KILLS_AN_EPISODE = 6
OPERATIONS = ("rename", "replace", "fsync", "mkdir", "unlink", "rmdir")


def count_operations(kill_at: int | None, *, before: bool) -> list[int]:
    """Count, in a list of one, what this process asks of the file system; at the given number it
    kills itself and all its children.
    """
    done = [0]

    def counted(operation: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            done[0] += 1
            last = done[0] == kill_at
            if last and before:
                os.killpg(0, signal.SIGKILL)
            result = operation(*args, **options)
            if last:
                os.killpg(0, signal.SIGKILL)
            return result

        return run

    for name in OPERATIONS:
        setattr(os, name, counted(getattr(os, name)))
    return done


def fork(run: Callable[[], Any], log: Path) -> int:
    """Run in a child that is a process group of its own; exit code 1 and a traceback in the log for
    any error.
    """
    if child := os.fork():
        with suppress(PermissionError, ProcessLookupError):  # whichever of the two is first
            os.setpgid(child, child)
        return child
    code = 1
    try:
        os.setpgid(0, 0)
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        run()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait(child: int, seconds: float, until: Callable[[], bool] = lambda: False) -> int | None:
    """The child's status, or None if it is still running after that time, or when ``until``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.0005)
    return None


# --- what is looked at after each kill -------------------------------------------------------


def visible(folder: Path) -> list[Path]:
    """Everything under a final name; temporary things (hidden names) may be as they are."""
    paths = sorted(folder.rglob("*"))
    return [p for p in paths if not any(x.startswith(".") for x in p.relative_to(folder).parts)]


def hidden(folder: Path) -> set[str]:
    """Temporary things; os.walk, unlike rglob, does not mind that they vanish meanwhile."""
    return {
        f"{parent}/{name}"
        for parent, folders, files in os.walk(folder)
        for name in folders + files
        if name.startswith(".") and (name.endswith(".tmp") or ".partial-" in name)
    }


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
    session = open_session(path, **({"progress": False} if path.suffix == ".nwb" else {}))
    for name in sorted(map(str, session.variables)):
        values = session[name].to_numpy()
        total.update(f"{name} {values.dtype} {values.shape}".encode())
        total.update(np.ascontiguousarray(values).tobytes())
    total.update(json.dumps(session.attrs, sort_keys=True, default=str).encode())
    return total.hexdigest()


def check_file(path: Path) -> int | None:
    """Read a file that is not part of a finished thing; the step of a state of training."""
    if path.suffix == ".safetensors":
        with safetensors.safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                file.get_tensor(key)
            return json.loads(file.metadata()["state"])["step"]
    if path.suffix == ".json":
        json.loads(path.read_text())
    elif path.name not in ("lock", "holder.txt", STARTS):
        raise ValueError("a file that no one knows")
    return None


def look(folder: Path, overwritten: tuple[str, ...]) -> dict[str, Any]:
    """All that is remembered of a folder between one kill and the next."""
    for name in overwritten:
        if (folder / name).parent.is_dir():
            settle(folder / name)  # as whoever opens it does
    paths = visible(folder)
    done = [p.parent for p in paths if p.name == "model.safetensors"]
    done += [p for p in paths if p.suffix in (".zarr", ".nwb")]
    seen: dict[str, Any] = {"digests": {}, "identity": {}, "steps": {}, "unreadable": []}
    for path in paths:
        name = str(path.relative_to(folder))
        try:
            if path in done:
                seen["digests"][name] = digest(path)
                inner = [path / "model.safetensors", path / ".zmetadata", path]
                stat = next(each for each in inner if each.exists()).stat()
                # made again, it would be another file
                changes = name in overwritten
                seen["identity"][name] = None if changes else [stat.st_ino, stat.st_mtime_ns]
            elif path.is_file() and not any(path.is_relative_to(each) for each in done):
                step = check_file(path)
                seen["steps"] |= {} if step is None else {path.parent.name: step}
        except Exception as error:
            seen["unreadable"].append(f"{name}: {type(error).__name__}: {error}")
    return seen


class Episodes:
    """All episodes of one work, and what was found."""

    def __init__(self, name: str, work: Work, scratch: Path, rng: random.Random):
        self.name, self.work, self.scratch, self.rng = name, work, scratch, rng
        self.count: Counter[str] = Counter()
        self.troubles: list[str] = []
        self.groups: list[int] = []
        self.log = scratch / f"{name}.log"
        folder, begin = self.empty(), time.monotonic()

        def run() -> None:
            done = count_operations(None, before=True)
            work.run(folder)
            (scratch / "operations").write_text(str(done[0]))

        if wait(fork(run, self.log), LIMIT_S) != 0:
            raise RuntimeError(f"{name} fails undisturbed:\n{self.log.read_text()[-3000:]}")
        self.duration_s = time.monotonic() - begin
        self.operations = int((scratch / "operations").read_text())
        self.expected = self.look(folder)["digests"]

    def look(self, folder: Path) -> dict[str, Any]:
        """In a child: the parent must not start the threads that reading sessions starts."""
        answer, log = self.scratch / "answer.json", self.scratch / "look.log"

        def run() -> None:
            answer.write_text(json.dumps(look(folder, self.work.overwritten)))

        if os.waitpid(fork(run, log), 0)[1]:
            raise RuntimeError(f"the check itself failed:\n{log.read_text()}")
        return json.loads(answer.read_text())

    def empty(self) -> Path:
        folder = self.scratch / self.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def trouble(self, what: str) -> None:
        self.troubles.append(f"{self.name}: {what}")

    def episode(self, kills: int) -> None:
        """One folder, killed up to so many times, then compared."""
        folder, before, status = self.empty(), None, None
        self.count["episodes"] += 1
        for attempt in range(kills + 1):
            status = self.attempt(folder, kill=attempt < kills)
            now = self.look(folder)
            self.compare(before or {"identity": {}, "steps": {}}, now, folder)
            before = now
            if status is None or not os.WIFSIGNALED(status):
                break
        if status != 0:
            self.trouble(f"ends with {status} (None: hangs): {self.log.read_text()[-2000:]}")
            return
        if now["digests"] != self.expected:
            differ = set(now["digests"].items()) ^ set(self.expected.items())
            self.trouble(f"not as undisturbed: {sorted({name for name, _ in differ})}")
        if left := [p for p in folder.rglob("*") if p.suffix in (".tmp", ".partial")]:
            self.trouble(f"left over: {left}")

    def attempt(self, folder: Path, *, kill: bool) -> int | None:
        """Start, and kill unless it ends before; the status, None if it hangs."""
        how = self.rng.choice(self.work.kills) if kill else "never"
        at = self.rng.randint(1, self.operations) if how == "operation" else None
        before, moment = self.rng.random() < 0.5, self.rng.uniform(0, self.duration_s)

        def run() -> None:
            count_operations(at, before=before)
            self.work.run(folder)

        child = fork(run, self.log)
        self.groups.append(child)
        status = wait(child, LIMIT_S if how in ("operation", "never") else moment)
        if status is None and how == "write":
            there = hidden(folder)
            status = wait(child, self.duration_s, lambda: bool(hidden(folder) - there))
            if status is None:
                status = wait(child, self.rng.uniform(0, 0.004))
        if status is None:
            # alone: its workers live on, and may be in the way of the next start
            (os.kill if how == "alone" else os.killpg)(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)[1]
            status = None if how in ("operation", "never") else ended
        if status is not None and os.WIFSIGNALED(status):
            self.count.update(["kills", how])
        return status

    def bury(self) -> None:
        """End workers that outlived the process that started them."""
        for group in self.groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            for semaphore in Path("/dev/shm").glob(f"sem.loky-{group}-*"):
                semaphore.unlink()  # joblib's, which only its own processes would clear away
        self.groups.clear()

    def compare(self, before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
        for what in now["unreadable"]:
            self.trouble(f"unreadable: {what}")
        for name, identity in before["identity"].items():
            if name not in now["identity"] or identity != now["identity"][name]:
                self.trouble(f"lost or made again: {name}")
        starts = folder / STARTS
        for line in map(json.loads, starts.read_text().splitlines() if starts.exists() else ()):
            done = f"models/{line['name']}" in before["identity"]
            if done or line["step"] < before["steps"].get(line["name"], 0):
                self.trouble(f"trained again: {line}, though it was at {before['steps']}")
        starts.unlink(missing_ok=True)


def main(kills: int, *, seed: int, only: list[str]) -> int:
    torch.set_num_threads(1)
    make_session(bins=20)  # xarray looks once for the kinds of arrays there are
    rng, begin = random.Random(seed), time.monotonic()
    scratch = Path(tempfile.mkdtemp(prefix="crash-"))
    os.environ["JOBLIB_TEMP_FOLDER"] = str(scratch)
    os.environ["CRASH_FILES"] = str(scratch / "recordings")
    total, troubles = 0, []
    try:
        (scratch / "recordings").mkdir()
        os.waitpid(fork(lambda: recordings(scratch / "recordings"), scratch / "log"), 0)
        shares = sum(WORKS[name].share for name in only)
        for name in only:
            wanted = max(round(kills * WORKS[name].share / shares), 1)
            episodes = Episodes(name, WORKS[name], scratch, rng)
            while episodes.count["kills"] < wanted and len(episodes.troubles) < 20:
                left = wanted - episodes.count["kills"]
                episodes.episode(min(left, rng.randint(1, KILLS_AN_EPISODE)))
                episodes.bury()
            troubles += episodes.troubles
            total += episodes.count["kills"]
            print(f"{name} ({episodes.duration_s:.1f} s): {dict(episodes.count)}", flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(*troubles, sep="\n")
    took = time.monotonic() - begin
    print(json.dumps({"kills": total, "troubles": len(troubles), "seconds": round(took)}))
    return int(bool(troubles))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(WORKS), default=list(WORKS))
    chosen = parser.parse_args()
    sys.exit(main(chosen.kills, seed=chosen.seed, only=chosen.only))
