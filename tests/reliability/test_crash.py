"""A small version of the crash tests; the large one kills 200 times, see crash.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spikelfp_lab import load
from tests.factories import make_session
from tests.widgets.test_compare import make_model


@pytest.mark.skipif(not hasattr(os, "fork"), reason="victims are forked, and kill -9 is POSIX")
def test_a_kill_at_a_random_moment_makes_no_difference():
    command = [sys.executable, "-m", "tests.reliability.crash", "8"]
    # In memory, where flushing takes no time: a kill does not depend on the disk.
    memory = {"TMPDIR": "/dev/shm"} if os.access("/dev/shm", os.W_OK) else {}
    options = {"cwd": Path(__file__).parents[2], "env": os.environ | memory, "text": True}
    ended = subprocess.run(command, **options, capture_output=True, timeout=580, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["kills"] >= 8 and told["troubles"] == 0


def test_a_model_that_a_killed_save_moved_aside_is_put_back(tmp_path):
    model = make_model("lfp", {"I/s01": make_session()})
    for use in (load, lambda path: load(model.save(path, overwrite=True))):
        path = model.save(tmp_path / "student", overwrite=True)
        left = tmp_path / ".student.0badcafe.tmp"
        left.mkdir()
        path.rename(left / "old")
        assert use(path).digest() == model.digest()
        assert [each.name for each in tmp_path.iterdir()] == ["student"]
