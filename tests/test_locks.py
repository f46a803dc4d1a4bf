"""Two processes on one folder: they take turns, one clear message, no lock outlives its process."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

from spikelfp_lab import SpikeLFPWarning
from spikelfp_lab._files import HOLDER, locked

ROOT = Path(__file__).parents[1]
# Imports nothing heavy, so that it is at work in a moment.
SLOW = """
import sys, time
from pathlib import Path
from spikelfp_lab._files import locked
folder = Path(sys.argv[1])
with locked(folder):
    (folder / "begun").touch()
    time.sleep(float(sys.argv[2]))
    (folder / "done").touch()
"""


def another_process(folder: Path, seconds: float) -> subprocess.Popen:
    """A process that holds the folder's lock when this returns."""
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(folder), str(seconds)], cwd=ROOT)
    while not (folder / "begun").exists() and process.poll() is None:
        time.sleep(0.01)
    return process


def test_another_process_is_named_and_waited_for(tmp_path):
    folder = tmp_path / "teacher"
    process = another_process(folder, 2)
    message = f"teacher is being made by process {process.pid} on .* since 20.*Waiting for"
    with pytest.warns(SpikeLFPWarning, match=message), locked(folder):
        assert (folder / "done").exists()
    assert process.wait() == 0


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
def test_the_lock_of_a_killed_process_holds_no_one_up(tmp_path):
    process = another_process(tmp_path, 60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with locked(tmp_path):  # without a warning, which would be an error here
        assert (tmp_path / "begun").exists() and not (tmp_path / "done").exists()
        assert f"process {os.getpid()} " in (tmp_path / HOLDER).read_text()


def test_different_folders_are_held_at_the_same_time(tmp_path):
    process = another_process(tmp_path / "teacher", 60)
    with locked(tmp_path / "ms_lfp"):
        assert process.poll() is None
    process.kill()
    process.wait()


def test_many_that_ask_at_once_take_turns(tmp_path):
    inside, most = [], []

    def ask():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with locked(tmp_path):
                inside.append(1)
                time.sleep(0.05)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


def test_what_fails_gives_the_lock_back(tmp_path):
    with pytest.raises(KeyboardInterrupt), locked(tmp_path):
        raise KeyboardInterrupt
    with locked(tmp_path):
        pass
