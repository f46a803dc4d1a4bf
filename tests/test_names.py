"""What a file or a user calls a thing never becomes a path that leads elsewhere."""

import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelfp_lab.errors import DataError, SchemaError
from spikelfp_lab.io.nwb_read import _safe
from spikelfp_lab.io.store import save_cohort
from spikelfp_lab.plots.save import save_table
from spikelfp_lab.sessions import session_name, validate_session
from tests.factories import make_session

HOSTILE = [
    *("", ".", "..", "../a", "a/../../b", "/etc/passwd", "a/b", "a\\b", "..\\b", "C:\\a", "C:a"),
    *("a\0b", "a\nb", "~", "~root", ".hidden", "-rf", "CON", "nul.txt", "a:b", "a*", "a ", "$HOME"),
    *("é", "é", "ａ", "\u202egnp", "\ud800", "x" * 300, "é" * 150, "a.zarr", "%2e%2e%2f"),
]
parts = st.lists(st.sampled_from(["..", "/", "\\", "a", ".", "\0", "~", "é"]), max_size=9)
names = st.sampled_from(HOSTILE) | st.text(max_size=300) | parts.map("".join)


def inside(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def session():
    return make_session(bins=20, units=2, channels=2)


@settings(deadline=None)  # files take their time
@given(name=names)
def test_a_table_lies_in_its_folder_under_its_own_name_or_is_refused(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables") / "inside"
    try:
        save_table(pd.DataFrame({"of": [0]}), folder, name)
    except DataError as error:
        assert "plain file name" in str(error) and not inside(folder.parent)
    else:
        assert inside(folder.parent) == {Path("inside", f"{name}.csv")}


@settings(deadline=None)
@given(subject=names, name=names)
def test_a_session_lies_in_the_folder_of_its_cohort_or_is_refused(
    session, subject, name, tmp_path_factory
):
    named = session.assign_attrs(subject=subject, session=name)
    folder = tmp_path_factory.mktemp("cohorts") / "inside"
    try:
        validate_session(named)
    except SchemaError:
        with pytest.raises(SchemaError):
            save_cohort({"a": named}, folder)
        assert not inside(folder.parent)
        return
    assert re.fullmatch(r"\w[\w.\-]*/\w[\w.\-]*", session_name(named), re.ASCII)
    save_cohort({"a": named}, folder)
    within = Path("inside", subject, f"{name}.zarr")
    assert all(path.is_relative_to(within) for path in inside(folder.parent))


def test_sessions_of_different_names_have_different_folders(session, tmp_path):
    pairs = [("a", "b.c"), ("a.b", "c"), ("A", "b.c"), ("a", "b.c.zarr")]
    named = [session.assign_attrs(subject=subject, session=name) for subject, name in pairs]
    save_cohort(dict(zip("1234", named, strict=True)), tmp_path)
    assert len(list(tmp_path.glob("*/*.zarr"))) == len(pairs)


@settings(deadline=None)
@given(name=names)
def test_ids_in_nwb_files_become_names_that_the_schema_takes(session, name):
    safe = _safe(name, "session")
    named = session.assign_attrs(subject=safe, session=safe)
    assert session_name(named) == f"{safe}/{safe}" and ".." not in Path(safe).parts
