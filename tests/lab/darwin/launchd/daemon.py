"""launchd's stand-in: answers launchctl at a socket, and looks after its jobs in between.

Runs as root on the Darwin-like host, in the sessions' view of the file system, so that what it
starts sees a Mac as well.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import struct
import sys
import time
import traceback
from pathlib import Path

from .commands import EINPROGRESS, MESSAGES, Answer, Launchd
from .job import Job

STATE = Path("/opt/darwin/state")
KEPT = Path("/var/db/com.apple.xpc.launchd")

#: Seconds between two looks at the jobs.
TICK = 0.05

#: Seconds for which `bootout` waits for the process before it says 36, which brew services knows.
PATIENCE = 1.0


def main() -> None:
    launchd = Launchd(STATE, KEPT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    path = STATE / "launchd.sock"
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    path.chmod(0o666)
    launchd.look()
    server.listen()
    server.settimeout(TICK)
    waiting: list[tuple[float, Job, socket.socket]] = []
    while True:
        launchd.look()
        waiting = [one for one in waiting if not _settled(*one)]
        try:
            connection, _ = server.accept()
        except TimeoutError:
            continue
        connection.settimeout(5)
        try:
            answer, leaving = _answer(launchd, connection)
        except (OSError, ValueError):
            connection.close()
            continue
        if leaving:
            waiting.append((time.monotonic(), leaving, connection))
        else:
            _reply(connection, answer)


def _answer(launchd: Launchd, connection: socket.socket) -> tuple[dict[str, object], Job | None]:
    """The answer to one request, and for a bootout the job whose end it has to wait for."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, uid, _ = struct.unpack("3i", credentials)
    request = json.loads(connection.makefile().readline())
    before = {job for job in launchd.jobs.values() if job.booted_out}
    try:
        out = launchd.run(uid, request["argv"], request["cwd"], request["tty"])
        answer = {"status": 0, "out": out, "error": "", "refused": ""}
    except Answer as error:
        answer = {
            "status": error.status,
            "out": "",
            "error": error.error,
            "refused": error.refused,
        }
    except Exception as error:
        traceback.print_exc()
        answer = {"status": 70, "out": "", "error": "", "refused": f"launchd failed: {error!r}"}
    left = [job for job in launchd.jobs.values() if job.booted_out and job not in before]
    return answer, next((job for job in left if job.pid is not None), None)


def _settled(since: float, job: Job, connection: socket.socket) -> bool:
    """Whether the bootout of `job` has been answered."""
    if job.pid is None:
        _reply(connection, {"status": 0, "out": "", "error": "", "refused": ""})
    elif time.monotonic() - since > PATIENCE:
        error = f"Boot-out failed: {EINPROGRESS}: {MESSAGES[EINPROGRESS]}"
        _reply(connection, {"status": EINPROGRESS, "out": "", "error": error, "refused": ""})
    else:
        return False
    return True


def _reply(connection: socket.socket, answer: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # whoever asked may have gone
        connection.sendall(json.dumps(answer).encode())
    connection.close()


if __name__ == "__main__":
    main()
