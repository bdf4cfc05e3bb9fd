"""HTTP/1.1 on a connection: bodies by sendfile, and faults in them."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from .faults import Flip, Reset, Stall, Trickle, Truncate
from .messages import Request, Response

#: How soon a thread that waits for its client notices that it has to end.
_TICK = struct.pack("ll", 0, 100_000)
_AT_ONCE = struct.pack("ii", 1, 0)
_CHUNK = 16 * 2**20
_HEAD_LIMIT = 64 * 2**10

T = TypeVar("T")


class GoneError(Exception):
    """The connection is to be reset."""


class Connection:
    """A client's; it ends with a reset soon after `stopping` is set."""

    def __init__(
        self,
        client: socket.socket,
        host: str,
        answer: Callable[[Request], Response],
        stopping: threading.Event,
    ) -> None:
        self._socket = client
        self._host = host
        self._answer = answer
        self._stopping = stopping
        self._read = b""
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TICK)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TICK)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def serve(self) -> None:
        with self._socket, suppress(OSError):
            try:
                while self._exchange():
                    pass
            except GoneError:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)

    def _exchange(self) -> bool:
        """Answer one request; False when it was the last."""
        while b"\r\n\r\n" not in self._read:
            data = self._patiently(self._socket.recv, _HEAD_LIMIT)
            if not data or len(self._read) > _HEAD_LIMIT:
                return False
            self._read += data
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        if len(words) != 3 or words[2] != "HTTP/1.1" or not words[1].startswith("/"):
            self._send(Response(400, {"Connection": "close"}).head)
            return False
        path, _, query = words[1].partition("?")
        request = Request(
            *(words[0], self._host, unquote(path)),
            *(headers.get("range"), headers.get("authorization")),
            query=query,
            target=words[1],
            headers=headers,
        )
        response = self._answer(request)
        # A body of the client's is not read.
        last = headers.get("connection", "").lower() == "close" or bool(
            headers.keys() & {"content-length", "transfer-encoding"}
        )
        if last:
            response.headers["Connection"] = "close"
        return self._respond(request, response) and not last

    def _respond(self, request: Request, response: Response) -> bool:
        fault = response.fault
        if request.method == "HEAD":
            match fault:
                case Reset():
                    raise GoneError
                case Truncate():
                    return False
                case Stall(_, seconds):
                    self._sleep(seconds, response.cleared)
        request.status = response.status
        self._send(response.head)
        if request.method == "HEAD":
            return True
        start, end = response.start, response.end
        middle = min(start + getattr(fault, "after", 0), end)
        match fault:
            case Reset():
                self._send_body(request, response, start, middle)
                self._drain()
                raise GoneError
            case Truncate():
                self._send_body(request, response, start, middle)
                return False
            case Stall(_, seconds):
                self._send_body(request, response, start, middle)
                self._sleep(seconds, response.cleared)
                self._send_body(request, response, middle, end)
            case Trickle(_, bytes_per_second):
                self._send_body(request, response, start, middle)
                step = max(bytes_per_second // 10, 1)
                while middle < end:
                    self._sleep(step / bytes_per_second, response.cleared)
                    start, slow = middle, not response.cleared.is_set()
                    middle = min(start + step, end) if slow else end
                    self._send_body(request, response, start, middle)
            case Flip(offset):
                self._send_body(request, response, start, offset)
                self._send(_flipped(response.body, offset))
                request.bytes_sent += 1
                self._send_body(request, response, offset + 1, end)
            case None:
                self._send_body(request, response, start, end)
        return True

    def _send_body(self, request: Request, response: Response, start: int, end: int) -> None:
        if isinstance(response.body, bytes):
            self._send(response.body[start:end])
            request.bytes_sent += end - start
            return
        with response.body.open("rb") as file:
            here, there = file.fileno(), self._socket.fileno()
            while start < end:
                count = min(end - start, _CHUNK)
                sent = self._patiently(os.sendfile, there, here, start, count)
                if not sent:
                    raise RuntimeError(f"{response.body} was cut while it was served")
                start += sent
                request.bytes_sent += sent

    def _send(self, data: bytes) -> None:
        while data:
            data = data[self._patiently(self._socket.send, data) :]

    def _patiently(self, function: Callable[..., T], *words: object) -> T:
        while not self._stopping.is_set():
            with suppress(BlockingIOError):
                return function(*words)
        raise GoneError

    def _sleep(self, seconds: float, cleared: threading.Event) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not cleared.is_set():
            if self._stopping.wait(min(left, 0.1)):
                raise GoneError

    def _drain(self) -> None:
        """Wait until the client's side has all that was sent: a reset throws away the rest."""
        deadline = time.monotonic() + 60
        while struct.unpack("i", fcntl.ioctl(self._socket, termios.TIOCOUTQ, b"\0" * 4))[0]:
            if time.monotonic() > deadline:
                return
            if self._stopping.wait(0.005):
                raise GoneError


def _flipped(body: bytes | Path, offset: int) -> bytes:
    if isinstance(body, bytes):
        return bytes([body[offset] ^ 1])
    with body.open("rb") as file:
        file.seek(offset)
        return bytes([file.read(1)[0] ^ 1])
