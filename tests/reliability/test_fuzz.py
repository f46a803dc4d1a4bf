"""Damaged and malicious files end in a session or in one clear error; and the harness would tell if not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="cases are forked and watched as on Linux"
)
ROOT = Path(__file__).parents[2]


def run(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def test_200_cases_of_all_formats_and_mutations(tmp_path):
    report = tmp_path / "fuzz.json"
    done = run("-m", "tests.reliability.fuzz", "200", "--seed", "0", "--report", str(report))
    assert report.exists(), done.stderr[-3000:]
    told = json.loads(report.read_text())
    assert not told["failures"], done.stdout[-6000:]
    assert done.returncode == 0 and told["tried"] == 200 == told["valid"] + told["refused"]
    assert min(told["valid"], told["refused"]) > 20  # neither is everything refused, nor nothing
    assert told["pairs"] == told["all_pairs"]


def test_the_harness_notices_what_must_not_happen():
    done = run("-m", "tests.reliability.harm")
    assert done.returncode == 0, done.stderr[-3000:]
    for wanted, verdict, why in json.loads(done.stdout.splitlines()[-1]):
        assert wanted in why and (verdict == "failed") == bool(wanted), (wanted, verdict, why)


def test_a_case_is_the_same_by_itself():
    one, other = (run("-m", "tests.reliability.fuzz", "--case", "5").stdout for _ in range(2))
    kept = [line for line in one.splitlines() if line.startswith(("did", "verdict", "mutation"))]
    assert len(kept) == 3 and all(line in other.splitlines() for line in kept)
