"""launchctl: hands its words to the launchd stand-in, and prints what that answers."""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path

from .runtime import STATE, Failed, Refused

SOCKET = f"{STATE}/launchd.sock"


def launchctl(argv: list[str]) -> int:
    request = {"argv": argv, "cwd": str(Path.cwd()), "tty": sys.stdout.isatty()}
    with _connected() as connection:
        connection.sendall(json.dumps(request).encode() + b"\n")
        text = b""
        while part := connection.recv(1 << 16):
            text += part
    if not text:
        raise Refused("launchd hung up: the stand-in failed, see its journal", status=70)
    answer = json.loads(text)
    sys.stdout.write(answer["out"])
    if answer["refused"]:
        raise Refused(answer["refused"], answer["error"], answer["status"])
    if answer["error"]:
        raise Failed(answer["error"], answer["status"])
    return int(answer["status"])


def _connected() -> socket.socket:
    """launchd is there before anything else on a Mac; here it starts beside sshd."""
    deadline = time.monotonic() + 60
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(SOCKET)
            return connection
        except OSError:
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
