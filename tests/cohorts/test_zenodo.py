"""Downloads from a server on this machine that can stop halfway, forget Range, lie, or be missing."""

import errno
import hashlib
import json
import shutil
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import requests

from spikelfp_lab.cohorts import _zenodo
from spikelfp_lab.cohorts._zenodo import RemoteFile, download, record_files
from spikelfp_lab.errors import DataError

CONTENT = np.random.default_rng(0).bytes(300_000)


class _Server(ThreadingHTTPServer):
    """Serves ``files`` (path -> bytes) and notes what is asked for.

    ``redirects``: path -> address it leads to; ``stop_after``: bytes after which each of the next answers breaks off, one a request;
    ``ranges``: whether Range is understood.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.asked, self.stop_after, self.ranges = {}, [], [], True
        self.redirects = {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, path = self.server, self.path.split("?")[0]
        given = self.headers.get("Range")
        server.asked.append((path, given))
        if path in server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects[path])
            self.end_headers()
            return
        body = server.files.get(path)
        if body is None:
            self.send_error(404)
            return
        start = int(given.removeprefix("bytes=").split("-")[0]) if given and server.ranges else 0
        if given and server.ranges:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        stop = server.stop_after.pop(0) if server.stop_after else len(body)
        self.wfile.write(body[start : start + stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(_zenodo, "ZENODO", server.url)
    monkeypatch.setenv("SPIKELFP_ALLOW_PRIVATE", "1")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def file(server, monkeypatch):
    monkeypatch.setattr(_zenodo, "_CHUNK_BYTES", 10_000)  # what an interruption may lose
    server.files["/records/7/files/a.mat"] = CONTENT
    return RemoteFile(7, "a.mat", len(CONTENT), hashlib.md5(CONTENT).hexdigest())


def _visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_file_is_downloaded_once(server, file, tmp_path):
    download([file], tmp_path, progress=False)
    assert (tmp_path / "a.mat").read_bytes() == CONTENT
    download([file], tmp_path, progress=False)
    assert server.asked == [("/records/7/files/a.mat", None)]
    assert [path.name for path in tmp_path.iterdir()] == ["a.mat"]


def test_a_broken_connection_is_taken_up_where_it_broke(server, file, tmp_path):
    server.stop_after = [100_000, 50_000]
    download([file], tmp_path, progress=False)
    assert (tmp_path / "a.mat").read_bytes() == CONTENT
    assert [given for _, given in server.asked] == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_call_goes_on_from_what_an_earlier_one_brought(server, file, tmp_path):
    server.stop_after = [40_000] * _zenodo._ATTEMPTS
    with pytest.raises(DataError, match=r"a\.mat of Zenodo record 7 .* Call again to go on"):
        download([file], tmp_path, progress=False)
    assert _visible(tmp_path) == []
    brought = 40_000 * _zenodo._ATTEMPTS
    server.asked.clear()
    download([file], tmp_path, progress=False)
    assert (tmp_path / "a.mat").read_bytes() == CONTENT
    assert server.asked == [("/records/7/files/a.mat", f"bytes={brought}-")]


def test_a_server_without_range_gives_all_of_it_again(server, file, tmp_path):
    server.ranges, server.stop_after = False, [100_000]
    download([file], tmp_path, progress=False)
    assert (tmp_path / "a.mat").read_bytes() == CONTENT


def test_other_content_is_refused_and_not_kept(server, file, tmp_path):
    server.files["/records/7/files/a.mat"] = CONTENT[:-1] + b"!"
    with pytest.raises(DataError, match="hash"):
        download([file], tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []
    server.files["/records/7/files/a.mat"] = CONTENT
    download([file], tmp_path, progress=False)
    assert _visible(tmp_path) == ["a.mat"]


def test_more_than_was_promised_is_refused(server, file, tmp_path):
    server.files["/records/7/files/a.mat"] = CONTENT * 20
    with pytest.raises(DataError, match="hash"):
        download([file], tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_is_asked_for_once(server, file, tmp_path):
    del server.files["/records/7/files/a.mat"]
    with pytest.raises(DataError, match="404") as caught:
        download([file], tmp_path, progress=False)
    assert len(server.asked) == 1 and file.url in str(caught.value)
    assert _visible(tmp_path) == []


def test_an_answer_from_the_wrong_byte_is_refused(server, file, tmp_path, monkeypatch):
    server.stop_after = [100_000]
    monkeypatch.setattr(_zenodo, "_ATTEMPTS", 1)
    with pytest.raises(DataError):
        download([file], tmp_path, progress=False)
    send = requests.Session.send

    def shifted(*args, **options):
        response = send(*args, **options)
        response.headers["Content-Range"] = "bytes 5-299999/300000"
        return response

    monkeypatch.setattr(requests.Session, "send", shifted)
    with pytest.raises(DataError, match=r"the bytes from 100000 with 'bytes 5-299999"):
        download([file], tmp_path, progress=False)


def test_a_private_address_is_not_asked(server, file, tmp_path, monkeypatch):
    monkeypatch.delenv("SPIKELFP_ALLOW_PRIVATE")
    with pytest.raises(DataError, match=r"no public address.*SPIKELFP_ALLOW_PRIVATE"):
        download([file], tmp_path, progress=False)
    with pytest.raises(DataError, match=r"did not say what record 7 holds.*no public address"):
        record_files(7, tmp_path)
    assert not server.asked and _visible(tmp_path) == []


def test_a_redirect_to_elsewhere_is_not_followed(server, file, tmp_path):
    server.redirects["/records/7/files/a.mat"] = "http://240.0.0.1/latest/meta-data"
    with pytest.raises(DataError, match=r"leads to 240\.0\.0\.1"):
        download([file], tmp_path, progress=False)
    assert len(server.asked) == 1 and list(tmp_path.iterdir()) == []


def test_sizes_beyond_any_recording_are_refused_before_anything_is_asked(server, tmp_path):
    with pytest.raises(DataError, match=r"a\.mat is longer than 50 GB"):
        download([RemoteFile(7, "a.mat", 10**12, "0" * 32)], tmp_path, progress=False)
    assert not server.asked
    server.files["/api/records/7"] = b" " * (_zenodo._LIST_BYTES + 1)
    with pytest.raises(DataError, match=r"longer than 0\.01"):
        record_files(7, tmp_path)


def test_the_addresses_are_https():
    assert _zenodo.ZENODO == "https://zenodo.org"
    assert RemoteFile(7, "a.mat", 1, "").url == (
        "https://zenodo.org/records/7/files/a.mat?download=1"
    )


def test_the_space_is_said_first_and_checked(server, file, tmp_path, monkeypatch, capsys):
    download([file], tmp_path / "one", progress=True)
    said = capsys.readouterr().err
    assert said.index("0.0 GB to download (1 files)") < said.index("a.mat")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 10**9))
    server.asked.clear()
    with pytest.raises(DataError, match=r"1\.0 GB are free: not enough.*broadband=False"):
        download([file], tmp_path / "two", progress=False)
    assert server.asked == [] and _visible(tmp_path / "two") == []


def test_a_full_disk_is_one_clear_error(server, file, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_zenodo._Resuming, "_fetch", full)
    with pytest.raises(DataError, match="No space left on device"):
        download([file], tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["legacy", "new"])
def test_a_record_is_asked_once_in_both_forms_zenodo_has_had(server, tmp_path, form):
    md5 = "0" * 32
    entry = (
        {"key": "a.mat", "size": 12, "checksum": f"md5:{md5}"}
        if form == "legacy"
        else {"filename": "a.mat", "filesize": 12, "checksum": md5}
    )
    server.files["/api/records/7"] = json.dumps({"id": 7, "files": [entry]}).encode()
    assert record_files(7, tmp_path) == [RemoteFile(7, "a.mat", 12, md5)]
    assert record_files(7, tmp_path) == [RemoteFile(7, "a.mat", 12, md5)]
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "answer, match",
    [
        (b"<html>", "did not say what record 7 holds"),
        (b"[]", "did not answer with a list of files"),
        (b'{"files": [{"key": "a.mat"}]}', "did not answer with a list of files"),
        (
            b'{"files": [{"key": "../a.mat", "size": 1, "checksum": "%s"}]}' % (b"0" * 32),
            "not usable",
        ),
        (b'{"files": [{"key": "a.mat", "size": 1, "checksum": "sha1:0"}]}', "not usable"),
        (None, "404"),
    ],
)
def test_an_answer_that_is_no_list_of_files_is_not_kept(server, tmp_path, answer, match):
    if answer is not None:
        server.files["/api/records/7"] = answer
    with pytest.raises(DataError, match=match):
        record_files(7, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_list_is_named(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "7.json").write_text('[{"name": 1')
    with pytest.raises(DataError, match=r"7\.json is damaged"):
        record_files(7, tmp_path)


def test_without_network_the_address_and_the_folder_are_named(tmp_path, monkeypatch):
    def none(*_args, **_options):
        raise requests.ConnectionError("no network")

    monkeypatch.setattr(requests.Session, "send", none)
    with pytest.raises(DataError, match=r"doi\.org/10\.5281/zenodo\.7 into "):
        record_files(7, tmp_path)
