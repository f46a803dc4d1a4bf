"""Open thousands of damaged and malicious files, each in a process of its own.

``python -m tests.reliability.fuzz 2000 --seed 0`` prints what became of them and writes
``build/reliability/fuzz.json``; ``--case 1234`` runs one of them and shows everything of it. A case
passes when it ends in something valid, or in one error of the package that names the file and a
cure; when it takes at most 10 s and 2 GB, imports included; and when it writes nothing outside
of the cache, unpickles nothing, and starts or reaches nothing.

The processes are forked from one that has imported everything and opened each valid file once, so a
case costs milliseconds, its memory is its own, and a crash ends nothing but itself.
"""

import argparse
import json
import os
import re
import resource
import select
import shutil
import signal
import stat
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from spikelfp_lab.errors import SpikeLFPError
from tests.reliability.any_files import MARKER, OUTSIDE
from tests.reliability.cases import PAIRS, Case, make_canaries
from tests.reliability.seeds import FORMATS, lay_out, make_seeds

SECONDS = 10.0
MEMORY_MB = 2048.0
REPORT = Path("build/reliability/fuzz.json")

_CURE = re.compile(
    r"\b(Copy|copy|Get|get it|Check|check|Give|give|Save|save|Put|put|Open|Repair|repair|Remove|remove|Pass|pass|Choose|"
    r"choose|add|sort|drop|Move|Leave|leave|Convert|Read|Rename|rename|Correct|Sort|Drop|Install|install|Load|Write|set it|make it|"
    r"make them|needs config\.json|Is it|Are )"
)
_LONGEST_MESSAGE = 3000
_LEFT = re.compile(
    r"/\.[^/]+\.tmp(/|$)"
)  # what a killed process left is cleared away by whoever comes next
_CHANGING = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod")  # fmt: skip
_FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "socket.connect", "socket.getaddrinfo", "pickle.find_class", "code.__new__")  # fmt: skip


@dataclass
class Outcome:
    """What became of a case: "valid", "refused" or "failed", and why."""

    case: int
    format: str
    mutation: str
    verdict: str = "failed"
    why: str = ""
    did: str = ""
    error: str = ""
    message: str = ""
    seconds: float = 0.0
    memory_mb: float = 0.0
    traceback: str = ""


def run(cases: Sequence[Case], *, jobs: int = 2) -> Iterator[Outcome]:
    """The outcomes, as they come."""
    with TemporaryDirectory(prefix="fuzz-") as folder:
        work = Path(folder).resolve()
        names = sorted({case.pair[0] for case in cases})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make_seeds(work / "seeds", names)
            _open_the_seeds(work, names)
        waiting, running = iter(cases), []
        while True:
            while len(running) < jobs and (case := next(waiting, None)) is not None:
                running.append(_Child(case, work))
            if not running:
                return
            select.select([child.pipe for child in running], [], [], 0.02)
            for child in [child for child in running if child.finished()]:
                running.remove(child)
                yield child.outcome


def _open_the_seeds(work: Path, names: list[str]) -> None:
    """Which are valid, and warm everything up that a case would otherwise pay for."""
    for name in names:
        root = work / "warm" / name
        root.mkdir(parents=True)
        opened, _ = lay_out(work / "seeds", name, root / "case")
        make_canaries(root)
        os.environ["SPIKELFP_DATA"] = str(root / "case" / "cache")
        FORMATS[name].open(opened)


