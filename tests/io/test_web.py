"""Nothing but https to public addresses, whatever an address, a name server or a redirect says."""

import ipaddress
import shutil
import socket
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelfp_lab.errors import DataError
from spikelfp_lab.io import _web
from spikelfp_lab.io._web import (
    WebSession,
    check_address,
    plain_name,
    read,
    save,
    without_secrets,
)

PRIVATE = ["10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"]
NOWHERE = ["0.0.0.0/32", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"]
PUBLIC = "93.184.216.34"


def addresses(networks):
    return st.sampled_from(networks).flatmap(lambda net: st.ip_addresses(v=4, network=net))


def spellings(address):
    """The same address as a browser, a resolver or a network with IPv6 alone would take it."""
    number, text = int(address), str(address)
    return [
        text,
        f"user:word@{text}",
        str(number),
        hex(number),
        ".".join(f"0{int(part):o}" for part in text.split(".")),
        f"[::ffff:{text}]",
        f"[{ipaddress.IPv6Address(int(ipaddress.IPv6Address('64:ff9b::')) + number)}]",
        f"[2002:{number >> 16:x}:{number & 0xFFFF:x}::1]",
    ]


@pytest.fixture
def allowed(monkeypatch):
    monkeypatch.setenv(_web.ALLOW_PRIVATE, "1")


@settings(deadline=None)  # names are looked up
@given(address=addresses(PRIVATE + NOWHERE), kind=st.sampled_from(["http", "https"]))
def test_no_spelling_of_a_private_address_passes(address, kind):
    for host in spellings(address):
        with pytest.raises(DataError, match="leads to") as caught:
            check_address(f"{kind}://{host}/a.nwb?token=secret")
        assert "secret" not in str(caught.value) and "word" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.1", "[::1]", "[fe80::1]", "[fd00::1]", "[ff02::1]", "[::]"],
)
def test_other_names_of_private_addresses_do_not_pass(host):
    with pytest.raises(DataError):
        check_address(f"https://{host}:8000/a.nwb")


def test_public_addresses_pass_by_https_alone(allowed):
    for host in (PUBLIC, "[2606:4700::1111]", f"[64:ff9b::{PUBLIC}]"):
        check_address(f"https://{host}/a.nwb")
        with pytest.raises(DataError, match=r"no encryption.*Use an https address"):
            check_address(f"http://{host}/a.nwb")
    with pytest.raises(DataError, match="no encryption"):
        check_address("http://a-name-that-is-not.invalid/a.nwb")
    for where in ("https:///a.nwb", "ftp://example.org/a", "https://[::1/a.nwb", "file:///etc/a"):
        with pytest.raises(DataError, match="address"):
            check_address(where)


@settings(deadline=None)
@given(address=addresses(PRIVATE), elsewhere=addresses(NOWHERE))
def test_the_user_can_allow_private_addresses_but_no_others(address, elsewhere):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(_web.ALLOW_PRIVATE, "1")
        for kind in ("http", "https"):
            check_address(f"{kind}://{address}/a.nwb")
            with pytest.raises(DataError, match="where no recording can be"):
                check_address(f"{kind}://{elsewhere}/latest/meta-data")
        patch.setenv(_web.ALLOW_PRIVATE, "0")
        with pytest.raises(DataError, match="SPIKELFP_ALLOW_PRIVATE=1"):
            check_address(f"https://{address}/a.nwb")


