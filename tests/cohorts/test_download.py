"""Downloads: checked by hash, gone on with where they stopped, sized before anything is written."""

import hashlib
import json
from collections import namedtuple

import pytest
import requests

from spikelfp_lab.cohorts import download
from spikelfp_lab.cohorts.download import RemoteFile, fetch, record_files
from spikelfp_lab.errors import DataError
from tests.io.test_remote import serving

CONTENT = bytes(range(256)) * 4000
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_comes_whole_and_an_interrupted_one_goes_on(tmp_path, ranges):
    with serving(CONTENT) as server:
        file = RemoteFile(server.url, tmp_path / "deep" / "a.mat", MD5, len(CONTENT))
        file.part.parent.mkdir()
        file.part.write_bytes(CONTENT[:500_000])
        server.ranges = ranges
        fetch([file], progress=False)
        assert file.path.read_bytes() == CONTENT
        assert server.sent <= len(CONTENT) - (500_000 if ranges else 0)
        asked = server.requests
        fetch([file], progress=False)
        assert server.requests == asked
    assert [one.name for one in file.path.parent.iterdir()] == ["a.mat"]


def test_each_file_gets_its_folder(tmp_path):
    with serving(CONTENT) as server:
        places = [tmp_path / "a" / "1.mat", tmp_path / "b" / "2.mat"]
        fetch(
            [RemoteFile(server.url, place, MD5, len(CONTENT)) for place in places], progress=False
        )
    assert all(place.read_bytes() == CONTENT for place in places)


def test_other_content_is_refused_and_leaves_no_file(tmp_path):
    with serving(CONTENT[::-1]) as server:
        file = RemoteFile(server.url, tmp_path / "a.mat", MD5, len(CONTENT))
        with pytest.raises(DataError, match=r"a\.mat could not be downloaded .*hash"):
            fetch([file], progress=False)
    assert not file.path.exists()


def test_room_is_asked_for_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: namedtuple("_", "free")(10**9))
    file = RemoteFile("https://example.org/a", tmp_path / "a", MD5, 10**10)
    with pytest.raises(DataError, match=r"10\.0 GB to download .*1\.0 GB are free"):
        fetch([file], progress=False)
    assert not list(tmp_path.iterdir())


def test_http_is_refused(tmp_path):
    with pytest.raises(DataError, match="not encrypted"):
        fetch([RemoteFile("http://example.org/a", tmp_path / "a", MD5, 1)])


def test_the_files_of_a_record_are_asked_once(tmp_path, monkeypatch):
    answer = {"files": [{"key": "a b.mat", "size": 5, "checksum": "md5:00"}]}
    asked = []

    def get(url, **_):
        asked.append(url)
        response = requests.Response()
        response.status_code, response._content = 200, json.dumps(answer).encode()
        return response

    monkeypatch.setattr(requests, "get", get)
    for _ in range(2):
        (file,) = record_files(7, tmp_path)
    assert file.url == "https://zenodo.org/records/7/files/a%20b.mat?download=1"
    assert (file.path, file.hash, file.size) == (tmp_path / "a b.mat", "md5:00", 5)
    assert len(asked) == 1
    (tmp_path / "records" / "7-files.json").write_text("{")
    with pytest.raises(DataError, match=r"Zenodo record 7 has no list .*Remove .*7-files\.json"):
        record_files(7, tmp_path)
