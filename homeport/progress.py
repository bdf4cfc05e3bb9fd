"""Long work on hosts, shown while it goes on: one line that moves on a terminal, else now and then
a line in the log.
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import Any

import pyinfra.progress
from pyinfra.api import Host

#: Seconds between two lines of a host in a log.
LOG_EVERY = 60

#: The texts from which pyinfra's own moving line takes the last, while it is shown.
_line: list[deque[str]] = []

_texts: dict[str, str] = {}
_logged: dict[str, float] = {}


def install() -> None:
    """Have pyinfra's moving line tell what `show` is given, and not only who is at work."""
    spin: Any = pyinfra.progress._print_spinner

    def spin_with_ours(stop_event: Any, queue: deque[str]) -> None:
        _line[:] = [queue]
        spin(stop_event, queue)

    pyinfra.progress._print_spinner = spin_with_ours


def show(host: Host, text: str) -> None:
    """Show that `text` is how far the work on `host` has come."""
    _texts[host.name] = text
    if pyinfra.progress.IS_TTY and os.environ.get("PYINFRA_PROGRESS") != "off":
        line = "  ".join(f"{name}: {text}" for name, text in _texts.items())
        for queue in _line:
            queue.append(line[: pyinfra.progress.TERMINAL_WIDTH - 10])
    elif time.monotonic() - _logged.get(host.name, 0) >= LOG_EVERY:
        _logged[host.name] = time.monotonic()
        host.log(text)


def end(host: Host) -> None:
    """The work on `host` is over."""
    _texts.pop(host.name, None)
    _logged.pop(host.name, None)