def test_one_private_address_among_those_of_a_name_is_enough(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", resolver([PUBLIC, "10.0.0.1"]))
    with pytest.raises(DataError, match=r"example.org/a leads to 10\.0\.0\.1"):
        check_address("https://example.org/a")


def resolver(*answers):
    """A name server that gives one answer after the other, the last one for ever."""
    left = list(answers)

    def getaddrinfo(host, port, *_, **__):
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    return getaddrinfo


class _Handler(BaseHTTPRequestHandler):
    """Answers what the test says: status, headers, pieces of the body."""

    def do_GET(self):
        self.server.asked.append(self.path)
        status, headers, body = self.server.answers[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            for piece in body:
                self.wfile.write(piece)
                self.server.sent += len(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.answers, server.asked, server.sent, server.daemon_threads = {}, [], 0, True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def endless(total=1 << 30):
    return (b"x" * (1 << 16) for _ in range(total >> 16))


def test_a_name_that_turns_private_after_the_check_reaches_no_one(server, monkeypatch):
    met = []
    accept = server.get_request
    server.get_request = lambda: met.append(accept()) or met[-1]
    monkeypatch.setattr(socket, "getaddrinfo", resolver([PUBLIC], ["127.0.0.1"]))
    with pytest.raises(DataError, match=r"leads to 127\.0\.0\.1, which is no public"):
        read(f"https://example.org:{server.server_port}/", limit_bytes=10)
    assert not server.asked
    # what was said on the connection before it was closed again: no greeting of TLS either
    assert all(connection.recv(1) == b"" for connection, _ in met if connection.fileno() >= 0)


@pytest.mark.parametrize(
    "target",
    [
        "http://240.0.0.1/latest/meta-data",
        "file:///etc/passwd",
        "//0.0.0.0/",
        "ftp://127.1/a",
    ],
)
def test_redirects_are_checked_like_first_addresses(server, allowed, target):
    server.answers["/a"] = (302, {"Location": "/b"}, [])
    server.answers["/b"] = (302, {"Location": target}, [])
    with pytest.raises(DataError):
        read(f"{server.url}/a", limit_bytes=10)
    assert server.asked == ["/a", "/b"]


def test_redirects_are_followed_without_reading_their_bodies_and_not_for_ever(server, allowed):
    server.answers["/a"] = (302, {"Location": "/c"}, endless())
    server.answers["/b"] = (301, {"Location": "/b"}, [])
    server.answers["/c"] = (200, {}, [b"here"])
    assert read(f"{server.url}/a", limit_bytes=4) == b"here"
    assert server.sent < 100 << 20
    with pytest.raises(DataError, match="without an end"):
        read(f"{server.url}/b", limit_bytes=4)
    assert server.asked.count("/b") == _web._MAX_REDIRECTS + 1


def redirected(request_headers, target):
    request = requests.Request("GET", "https://example.org/a", headers=request_headers).prepare()
    answer = requests.Response()
    answer.status_code, answer.url, answer.request = 302, request.url, request
    answer.headers["location"] = target
    return WebSession()._redirected(request, answer)


def test_a_redirect_never_leaves_https_nor_takes_a_password_elsewhere():
    secret = {"Authorization": "Basic secret", "Cookie": "secret"}
    assert "secret" not in str(redirected(secret, "https://example.com/b").headers)
    following = redirected(secret, "/b")
    assert following.url == "https://example.org/b" and "Authorization" in following.headers
    for target in ("http://example.org/b?secret", "HTTP://example.org/b", "file:///b"):
        with pytest.raises(DataError, match="without encryption, which is not followed") as caught:
            redirected({}, target)
        assert "secret" not in str(caught.value)


def test_what_is_longer_than_it_may_be_is_stopped(server, allowed, tmp_path):
    server.answers["/said"] = (200, {"Content-Length": str(1 << 30)}, endless())
    server.answers["/unsaid"] = (200, {}, endless())
    for path in ("/said", "/unsaid"):
        for get in (read, lambda url, **limit: save(url, tmp_path / "a", **limit)):
            server.sent = 0
            with pytest.raises(DataError, match=r"longer than 0\.003 GB.*by other means"):
                get(f"{server.url}{path}", limit_bytes=3_000_000)
            assert server.sent < 100 << 20  # what the sockets hold
        # what is said is believed before anything is written
        assert (tmp_path / "a").exists() == (path == "/unsaid")
    assert (tmp_path / "a").stat().st_size <= 3_000_000
    server.answers["/right"] = (200, {"Content-Length": "4"}, [b"here"])
    save(f"{server.url}/right", tmp_path / "b", limit_bytes=4)
    assert (tmp_path / "b").read_bytes() == b"here"


def test_space_is_checked_before_anything_is_written(server, allowed, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 10**9))
    server.answers["/a"] = (200, {"Content-Length": "4"}, [b"here"])
    with pytest.raises(DataError, match=r"only 1\.0 GB are free"):
        save(f"{server.url}/a", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_packed_answers_and_answers_of_unknown_length_are_not_read_at_once(server, allowed):
    server.answers["/packed"] = (
        200,
        {"Content-Encoding": "gzip", "Content-Length": "9"},
        [b"x" * 9],
    )
    server.answers["/unsaid"] = (200, {}, [b"here"])
    server.answers["/long"] = (200, {"Content-Length": str(_web._MEMORY_BYTES + 1)}, endless())
    server.answers["/right"] = (200, {"Content-Length": "4"}, [b"here"])
    with WebSession() as session:
        with pytest.raises(DataError, match=r"packs what it sends \(gzip\)"):
            session.get(f"{server.url}/packed", stream=True)
        for path in ("/unsaid", "/long"):
            with pytest.raises(DataError, match="more than was asked for"):
                session.get(f"{server.url}{path}")
        assert session.get(f"{server.url}/right").content == b"here"


def test_every_request_has_a_time_limit(server, allowed, monkeypatch):
    monkeypatch.setattr(_web, "_TIMEOUT_S", (0.2, 0.2))
    for path in ("/a", "/b"):
        late = (b"x" for _ in range(4) if not threading.Event().wait(0.5))
        server.answers[path] = (200, {"Content-Length": "4"}, late)
    with pytest.raises(requests.RequestException, match="timed out"):
        read(f"{server.url}/a", limit_bytes=10)
    with WebSession() as session, pytest.raises(requests.RequestException, match="timed out"):
        session.get(f"{server.url}/b").content  # noqa: B018


@given(
    user=st.from_regex(r"[a-z]{3,8}:secret[a-z%@]{0,5}", fullmatch=True),
    query=st.from_regex(r"[?#]sig=secret[&a-z/?#@]{0,9}", fullmatch=True),
)
def test_names_of_addresses_hold_no_secrets(user, query):
    url = f"https://{user}@example.org/x@y/a.nwb{query}"
    assert plain_name(url) == "https://example.org/x@y/a.nwb"
    assert plain_name(f"https://{user}@example.org{query}") == "https://example.org"
    told = without_secrets(f"Error for https://{user}@example.org/a.nwb?sig=secret: (no '//' here)")
    assert "secret" not in told and "example.org/a.nwb" in told


def test_names_of_paths_stay_as_they_are():
    assert plain_name("folder/what?.nwb") == "folder/what?.nwb"
