"""A small version of the crash tests; ``python -m tests.reliability.crash 200`` is the large
one.
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

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="victims are forked, and kill -9 is POSIX")
@pytest.mark.parametrize(
    "works, kills", [(["training", "caching", "preprocessing"], 12), (["grid"], 1)]
)
def test_a_kill_at_a_random_moment_makes_no_difference(works, kills, tmp_path):
    report = tmp_path / "crash.json"
    command = [sys.executable, "-m", "tests.reliability.crash", str(kills), "--only", *works]
    # In memory, where flushing takes no time: a kill does not depend on the disk.
    memory = {"TMPDIR": "/dev/shm"} if os.access("/dev/shm", os.W_OK) else {}
    ended = subprocess.run(
        [*command, "--report", str(report)],
        cwd=ROOT,
        env=os.environ | memory,
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(report.read_text())
    assert told["troubles"] == []
    assert sum(work["kills"] for work in told["works"].values()) == kills


def test_a_model_that_a_killed_save_moved_aside_is_put_back(tmp_path):
    model = make_model("lfp", {"I/s01": make_session()})
    for use in (load, lambda path: load(model.save(path, overwrite=True))):
        path = model.save(tmp_path / "student", overwrite=True)
        left = tmp_path / ".student.0badcafe.tmp"
        left.mkdir()
        path.rename(left / "old")
        assert use(path).digest() == model.digest()
        assert [each.name for each in tmp_path.iterdir()] == ["student"]
