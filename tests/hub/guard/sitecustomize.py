"""On PYTHONPATH of a client under test: its Python reaches loopback, and HOMEPORT_TEST_ALLOW."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from typing import Any

_ALLOWED = frozenset(filter(None, os.environ.get("HOMEPORT_TEST_ALLOW", "").split(",")))


def _check(host: object) -> None:
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name in _ALLOWED or name == "localhost":
        return
    try:
        if ipaddress.ip_address(name.partition("%")[0]).is_loopback:
            return
    except ValueError:
        pass
    raise OSError(f"the test guard allows loopback only: {name}")


def _guarded(connect: Callable[[socket.socket, Any], Any]) -> Callable[[socket.socket, Any], Any]:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family != socket.AF_UNIX:
            _check(address[0])
        return connect(self, address)

    return guarded


def _guarded_lookup(lookup: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(host: Any, *words: Any, **named: Any) -> Any:
        if host:
            _check(host)
        return lookup(host, *words, **named)

    return guarded


for _name in ("connect", "connect_ex"):
    setattr(socket.socket, _name, _guarded(getattr(socket.socket, _name)))
for _name in ("getaddrinfo",):
    setattr(socket, _name, _guarded_lookup(getattr(socket, _name)))
