"""Requests to a server of this machine, the way that its clients ask it."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from .engine_log import without_secrets

#: Seconds that an answer may take, and one of the model's where all of it is looked at.
TIMEOUT, ANSWER_TIMEOUT, LONG_TIMEOUT = 5, 10, 120

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
        request = urllib.request.Request(self.url + path, data, headers)  # noqa: S310 - our own url
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)
        started = time.monotonic()
        try:
            with opener.open(request, timeout=timeout) as answer:
                text = answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            state = {503: LOADING, 401: TOKEN, 403: TOKEN}.get(error.code, FAILS)
            return Reply(state, error.read().decode(errors="replace"), error.code)
        except (OSError, ValueError) as error:
            return _without(getattr(error, "reason", error))
        except Exception as error:  # what is no HTTP: http.client has kinds of its own
            return Reply(FAILS, "it does not speak HTTP (%s)" % type(error).__name__)
        return Reply(ANSWERS, text, 200, time.monotonic() - started)

    def message(
        self, model: str, messages: Any, timeout: float = ANSWER_TIMEOUT, **more: Any
    ) -> Reply:
        """Ask the model for one token; `more` may have a session."""
        body = {"model": model, "max_tokens": 1, "messages": messages}
        return self.ask("/v1/messages", body, timeout, **more)


class _Stay(urllib.request.HTTPRedirectHandler):
    """A token goes to no other host, wherever a server sends its callers."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _without(reason: object) -> Reply:
    if isinstance(reason, ConnectionRefusedError):
        return Reply(REFUSED, "connection refused")
    if isinstance(reason, (socket.timeout, TimeoutError)):
        return Reply(SILENT, "no answer in time")
    return Reply(FAILS, str(reason))


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}
