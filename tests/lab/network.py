"""The lab's own network: a bridge in a namespace that no packet leaves."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The controller's address on the bridge; hosts have the next ones.
CONTROLLER = "10.77.0.1"

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_NAMESPACES = Path("/run/netns")


class Network:
    """A network namespace with a bridge, in which the controller (pyinfra) runs."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create(self) -> None:
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "set", "lo", "up")
        # Fixed hardware addresses, or a host that is made again is unreachable for some seconds.
        ip("-n", self.name, "link", "add", "br0", "address", _mac(0), "type", "bridge")
        ip("-n", self.name, "addr", "add", f"{CONTROLLER}/24", "dev", "br0")
        ip("-n", self.name, "link", "set", "br0", "up")

    def attach(self, host: str, number: int) -> str:
        """Make a namespace for `host`, on the bridge; returns its address."""
        space, address = self.space_of(host), f"10.77.0.{10 + number}"
        ip("netns", "add", space)
        ip(
            *("-n", self.name, "link", "add", f"v{number}", "type", "veth"),
            *("peer", "name", "host0", "address", _mac(number), "netns", space),
        )
        ip("-n", self.name, "link", "set", f"v{number}", "master", "br0", "up")
        ip("-n", space, "addr", "add", f"{address}/24", "dev", "host0")
        ip("-n", space, "link", "set", "host0", "up")
        ip("-n", space, "link", "set", "lo", "up")
        return address

    def cable(self, number: int, state: str) -> None:
        """Pull out or plug in ("down", "up") the cable of a host."""
        ip("-n", self.name, "link", "set", f"v{number}", state)

    def space_of(self, host: str) -> str:
        return f"{self.name}-{host}"

    def words(self) -> tuple[str, ...]:
        """What comes before a command that is to run beside the bridge."""
        return ("ip", "netns", "exec", self.name)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What this thread does meanwhile with new sockets, it does beside the bridge."""
        with (
            Path("/proc/thread-self/ns/net").open() as outside,
            (_NAMESPACES / self.name).open() as inside,
        ):
            _setns(inside.fileno())
            try:
                yield
            finally:
                _setns(outside.fileno())

    def banner(self, address: str, port: int = 22) -> bytes:
        """The first bytes that a server says; b"" where it cannot be reached yet."""
        with self.entered():
            connection = socket.socket()
        with connection:
            connection.settimeout(1)
            try:
                connection.connect((address, port))
                return connection.recv(64)
            except OSError:
                return b""


def delete(name: str) -> None:
    """Delete the network called `name`, with the namespaces of its hosts."""
    for space in _NAMESPACES.glob(f"{name}*") if _NAMESPACES.is_dir() else ():
        if space.name == name or space.name.startswith(f"{name}-"):
            subprocess.run(["ip", "netns", "delete", space.name], check=False)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _mac(number: int) -> str:
    return f"02:77:00:00:00:{number:02x}"


def _setns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
