"""The store: what is saved comes back, what is damaged says so, nothing is lost silently."""

import json
import os

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikelfp_lab.cohorts import open_cohort
from spikelfp_lab.errors import ConfigError, DataError, SchemaError
from spikelfp_lab.io.open import open_session
from spikelfp_lab.io.store import save_cohort, save_session
from spikelfp_lab.sessions import cohort_from_sessions, iterate_sessions
from tests.factories import make_session

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    bins=st.integers(2, 300),
    units=st.integers(0, 3),
    trial_bins=st.none() | st.just(10),
    labels=st.lists(TEXT, min_size=2, max_size=2, unique=True),
    attribute=JSON,
    seed=st.integers(0, 9),
)
def test_round_trip_is_identical(tmp_path, bins, units, trial_bins, labels, attribute, seed):
    session = make_session(
        bins=bins, units=units, channels=2, trial_bins=trial_bins, nan_lfp=[0], seed=seed
    )
    session = session.assign_coords(channel=("channel", np.array(labels)))
    session = session.assign_attrs(anything=attribute)
    session["lfp"].attrs["anything"] = attribute
    path = save_session(session, tmp_path / "session.zarr", overwrite=True)
    opened = open_session(path)
    xr.testing.assert_identical(opened, session)
    for name in session.variables:
        assert opened[name].dtype == session[name].dtype, name
    assert not opened["lfp"].encoding


def test_a_long_session_is_stored_in_chunks_and_smaller_than_in_memory(tmp_path):
    session = make_session(bins=70_000, units=80, channels=2)
    path = save_session(session, tmp_path / "s.zarr")
    assert len(list((path / "spikes").glob("[0-9]*"))) == 2
    stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    assert stored < 0.5 * session.nbytes
    assert open_session(path).identical(session)


def test_nothing_is_overwritten_unless_asked(tmp_path):
    path = save_session(make_session(seed=1), tmp_path / "s.zarr")
    with pytest.raises(DataError, match=r"s\.zarr exists already .* overwrite=True"):
        save_session(make_session(seed=2), path)
    assert open_session(path).identical(make_session(seed=1))
    save_session(make_session(seed=2), path, overwrite=True)
    assert open_session(path).identical(make_session(seed=2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.zarr"]


@pytest.mark.parametrize("depth", ["s.zarr", "I/s.zarr"])
def test_a_session_that_a_killed_save_moved_aside_is_put_back(tmp_path, depth):
    """Killed between two renames, it would be missing from its cohort without a word."""
    save_session(make_session(session="other"), (tmp_path / depth).with_name("other.zarr"))
    by_cohort = lambda _: open_cohort(tmp_path, progress=False)["I/s01"].to_dataset()  # noqa: E731
    for open_it in (open_session, by_cohort):
        path = save_session(make_session(), tmp_path / depth, overwrite=True)
        left = path.with_name(".s.zarr.0badcafe.tmp")
        left.mkdir()
        os.rename(path, left / "old")
        assert open_it(path).identical(make_session())
        assert sorted(each.name for each in path.parent.iterdir()) == ["other.zarr", "s.zarr"]


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))


