"""The doctor over a fleet: every host is asked at the same time, and what they have is grouped by
its cause.
"""

from __future__ import annotations

import atexit
import base64
import json
import logging
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import pyinfra_cli.cli
from paramiko import SSHException
from pyinfra.api import Host, QuoteString, State, StringCommand

from . import doctoring, report
from .doctor import fleet
from .doctor.table import Report
from .facts.file import connector_arguments
from .facts.host import words
from .preflight import DOCTOR, host_data, interrupted
from .target import NOT_SEEN, Target

#: What each host, by its name, was found to be in this run.
_reports: dict[str, Report] = {}

#: Seconds that the doctor may take on a host, and with all weights read again (750 GB at 500 MB/s).
_PATIENCE = 60
_PATIENCE_DEEP = 3_600

_OPTIONS = {"-v", "-vv", "-vvv", "--debug", "--json"}


def install(state: State, together: Mapping[str, Iterable[str]]) -> None:
    """Have a run of doctor.py end with what it found, and print nothing else; `together` has, for a
    host, all that can only be deployed with it.

    pyinfra would go on to list and to run operations, of which there are none.
    """
    if not _OPTIONS & set(sys.argv):
        log = logging.getLogger("pyinfra")
        log.handlers, log.level = [_errors], logging.ERROR
    handle: Callable[..., Any] = pyinfra_cli.cli._handle_commands
    ended = []

    def end() -> int:
        """Print what was found; 0 where all is well."""
        ended.append(True)
        hosts = [host for host in state.inventory if state.is_host_in_limit(host)]
        reached = state.activated_hosts
        found = {
            host.name: _reports.get(host.name) or fleet.not_seen(_said(host), host in reached)
            for host in hosts
        }
        whole = fleet.whole(found)
        as_json = json.dumps(whole.document(), indent=2)
        words = "\n".join(fleet.lines(whole, _typed(), together))
        print(as_json if "--json" in sys.argv else words)
        return 0 if whole.is_healthy else 1

    def handle_and_end(*arguments: Any, **keywords: Any) -> None:
        handle(*arguments, **keywords)
        sys.exit(end())

    pyinfra_cli.cli._handle_commands = handle_and_end
    # Where no host was reached, pyinfra does not come so far.
    atexit.register(lambda: None if ended or interrupted or not state.initialised else end())


def _typed() -> str:
    """How pyinfra and the inventory were typed."""
    own = sys.argv[0] if Path(sys.argv[0]).name == "pyinfra" else "pyinfra"
    place = next(at for at, word in enumerate(sys.argv) if Path(word).name == DOCTOR)
    return f"{own} {sys.argv[place - 1]}"


class _Errors(logging.Handler):
    """Keeps what pyinfra says of a host, "[name] ...", that it gives up."""

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[str, list[str]] = defaultdict(list)

    def emit(self, record: logging.LogRecord) -> None:
        found = re.match(r"\s*\[([^]]+)\]\s*(.*)", click.unstyle(record.getMessage()), re.DOTALL)
        if found:
            self.said[found[1]].append(found[2].strip())


_errors = _Errors()


def _said(host: Host) -> str:
    """Why there is no report of `host`."""
    own = [one for one in report.said(host) if one != NOT_SEEN]
    return "; ".join(dict.fromkeys([*own, *_errors.said[host.name]])) or "it gave no answer"


def examine(host: Host, target: Target, deep: bool) -> None:
    """Ask the doctor on `host`."""
    wanted = doctoring.wanted(target, host_data(host).values)
    question = {"wanted": wanted.document(), "deep": deep, "asked_at": time.time()}
    given = {"program": base64.b64encode(doctoring.program()).decode(), "question": question}
    command = StringCommand(*map(QuoteString, words(target.python, "run_zip.py")))
    arguments = {**connector_arguments(host), "_stdin": json.dumps(given)}
    arguments["_timeout"] = _PATIENCE_DEEP if deep else _PATIENCE
    try:
        _, output = host.run_shell_command(
            command, print_output=False, print_input=False, **arguments
        )
    except TimeoutError:
        report.say(host, f"it took more than {arguments['_timeout']} s: something hangs there")
        return
    except (OSError, SSHException) as error:
        report.say(host, f"the connection was lost: {error}")
        return
    try:
        _reports[host.name] = Report.of(json.loads(output.stdout_lines[-1]))
    except (IndexError, ValueError, KeyError, TypeError):
        said = output.stderr.strip().splitlines()
        report.say(host, f"the doctor itself fails: {said[-1] if said else 'it says nothing'}")
