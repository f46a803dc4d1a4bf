"""Stores that are not trusted: no links, no paths for names, no codecs that run code, no bombs."""

import json
import os
import pickle

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from spikelfp_lab.errors import DataError
from spikelfp_lab.io._chunks import _zstd_size
from spikelfp_lab.io.open import open_session
from spikelfp_lab.io.store import save_session
from tests.factories import make_session


@pytest.fixture
def path(tmp_path):
    return save_session(make_session(bins=200, trial_bins=50), tmp_path / "s.zarr")


def change(path, how):
    metadata = json.loads((path / ".zmetadata").read_text())
    how(metadata["metadata"])
    (path / ".zmetadata").write_text(json.dumps(metadata))


def declare(array, **fields):
    return lambda entries: entries[f"{array}/.zarray"].update(fields)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        # Zarr lists every chunk that could be there: of these, forever
        (declare("lfp", shape=[2**50, 4]), "chunks of lfp are missing"),
        (declare("lfp", shape=[2**31, 4], chunks=[2**31, 4]), r"lfp of .* declares 34\.360 GB"),
        (declare("lfp", chunks=[2**40, 4]), "lfp of .* declares"),
        (declare("lfp", shape=[200, -4]), "are no sizes"),
        (declare("lfp", shape=[200, True]), "are no sizes"),
        (declare("lfp", shape=[200]), "in chunks of"),
        (declare("lfp", shape=[200, 5]), "chunks of lfp are missing"),
        (declare("lfp", dtype="<f8"), "where 6400 are declared"),
        (declare("lfp", dtype=[["a", "<f4"]]), "has the dtype"),
        (declare("channel", dtype="<U99999999"), "channel of .* declares"),
        (declare("channel", dtype="<U999999999"), "is damaged"),
    ],
)
def test_what_metadata_declare_must_be_there(path, how, message):
    change(path, how)
    with pytest.raises(DataError, match=message) as caught:
        open_session(path)
    assert "s.zarr" in str(caught.value) and "Copy" in str(caught.value)


@pytest.mark.parametrize("codec", ["zstd", "zlib", "blosc"])
def test_a_chunk_that_unpacks_to_more_than_its_array_is_refused(path, codec):
    zeros = np.zeros(1 << 22, np.uint8)
    packed = {
        "zstd": bytes(numcodecs.Zstd(level=1).encode(zeros)) * 1000,  # 4 GB in 150 kB
        "zlib": numcodecs.Zlib(level=9).encode(zeros),
        "blosc": bytes(numcodecs.Blosc().encode(zeros)),
    }[codec]
    change(path, declare("lfp", compressor={"id": codec, "level": 1}, filters=None))
    (path / "lfp" / "0.0").write_bytes(packed)
    with pytest.raises(DataError, match="zlib.*not read" if codec == "zlib" else "are declared"):
        open_session(path)


class _Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("dtype", ["|O", "<f4"])
@pytest.mark.parametrize(
    "first", [[], [{"id": "vlen-utf8"}], [{"id": "shuffle", "elementsize": 4}]]
)
def test_codecs_that_run_code_are_not_read(path, tmp_path, dtype, first, monkeypatch):
    # numcodecs of today refuses by itself, older ones do not
    monkeypatch.setattr("numcodecs.pickles.ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    filters = [*first, {"id": "pickle", "protocol": 5}]
    change(path, declare("lfp", dtype=dtype, filters=filters, compressor=None, fill_value=None))
    (path / "lfp" / "0.0").write_bytes(pickle.dumps(_Malicious(tmp_path / "marker")))
    with pytest.raises(DataError, match=r"packed by .*pickle.* is not read"):
        open_session(path)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", ["../../other", "..", "a/b", "/etc", "..\\x", ".x", ""])
def test_names_of_arrays_are_no_paths(path, name):
    def rename(entries):
        for kind in (".zarray", ".zattrs"):
            entries[f"{name}/{kind}"] = entries.pop(f"lfp/{kind}")

    change(path, rename)
    with pytest.raises(DataError, match=r"s\.zarr holds .* which is no array of a session"):
        open_session(path)


@pytest.mark.parametrize("what", ["lfp", "lfp/0.0", ".zmetadata", "more", "lfp/7.7", "pipe"])
def test_links_and_pipes_are_refused(path, tmp_path, what):
    entry = path / what
    if what == "pipe":
        os.mkfifo(entry)
    else:
        if entry.exists():
            entry.rename(tmp_path / "elsewhere")
        entry.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"is (a link|no file); a session is made of files alone"):
        open_session(path)


def test_a_store_behind_a_link_is_a_session(path, tmp_path):
    (tmp_path / "link.zarr").symlink_to(path)
    assert open_session(tmp_path / "link.zarr").identical(open_session(path))


@pytest.mark.parametrize(
    "text", ["[" * 10**5, '{"metadata":' + '{"a":' * 10**5, "3", "{}", "9" * 10**5]
)
def test_metadata_nested_without_end_or_no_metadata(path, text):
    (path / ".zmetadata").write_text(text)
    with pytest.raises(DataError, match=r"s\.zarr is damaged"):
        open_session(path)


@pytest.mark.parametrize("compressor", [numcodecs.Blosc(), numcodecs.Zstd(), None])
def test_stores_that_xarray_wrote_are_read(tmp_path, compressor):
    session = make_session(bins=200).assign_coords(unit=np.array(list("abcdéf"), dtype=object))
    encoding = {name: {"compressors": compressor} for name in session.variables}
    with zarr.config.set({"array.write_empty_chunks": True}):
        session.to_zarr(tmp_path / "s.zarr", zarr_format=2, consolidated=True, encoding=encoding)
    opened = open_session(tmp_path / "s.zarr")
    assert opened.equals(session) and opened["unit"].values.tolist() == list("abcdéf")


@given(st.binary(max_size=3000), st.booleans(), st.integers(1, 3))
def test_the_size_of_frames_is_read_off_their_headers(content, checksum, times):
    frame = bytes(numcodecs.Zstd(level=3, checksum=checksum).encode(content))
    assert _zstd_size(frame * times) == len(content) * times
    for cut in range(1, len(frame)):
        with pytest.raises(ValueError, match="a chunk"):
            _zstd_size(frame * (times - 1) + frame[:cut])


@given(st.integers(17, 26))
def test_the_size_of_large_frames_too(bits):
    content = bytes(2**bits + 1)
    assert _zstd_size(bytes(numcodecs.Zstd(level=1).encode(content))) == len(content)
