"""MATLAB files: what is read of them, and one error for what cannot be."""

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import io

from spikelfp_lab.errors import DataError
from spikelfp_lab.io import _matlab
from tests.io.matlab_files import put, put_cell, put_header, struct_array


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.mat"


def _write(path, fill):
    with h5py.File(path, "w", userblock_size=512) as file:
        fill(file)
    put_header(path)


@settings(max_examples=25, deadline=None)
@given(
    values=arrays.arrays(
        st.sampled_from([np.float64, np.float32, np.int16, np.uint8]),
        st.tuples(st.integers(1, 5), st.sampled_from([2, 3])),
        elements=st.integers(0, 100),
    )
)
def test_a_matrix_comes_as_matlab_shows_it(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("matrix") / "a.mat"
    _write(path, lambda file: put(file, "x", values))
    with _matlab.open_hdf5(path) as file:
        found = _matlab.matrix(file, "x", columns=(2, 3))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, values)


def test_cells_keep_their_places(path):
    rows = [[np.array([1.0, 2.0]), np.empty(0)], [np.array([3.0]), np.arange(4.0)]]
    rows += [[np.empty(0), np.array([7.0])]]

    def fill(file):
        refs = file.create_group("#refs#")
        put_cell(file, refs, "spikes", rows)
        put_cell(file, refs, "names", [["M1 001"], ["Größe"], ["S1 003 "]])

    _write(path, fill)
    with _matlab.open_hdf5(path) as file:
        cells = _matlab.cell(file, "spikes")
        assert cells.shape == (3, 2)
        for row, expected in zip(cells, rows, strict=True):
            for reference, values in zip(row, expected, strict=True):
                found = _matlab.numbers_behind(file, reference, what="a cell")
                np.testing.assert_array_equal(found, values)
        names = _matlab.cell(file, "names").ravel()
        found = [_matlab.text_behind(file, each, what="a name") for each in names]
        assert found == ["M1 001", "Größe", "S1 003"]
        with pytest.raises(DataError, match="a cell is float64; text is needed"):
            _matlab.text_behind(file, cells[0, 0], what="a cell")


def test_two_dimensions_of_an_empty_cell_are_no_spikes(path):
    def fill(file):
        put_cell(file, file.create_group("#refs#"), "spikes", [[np.empty(0)]])

    _write(path, fill)
    with h5py.File(path) as file:  # as MATLAB has it: [0 0] in uint64, with an attribute
        inner = file["#refs#/spikes_0_0"]
        assert inner[()].tolist() == [0, 0] and inner.dtype == np.uint64
        assert inner.attrs["MATLAB_empty"] == 1
    with _matlab.open_hdf5(path) as file:
        reference = _matlab.cell(file, "spikes")[0, 0]
        assert _matlab.numbers_behind(file, reference, what="").size == 0


def test_missing_files_and_variables_are_named(path):
    with pytest.raises(DataError, match=r"No file at .*a\.mat"), _matlab.open_hdf5(path):
        pass
    with pytest.raises(DataError, match=r"No file at .*a\.mat"):
        _matlab.read_matlab5(path, ["x"])
    _write(path, lambda file: put(file, "y", np.ones((3, 1))))
    with _matlab.open_hdf5(path) as file, pytest.raises(DataError, match="no array 'x'; it has y"):
        _matlab.dataset(file, "x")


def test_matlab_5_structs_have_their_fields(path):
    io.savemat(path, {"S": struct_array([{"a": np.ones((2, 1)), "b": "good"}])})
    struct = _matlab.read_matlab5(path, ["S"])["S"][0, 0]
    assert struct.a.shape == (2, 1) and struct.b.tolist() == ["good"]


@pytest.mark.parametrize("content", [b"", b"not MATLAB" * 100, b"MATLAB 5.0".ljust(128, b"\0")])
def test_no_matlab_5_file_is_one_clear_error(path, content):
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mat"):
        _matlab.read_matlab5(path, ["x"])
