"""Requests to a server of this machine, the way that its clients ask it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
import urllib.parse
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Optional

from .engine_log import without_secrets

#: Seconds that an exchange may take, a question to the model, and that where all is looked at.
TIMEOUT, ANSWER_TIMEOUT, LONG_TIMEOUT = 5, 10, 120

#: Bytes of an answer that are read.
_MOST = 4 * 2**20

#: What becomes of a request, as `Reply.state` has it.
ANSWERS, REFUSED, SILENT, LOADING, TOKEN, FAILS = (
    *("answers", "refused", "silent"),
    *("loading", "token", "fails"),
)


@dataclass(frozen=True)
class Reply:
    """`text` is the body, or why there is none."""

    state: str
    text: str = ""
    status: int = 0
    seconds: float = 0.0

    @property
    def document(self) -> Any:
        """The body's JSON, {} where it has none."""
        try:
            return json.loads(self.text) if self.state == ANSWERS else {}
        except ValueError:
            return {}

    @property
    def error(self) -> str:
        """What a server says of a request that it refuses, in one line."""
        try:
            found = json.loads(self.text)["error"]
            said = str(found["message"] if isinstance(found, dict) else found)
        except (ValueError, KeyError, TypeError):
            said = self.text
        said = without_secrets(" ".join(said.split()))
        if len(said) > 300:  # of a template's error the end says what it is
            said = "%s … %s" % (said[:140], said[-150:])
        return "%d: %s" % (self.status, said) if self.status else said


@dataclass(frozen=True)
class Server:
    """Where a server is asked, and the token that it is asked with; it goes nowhere else."""

    url: str
    token: Optional[str] = None

    def ask(
        self,
        path: str,
        body: Optional[Mapping[str, Any]] = None,
        timeout: float = TIMEOUT,
        session: str = "",
    ) -> Reply:
        headers = {"Content-Type": "application/json", "anthropic-version": "2023-06-01"}
        if self.token:
            headers["Authorization"] = "Bearer " + self.token
        if session:
            headers["X-Claude-Code-Session-Id"] = session
        data = json.dumps(body).encode() if body is not None else None
        started = time.monotonic()
        try:
            with _Exchange(self.url, timeout) as exchange:
                status, text = exchange.made(path, data, headers)
        except OSError as error:
            return _without(error)
        except ValueError:  # its text has the header
            return Reply(FAILS, "its token, or its URL, has what no request can have")
        except Exception as error:  # what is no HTTP: http.client has kinds of its own
            return Reply(FAILS, "it does not speak HTTP (%s)" % type(error).__name__)
        if 200 <= status < 300:
            return Reply(ANSWERS, text, status, time.monotonic() - started)
        if self.token:
            text = text.replace(self.token, "…")
        return Reply({503: LOADING, 401: TOKEN, 403: TOKEN}.get(status, FAILS), text, status)

    def message(
        self, model: str, messages: Any, timeout: float = ANSWER_TIMEOUT, **more: Any
    ) -> Reply:
        """Ask the model for one token; `more` may have a session."""
        body = {"model": model, "max_tokens": 1, "messages": messages}
        return self.ask("/v1/messages", body, timeout, **more)


class _Exchange:
    """One request and its answer, past any proxy, and never to where a server sends its callers.
    All of it ends after `timeout` seconds, also with a server that says a byte now and then: with
    a `TimeoutError`."""

    def __init__(self, url: str, timeout: float) -> None:
        parts = urllib.parse.urlsplit(url)
        tls = parts.scheme == "https"
        kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
        self.connection = kind(parts.hostname or "", parts.port, timeout=timeout)
        self.socket: Optional[socket.socket] = None
        self.path = parts.path.rstrip("/")
        self.late = threading.Event()
        self.timer = threading.Timer(timeout, self.end)
        self.timer.daemon = True

    def __enter__(self) -> _Exchange:
        self.timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.timer.cancel()
        self.connection.close()

    def end(self) -> None:
        self.late.set()
        with suppress(OSError):  # it is over
            if self.socket:
                self.socket.shutdown(socket.SHUT_RDWR)

    def made(self, path: str, data: Optional[bytes], headers: Mapping[str, str]) -> tuple[int, str]:
        """The status, and the body."""
        try:
            self.connection.connect()
            self.socket = self.connection.sock  # the connection forgets it before the answer ends
            self.connection.request("POST" if data else "GET", self.path + path, data, headers)
            answer = self.connection.getresponse()
            body = answer.read(_MOST)
        except Exception:
            if self.late.is_set():
                raise TimeoutError from None
            raise
        if self.late.is_set():
            raise TimeoutError
        return answer.status, body.decode(errors="replace")


def _without(reason: object) -> Reply:
    if isinstance(reason, ConnectionRefusedError):
        return Reply(REFUSED, "connection refused")
    if isinstance(reason, (socket.timeout, TimeoutError)):
        return Reply(SILENT, "no answer in time")
    return Reply(FAILS, str(reason))


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}
