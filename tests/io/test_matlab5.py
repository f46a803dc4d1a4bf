"""MATLAB 5 files are looked through, in the steps of scipy, before scipy reads them."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import io

from spikelfp_lab.errors import DataError
from spikelfp_lab.io import _matlab5
from spikelfp_lab.io._matlab import read_matlab5
from spikelfp_lab.io._matlab5 import check_matlab5
from tests.io.matlab_files import write_flint
from tests.reliability.matlab5_files import deep_variable

FLAGS, DIMS = struct.pack("<II", 6, 8), struct.pack("<II", 5, 8)
LEAVES = st.one_of(
    st.floats(allow_nan=False), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=9),
    st.just(np.array([[1 + 2j]])), st.just(np.eye(3, dtype=bool)), st.just(np.zeros((0, 0))),
    st.just(np.arange(7, dtype=np.int16)),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.dictionaries(st.sampled_from("abcdefg"), inner, min_size=1, max_size=4)
        | st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=12,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(VALUES, st.booleans())
def test_whatever_scipy_writes_is_gone_through_to_its_end(tmp_path, value, packed):
    path = tmp_path / "a.mat"
    io.savemat(path, {"x": {"inside": value}, "other": 1}, do_compression=packed)
    ends = []
    original = _matlab5._Look.variable

    def variable(self, names):
        original(self, names)  # raises when it loses its way
        ends.append(True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_matlab5._Look, "variable", variable)
        check_matlab5(path, ["x"])
    assert len(ends) == 2


def rewritten(path, elements, packed):
    head = path.read_bytes()[:128]
    if packed:
        small = zlib.compress(elements)
        elements = struct.pack("<II", 15, len(small)) + small
    path.write_bytes(head + elements)


def plain(path):
    """The one variable, without compression."""
    io.savemat(path, {"Subject": io.loadmat(path)["Subject"]})
    return bytearray(path.read_bytes()[128:])


@pytest.fixture
def path(tmp_path):
    write_flint(tmp_path / "f.mat", trials=2, steps=20, neurons=2)
    return tmp_path / "f.mat"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("structs", [False, True])
def test_cells_and_structs_nested_without_end_do_not_end_the_process(path, structs, packed):
    rewritten(path, deep_variable(150_000, structs=structs), packed)
    with pytest.raises(DataError, match=r"f\.mat has cells or structs more than 64 deep.*Get"):
        read_matlab5(path, ["Subject"])
    rewritten(path, deep_variable(20, structs=structs), packed)
    assert "Subject" in read_matlab5(path, ["Subject"])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dims", [(2**31 - 1, 2**31 - 1), (2**28, 1), (2**20, 65536)])
def test_arrays_of_cells_that_the_file_has_no_room_for(path, dims, packed):
    body = plain(path)
    where = body.index(DIMS)  # of Subject itself
    body[where + 8 : where + 16] = struct.pack("<ii", *dims)
    rewritten(path, bytes(body), packed)
    with pytest.raises(DataError, match=r"f\.mat has a cell or struct array of .* too small"):
        read_matlab5(path, ["Subject"])


def test_a_variable_that_declares_more_than_deflate_could_pack(path):
    packed = zlib.compress(struct.pack("<II", 14, 2**32 - 8) + bytes(1000))
    path.write_bytes(path.read_bytes()[:128] + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(DataError, match=r"A variable of .*f\.mat declares 4\.295 GB"):
        read_matlab5(path, ["Subject"])


@pytest.mark.parametrize("size", [0, 100, 130, 140, 200, 1000])
def test_a_file_cut_short(path, size):
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError, match=r"f\.mat.*get it again"):
        read_matlab5(path, ["Subject"])


@pytest.mark.parametrize("packed", [False, True])
def test_an_array_without_dimensions_does_not_end_the_process(path, packed):
    body = plain(path)
    at = [i for i in range(len(body)) if body[i : i + 8] == DIMS]
    for where in (at[0], at[3], at[-1]):
        for length in (0, 4):
            changed = bytes(body[:where]) + struct.pack("<II", 5, length) + bytes(body[where + 8 :])
            rewritten(path, changed, packed)
            with pytest.raises(
                DataError, match=r"f\.mat cannot be read as a MATLAB 5 file: .*dimensions"
            ):
                read_matlab5(path, ["Subject"])


def test_the_other_byte_order(tmp_path):
    io.savemat(tmp_path / "a.mat", {"x": 1.0})
    content = bytearray((tmp_path / "a.mat").read_bytes())
    content[126:128] = b"MI"
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mat cannot be read"):  # it makes no sense then
        check_matlab5(tmp_path / "a.mat", ["x"])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [0, 8, 10, 14, 20, 200])
def test_numbers_of_a_type_that_is_none_do_not_end_the_process(path, kind, packed):
    body = plain(path)
    if kind == 0:
        body[8 + 8] = 5  # the struct array Subject becomes a sparse matrix
    else:
        number = body.index(struct.pack("<II", 9, 8 * 20))  # a vector of 20 numbers
        body[number] = kind
    rewritten(path, bytes(body), packed)
    with pytest.raises(DataError, match=r"f\.mat cannot be read as a MATLAB 5 file"):
        read_matlab5(path, ["Subject"])


def test_a_variable_that_unpacks_to_more_than_it_declares(path):
    head = struct.pack("<II", 14, 100) + FLAGS + struct.pack("<II", 6, 0)
    head += DIMS + struct.pack("<ii", 1, 1 << 24) + struct.pack("<II", 1, 7) + b"Subject\0"
    rewritten(path, head + struct.pack("<II", 9, 1 << 27) + bytes(1 << 27), True)
    with pytest.raises(DataError, match=r"f\.mat .*it unpacks to more than recordings do"):
        read_matlab5(path, ["Subject"])


def test_what_lies_behind_the_variables_is_not_looked_at(path):
    path.write_bytes(path.read_bytes() + b"more" * 100)
    assert "Subject" in read_matlab5(path, ["Subject"])
