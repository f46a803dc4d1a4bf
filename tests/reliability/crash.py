"""Kill training, caching, preprocessing and the grid with SIGKILL at random moments, start them
again, and see whether it made a difference.

    python -m tests.reliability.crash 200 --seed 0

Each episode begins in an empty folder. The work is started, killed with all its processes, looked
at, started again, until it ends by itself; then what it made is held against what it makes
undisturbed, bit for bit. A kill comes at a moment drawn uniformly from the time that the work
takes, right after a write has begun, or at one of the work's own renames, flushes, new folders or
removals, before or after it. Prints a table, writes ``build/reliability/crash.json``, and exits
with 1 if anything is amiss.

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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from tests.factories import make_session
from tests.reliability.crash_check import left_over, look
from tests.reliability.crash_work import STARTS, WORKS, Work, recordings

LIMIT_S = 300  # longer than this, a run hangs
KILLS_AN_EPISODE = 6


OPERATIONS = ("rename", "replace", "fsync", "mkdir", "unlink", "rmdir")


class Counted:
    """Counts what a process asks of the file system, and kills it with all its children at the
    given one.
    """

    def __init__(self, kill_at: int | None = None, *, before: bool = True):
        self.done, self.kill_at, self.before = 0, kill_at, before

    def install(self) -> None:
        for name in OPERATIONS:
            setattr(os, name, self.wrapped(getattr(os, name)))

    def wrapped(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            self.done += 1
            last = self.done == self.kill_at
            if last and self.before:
                os.killpg(0, signal.SIGKILL)
            result = operation(*args, **options)
            if last:
                os.killpg(0, signal.SIGKILL)
            return result

        return counted


def fork(run: Callable[[], Any], log: Path) -> int:
    """Run in a child that is a process group of its own; exit code 1 and a traceback in the log for
    any error.
    """
    child = os.fork()
    if child:
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


def ask(question: Callable[[], Any], scratch: Path) -> Any:
    """The answer of a child: the parent must not start the threads that reading sessions starts."""
    answer, log = scratch / "answer.json", scratch / "ask.log"
    answer.unlink(missing_ok=True)
    child = fork(lambda: answer.write_text(json.dumps(question())), log)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError(f"the check itself failed:\n{log.read_text()}")
    return json.loads(answer.read_text())


def wait(child: int, until: float) -> int | None:
    """The child's status, or None if it is still running at that time."""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        if time.monotonic() >= until:
            return None
        time.sleep(0.001)


def wait_for_write(child: int, folder: Path, until: float) -> int | None:
    """Until a temporary folder appears that was not there."""
    before = set(temporary(folder))
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        if set(temporary(folder)) - before:
            return None
    return None


def temporary(folder: Path) -> list[str]:
    return [
        os.path.join(parent, name)
        for parent, folders, files in os.walk(folder)
        for name in folders + files
        if name.startswith(".") and (name.endswith(".tmp") or ".partial-" in name)
    ]


