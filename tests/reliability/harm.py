"""What opening a file must never do, done on purpose: the harness has to tell each of them.

``python -m tests.reliability.harm`` prints, for each, what the harness should say and what it said.
"""

import json
import os
import pickle
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from spikelfp_lab.errors import DataError, SpikeLFPError
from tests.reliability import fuzz
from tests.reliability.any_files import MARKER, payload
from tests.reliability.cases import Case


def _raising(error: Exception) -> None:
    raise error


def _run_code(path: Path) -> None:
    (path.parents[2] / MARKER).touch()


HARM: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: os.abort(), "the process died (SIGABRT)"),
    (lambda path: os._exit(0), "the process died (exit status 0)"),
    (lambda path: time.sleep(60), "it took over 2 s"),
    (lambda path: b"x" * (1 << 30), "it took"),
    (lambda path: (path.parent / "new").write_text("x"), "open for writing"),
    (lambda path: os.mkdir(path.parent / "new"), "os.mkdir"),
    (lambda path: os.utime(path / "config.json", (0, 0)), "changed outside of the cache"),
    (lambda path: pickle.loads(payload(path.parents[2] / "canary")), "pickle.find_class"),
    (lambda path: subprocess.run(["true"], check=True), "subprocess.Popen"),
    (_run_code, "code of the file was run"),
    (lambda path: {}["a"], "KeyError is no error of the package"),
    (lambda path: _raising(SpikeLFPError(f"{path}. Copy it.")), "the error is of no kind"),
    (lambda path: _raising(DataError("It is damaged. Copy it.")), "the message names none of"),
    (lambda path: _raising(DataError(f"{path} is damaged.")), "the message names no cure"),
    (lambda path: _raising(DataError(f"{path}: copy it." + "x" * 9999)), "characters"),
    (lambda path: _raising(DataError(f"{path} is damaged. Copy it.")), ""),
    (lambda path: None, ""),
]


def main() -> None:
    """Run a case for each, opened by what does harm."""
    torch.set_num_threads(1)
    cases = [case for case in (Case(n, 0) for n in range(10_000)) if case.pair[0] == "config"]
    cases = cases[: len(HARM)]
    numbers = [case.number for case in cases]

    def harmful(path: Path) -> None:
        if (name := path.parents[2].name).startswith("case-"):  # the seed itself opens first
            HARM[numbers.index(int(name.removeprefix("case-")))][0](path)

    fuzz.FORMATS["config"] = replace(fuzz.FORMATS["config"], open=harmful)
    fuzz.SECONDS, fuzz.MEMORY_MB = 2.0, 1000.0
    outcomes = sorted(fuzz.run(cases), key=lambda outcome: outcome.case)
    told = [(o.verdict, o.why) for o in outcomes]
    print(json.dumps([(wanted, *each) for (_, wanted), each in zip(HARM, told, strict=True)]))


if __name__ == "__main__":
    main()
