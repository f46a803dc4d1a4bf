"""Many processes train what one trains: real ones, which torchrun starts, two on this CPU."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from spikelfp_lab import ConfigError, load
from spikelfp_lab.io.store import save_cohort
from spikelfp_lab.training.shards import Processes
from tests.factories import make_session
from tests.training import worker

ROOT = Path(__file__).resolve().parents[2]
SCALING = (ROOT / "docs" / "scaling.md").read_text().split("\n## ")[0]


def torchrun(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """Run in two processes; what they say is kept."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    known = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environment
    options = {"env": known, "cwd": cwd, "capture_output": True, "text": True, "timeout": 300}
    return subprocess.run([*run, *arguments], **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What two processes have left, one of them killed in between, and what one process leaves
    doing the same.
    """
    two, one = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("one")
    killed = torchrun("-m", "tests.training.worker", str(two), "killed")
    assert killed.returncode != 0 and "SIGKILL" in killed.stderr
    one.joinpath("killed").mkdir()
    for name in ("state.safetensors", "run.json"):
        (one / "killed" / name).write_bytes((two / "killed" / name).read_bytes())
    jobs = [*worker.TRAINED, "resumed", *worker.REFUSED]
    done = torchrun("-m", "tests.training.worker", str(two), *jobs)
    assert done.returncode == 0, done.stderr
    for job in [*worker.TRAINED, "resumed"]:
        worker.do(one, job)
    return two.rename(one / "two")


def left_by(folder: Path, job: str, rank: int) -> tuple[dict, dict]:
    record = json.loads((folder / f"{job}.{rank}.json").read_text())
    return safetensors.torch.load_file(folder / f"{job}.{rank}.safetensors"), record


assert_same_weights = partial(torch.testing.assert_close, rtol=0)


@pytest.mark.parametrize("job", list(worker.TRAINED))
def test_two_processes_train_what_one_trains(folder, job):
    tensors, record = left_by(folder.parent, job, 0)
    for rank in (0, 1):
        others, same = left_by(folder, job, rank)
        assert_same_weights(tensors, others, atol=1e-5)
        (*names, values), (*wanted, expected) = (zip(*r["history"]) for r in (same, record))  # noqa: B905
        assert names == wanted
        np.testing.assert_allclose(values, expected, rtol=1e-5)
        assert job != "stopped" or max(names[0]) == 10  # the first process ends all
    first, second = (left_by(folder, job, rank)[0] for rank in (0, 1))
    assert_same_weights(first, second, atol=0.0)


def test_each_process_prepares_the_sessions_of_its_own_shards(folder):
    prepared = [left_by(folder, "long", rank)[1]["prepared"] for rank in (0, 1)]
    assert sorted(prepared[0] + prepared[1]) == list(worker.sessions())
    taught = [left_by(folder, "student", rank)[1] for rank in (0, 1)]
    assert [one["encoded"] for one in taught] == [["I/s02"], ["I/s05"]]
    assert len(left_by(folder.parent, "long", 0)[1]["prepared"]) == 6


def test_a_run_killed_on_two_processes_goes_on_as_one_or_two(folder):
    undisturbed, record = left_by(folder, "long", 0)
    again, same = left_by(folder, "resumed", 0)
    assert_same_weights(again, undisturbed, atol=0.0)  # bit for bit
    assert same["history"] == record["history"]
    alone, _ = left_by(folder.parent, "resumed", 0)
    assert_same_weights(alone, undisturbed, atol=1e-5)


@pytest.mark.parametrize(
    ("job", "messages"),
    [
        ("lacking", ["another process of this training failed", "session I/s02 has no 'lfp'"]),
        ("failing", ["disk full", "another process of this training failed"]),
        ("unlike", ["the processes of this training were given different configs"] * 2),
    ],
)
def test_what_goes_wrong_in_one_process_is_an_error_in_all(folder, job, messages):
    for rank, message in enumerate(messages):
        found = json.loads((folder / f"{job}.{rank}.json").read_text())["message"]
        assert re.search(message, found)


def test_without_torchrun_nothing_is_imported_and_with_it_accelerate_is_needed(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    alone, tensor = Processes.join("cpu"), torch.ones(3)
    assert (alone.rank, alone.count, alone.is_main) == (0, 1, True)
    assert alone.sum(tensor) is tensor and alone.any(True) and not alone.any(False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r'pip install "spikelfp_lab\[distributed\]"'):
        Processes.join("cpu")


def test_the_script_of_the_page_on_many_processes_run(tmp_path):
    (script,) = re.findall(r"```python\n(.*?)```", SCALING, re.DOTALL)
    (tmp_path / "train.py").write_text(script)
    sessions = {f"I/s{i:02}": make_session(bins=2000, session=f"s{i:02}", seed=i) for i in (1, 2)}
    save_cohort(sessions, tmp_path / "cohort")
    done = torchrun("train.py", cwd=tmp_path, COHORT=str(tmp_path / "cohort"))
    assert done.returncode == 0, done.stderr
    assert load(tmp_path / "student").modality == "lfp"