class Episodes:
    """All episodes of one work, and what was found."""

    def __init__(self, name: str, work: Work, scratch: Path, rng: random.Random):
        self.name, self.work, self.scratch, self.rng = name, work, scratch, rng
        self.count: Counter[str] = Counter()
        self.troubles: list[str] = []
        self.groups: list[int] = []
        self.log = scratch / f"{name}.log"
        folder = self.empty()
        begin = time.monotonic()

        def run() -> None:
            counted = Counted()
            counted.install()
            work.run(folder)
            (scratch / "operations").write_text(str(counted.done))

        status = wait(fork(run, self.log), begin + LIMIT_S)
        self.duration_s = time.monotonic() - begin
        if status != 0:
            raise RuntimeError(f"{name} fails undisturbed:\n{self.log.read_text()[-3000:]}")
        self.operations = int((scratch / "operations").read_text())
        self.expected = ask(lambda: look(folder, ()), scratch)["digests"]

    def empty(self) -> Path:
        folder = self.scratch / self.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def trouble(self, kind: str, what: str) -> None:
        self.count[kind] += 1
        self.troubles.append(f"{self.name}: {kind}: {what}")

    def episode(self, kills: int) -> None:
        """One folder, killed up to so many times, then compared."""
        self.groups.clear()
        try:
            self._episode(kills)
        finally:
            for group in self.groups:  # workers that outlived the process that started them
                with suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
                for semaphore in Path("/dev/shm").glob(f"sem.loky-{group}-*"):
                    semaphore.unlink()  # joblib's, which only its own processes would clear away

    def _episode(self, kills: int) -> None:
        folder, before = self.empty(), {}
        self.count["episodes"] += 1
        for attempt in range(kills + 1):
            status = self.attempt(folder, kill=attempt < kills)
            if status == -1:
                self.trouble("mismatches", f"it hangs: {self.log.read_text()[-2000:]}")
                return
            now = ask(lambda: look(folder, self.work.overwritten), self.scratch)
            self.compare(before, now, folder)
            before = now
            if status == 0:
                break
            if not os.WIFSIGNALED(status):
                self.trouble("mismatches", f"an error: {self.log.read_text()[-2000:]}")
                return
        made = before["digests"]
        for name in sorted({*made, *self.expected}):
            if made.get(name) != self.expected.get(name):
                self.trouble("mismatches", f"{name} is not what it is undisturbed")
        for name in left_over(folder):
            self.trouble("left over", name)

    def attempt(self, folder: Path, *, kill: bool) -> int:
        """Start, and kill unless it ends before; the status, -1 if it hangs."""
        self.count["starts"] += 1
        how = self.rng.choice(self.work.kills) if kill else "never"
        counted = Counted(before=self.rng.random() < 0.5)
        if how == "operation":
            counted.kill_at = self.rng.randint(1, self.operations)

        def run() -> None:
            counted.install()
            self.work.run(folder)

        begin = time.monotonic()
        child = fork(run, self.log)
        self.groups.append(child)
        if how in ("operation", "never"):
            status = wait(child, begin + LIMIT_S)
            if status is None:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return -1
        else:
            status = wait(child, begin + self.rng.uniform(0, self.duration_s))
            if how == "write" and status is None:
                status = wait_for_write(child, folder, time.monotonic() + self.duration_s)
                if status is None:
                    status = wait(child, time.monotonic() + self.rng.uniform(0, 0.004))
            if status is None:
                # alone: its workers live on, and may be in the way of the next start
                (os.kill if how == "alone" else os.killpg)(child, signal.SIGKILL)
                status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            self.count["kills"] += 1
            self.count[how] += 1
        return status

    def compare(self, before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
        for what in now["unreadable"]:
            self.trouble("unreadable", what)
        for name, identity in before.get("identity", {}).items():
            if name not in now["identity"]:
                self.trouble("lost", name)
            elif identity != now["identity"][name]:
                self.trouble("redone", name)
        for name in before.get("overwritten", ()):
            if name not in now["overwritten"]:
                self.trouble("lost", name)
        self.count["put back"] += now["put back"]
        starts = folder / STARTS
        if starts.exists():
            for line in map(json.loads, starts.read_text().splitlines()):
                reached = before.get("steps", {}).get(line["name"], 0)
                if line["step"] < reached:
                    self.trouble("redone", f"{line} though it had reached {reached}")
                if f"models/{line['name']}" in before.get("identity", {}):
                    self.trouble("redone", f"{line} though it was finished")
            starts.unlink()
        self.count["temporary"] = max(self.count["temporary"], now["temporary"])


def serve(folder: Path, port_file: Path) -> None:
    """Files of a folder over http, by byte range."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            data = (folder / Path(self.path).name).read_bytes()
            asked = self.headers.get("Range", f"bytes=0-{len(data) - 1}")
            first, last = asked.removeprefix("bytes=").split("-")
            piece = data[int(first) : int(last) + 1]
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            self.send_header("Content-Length", str(len(piece)))
            self.end_headers()
            with suppress(ConnectionError):  # who asks for the length only, or is killed
                self.wfile.write(piece)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port_file.write_text(f"http://127.0.0.1:{server.server_port}")
    server.serve_forever()


COLUMNS = (
    "kills",
    "any moment",
    "write",
    "operation",
    "alone",
    "episodes",
    "starts",
    "mismatches",
    "unreadable",
    "lost",
    "redone",
    "left over",
    "temporary",
    "put back",
)


def main(kills: int, *, seed: int, only: list[str], report: Path) -> int:
    torch.set_num_threads(1)
    make_session(bins=20)  # xarray looks once for the kinds of arrays there are
    rng = random.Random(seed)
    scratch = Path(tempfile.mkdtemp(prefix="crash-"))
    files = scratch / "recordings"
    files.mkdir()
    os.environ["CRASH_FILES"] = str(files)
    os.environ["JOBLIB_TEMP_FOLDER"] = str(scratch)
    begin, tables, troubles = time.monotonic(), {}, []
    server = 0
    try:
        ask(lambda: recordings(files), scratch)
        server = fork(lambda: serve(files, scratch / "address"), scratch / "server.log")
        while not (scratch / "address").exists() or not (scratch / "address").read_text():
            time.sleep(0.01)
        os.environ["CRASH_SERVER"] = (scratch / "address").read_text()
        shares = sum(WORKS[name].share for name in only)
        for number, name in enumerate(only):
            wanted = round(kills * WORKS[name].share / shares)
            if number == len(only) - 1:
                wanted = kills - sum(table["kills"] for table in tables.values())
            episodes = Episodes(name, WORKS[name], scratch, rng)
            while episodes.count["kills"] < wanted and len(episodes.troubles) < 20:
                left = wanted - episodes.count["kills"]
                episodes.episode(min(left, rng.randint(1, KILLS_AN_EPISODE)))
            troubles += episodes.troubles
            tables[name] = {column: episodes.count[column] for column in COLUMNS}
            tables[name]["undisturbed_s"] = round(episodes.duration_s, 2)
            print(name, tables[name], flush=True)
    finally:
        if server:
            os.killpg(server, signal.SIGKILL)
            os.waitpid(server, 0)
        shutil.rmtree(scratch, ignore_errors=True)
    for trouble in troubles:
        print(trouble)
    report.parent.mkdir(parents=True, exist_ok=True)
    took = round(time.monotonic() - begin, 1)
    report.write_text(
        json.dumps({"seed": seed, "seconds": took, "works": tables, "troubles": troubles}, indent=1)
    )
    total = {column: sum(table[column] for table in tables.values()) for column in COLUMNS}
    cpu = sum(os.times()[:4])
    print(
        f"{total['kills']} kills in {took:.0f} s ({cpu:.0f} s of a core), {len(troubles)} "
        f"troubles; {report}"
    )
    return int(bool(troubles) or total["kills"] < kills)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    place = Path(__file__).parents[2] / "build" / "reliability" / "crash.json"
    parser.add_argument("--report", type=Path, default=place)
    parser.add_argument("--only", nargs="+", choices=list(WORKS), default=list(WORKS))
    chosen = parser.parse_args()
    sys.exit(main(chosen.kills, seed=chosen.seed, only=chosen.only, report=chosen.report))
