"""A request and the answer to it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import responses
from pathlib import Path

from .faults import BodyFault, Fault


@dataclass
class Request:
    """A request and what became of it. `host` is "hub" or "cdn", `path` that of the URL, decoded;
    `time` is monotonic; `file` is the path in the repository; `status` is 0 before the answer."""

    method: str
    host: str
    path: str
    range: str | None
    authorization: str | None
    bytes_sent: int = 0
    status: int = 0
    time: float = field(default_factory=time.monotonic)
    query: str = ""
    file: str | None = None
    target: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass
class Response:
    """`body` is itself, or the bytes from `start` to `end` of a file; `cleared` ends `fault`."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Path = b""
    start: int = 0
    end: int = 0
    fault: BodyFault | None = None
    cleared: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        if isinstance(self.body, bytes):
            self.end = len(self.body)

    def spoil(self, fault: Fault | None, cleared: threading.Event) -> None:
        """Let it happen to the body, if it is of that kind."""
        if isinstance(fault, BodyFault):
            self.fault, self.cleared = fault, cleared

    @classmethod
    def json(cls, value: object) -> Response:
        headers = {"Content-Type": "application/json; charset=utf-8"}
        return cls(200, headers, json.dumps(value).encode())

    @property
    def head(self) -> bytes:
        phrase = responses.get(self.status, "Unknown")
        lines = [f"HTTP/1.1 {self.status} {phrase}", f"Content-Length: {self.end - self.start}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")
