"""Jobs come back whole from worker processes, and their errors too."""

import os
from pathlib import Path

import pytest

from spikelfp_lab import DataError
from spikelfp_lab.study import Study, in_parallel


def echo(study: Study, number: int) -> tuple[int, int, int]:
    if number < 0:
        raise DataError(f"{number} is negative")
    return study.n_seeds, number, os.getpid()


def test_every_job_is_done_once_elsewhere(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    study = Study(runs=tmp_path, n_seeds=2, progress=False)
    done = in_parallel(study, echo, [(i,) for i in range(5)], desc="echo", unit="job")
    assert sorted((seeds, number) for seeds, number, _ in done) == [(2, i) for i in range(5)]
    assert in_parallel(study, echo, [], desc="echo", unit="job") == []
    with pytest.raises(DataError, match="-1 is negative"):
        in_parallel(study, echo, [(-1,), (1,)], desc="echo", unit="job")


def test_one_job_runs_here(tmp_path: Path):
    study = Study(runs=tmp_path, progress=False)
    assert in_parallel(study, echo, [(3,)], desc="echo", unit="job") == [(1, 3, os.getpid())]
