"""Kill training, caching, preprocessing and the grid with SIGKILL at random moments, start them
again, and see whether it made a difference.

    python -m tests.reliability.crash 200 --seed 0

Each episode begins in an empty folder. The work is started, killed with all its processes, looked
at, started again, until it ends by itself; then what it made is held against what it makes
undisturbed, bit for bit. A kill comes at a moment drawn uniformly from the time that the work
takes, or at one of the work's own renames, flushes, new folders or removals: before it, after it,
or a few milliseconds later, amid what is written next. Exits with 1 if anything is amiss.

The parent has imported everything and runs nothing itself: victims are forked from it, which takes
no time. With ``TMPDIR=/dev/shm`` all happens in memory, where flushing takes no time either."""

import argparse
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
from contextlib import suppress
from pathlib import Path
from threading import Timer

os.environ["OMP_NUM_THREADS"] = "1"

import joblib
import safetensors
import torch

from spikelfp_lab import load, open_session
from spikelfp_lab._files import settle
from tests.factories import make_session
from tests.reliability.crash_work import WORKS, Work, recordings

LIMIT_S = 300  # longer than this, a run hangs
KILLS_AN_EPISODE = 6
OPERATIONS = ("rename", "replace", "fsync", "mkdir", "unlink", "rmdir")


def count_operations(kill_at: int | None = None, after_s: float | None = None) -> list[int]:
    """Count, in a list of one, what this process asks of the file system; at the given number it
    kills itself and all its children: before it without ``after_s``, else so long after.
    """
    done = [0]

    def counted(operation):
        def run(*args, **options):
            done[0] += 1
            last = done[0] == kill_at
            if last and after_s is None:
                os.killpg(0, signal.SIGKILL)
            result = operation(*args, **options)
            if last:
                Timer(after_s, os.killpg, (0, signal.SIGKILL)).start()
            return result

        return run

    for name in OPERATIONS:
        setattr(os, name, counted(getattr(os, name)))
    return done


def fork(run, log: Path) -> int:
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


def wait(child: int, seconds: float, kill=os.killpg) -> int:
    """The child's status; after so many seconds it is killed with its whole group."""
    timer = Timer(seconds, kill, (child, signal.SIGKILL))
    timer.start()
    status = os.waitpid(child, 0)[1]
    timer.cancel()
    timer.join()
    return status


# --- what is looked at after each kill -------------------------------------------------------


def digest(path: Path) -> str:
    """Of a model's files, or of a session's values, names and attributes; whatever cannot be read
    raises an error.
    """
    if (path / "config.json").exists():
        load(path)
        return joblib.hash([(path / n).read_bytes() for n in ("config.json", "model.safetensors")])
    session = open_session(path, **({"progress": False} if path.suffix == ".nwb" else {}))
    return joblib.hash(session.to_dict(data="array"))


def check_file(path: Path) -> int | None:
    """Read a file that is not part of a finished thing; the step of a state of training."""
    if path.suffix == ".safetensors":
        with safetensors.safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                file.get_tensor(key)
            return json.loads((file.metadata() or {}).get("state", "{}")).get("step")
    if path.suffix == ".json":
        json.loads(path.read_text())
    elif path.name not in ("lock", "holder.txt"):
        raise ValueError("a file that no one knows")


def look(folder: Path, overwritten: tuple[str, ...]) -> dict[str, dict]:
    """All that is remembered of a folder between one kill and the next. Temporary things (hidden
    names) may be as they are.
    """
    for name in overwritten:
        if (folder / name).parent.is_dir():
            settle(folder / name)  # as whoever opens it does
    seen: dict[str, dict] = {"digests": {}, "identity": {}, "steps": {}, "unreadable": {}}
    inside: set[Path] = set()  # of what is finished
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if f"/{name}".count("/.") or inside & set(path.parents):
            continue
        try:  # config.json is written last
            if (path / "config.json").exists() or path.suffix in (".zarr", ".nwb"):
                inside.add(path)
                seen["digests"][name] = digest(path)
                inner = [path / "model.safetensors", path / ".zmetadata", path]
                stat = next(each for each in inner if each.exists()).stat()
                # made again, it would be another file
                changes = name in overwritten
                seen["identity"][name] = None if changes else [stat.st_ino, stat.st_mtime_ns]
            elif path.is_file() and (step := check_file(path)) is not None:
                seen["steps"][str(path.parent.relative_to(folder))] = step
        except Exception as error:
            seen["unreadable"][name] = f"{type(error).__name__}: {error}"
    return seen