class _Child:
    """A case in a process of its own, watched from outside."""

    def __init__(self, case: Case, work: Path):
        self.root = work / f"case-{case.number}"
        self.root.mkdir()
        self.outcome = Outcome(case.number, *case.pair)
        self.pipe, write = os.pipe()
        self.began, self.text, self.started = time.monotonic(), b"", False
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.pipe)
            _in_child(case, work / "seeds", self.root, write, self.outcome)
        os.close(write)

    def finished(self) -> bool:
        """Read what there is; end what takes too long or too much."""
        over = False
        if select.select([self.pipe], [], [], 0)[0]:
            piece = os.read(self.pipe, 1 << 20)
            self.text += piece
            over = not piece
            if b"\n" in self.text and not self.started:
                self.started, self.began = True, time.monotonic()
        self.outcome.seconds = time.monotonic() - self.began
        self.outcome.memory_mb = max(self.outcome.memory_mb, _resident_mb(self.pid))
        limit = SECONDS if self.started else 6 * SECONDS  # making a case is not what is tested
        why = ""
        if self.outcome.seconds > limit:
            why = f"it took over {limit:g} s"
        elif self.outcome.memory_mb > MEMORY_MB:
            why = f"it took over {MEMORY_MB:g} MB"
        if not (over or why):
            return False
        if why:
            os.kill(self.pid, signal.SIGKILL)
        os.close(self.pipe)
        status = os.waitpid(self.pid, 0)[1]
        lines = self.text.decode(errors="replace").splitlines()
        if len(lines) == 2 and not why:
            told = Outcome(**json.loads(lines[1]))
            told.memory_mb = max(told.memory_mb, self.outcome.memory_mb)
            self.outcome = told
            if told.memory_mb > MEMORY_MB:
                told.verdict, told.why = "failed", f"it took {told.memory_mb:.0f} MB"
        else:
            self.outcome.did = lines[0] if lines else "the case was not made"
            self.outcome.why = why or f"the process died ({_ending(status)})"
        for folder, _, _ in os.walk(self.root):
            os.chmod(folder, 0o700)
        shutil.rmtree(self.root, ignore_errors=True)
        return True


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit status {os.waitstatus_to_exitcode(status)}"


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * resource.getpagesize() / 1e6


def _in_child(case: Case, seeds: Path, root: Path, pipe: int, outcome: Outcome) -> None:
    """Make the case, open it, tell what happened; never returns."""
    try:
        for name in ("home", "tmp", "here", "case"):
            (root / name).mkdir()
        cache = root / "case" / "cache"
        os.environ.update(
            {"HOME": str(root / "home"), "XDG_CACHE_HOME": str(root / "home"), "TMPDIR": str(root / "tmp"), "SPIKELFP_DATA": str(cache)}
        )  # fmt: skip
        os.chdir(root / "here")
        warnings.simplefilter("ignore")  # here and in what is opened: this process has no other use
        opened, target, outcome.did = case.make(seeds, root)
        os.write(pipe, (outcome.did.replace("\n", " ") + "\n").encode(errors="replace"))
        before = _listing(root, cache)
        broken = _watch(cache)
        _open(outcome, opened, target)
        watched = sorted(set(broken))  # what follows is the harness's own
        if changed := sorted(before.items() ^ _listing(root, cache).items()):
            watched.append(f"changed outside of the cache: {changed[:3]}")
        if (root / MARKER).exists():
            watched.append("code of the file was run")
        if watched:
            outcome.verdict, outcome.why = "failed", "; ".join(watched)
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        outcome.memory_mb = int(peak[1]) * 1024 / 1e6 if peak else 0.0
        os.write(pipe, json.dumps(asdict(outcome)).encode(errors="replace"))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(70)


def _open(outcome: Outcome, opened: Path, target: Path) -> None:
    names = {opened.name, target.name}
    if outcome.format == "cohort" and opened.is_dir():  # its members are files of their own
        names |= {
            name
            for each in ("", "I")
            if (opened / each).is_dir()
            for name in os.listdir(opened / each)
        }
    if outcome.format == "nwb 1":  # its session is made of two files of this name
        names.add(opened.stem)
    began = time.perf_counter()
    try:
        FORMATS[outcome.format].open(opened)
        outcome.verdict = "valid"
        if outcome.did.startswith(OUTSIDE) or f": {OUTSIDE}" in outcome.did:
            outcome.verdict, outcome.why = "failed", "what leads elsewhere was followed"
    except SpikeLFPError as error:
        outcome.error, outcome.message = type(error).__name__, str(error)
        outcome.why = _fault(error, names)
        outcome.verdict = "failed" if outcome.why else "refused"
        outcome.traceback = traceback.format_exc()[-3000:]
    except BaseException as error:
        outcome.error, outcome.message = type(error).__name__, str(error)[:_LONGEST_MESSAGE]
        outcome.why = f"{type(error).__name__} is no error of the package"
        outcome.traceback = traceback.format_exc()[-6000:]
    outcome.seconds = time.perf_counter() - began


def _fault(error: SpikeLFPError, names: set[str]) -> str:
    """What is wrong with an error, as far as a machine can tell."""
    message = str(error)
    if type(error) is SpikeLFPError:
        return "the error is of no kind"
    if not any(name in message for name in names):
        return f"the message names none of {', '.join(sorted(names))}"
    if len(message) > _LONGEST_MESSAGE:
        return f"the message has {len(message)} characters"
    if not _CURE.search(message):
        return "the message names no cure"
    return ""


