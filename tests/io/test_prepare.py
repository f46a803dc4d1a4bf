"""Sessions made in parallel and kept once made."""

import os
import time

import joblib
import pytest
import xarray as xr

from spikelfp_lab.errors import DataError, SchemaError
from spikelfp_lab.io.open import open_session
from spikelfp_lab.io.prepare import cache_folder, cached_session, prepare_sessions
from spikelfp_lab.io.store import save_session
from tests.factories import make_session


def slow_first(number, wait_s):
    """A session that says which process made it."""
    time.sleep(wait_s)
    session = make_session(bins=20, session=f"s{number:02d}")
    return session.assign_attrs(pid=os.getpid())


def failing(number):
    """One of them cannot be read."""
    if number == 2:
        raise DataError("recording 2 is damaged")
    return make_session(bins=20, session=f"s{number:02d}")


def in_a_folder(path, number):
    """What a data set does: prepare, and keep."""
    return cached_session(path, lambda: slow_first(number, 0.2))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_order_is_kept_whatever_is_ready_first(n_jobs):
    waits = [0.3, 0.0, 0.1, 0.0]
    made = prepare_sessions(slow_first, list(enumerate(waits)), n_jobs=n_jobs, progress=False)
    assert [each.attrs["session"] for each in made] == ["s00", "s01", "s02", "s03"]
    assert all(each.attrs["pid"] == os.getpid() for each in made) == (n_jobs == 1)
    with pytest.raises(DataError, match="recording 2 is damaged"):
        prepare_sessions(failing, [(n,) for n in range(4)], n_jobs=n_jobs, progress=False)


def test_what_is_kept_is_not_made_again(tmp_path):
    path = tmp_path / "deep" / "s01.zarr"
    made = cached_session(path, lambda: make_session(bins=20))
    again = cached_session(path, lambda: pytest.fail("made again"))
    assert again.identical(made) and open_session(path).identical(made)
    (path / ".zmetadata").write_text("{")
    with pytest.raises(DataError, match=r"Remove .*s01\.zarr, and it is made again"):
        cached_session(path, lambda: make_session(bins=20))


@pytest.mark.parametrize(
    "make, error",
    [
        (lambda: failing(2), DataError),
        (lambda: xr.Dataset(), SchemaError),
        (lambda: make_session(bins=20).assign_attrs(trouble=object()), DataError),
    ],
)
def test_a_failing_make_leaves_nothing(tmp_path, make, error):
    with pytest.raises(error):
        cached_session(tmp_path / "s01.zarr", make)
    assert list(tmp_path.iterdir()) == []


def test_another_process_that_is_first_does_no_harm(tmp_path):
    path = tmp_path / "s01.zarr"

    def make():
        save_session(make_session(bins=20), path)  # meanwhile, elsewhere
        return make_session(bins=20)

    assert cached_session(path, make).identical(make_session(bins=20))
    assert [each.name for each in tmp_path.iterdir()] == ["s01.zarr"]


def test_a_dask_cluster_spreads_the_sessions(tmp_path):
    distributed = pytest.importorskip(
        "distributed", reason="needs dask.distributed: pip install 'distributed>=2024.1'"
    )
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        workers = set(client.run(os.getpid).values())
        jobs = [(tmp_path / f"s{number:02d}.zarr", number) for number in range(6)]
        made = prepare_sessions(in_a_folder, jobs, progress=False)
    assert len(workers) == 2 and os.getpid() not in workers
    assert [each.attrs["session"] for each in made] == [f"s{number:02d}" for number in range(6)]
    # the work ran in the workers, and in both of them
    assert {each.attrs["pid"] for each in made} == workers
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path, _ in jobs]


def test_the_folder_is_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("SPIKELFP_DATA", "~/here")
    assert cache_folder("makin").is_absolute() and cache_folder("makin").parent.name == "here"
