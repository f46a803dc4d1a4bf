"""Small versions of the crash test and of the fuzzer; the large ones kill 200 times and open 2,000
damaged files, see crash.py and fuzz.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spikelfp_lab import load
from tests.factories import make_session
from tests.widgets.test_compare import make_model

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="victims and cases are forked")


def told_by(script: str, *arguments: str) -> dict:
    # In memory, where flushing takes no time: a kill does not depend on the disk.
    memory = {"TMPDIR": "/dev/shm"} if os.access("/dev/shm", os.W_OK) else {}
    options = {"cwd": Path(__file__).parents[2], "env": os.environ | memory, "text": True}
    command = [sys.executable, "-m", f"tests.reliability.{script}", *arguments]
    ended = subprocess.run(command, **options, capture_output=True, timeout=580, check=False)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1])


@forks
def test_a_kill_at_a_random_moment_makes_no_difference():
    told = told_by("crash", "8")
    assert told["kills"] >= 8 and told["troubles"] == 0


@forks
def test_84_damaged_files_of_all_formats_end_in_something_valid_or_in_one_clear_error():
    counts = told_by("fuzz", "84", "--seed", "1")
    assert counts["tried"] == 84 and min(counts["valid"], counts["refused"]) > 6


def test_a_model_that_a_killed_save_moved_aside_is_put_back(tmp_path):
    model = make_model("lfp", {"I/s01": make_session()})
    for use in (load, lambda path: load(model.save(path, overwrite=True))):
        path = model.save(tmp_path / "student", overwrite=True)
        left = tmp_path / ".student.0badcafe.tmp"
        left.mkdir()
        path.rename(left / "old")
        assert use(path).digest() == model.digest()
        assert [each.name for each in tmp_path.iterdir()] == ["student"]