def _watch(cache: Path) -> list[str]:
    """A list that grows by what must not happen in this process from now on."""
    broken: list[str] = []

    def inside(path: Any, folder: int = -1) -> bool:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return True  # a file that is open already
        below = os.readlink(f"/proc/self/fd/{folder}") if folder >= 0 else ""
        real = os.path.abspath(os.path.join(below, os.fsdecode(path)))
        if _LEFT.search(real) and os.path.realpath(os.path.dirname(real)) == os.path.dirname(real):
            return True
        return real.startswith(f"{cache}{os.sep}") or real in (str(cache), os.devnull)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _FORBIDDEN:
            broken.append(f"{event} {str(arguments)[:200]}")
        elif event == "open":
            path, mode, flags = arguments
            changing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            if (flags & changing or any(c in str(mode or "") for c in "wax+")) and not inside(path):
                broken.append(f"open for writing: {path}")
        elif event in _CHANGING:
            paths = [each for each in arguments if not isinstance(each, int)]
            # the last number is the folder that a relative path begins in
            folder = arguments[-1] if event != "os.chmod" and isinstance(arguments[-1], int) else -1
            if not all(inside(path, folder) for path in paths):
                broken.append(f"{event}: {arguments}")

    sys.addaudithook(hook)
    return broken


def _listing(root: Path, cache: Path) -> dict[str, tuple[Any, ...]]:
    """All that lies outside of the cache: kind, where a link leads, size and time of change."""
    found: dict[str, tuple[Any, ...]] = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not _LEFT.search(f"/{name}")]
        if Path(folder) == cache:
            folders.clear()
            continue
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            link = os.readlink(path) if stat.S_ISLNK(status.st_mode) else ""
            # of a folder, what lies in it tells more than its own size and time
            own = () if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)
            found[path] = (stat.S_IFMT(status.st_mode), link, *own)
    return found


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """The counts of a run."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    return {
        "tried": len(outcomes),
        "valid": counts["valid"],
        "refused": counts["refused"],
        "failed": counts["failed"],
        "longest_s": round(max((o.seconds for o in outcomes), default=0.0), 2),
        "highest_memory_mb": round(max((o.memory_mb for o in outcomes), default=0.0)),
        "pairs": len({(o.format, o.mutation) for o in outcomes}),
        "all_pairs": len(PAIRS),
        "failures": [asdict(o) for o in outcomes if o.verdict == "failed"],
    }


def table(outcomes: list[Outcome]) -> str:
    """Format by mutation: valid, refused, failed."""
    lines = [f"{'format':22}{'mutation':18}{'valid':>7}{'refused':>9}{'failed':>8}"]
    for name, mutation in PAIRS:
        counts = Counter(o.verdict for o in outcomes if (o.format, o.mutation) == (name, mutation))
        if counts:
            row = (f"{counts['valid']:7}", f"{counts['refused']:9}", f"{counts['failed']:8}")
            lines.append(f"{name:22}{mutation:18}{''.join(row)}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status is 0 when no case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.fuzz", description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=2000, help="how many cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--case", type=int, help="run this one alone and show all of it")
    parser.add_argument("--format", help="only cases of this format")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--report", type=Path, default=REPORT)
    parser.add_argument(
        "--all", action="store_true", help="write every outcome, not the failures alone"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # threads do not survive a fork
    numbers = range(options.first, options.first + options.count)
    if options.case is not None:
        numbers = range(options.case, options.case + 1)
    cases = [Case(number, options.seed) for number in numbers]
    cases = [case for case in cases if options.format in (None, case.pair[0])]
    outcomes = []
    for outcome in run(cases, jobs=options.jobs):
        outcomes.append(outcome)
        if outcome.verdict == "failed" and options.case is None:
            print(f"case {outcome.case}: {outcome.format}, {outcome.mutation} ({outcome.did[:150]}): {outcome.why[:200]} {outcome.message[:200]!r}", flush=True)  # fmt: skip
    if options.case is not None:
        for key, value in asdict(outcomes[0]).items():
            print(f"{key:10} {value}")
        return int(outcomes[0].verdict == "failed")
    outcomes.sort(key=lambda outcome: outcome.case)
    told = summary(outcomes)
    if options.all:
        told["outcomes"] = [asdict(outcome) for outcome in outcomes]
    print(table(outcomes))
    print(", ".join(f"{key} {value}" for key, value in told.items() if not isinstance(value, list)))
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(json.dumps(told, indent=1))
    return int(bool(told["failed"]))


if __name__ == "__main__":
    sys.exit(main())
