"""One question to a server, from the name to the answer: what stops it, by its kind."""

from __future__ import annotations

import base64
import errno
import http.client
import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Optional
from urllib.parse import unquote, urlsplit

#: Seconds for a name, for a connection, and for an answer.
NAME, CONNECT, ANSWER = 3.0, 3.0, 5.0

#: Ports on which a host that is up mostly answers, be it with a refusal; and seconds for that.
USUAL, PATIENCE = (22, 80, 443), 1.0

#: Bytes of an answer that are read.
LARGEST = 1_000_000

#: OpenSSL's codes for what is wrong with a certificate (x509_vfy.h).
CERTIFICATES = {9: "cert-early", 10: "cert-expired", 62: "cert-name", 64: "cert-name"}
UNKNOWN_SIGNER = (18, 19, 20, 21)

#: What OpenSSL says where both have no version of TLS in common.
TOO_OLD = ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "VERSION_TOO_LOW")


class Exchange:
    """What http.client needs of a socket; all together takes ANSWER seconds at most, also where a
    piece comes now and then."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.end = connection, time.monotonic() + ANSWER

    def limit(self) -> None:
        left = self.end - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        self.connection.settimeout(left)

    def sendall(self, data: bytes) -> None:
        self.limit()
        self.connection.sendall(data)

    def makefile(self, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(_Pieces(self))

    def close(self) -> None:
        """Whoever has opened the connection closes it."""


def _login(proxy: str) -> Mapping[str, str]:
    """The header with the login of a proxy's URL, if it has one."""
    parts = urlsplit(proxy if "//" in proxy else "//" + proxy)
    if not parts.username:
        return {}
    login = "%s:%s" % (unquote(parts.username), unquote(parts.password or ""))
    return {"Proxy-Authorization": "Basic %s" % base64.b64encode(login.encode()).decode()}


class _Pieces(io.RawIOBase):
    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.exchange.limit()
        return self.exchange.connection.recv_into(buffer)


class Failed(Exception):
    """No answer came, for a reason of that `kind`; `said` are the system's own words."""

    def __init__(self, kind: str, said: str = "", **values: str) -> None:
        super().__init__(kind, said)
        self.kind, self.said, self.values = kind, said, values


@dataclass(frozen=True)
class Reply:
    """`ahead` is how many seconds this machine's clock is before the server's, `days` how long its
    certificate holds; None where the server does not say, or has none. `seconds` is how long all
    took."""

    status: int
    body: bytes
    seconds: float
    headers: Mapping[str, str] = field(default_factory=dict)
    ahead: Optional[float] = None
    days: Optional[float] = None


def ask(
    url: str,
    path: str,
    headers: Mapping[str, str],
    ca: Optional[str] = None,
    proxy: Optional[str] = None,
) -> Reply:
    """What `url` answers to a GET of `path`, through `proxy` if there is one; raises `Failed`."""
    started = time.monotonic()
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    days = None
    opened = _through(proxy, host, port, secure) if proxy else _connected(host, port)
    with opened as plain:
        connection: Any = plain
        if secure:
            connection = _secured(plain, host, port, ca, proxy is not None)
            ends = connection.getpeercert().get("notAfter")
            days = (ssl.cert_time_to_seconds(ends) - time.time()) / 86_400 if ends else None
        with connection:
            asked = http.client.HTTPConnection(host, port)
            asked.sock = Exchange(connection)
            by_proxy = proxy is not None and not secure  # it passes requests on, one by one
            target = url + path if by_proxy else path
            more = _login(proxy) if proxy and by_proxy else {}
            try:
                asked.request("GET", target, headers={"Connection": "close", **headers, **more})
                answer = asked.getresponse()
                body = answer.read(LARGEST)
            except (TimeoutError, socket.timeout) as error:
                raise Failed("no-answer", str(error)) from None
            except (OSError, http.client.HTTPException) as error:
                if not secure and not proxy and _speaks_tls(host, port):
                    raise Failed("http-to-https") from None
                raise Failed("no-http", str(error) or type(error).__name__) from None
            except ValueError:  # its text has the header in it
                raise Failed("header") from None
    if answer.status == 400 and not secure and not proxy and _speaks_tls(host, port):
        raise Failed("http-to-https")
    return Reply(
        status=answer.status,
        body=body,
        seconds=time.monotonic() - started,
        headers={name.lower(): value for name, value in answer.getheaders()},
        ahead=_ahead(answer.getheader("Date")),
        days=days,
    )


def _ahead(date: Optional[str]) -> Optional[float]:
    try:
        return time.time() - parsedate_to_datetime(date or "").timestamp()
    except (TypeError, ValueError, IndexError):
        return None


# The connection


def address(host: str, port: int) -> str:
    """Both as one word."""
    return ("[%s]:%d" if ":" in host else "%s:%d") % (host, port)


def _addresses(host: str, port: int) -> list[Any]:
    """Where the name leads. The system may take half a minute for it, and cannot be stopped."""
    found: list[Any] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(NAME)
    if not found:
        raise Failed("dns-silent", "no answer in %d s" % NAME)
    if isinstance(found[0], socket.gaierror) and found[0].errno == socket.EAI_AGAIN:
        raise Failed("dns-silent", str(found[0].strerror))
    if isinstance(found[0], Exception):
        raise Failed("name", str(getattr(found[0], "strerror", "") or found[0]))
    return list(found[0])


