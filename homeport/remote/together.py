"""Run one host's part of a server that several hosts make up, and end it when another's part ends.

usage: together.py RANK MEMBERS PORT COMMAND...

MEMBERS are the IP addresses of all hosts, the head's first, with commas between them.

By itself a part never notices that another is gone: it waits for it for ever. So each part keeps a
connection to the head's, on PORT, and where one breaks both ends of it stop their server and fail,
so that the service manager starts all of them again. Nothing is said on it, and nobody but the
members is listened to. SIGTERM ends the server in good order.
"""

import contextlib
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import Any

#: Seconds after which a connection is dead that nothing comes back from, and until the next try to
#: reach the head.
DEAD_AFTER = 20
RETRY_AFTER = 1

_SIOCGIFADDR = 0x8915


class Part:
    """The server of this host, and what became of the others'."""

    def __init__(self) -> None:
        self.lost = ""
        self.asked = False
        self.server: "subprocess.Popen[bytes] | None" = None

    def end(self, why: str) -> None:
        """Stop the server, since another part of it is gone."""
        if not self.asked:
            self.lost = self.lost or why
        self.stop()

    def stop(self) -> None:
        if self.server is not None and self.server.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.server.terminate()

    def signalled(self, *_: Any) -> None:
        self.asked = True
        self.stop()


def watched(connection: socket.socket, who: str, part: Part) -> None:
    """Wait until `connection` breaks."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, DEAD_AFTER // 4),
        (socket.TCP_KEEPINTVL, DEAD_AFTER // 4),
        (socket.TCP_KEEPCNT, 3),
        (socket.TCP_USER_TIMEOUT, DEAD_AFTER * 1000),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    with connection, contextlib.suppress(OSError):
        while connection.recv(64):
            pass
    part.end("the part of the server at %s is gone" % who)


def wait_for_head(head: str, own: str, port: int, part: Part) -> None:
    while not part.asked:
        try:
            connection = socket.create_connection((head, port), DEAD_AFTER, (own, 0))
        except OSError:
            time.sleep(RETRY_AFTER)
            continue
        watched(connection, head, part)
        return


def wait_for_others(listener: socket.socket, members: "list[str]", part: Part) -> None:
    while True:
        connection, (address, *_) = listener.accept()
        if address not in members:  # somebody who looks for open ports
            connection.close()
            continue
        threading.Thread(target=watched, args=(connection, address, part), daemon=True).start()


def interface_of(address: str) -> str:
    """The name of the network interface with that address; "" where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            with contextlib.suppress(OSError):
                found = fcntl.ioctl(asked.fileno(), _SIOCGIFADDR, request)
                if socket.inet_ntoa(found[20:24]) == address:
                    return name
    return ""


def main() -> int:
    rank, port, command = int(sys.argv[1]), int(sys.argv[3]), sys.argv[4:]
    members = sys.argv[2].split(",")
    head, own = members[0], members[rank]
    part = Part()
    signal.signal(signal.SIGTERM, part.signalled)
    signal.signal(signal.SIGINT, part.signalled)
    environment = dict(os.environ)
    if name := interface_of(own):
        # Else they meet at the address that the host's own name has, which may be 127.0.1.1.
        for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            environment.setdefault(variable, name)
    else:
        print("homeport: no network interface here has the address %s" % own, file=sys.stderr)
    if rank == 0:
        listener = socket.create_server((own, port))
        others = (listener, members[1:], part)
        waiting = threading.Thread(target=wait_for_others, args=others, daemon=True)
    else:
        to_head = (head, own, port, part)
        waiting = threading.Thread(target=wait_for_head, args=to_head, daemon=True)
    part.server = subprocess.Popen(command, env=environment)
    if part.asked:  # in between
        part.stop()
    waiting.start()
    status = part.server.wait()
    if part.asked:
        return 0
    if part.lost:
        print("homeport: %s; this one is started again" % part.lost, file=sys.stderr)
        return 1
    return status if status > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
