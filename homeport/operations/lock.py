"""One run of homeport at a time in a home."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import socket
import subprocess
import time
from typing import Any

import gevent
from paramiko import SSHException
from pyinfra import host, state
from pyinfra.api import StringCommand, operation
from pyinfra.connectors.local import LocalConnector
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import make_unix_command_for_host

from .. import fleet, transport
from ..facts.file import connector_arguments
from ..facts.host import words
from .file import Commands, failure, said_failure

#: Seconds to wait for another run, longer than a dead one can hold the lock.
WAIT = 60

#: Seconds of silence after which a host takes the run for dead: longer than it takes the run to
#: find its connection dead, so that this one has ended before another may begin.
LEASE = transport.DEAD_AFTER + 15

_BEAT_EVERY = 5


#: Into which the hosts' locks are kept alive, by host; the end of this process closes them.
_held: dict[str, Any] = {}


@operation()
def held(directory: str, python: str) -> Commands:
    """Keep other runs of homeport out of `directory` until this one ends, however it ends.

    Waits for another run; where that takes longer than `WAIT` seconds, fails and says whose it is.
    """
    if not state.is_executing:
        return
    if problem := fleet.held_back(state, host):
        yield said_failure(problem)
        return
    try:
        problem = _take(directory, python)
    except (EOFError, OSError, SSHException) as error:
        problem = f"{directory} cannot be locked against other runs ({error})"
    if problem:
        yield failure(problem)


def _take(directory: str, python: str) -> str | None:
    """Take the lock of `host`; the sentence that says why not."""
    if host.name in _held:
        return None  # by an earlier file of the same run
    started = _start(directory, python)
    if started is None:
        return None
    into, output = started
    line = ""
    for line in output:
        word, _, who = line.strip().partition(" ")
        run = f"another run of homeport ({who})" if who else "another run of homeport"
        if word == "held":
            _held[host.name] = into
            gevent.spawn(_beat, into)
            return None
        if word == "waiting":
            host.log(f"waits for {run} to end here, {WAIT} s at most")
        if word == "taken":
            return f"{run} is at work here. When that has ended, run this again"
    return f"{directory} cannot be locked against other runs ({line.strip() or 'no answer'})"


def _start(directory: str, python: str) -> tuple[Any, Any] | None:
    """Start the program that holds the lock: its standard input, and what it prints.

    None on a host that is not reached by SSH and is not this machine: those of @fake/, on which
    there is nothing to lock, and containers, in which only one run should be started at a time.
    """
    connector = host.connector
    lease = LEASE if isinstance(connector, SSHConnector) else 0
    command = words(python, "hold_lock.py", directory, _label(), str(WAIT), str(lease))
    # As every other command on this host is run, with sudo where the run has that.
    arguments = connector_arguments(host)
    for key in ("_success_exit_codes", "_timeout", "_get_pty", "_stdin"):
        arguments.pop(key, None)  # of the connector itself
    line = make_unix_command_for_host(
        state, host, StringCommand(f"exec {shlex.join(command)} 2>&1"), **arguments
    ).get_raw_value()
    if isinstance(connector, SSHConnector) and connector.client:
        into, output, _ = connector.client.exec_command(line)
        return into, output
    if isinstance(connector, LocalConnector):
        process = subprocess.Popen(  # noqa: S602 - a command as pyinfra itself runs it
            line,
            shell=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for pyinfra alone
        )
        return process.stdin, process.stdout
    return None


def _label() -> str:
    """What the others are told of this run."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container, in which it has no name
        user = str(os.getuid())
    return f"{user} at {socket.gethostname()}, since {time.strftime('%H:%M:%S')}"


def _beat(into: Any) -> None:
    """Say every few seconds that this run is alive, as long as the connection is."""
    with contextlib.suppress(OSError, SSHException, ValueError):
        while True:
            into.write(".")
            into.flush()
            gevent.sleep(_BEAT_EVERY)