def _connected(host: str, port: int) -> socket.socket:
    """A connection to the first of its addresses that takes one."""
    kinds: dict[str, Failed] = {}
    for family, kind, protocol, _, address in _addresses(host, port):
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(CONNECT)
        try:
            connection.connect(address)
            return connection
        except OSError as error:
            connection.close()
            failed = _why(error)
            if failed.kind == "host-silent" and (other := _answers_elsewhere(family, address)):
                failed = Failed("port-silent", failed.said, other=str(other))
            kinds.setdefault(failed.kind, failed)
    for worst in ("refused", "port-silent", "host-silent"):
        if worst in kinds:
            raise kinds[worst]
    raise kinds.get("no-network") or Failed("name")


def _why(error: OSError) -> Failed:
    if isinstance(error, ConnectionRefusedError):
        return Failed("refused", str(error.strerror))
    if error.errno in (errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL):
        return Failed("no-network", str(error.strerror))
    return Failed("host-silent", str(error.strerror or error))


def _answers_elsewhere(family: int, address: Any) -> Optional[int]:
    """A port on which the host says something, and be it that nothing listens there."""

    def says(port: int) -> bool:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE)
            error = connection.connect_ex((address[0], port, *address[2:]))
            return error in (0, errno.ECONNREFUSED)

    with ThreadPoolExecutor(len(USUAL)) as pool:
        said = list(pool.map(says, USUAL))
    return next((port for port in USUAL if said[USUAL.index(port)]), None)


def _through(proxy: str, host: str, port: int, secure: bool) -> socket.socket:
    """A connection to the proxy, and with TLS one that it passes on."""
    try:
        parts = urlsplit(proxy if "//" in proxy else "//" + proxy)
        at = parts.port or 80
    except ValueError:  # its text has the password in it
        raise Failed("proxy", "what is set is no URL") from None
    if parts.scheme not in ("", "http") or not parts.hostname:
        raise Failed("proxy-unknown", parts.scheme)
    try:
        connection = _connected(parts.hostname, at)
    except Failed as failed:
        raise Failed("proxy", failed.said or failed.kind) from None
    if not secure:
        return connection
    more = "".join("%s: %s\r\n" % header for header in _login(proxy).items())
    place = address(host, port)
    try:
        exchange = Exchange(connection)
        asked = "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (place, place, more)
        exchange.sendall(asked.encode("latin-1"))
        head = b""
        while b"\r\n\r\n" not in head and len(head) < 16_384:
            exchange.limit()
            piece = connection.recv(1)  # what follows is the server's
            if not piece:
                break
            head += piece
    except OSError as error:
        connection.close()
        raise Failed("proxy", str(error)) from None
    connection.settimeout(CONNECT)
    words = head.decode("latin-1").split()
    if len(words) < 2 or words[1] != "200":
        connection.close()
        raise Failed("proxy", "it answers %s" % (words[1] if len(words) > 1 else "nothing"))
    return connection


# TLS


def trusting(ca: Optional[str]) -> ssl.SSLContext:
    """What trusts whom this machine trusts, and the signers in the file `ca`."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Python's default since 3.13; the client takes a signer's certificate without keyUsage.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if ca:
        try:
            context.load_verify_locations(ca)
        except OSError as error:
            raise Failed("ca", os.strerror(error.errno) if error.errno else str(error)) from None
    return context


def _secured(
    plain: socket.socket, host: str, port: int, ca: Optional[str], proxied: bool
) -> ssl.SSLSocket:
    try:
        return trusting(ca).wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        said = str(getattr(error, "verify_message", "") or error)
        code = getattr(error, "verify_code", 0)
        kind = CERTIFICATES.get(code, "cert-unknown" if code in UNKNOWN_SIGNER else "cert-other")
        raise Failed(kind, said) from None
    except ssl.SSLError as error:
        if error.reason in TOO_OLD:
            raise Failed("tls-old", error.reason) from None
        failed = Failed("tls-other", str(error.reason or error))
    except (TimeoutError, socket.timeout) as error:
        failed = Failed("no-answer", str(error))
    except OSError as error:
        failed = Failed("tls-other", str(error.strerror or error))
    if not proxied and _speaks_http(host, port):
        raise Failed("https-to-http")
    raise failed


def _speaks_http(host: str, port: int) -> bool:
    """Whether plain HTTP is understood there."""
    try:
        with socket.create_connection((host, port), CONNECT) as plain:
            asked = http.client.HTTPConnection(host, port)
            asked.sock = Exchange(plain)
            asked.request("GET", "/health", headers={"Connection": "close"})
            # nginx and others say this where TLS is wanted.
            return asked.getresponse().status != 400
    except (OSError, http.client.HTTPException):
        return False


def _speaks_tls(host: str, port: int) -> bool:
    """Whether TLS is understood there, by whomever the certificate is."""
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    try:
        plain = socket.create_connection((host, port), CONNECT)
        with plain, anybody.wrap_socket(plain, server_hostname=host):
            return True
    except OSError:
        return False
