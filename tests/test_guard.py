"""Sizes against files and memory, and errors of any kind that become one with a name."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spikelfp_lab import _guard
from spikelfp_lab._guard import check_size, reading
from spikelfp_lab.errors import CheckpointError, DataError, SchemaError


@example(1032 * 10**6, 10**6)
@example(1101 * 10**6, 10**6)
@given(st.integers(0, 10**14), st.integers(0, 10**12))
def test_what_deflate_could_have_packed_is_never_refused(declared, stored):
    try:
        check_size(declared, stored=stored, what="lfp of a.nwb", whole=False)
    except DataError as error:
        assert declared > max(1032 * stored, 1 << 26) and "lfp of a.nwb declares" in str(error)
    else:
        assert declared <= max(1 << 26, 1100 * stored)


def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(monkeypatch):
    assert _guard.available_memory() > 1e8
    monkeypatch.setattr(_guard, "available_memory", lambda: 1e9)
    check_size(10**9, stored=10**9, what="lfp")
    check_size(10**10, stored=10**10, what="lfp", whole=False)  # which is read in pieces
    with pytest.raises(DataError, match=r"takes 2\.0 GB of memory, and 1\.0 GB are free"):
        check_size(2 * 10**9, stored=10**9, what="lfp")


@pytest.mark.parametrize("error", [KeyError("a"), RecursionError(), UnicodeError("x" * 9999)])
def test_any_error_becomes_one_that_names_the_file_and_keeps_the_reason(error):
    options = {"kind": CheckpointError}
    with pytest.raises(CheckpointError) as caught, reading("d/a.nwb", "is bad", "Copy.", **options):
        raise error
    assert all(part in str(caught.value) for part in ("d/a.nwb is bad", "Copy", str(error)))
    assert caught.value.__cause__ is error


def test_errors_of_the_package_stay_what_they_are_and_get_a_name():
    with pytest.raises(SchemaError, match=r"^a\.nwb: no time$"), reading("d/a.nwb", "", ""):
        raise SchemaError("no time")
    with pytest.raises(UserWarning, match="look"), reading("d/a.nwb", "", ""):
        raise UserWarning("look")  # whoever has warnings raised wants to see them
