"""What paramiko leaves out: a connection that answers at once, and that is found out when dead."""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import Any

from paramiko import Channel, Transport
from pyinfra.api import Host
from pyinfra.connectors.ssh import SSHConnector

#: Seconds until a connection that nothing comes back from is given up. Without, a cable that is
#: pulled out hangs a run for a quarter of an hour (Linux) or for ever.
DEAD_AFTER = 20

# (name, value): where a system has no such name, it has another for it, or does without. Nagle's
# algorithm costs 40 ms a command. The last is macOS's TCP_RXT_CONNDROPTIME, which Python lacks.
_OPTIONS: tuple[tuple[int | None, int], ...] = (
    (getattr(socket, "TCP_NODELAY", None), 1),
    (getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None)), DEAD_AFTER // 4),
    (getattr(socket, "TCP_KEEPINTVL", None), DEAD_AFTER // 4),
    (getattr(socket, "TCP_KEEPCNT", None), 3),
    (getattr(socket, "TCP_USER_TIMEOUT", None), DEAD_AFTER * 1000),
    (0x80 if sys.platform == "darwin" else None, DEAD_AFTER),
)


def tune(host: Host) -> None:
    """Set the options of `host`'s connection, where it is by SSH."""
    transport = _transport(host)
    if transport is None:
        return
    _in_words(transport)
    sock = transport.sock
    while isinstance(sock, Channel):  # by a jump host
        sock = sock.get_transport().sock
    if isinstance(sock, socket.socket):  # and not a proxy command's pipes
        _set(sock, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _OPTIONS:
            if option is not None:
                _set(sock, socket.IPPROTO_TCP, option, value)


def _set(sock: socket.socket, level: int, option: int, value: int) -> None:
    with contextlib.suppress(OSError):  # a system that lacks just this one
        sock.setsockopt(level, option, value)


def _in_words(transport: Transport) -> None:
    """paramiko's word for a dead connection is EOFError, which pyinfra takes for a bug of its own
    and stops the run on every host; an OSError fails this one."""
    what_happened, write = transport.get_exception, transport.packetizer.write_all

    def exception() -> Exception | None:
        error = what_happened()
        return ConnectionResetError("connection lost") if isinstance(error, EOFError) else error

    def write_all(out: Any) -> None:
        try:
            write(out)
        except EOFError:
            raise ConnectionResetError("connection lost") from None

    transport.get_exception = exception  # type: ignore[method-assign]
    transport.packetizer.write_all = write_all  # type: ignore[method-assign]


def lost(host: Host) -> bool:
    """Whether the connection to `host` broke."""
    transport = _transport(host)
    return transport is not None and not transport.is_active()


def _transport(host: Host) -> Transport | None:
    connector = host.connector
    if not isinstance(connector, SSHConnector) or connector.client is None:
        return None
    return connector.client.get_transport()
