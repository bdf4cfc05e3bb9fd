"""The program by which the hosts of one model end, and start again, together."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from homeport import ROOT

from ..running import wait_until

PROGRAM = ROOT / "homeport" / "remote" / "together.py"
MEMBERS = ("127.0.0.1", "127.0.0.2")


@contextmanager
def part(rank: int, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A host's part, whose server is a sleep."""
    words = [sys.executable, str(PROGRAM), str(rank), ",".join(MEMBERS), str(port), "sleep", "600"]
    with log.open("ab") as said:
        process = subprocess.Popen(words, stderr=said)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(120)


def connected(port: int) -> bool:
    """Whether the head has a connection."""
    found = Path("/proc/net/tcp").read_text()
    return any(
        line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "01"
        for line in found.splitlines()[1:]
    )


def test_where_one_part_is_killed_the_other_fails(tmp_path: Path, free_port: int) -> None:
    log = tmp_path / "log"
    with part(1, free_port, log) as other, part(0, free_port, log) as head:
        wait_until(lambda: connected(free_port))
        other.kill()
        assert head.wait(120) == 1
    assert "is gone; this one is started again" in log.read_text()


def test_where_the_head_is_killed_the_other_fails(tmp_path: Path, free_port: int) -> None:
    log = tmp_path / "log"
    with part(0, free_port, log) as head, part(1, free_port, log) as other:
        wait_until(lambda: connected(free_port))
        head.kill()
        assert other.wait(120) == 1


def test_one_that_is_told_to_end_does_so_in_good_order(tmp_path: Path, free_port: int) -> None:
    with part(1, free_port, tmp_path / "log") as alone:
        wait_until(lambda: (Path(f"/proc/{alone.pid}/task/{alone.pid}/children")).read_text() != "")
        alone.terminate()
        assert alone.wait(120) == 0


def test_a_stranger_is_not_listened_to(tmp_path: Path, free_port: int) -> None:
    """A scan of ports, or a health check, ends nothing."""
    with part(0, free_port, tmp_path / "log") as head, socket.socket() as stranger:
        stranger.bind(("127.0.0.3", 0))
        wait_until(lambda: stranger.connect_ex(("127.0.0.1", free_port)) == 0)
        assert stranger.recv(1) == b""
        assert head.poll() is None
