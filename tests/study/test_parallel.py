"""Jobs come back whole, whatever runs them."""

from pathlib import Path

import pytest
from joblib import parallel_config

from spikelfp_lab.study import Study, in_parallel


def echo(study: Study, number: int) -> tuple[int, int]:
    return study.n_seeds, number


def test_every_job_is_done_once(tmp_path: Path):
    study = Study(runs=tmp_path, n_seeds=2, progress=False)
    done = in_parallel(study, echo, [(i,) for i in range(5)], desc="echo", unit="job")
    assert sorted(done) == [(2, i) for i in range(5)]
    assert in_parallel(study, echo, [], desc="echo", unit="job") == []


def on_a_worker(study: Study, number: int) -> bool:
    """Whether the job runs on a worker of a Dask cluster; one that does not raises an error there."""
    from distributed import get_worker

    return get_worker() is not None


def test_a_cluster_that_is_set_is_used(tmp_path: Path):
    distributed = pytest.importorskip("distributed")
    study = Study(runs=tmp_path, progress=False)
    options = {"processes": False, "dashboard_address": None}
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, **options) as cluster,
        distributed.Client(cluster),
        parallel_config(backend="dask"),
    ):
        done = in_parallel(study, on_a_worker, [(i,) for i in range(3)], desc="jobs", unit="job")
    assert done == [True, True, True]
