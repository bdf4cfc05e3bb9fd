"""A port of the Hub's."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from .messages import Request, Response
from .wire import Connection

Answer = Callable[[Request], Response]


class Listener:
    """A port that is bound from the start to `close`, and answers but between `stop` and `go`."""

    def __init__(self, name: str, address: tuple[str, int], answer: Answer) -> None:
        self.name = name
        self._answer = answer
        self._socket = _bound(address)
        self._socket.listen(128)
        self.address: tuple[str, int] = self._socket.getsockname()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._start()

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    def stop(self) -> None:
        """Refuse connections, and reset those that there are."""
        self._stopping.set()
        # On Linux a socket that listened stays bound, in its namespace, and can listen again.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        while threads := self._running():
            for thread in threads:
                thread.join()

    def go(self) -> None:
        self._socket.listen(128)
        self._start()

    def close(self) -> None:
        self.stop()
        self._socket.close()

    def _start(self) -> None:
        self._stopping = threading.Event()
        self._run(self._accept)

    def _run(self, function: Callable[[], None]) -> None:
        def run() -> None:
            try:
                function()
            finally:
                with self._lock:
                    self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=run, name=f"{self.name} {self.url}", daemon=True)
        with self._lock:
            self._threads.add(thread)
            thread.start()

    def _running(self) -> list[threading.Thread]:
        with self._lock:
            return list(self._threads)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                self._run(Connection(client, self.name, self._answer, self._stopping).serve)


def _bound(address: tuple[str, int]) -> socket.socket:
    """Bound by a port's number: only then does it keep the port when it stops to listen."""
    with socket.socket() as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first.bind(address)
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(first.getsockname())
        except OSError:
            listener.close()
            raise
        return listener
