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


def test_a_cluster_that_is_set_is_used(tmp_path: Path):
    """A local Dask cluster in this process; jobs are sent by joblib's backend for it."""
    distributed = pytest.importorskip("distributed")
    seen = []

    class Watch(distributed.diagnostics.plugin.SchedulerPlugin):
        def update_graph(self, *arguments, **options):
            seen.append(True)

    study = Study(runs=tmp_path, progress=False)
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.register_plugin(Watch())
        with parallel_config(backend="dask"):
            done = in_parallel(study, echo, [(i,) for i in range(3)], desc="echo", unit="job")
    assert sorted(done) == [(1, i) for i in range(3)]
    assert seen
