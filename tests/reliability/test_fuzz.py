"""Damaged files end in something valid or in one clear error; the full run has 2,000 cases."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="cases are forked")
def test_84_damaged_files_of_all_formats():
    command = [sys.executable, "-m", "tests.reliability.fuzz", "84", "--seed", "1"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["tried"] == 84 and min(counts["valid"], counts["refused"]) > 6
