"""The one way out of this package: https to public addresses, with limits on size and waiting.

An address comes from a user, from a list on a server, or from a redirect. None of them may make
this machine ask its own services or those of its network, which trust whoever is inside.
"""

import ipaddress
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import parse_url

from spikelfp_lab.errors import DataError

ALLOW_PRIVATE = "SPIKELFP_ALLOW_PRIVATE"
"""Environment variable: "1" lets addresses of this machine and of private networks be read, by http too."""

LIMIT_BYTES = 50 * 10**9
"""Of one file, unless a registry says less: beyond any recording listed here."""

SPARE_BYTES = 1 << 30
"""Left free on the disk."""

_TIMEOUT_S = (10.0, 60.0)  # to connect, between two packets
_MEMORY_BYTES = (
    256 << 20
)  # of an answer that is read at once; what remfile asks for at most is 105 MB
_CHUNK_BYTES = 1 << 20
_MAX_REDIRECTS = 5
# The addresses by which networks with IPv6 alone reach those of IPv4
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class WebSession(requests.Session):
    """A session of requests that goes to public addresses by https alone.

    What a name resolves to is checked before connecting, and again on the socket, because a name
    may resolve to something else the second time. Redirects are checked like first addresses and
    never lead away from https. Behind a proxy it is the proxy that connects; names are still
    checked as they resolve here.

    Raises
    ------
    DataError
        From every request, for an address that is refused or an answer that is too long.
    """

    def __init__(self) -> None:
        super().__init__()
        # packed answers would have no known length
        self.headers["Accept-Encoding"] = "identity"
        adapter = _Adapter()
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: :meth:`send` follows, because requests would read the whole body of a redirect."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send it, following redirects; an answer that is not streamed has a length within limits."""
        stream, follow = options.pop("stream", False), options.pop("allow_redirects", True)
        options["timeout"] = options.get("timeout") or _TIMEOUT_S
        first = plain_name(request.url or "")
        for _ in range(_MAX_REDIRECTS + 1):
            check_address(request.url or "")
            response = super().send(request, stream=True, allow_redirects=False, **options)
            if not (follow and response.is_redirect):
                break
            response.close()
            request = self._redirected(request, response)
            options["proxies"] = self.rebuild_proxies(request, options.get("proxies"))
        else:
            raise DataError(f"{first} leads from one address to the next without an end.")
        packed = response.headers.get("Content-Encoding", "identity").lower()
        if packed != "identity":
            response.close()
            raise DataError(f"The server of {first} packs what it sends ({packed}), unasked.")
        if not stream:
            length = _length(response)
            if length is None or length > _MEMORY_BYTES:
                response.close()
                raise DataError(f"The server of {first} sends more than was asked for.")
        return response

    def _redirected(
        self, request: requests.PreparedRequest, response: requests.Response
    ) -> requests.PreparedRequest:
        target = urljoin(response.url, response.headers["location"])
        if response.url.lower().startswith("https:") and not target.lower().startswith("https:"):
            raise DataError(
                f"{plain_name(response.url)} leads to {plain_name(target)}, an address without "
                "encryption, which is not followed."
            )
        following = request.copy()
        following.prepare_url(target, None)
        following.headers.pop("Cookie", None)
        self.rebuild_auth(following, response)  # a password is for one host
        return following


class _HTTPConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _checked(super()._new_conn(), "http", self.host)


class _HTTPSConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _checked(super()._new_conn(), "https", self.host)


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection  # pyright: ignore[reportAssignmentType] (their own have it too)


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection  # pyright: ignore[reportAssignmentType]


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}


def _checked(connected: socket.socket, kind: str, host: str) -> socket.socket:
    """The socket, unless it has reached an address that is refused: then it is closed."""
    try:
        _check_ip(connected.getpeername()[0], kind, host)
    except BaseException:
        connected.close()
        raise
    return connected