class Episodes:
    """All episodes of one work, and what was found."""

    def __init__(self, name: str, work: Work, scratch: Path, rng: random.Random):
        self.name, self.work, self.scratch, self.rng = name, work, scratch, rng
        self.count: Counter[str] = Counter()
        self.troubles: list[str] = []
        self.groups: list[int] = []
        self.log, self.folder = scratch / f"{name}.log", scratch / name
        self.folder.mkdir()
        begin = time.monotonic()

        def run() -> None:
            done = count_operations()
            work.run(self.folder)
            (scratch / "operations").write_text(str(done[0]))

        if wait(fork(run, self.log), LIMIT_S) != 0:
            raise RuntimeError(f"{name} fails undisturbed:\n{self.log.read_text()[-3000:]}")
        self.duration_s = time.monotonic() - begin
        self.operations = int((scratch / "operations").read_text())
        self.expected = self.look()["digests"]

    def look(self) -> dict[str, dict]:
        """In a child: the parent must not start the threads that reading sessions starts."""
        answer, log = self.scratch / "answer.json", self.scratch / "look.log"

        def run() -> None:
            answer.write_text(json.dumps(look(self.folder, self.work.overwritten)))

        if os.waitpid(fork(run, log), 0)[1]:
            raise RuntimeError(f"the check itself failed:\n{log.read_text()}")
        return json.loads(answer.read_text())

    def trouble(self, what: str) -> None:
        self.troubles.append(f"{self.name}: {what}")

    def episode(self, kills: int) -> None:
        """One folder, killed up to so many times, then compared."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        now: dict[str, dict] = {"identity": {}, "steps": {}}
        self.count["episodes"] += 1
        for attempt in range(kills + 1):
            status = self.attempt(self.rng.choice(self.work.kills) if attempt < kills else "never")
            before, now = now, self.look()
            self.compare(before, now)
            if not os.WIFSIGNALED(status):
                break
        if status != 0:
            self.trouble(f"ends with {status} (9: hangs): {self.log.read_text()[-2000:]}")
            return
        if now["digests"] != self.expected:
            differ = set(now["digests"].items()) ^ set(self.expected.items())
            self.trouble(f"not as undisturbed: {sorted({name for name, _ in differ})}")
        if left := [p for p in self.folder.rglob("*") if p.suffix in (".tmp", ".partial")]:
            self.trouble(f"left over: {left}")

    def attempt(self, how: str) -> int:
        """Start, and kill unless it ends before; the status."""
        at = self.rng.randint(1, self.operations) if how == "operation" else None
        after_s = self.rng.choice([None, 0.0, self.rng.uniform(0, 0.004)])

        def run() -> None:
            count_operations(at, after_s)
            self.work.run(self.folder)

        child = fork(run, self.log)
        self.groups.append(child)
        limit = LIMIT_S if how in ("operation", "never") else self.rng.uniform(0, self.duration_s)
        # alone: its workers live on, and may be in the way of the next start
        status = wait(child, limit, os.kill if how == "alone" else os.killpg)
        if os.WIFSIGNALED(status):
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

    def compare(self, before: dict[str, dict], now: dict[str, dict]) -> None:
        for name, why in now["unreadable"].items():
            self.trouble(f"unreadable: {name}: {why}")
        for name, identity in before["identity"].items():
            if name not in now["identity"] or identity != now["identity"][name]:
                self.trouble(f"lost or made again: {name}")
        for name, step in before["steps"].items():
            if name not in now["identity"] and now["steps"].get(name, -1) < step:
                self.trouble(f"steps are lost: {name} was at {step}")


def main(kills: int, *, seed: int) -> int:
    torch.set_num_threads(1)
    make_session(bins=20)  # xarray looks once for the kinds of arrays there are
    rng, begin, troubles, total = random.Random(seed), time.monotonic(), [], 0
    with tempfile.TemporaryDirectory(prefix="crash-", ignore_cleanup_errors=True) as scratch:
        files = Path(scratch) / "recordings"
        files.mkdir()
        os.environ |= {"JOBLIB_TEMP_FOLDER": scratch, "CRASH_FILES": str(files)}
        os.waitpid(fork(lambda: recordings(files), Path(scratch) / "log"), 0)
        for name, work in WORKS.items():
            wanted = max(round(kills * work.share / 100), 1)
            episodes = Episodes(name, work, Path(scratch), rng)
            while episodes.count["kills"] < wanted and len(episodes.troubles) < 20:
                left = wanted - episodes.count["kills"]
                episodes.episode(min(left, rng.randint(1, KILLS_AN_EPISODE)))
                episodes.bury()
            troubles += episodes.troubles
            total += episodes.count["kills"]
            print(f"{name} ({episodes.duration_s:.1f} s): {dict(episodes.count)}", flush=True)
    print(*troubles, sep="\n")
    took = time.monotonic() - begin
    print(json.dumps({"kills": total, "troubles": len(troubles), "seconds": round(took)}))
    return int(bool(troubles))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    sys.exit(main(chosen.kills, seed=chosen.seed))
