"""Files behind an address: read in parts, kept once read, and every failure is one clear error."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType, SimpleNamespace

import h5py
import numpy as np
import pytest

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.io.nwb_read import describe_nwb, open_nwb
from tests.io.nwb_files import add_lfp, add_units, start_file, whole_file, write


class _Handler(BaseHTTPRequestHandler):
    """One file, with or without Range support; counts the bytes and the requests."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.requests += 1
        if self.path.partition("?")[0] != "/a.nwb":
            self.send_error(404, "Not Found")
            return
        if server.login:
            self.send_error(403, "Forbidden")
            return
        data, asked = server.data, self.headers.get("Range")
        start, stop = 0, len(data)
        if asked and server.ranges:
            first, last = asked.removeprefix("bytes=").split("-")
            start, stop = int(first), min(int(last or len(data)) + 1, len(data))
        self.send_response(206 if asked and server.ranges else 200)
        if asked and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        try:
            for at in range(start, stop, 1 << 16):
                piece = data[at : min(at + (1 << 16), stop)]
                self.wfile.write(piece)
                server.sent += len(piece)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # whoever asked for the length only has gone

    def log_message(self, *_):
        pass


@contextmanager
def serving(data: bytes, *, ranges=True, login=False) -> Iterator[SimpleNamespace]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.data, server.ranges, server.login = data, ranges, login
    server.sent = server.requests = 0
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        server.url = f"http://127.0.0.1:{server.server_port}/a.nwb"
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPIKELFP_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nwb"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return whole_file(tmp_path_factory.mktemp("small") / "a.nwb").read_bytes()


def test_opening_and_describing_fetch_a_part_of_a_large_file(tmp_path):
    rng = np.random.default_rng(0)
    nwbfile = start_file()
    add_units(nwbfile)
    add_lfp(nwbfile, np.zeros((10_000, 3)), conversion=1e-6)
    add_lfp(nwbfile, np.zeros((10, 3)), inside=None, name="raw", rate_hz=30_000.0)
    path = write(nwbfile, tmp_path / "large.nwb")
    with h5py.File(path, "a") as file:
        file["processing/ecephys/LFP/lfp/data"][:] = rng.normal(size=(10_000, 3))
        raw = file["acquisition/raw"]
        attrs = dict(raw["data"].attrs)
        del raw["data"]
        noise = rng.integers(-999, 999, (12_000_000, 3), dtype=np.int16)
        raw.create_dataset("data", data=noise, chunks=(100_000, 3)).attrs.update(attrs)
    with serving(path.read_bytes()) as server:
        assert len(server.data) > 70e6
        table = describe_nwb(server.url).set_index("object")
        assert table.loc["acquisition/raw", "shape"] == "12000000 x 3"
        assert server.sent < 0.1 * len(server.data)
        server.sent = 0
        session = open_nwb(server.url, progress=False)
        assert server.sent < 0.25 * len(server.data)
    assert session.equals(open_nwb(path, progress=False))


def test_a_session_is_kept_and_read_again_without_the_server(small, cache):
    with serving(small) as server:
        secret = open_nwb(f"{server.url}?token=secret", cache=False, progress=False)
        first = open_nwb(server.url, progress=False)
        assert "secret" not in str(secret.attrs) and secret.equals(first)
        asked = server.requests
        again = open_nwb(server.url, progress=False)
        assert server.requests == asked and again.identical(first)
        # other options are another session
        coarse = open_nwb(server.url, bin_size_s=0.02, progress=False)
        assert server.requests > asked and coarse.sizes["time"] < first.sizes["time"]
        asked = server.requests
        fresh = open_nwb(server.url, cache=False, progress=False)
        assert server.requests > asked and fresh.identical(first)
    assert len(list(cache.glob("*.zarr"))) == 2
    assert open_nwb(server.url, progress=False).identical(first)
    with pytest.raises(DataError, match="cannot be reached"):
        open_nwb(server.url, cache=False)


def test_bad_answers_are_one_error_each_and_leave_nothing(small, cache):
    with serving(small) as server, pytest.raises(DataError, match="answers 404 Not F") as caught:
        open_nwb(server.url.replace("a.nwb", "b.nwb?token=secret"))
    assert "secret" not in str(caught.value)
    with (
        serving(small, ranges=False) as server,
        pytest.raises(DataError, match="download it"),
    ):
        open_nwb(server.url)
    with serving(small, login=True) as server, pytest.raises(DataError, match=r"403.*expired"):
        open_nwb(server.url)
    for damaged in (b"<html>no file</html>" * 100, small[: len(small) // 2]):
        with serving(damaged) as server, pytest.raises(DataError, match="cannot be opened as HDF5"):
            open_nwb(server.url)
    with pytest.raises(DataError, match="cannot be reached"):
        open_nwb("http://127.0.0.1:9/a.nwb")
    with pytest.raises(DataError, match="not encrypted"):
        open_nwb("http://example.org/a.nwb")
    with pytest.raises(ConfigError, match="kind 's3'"):
        open_nwb("s3://bucket/a.nwb")
    assert not [each for each in cache.rglob("*") if each.is_file()]


class NotFoundError(RuntimeError):
    """As in dandi.exceptions."""


class _Dandi:
    """What is used of dandi.dandiapi.DandiAPIClient."""

    url = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def get_dandiset(self, number, version):
        return self

    def get_asset_by_path(self, path):
        if path != "sub-1/a.nwb":
            raise NotFoundError(f"No asset at path {path}")
        return SimpleNamespace(get_content_url=lambda **_: _Dandi.url)


@pytest.fixture
def dandi(monkeypatch):
    package, api, exceptions = (
        ModuleType(f"dandi{name}") for name in ("", ".dandiapi", ".exceptions")
    )
    api.DandiAPIClient, exceptions.NotFoundError = _Dandi, NotFoundError
    for module in (package, api, exceptions):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def test_dandi_addresses_resolve(small, dandi, cache, monkeypatch):
    with serving(small) as server:
        monkeypatch.setattr(_Dandi, "url", server.url)
        session = open_nwb("dandi:000688/sub-1/a.nwb", progress=False)
        assert len(describe_nwb("dandi:000688@0.250122.1735/sub-1/a.nwb")) == 4
    assert session.attrs["subject"] == "rat1"
    assert open_nwb("dandi:000688/sub-1/a.nwb", progress=False).identical(session)
    with pytest.raises(DataError, match=r"sub-1/b.nwb cannot be found in DANDI .*No asset"):
        open_nwb("dandi:000688/sub-1/b.nwb")
    with pytest.raises(ConfigError, match="is no DANDI address"):
        open_nwb("dandi:688")