def check_address(url: str) -> None:
    """Refuse an address that is not https, or that leads into a private network.

    Parameters
    ----------
    url : str

    Raises
    ------
    DataError
        Also when only one of the addresses that the name stands for is private. With the
        environment variable ``SPIKELFP_ALLOW_PRIVATE=1`` addresses of this machine and of private
        networks pass, by http too; never those of one link, as where clouds keep passwords.

    Examples
    --------
    >>> check_address("http://192.0.2.1/a.nwb?token=secret")
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.DataError: http://192.0.2.1/a.nwb leads to 192.0.2.1, which is no public \
address. If you mean it, set the environment variable SPIKELFP_ALLOW_PRIVATE=1.
    """
    name = plain_name(url)
    try:
        parts = parse_url(url)
    except ValueError as error:
        raise DataError(f"{name} is no valid address. Check it.") from error
    host = (parts.host or "").strip("[]")
    if parts.scheme not in ("http", "https") or not host:
        raise DataError(f"{name} is no https address. Check it.")
    try:
        found = socket.getaddrinfo(host, parts.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []  # connecting will say so, unless a proxy knows the name
    for *_, address in found:
        _check_ip(str(address[0]), parts.scheme, name)
    if not found and parts.scheme == "http":
        raise _without_encryption(name)


def _check_ip(text: str, kind: str, name: str) -> None:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = _inner(address) or address
    if address.is_global and not (address.is_multicast or address.is_reserved):
        if kind != "https":
            raise _without_encryption(name)
        return
    no_place = address.is_link_local or address.is_multicast or address.is_unspecified
    if no_place or (address.is_reserved and not address.is_loopback):
        raise DataError(f"{name} leads to {text}, where no recording can be.")
    if os.environ.get(ALLOW_PRIVATE) != "1":
        raise DataError(
            f"{name} leads to {text}, which is no public address. If you mean it, set the "
            f"environment variable {ALLOW_PRIVATE}=1."
        )


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that one of IPv6 stands for."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]


def _without_encryption(name: str) -> DataError:
    return DataError(
        f"{name} has no encryption: what it sends could be read and changed on the way. "
        "Use an https address, or download the file by other means and give its path."
    )


def read(url: str, *, limit_bytes: int) -> bytes:
    """What an address answers, in memory.

    Parameters
    ----------
    url : str
    limit_bytes : int
        Of the answer.

    Returns
    -------
    bytes

    Raises
    ------
    DataError
        For an address that is refused, or an answer that is longer.
    requests.RequestException
        When there is no answer, or one that says no.
    """
    with WebSession() as session, session.get(url, stream=True) as answer:
        answer.raise_for_status()
        return b"".join(pieces(answer, limit_bytes))


def save(url: str, path: str | os.PathLike, *, limit_bytes: int = LIMIT_BYTES) -> None:
    """Download a file.

    Parameters
    ----------
    url : str
    path : str or path
        Written piece by piece; the caller checks its hash and moves it into place.
    limit_bytes : int
        Of the file.

    Raises
    ------
    DataError
        For an address that is refused, a file that is longer, or a disk without space for it; all
        that is known is checked before anything is written.
    requests.RequestException
        When there is no answer, or one that says no.
    """
    with WebSession() as session, session.get(url, stream=True) as answer:
        answer.raise_for_status()
        check_size(_length(answer) or 0, plain_name(url), limit_bytes)
        free = shutil.disk_usage(Path(path).parent).free
        if (_length(answer) or 0) + SPARE_BYTES > free:
            raise DataError(f"only {free / 1e9:.1f} GB are free where {plain_name(url)} would go")
        with open(path, "wb") as out:
            for piece in pieces(answer, limit_bytes):
                out.write(piece)


def pieces(answer: requests.Response, limit_bytes: int) -> Iterator[bytes]:
    """The body of an answer, until it is longer than it may be."""
    brought = 0
    for piece in answer.iter_content(_CHUNK_BYTES):
        brought += len(piece)
        check_size(brought, plain_name(answer.url), limit_bytes)
        yield piece


def check_size(size: int, name: str, limit_bytes: int = LIMIT_BYTES) -> None:
    """Refuse a file, named by its size in bytes, that is longer than the limit."""
    if size > limit_bytes:
        raise DataError(
            f"{name} is longer than {limit_bytes / 1e9:g} GB, the most that is downloaded. "
            "If that is right, get it by other means."
        )


def _length(answer: requests.Response) -> int | None:
    given = answer.headers.get("Content-Length", "")
    chunked = "Transfer-Encoding" in answer.headers
    return int(given) if given.isascii() and given.isdigit() and not chunked else None


def plain_name(where: str | os.PathLike) -> str:
    """Without what may be secret in an address: its query, user and password."""
    text = str(where)
    kind, separator, rest = text.partition("://")
    if not separator:
        return text
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{kind}://{host.rpartition('@')[2]}{slash}{path}"


def without_secrets(text: str) -> str:
    """What libraries say of addresses, without their queries, users and passwords."""
    return re.sub(r"\?[^\s)'\"]+", "?...", re.sub(r"//[^\s/@'\"]+@", "//", text))
