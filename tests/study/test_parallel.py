"""Jobs come back whole from worker processes, and their errors too."""

import os
import shutil

import pytest

from spikelfp_lab import DataError
from spikelfp_lab.study import Study, in_parallel
from spikelfp_lab.study.parallel import close_pool
from tests.study.conftest import make_study


def echo(study: Study, number: int) -> tuple[int, int, int]:
    if number < 0:
        raise DataError(f"{number} is negative")
    return len(study.sessions), number, os.getpid()


def test_every_job_is_done_once_elsewhere_with_the_sessions_of_here(tmp_path, monkeypatch):
    study = make_study(tmp_path)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    count = len(study.sessions)
    shutil.rmtree(study.cohort_name)  # the files are not opened again
    done = in_parallel(study, echo, [(i,) for i in range(5)], desc="echo", unit="job")
    assert sorted((found, number) for found, number, _ in done) == [(count, i) for i in range(5)]
    assert os.getpid() not in {process for *_, process in done}
    assert in_parallel(study, echo, [], desc="echo", unit="job") == []
    with pytest.raises(DataError, match="-1 is negative"):
        in_parallel(study, echo, [(-1,), (1,)], desc="echo", unit="job")
    close_pool()
