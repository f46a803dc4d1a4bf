"""Two processes on one study: nothing is made twice, one clear message, and no lock outlives its
process.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

from spikelfp_lab import ConfigError, SpikeLFPWarning
from spikelfp_lab._files import HOLDER, made_once, running, unfinished_of

ROOT = Path(__file__).parents[1]
# Imports nothing heavy, so that it is at work in a moment.
SLOW = """
import sys, time
from pathlib import Path
from spikelfp_lab._files import made_once
place = Path(sys.argv[1])
def make(unfinished):
    (unfinished / "begun").touch()
    time.sleep(float(sys.argv[2]))
    place.write_text("of the other process")
made_once(place, make)
"""


def another_process(place: Path, seconds: float) -> subprocess.Popen:
    """A process that makes it, and is at it when this returns."""
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(place), str(seconds)], cwd=ROOT)
    begun = unfinished_of(place) / "begun"
    while not begun.exists() and process.poll() is None:
        time.sleep(0.01)
    return process


def not_here(unfinished):
    pytest.fail("made twice")


def test_another_process_is_named_and_waited_for_and_nothing_is_made_twice(tmp_path):
    place = tmp_path / "teacher-1f"
    process = another_process(place, 2)
    (said,) = running(tmp_path)
    assert f"teacher-1f is being made by process {process.pid} on " in said and " since 20" in said
    with pytest.warns(SpikeLFPWarning, match=f"process {process.pid} .*Waiting for.*SPIKELFP_RUNS"):
        made_once(place, not_here)
    assert place.read_text() == "of the other process"
    assert process.wait() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["teacher-1f"]
    assert running(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
def test_the_lock_of_a_killed_process_holds_no_one_up(tmp_path):
    place = tmp_path / "teacher-1f"
    process = another_process(place, 60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert running(tmp_path) == []

    def go_on(unfinished):
        assert (unfinished / "begun").exists()  # what it left is there to go on with
        assert json.loads((unfinished / HOLDER).read_text())["process"] == os.getpid()
        place.write_text("of this process")

    made_once(place, go_on)  # without a warning, which would be an error here
    assert place.read_text() == "of this process" and not unfinished_of(place).exists()


def test_different_models_are_made_at_the_same_time(tmp_path):
    process = another_process(tmp_path / "teacher-1f", 60)
    made_once(tmp_path / "ms-lfp-2e", lambda _: (tmp_path / "ms-lfp-2e").touch())
    assert process.poll() is None
    process.kill()
    process.wait()


def test_many_that_ask_at_once_get_one(tmp_path):
    place, made = tmp_path / "x", []

    def make(unfinished):
        made.append(unfinished)
        time.sleep(0.5)
        place.touch()

    def ask():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made_once(place, make)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_fails_can_be_tried_again(tmp_path):
    place = tmp_path / "x"

    def fail(unfinished):
        (unfinished / "state").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_once(place, fail)
    made_once(place, lambda unfinished: (unfinished / "state").rename(place))
    assert place.exists() and not unfinished_of(place).exists()


def test_an_unfinished_folder_beside_what_is_finished_is_cleared_away(tmp_path):
    place = tmp_path / "x"
    place.touch()
    unfinished_of(place).mkdir()
    (unfinished_of(place) / "state").touch()
    made_once(place, not_here)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_processes_of_torchrun_are_told_instead_of_waiting_for_ever(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="without torchrun"):
        made_once(tmp_path / "x", not_here)
    (tmp_path / "x").touch()
    made_once(tmp_path / "x", not_here)
