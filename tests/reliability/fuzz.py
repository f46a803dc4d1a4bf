"""Open thousands of damaged files, each in a process of its own.

``python -m tests.reliability.fuzz 2000 --seed 0`` prints what became of them; ``--case 1234`` runs
one. A case passes when it ends in something valid, or in one error of the package that names the
file, within 10 s of one core and 2 GB.
"""

import argparse
import json
import os
import resource
import shutil
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from spikelfp_lab.errors import SpikeLFPError
from tests.reliability.damage import DAMAGES, bytes_changed, pick
from tests.reliability.seeds import FORMATS, lay_out, make_seeds

SECONDS, MEMORY_MB = 10, 2048.0


def run(numbers: Iterable[int], *, seed: int) -> Iterator[dict[str, Any]]:
    """What became of the cases, as they end, two at a time."""
    with TemporaryDirectory(prefix="fuzz-") as folder:
        work, waiting, running = Path(folder), iter(numbers), {}
        warnings.simplefilter("ignore")
        make_seeds(work / "seeds")
        for name in FORMATS:  # they are valid; and warm up what a case would otherwise pay for
            os.environ["SPIKELFP_DATA"] = str(work / "warm" / name / "cache")
            FORMATS[name].open(lay_out(work / "seeds", name, work / "warm" / name)[0])
        while True:
            while len(running) < 2 and (number := next(waiting, None)) is not None:
                root = work / f"case-{number}"
                if not (pid := os.fork()):
                    _child(work / "seeds", root, number, seed)
                running[pid] = number, root
            if not running:
                return
            pid, status, used = os.wait4(-1, 0)
            number, root = running.pop(pid)
            outcome = {"case": number, "verdict": "failed", "error": f"ended with {status}"}
            if (root / "outcome.json").exists():
                outcome |= json.loads((root / "outcome.json").read_text())
            outcome["memory_mb"] = used.ru_maxrss / 1024
            if outcome["memory_mb"] > MEMORY_MB:
                outcome |= {"verdict": "failed", "error": f"took {outcome['memory_mb']:.0f} MB"}
            shutil.rmtree(root, ignore_errors=True)
            yield outcome


def _child(seeds: Path, root: Path, number: int, seed: int) -> None:
    """Make a case, open it, tell what happened; never returns."""
    try:
        os.environ["SPIKELFP_DATA"] = str(root / "cache")
        rng, name = np.random.default_rng([seed, number]), list(FORMATS)[number % len(FORMATS)]
        opened, target = lay_out(seeds, name, root)
        damage = pick(rng, DAMAGES.get(name, [bytes_changed]))
        outcome = {"format": name, "did": damage(target, rng)}
        used = resource.getrusage(resource.RUSAGE_SELF)
        end = int(used.ru_utime + used.ru_stime) + 1 + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (end, end))
        inner = [path.stem for path in opened.rglob("*.*") if path.suffix in (".zarr", ".nwb")]
        try:
            FORMATS[name].open(opened)
            outcome |= {"verdict": "valid", "error": ""}
        except SpikeLFPError as error:
            named = any(each in str(error) for each in (opened.stem, *inner))
            text = f"{type(error).__name__}: {error}"
            outcome |= {"verdict": "refused" if named else "failed", "error": text}
        except BaseException:
            outcome |= {"verdict": "failed", "error": traceback.format_exc()[-1500:]}
        (root / "outcome.json").write_text(json.dumps(outcome))
    finally:
        os._exit(0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.fuzz", description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)  # threads do not survive a fork
    numbers = range(options.count) if options.case is None else [options.case]
    counts: Counter[str] = Counter()
    for outcome in run(numbers, seed=options.seed):
        counts[outcome["verdict"]] += 1
        if outcome["verdict"] == "failed" or options.case is not None:
            print(json.dumps(outcome), flush=True)
    print(json.dumps({**counts, "tried": counts.total()}))
    return int(counts["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