DAMAGE = {
    "chunk cut in half": lambda store: _cut(store / "lfp" / "0.0"),
    "one byte changed": lambda store: _flip(store / "lfp" / "0.0"),
    "chunk missing": lambda store: (store / "spikes" / "0.0").unlink(),
    "labels missing": lambda store: (store / "channel" / "0").unlink(),
    "metadata cut in half": lambda store: _cut(store / ".zmetadata"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_store_is_one_error_with_path_and_cure(tmp_path, how):
    path = save_session(make_session(), tmp_path / "s.zarr")
    DAMAGE[how](path)
    with pytest.raises(DataError, match=r"(?s)damaged or incomplete.*Copy it again") as caught:
        open_session(path)
    assert str(path) in str(caught.value)
    with pytest.raises(DataError, match=r"s\.zarr is damaged"):
        open_cohort(tmp_path, progress=False)


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
@pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")
@pytest.mark.parametrize("options", [{}, {"zarr_format": 2}, {"consolidated": False}])
def test_what_xarray_itself_writes_opens(tmp_path, options):
    session = make_session(trial_bins=50, nan_lfp=[0])
    session.to_zarr(tmp_path / "s.zarr", **options)
    (tmp_path / "s.zarr" / "desktop.ini").write_text("[.ShellClassInfo]")
    xr.testing.assert_identical(open_session(tmp_path / "s.zarr"), session)


def test_a_stray_file_and_chunks_that_are_links_are_no_damage(tmp_path):
    path = save_session(make_session(), tmp_path / "s.zarr")
    (path / "desktop.ini").write_text("[.ShellClassInfo]")
    (path / "lfp" / "desktop.ini").write_text("[.ShellClassInfo]")
    chunk = path / "lfp" / "0.0"
    chunk.rename(tmp_path / "annexed")
    chunk.symlink_to(tmp_path / "annexed")
    assert open_session(path).identical(make_session())


def test_a_cohort_is_a_tree_of_sessions_and_round_trips_through_a_folder(tmp_path):
    cohort = cohort_from_sessions(
        make_session(subject=subject, session=session, bins=bins, units=bins // 100)
        for subject, session, bins in (("J", "s01", 300), ("I", "s02", 400), ("I", "s01", 500))
    )
    assert {leaf.path for leaf in cohort.leaves} == {"/J/s01", "/I/s02", "/I/s01"}
    with pytest.raises(DataError, match=r"Two sessions are named I/s01"):
        cohort_from_sessions([make_session(), make_session(seed=1)])
    folder = save_cohort(cohort, tmp_path / "cohort")
    opened = open_cohort(folder)
    for name in ("J/s01", "I/s02", "I/s01"):
        assert opened[name].to_dataset().identical(cohort[name].to_dataset())
    with pytest.raises(DataError, match="exists already"):
        save_cohort({"a": make_session(session="new"), "b": make_session()}, folder)
    assert not (folder / "I" / "new.zarr").exists()
    save_cohort(cohort, folder, overwrite=True)


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "", "C:\\x"])
def test_names_cannot_lead_out_of_the_folder(tmp_path, name):
    session = make_session().assign_attrs(session=name)
    for cohort in ({"a": session}, xr.DataTree.from_dict({"I/s01": session})):
        with pytest.raises(SchemaError, match=r"attrs\['session'\]"):
            save_cohort(cohort, tmp_path / "cohort")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_sessions_is_a_cohort_at_either_depth(tmp_path):
    save_session(make_session(session="flat"), tmp_path / "flat.zarr")
    save_session(make_session(session="deep"), tmp_path / "I" / "deep.zarr")
    save_session(make_session(session="hidden"), tmp_path / ".old" / "hidden.zarr")
    assert set(iterate_sessions(open_cohort(tmp_path))) == {"I/flat", "I/deep"}
    (tmp_path / "other.nwb").write_bytes(b"")
    with pytest.raises(DataError, match=r"other\.nwb"):  # not left out without a word
        open_cohort(tmp_path, progress=False)
    (tmp_path / "other.nwb").unlink()
    save_session(make_session(session="deep"), tmp_path / "again.zarr")
    with pytest.raises(DataError, match=r"again\.zarr .*hold sessions of the same name, I/deep"):
        open_cohort(tmp_path, progress=False)


@pytest.mark.parametrize(
    ("opened", "error", "message"),
    [
        (lambda _: open_session("recording.nwb"), DataError, r"No file at recording\.nwb"),
        (open_session, DataError, r"a \.zarr folder or a \.nwb file is"),
        (lambda path: open_session(path / "s.zarr", seed=1), ConfigError, "takes no options"),
        (
            lambda path: open_session(path / "up.zarr"),
            SchemaError,
            r"(?s)^up\.zarr: .*is '\.\./up'",
        ),
        (lambda _: open_cohort("cao2012"), DataError, r"Unknown cohort 'cao2012'.*'simulated', "),
        (lambda path: open_cohort(path / "empty"), DataError, r"No \.zarr or \.nwb session in"),
        (lambda path: open_cohort(path / "s.zarr"), DataError, "Open it with open_session"),
        (lambda path: open_cohort(path, seed=1), ConfigError, "take no options, got seed"),
        (lambda path: save_session(make_session(), path / "s.nc"), DataError, r"end in '\.zarr'"),
        (lambda _: iterate_sessions([make_session()]), SchemaError, "use cohort_from_sessions"),
    ],
)
def test_what_is_no_session_or_cohort_is_refused(tmp_path, opened, error, message):
    (tmp_path / "empty").mkdir()
    save_session(make_session(), tmp_path / "s.zarr")
    attrs = save_session(make_session(), tmp_path / "up.zarr") / ".zattrs"
    attrs.write_text(json.dumps(json.loads(attrs.read_text()) | {"subject": "../up"}))
    with pytest.raises(error, match=message):
        opened(tmp_path)
