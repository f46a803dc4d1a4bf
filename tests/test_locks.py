"""Two processes on one folder: they take turns, one clear message, no lock outlives its process."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from spikelfp_lab import SpikeLFPWarning
from spikelfp_lab._files import HOLDER, locked

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


@contextmanager
def another_process(folder: Path, seconds: float):
    """A process that holds the folder's lock, and ends with the block."""
    command = [sys.executable, "-c", SLOW, str(folder), str(seconds)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1]) as process:
        while not (folder / "begun").exists() and process.poll() is None:
            time.sleep(0.01)
        yield process
        process.kill()


def test_another_process_is_named_and_waited_for(tmp_path):
    folder = tmp_path / "teacher"
    with another_process(folder, 1) as process:
        message = f"teacher is being made by process {process.pid} on .* since 20.*Waiting for"
        with locked(tmp_path / "ms_lfp"):  # another folder, without a warning
            assert process.poll() is None
        with pytest.warns(SpikeLFPWarning, match=message), locked(folder):
            assert (folder / "done").exists()


def test_the_lock_of_a_killed_process_or_of_an_error_holds_no_one_up(tmp_path):
    with another_process(tmp_path, 60):
        pass  # at its end the process is killed
    with pytest.raises(KeyboardInterrupt), locked(tmp_path):
        raise KeyboardInterrupt
    with locked(tmp_path):  # without a warning, which would be an error here
        assert (tmp_path / "begun").exists() and not (tmp_path / "done").exists()
        assert f"process {os.getpid()} on " in (tmp_path / HOLDER).read_text()


@pytest.mark.filterwarnings("ignore::spikelfp_lab.SpikeLFPWarning")
def test_many_that_ask_at_once_take_turns(tmp_path):
    inside = []

    def ask(number):
        with locked(tmp_path):
            inside.append(number)
            time.sleep(0.05)
            assert inside == [number]
            inside.pop()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(ask, range(6)))
