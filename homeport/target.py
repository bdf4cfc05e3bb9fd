"""The host that a role works on: what it should be, what it is, and where things go on it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from pyinfra import logger, state
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import ctx_host

from . import settings as group_data
from .facts.file import EntriesFact
from .facts.host import Machine, MachineFact
from .layout import Layout
from .preflight import host_data
from .settings import HostSettings


@dataclass(frozen=True)
class Target:
    """What every role is given."""

    settings: HostSettings
    machine: Machine
    layout: Layout


def current() -> Target | None:
    """The host that pyinfra is at; None where it could not be looked at (pyinfra says why)."""
    host = ctx_host.get()
    settings = group_data.of(host_data(host))
    machine: Machine | None = host.get_fact(MachineFact, directory=settings.directory)
    if machine is None:
        return None
    return Target(settings, machine, Layout.under(machine.home, settings.directory))


def fit(target: Target, *checks: Callable[[Target], list[str]]) -> bool:
    """Whether no check finds a problem. Else each is said, and nothing is done on this host."""
    host = ctx_host.get()
    problems = _directory_problems(target)
    problems += [problem for check in checks for problem in check(target)]
    for problem in problems:
        host.log_styled(f"homeport: {problem}", fg="red", log_func=logger.error)
    if problems:
        try:
            state.fail_hosts({host})
        except PyinfraError:
            sys.exit(1)  # no host is left, and each has said why
    return not problems


def _directory_problems(target: Target) -> list[str]:
    """Homeport's directory has to be new or its own, and the only one of this home: two of them
    would share settings.json and the names of the scripts."""
    host, layout = ctx_host.get(), target.layout
    names = host.get_fact(EntriesFact, path=layout.directory)
    if names and "state" not in names:
        return [
            f"{layout.directory} holds other things than homeport's. Choose another homeport_dir"
        ]
    homes = host.get_fact(EntriesFact, path=layout.home)
    others = [f"{layout.home}/{name}" for name in homes if name.startswith(".homeport")]
    return [
        f"this home has another deployment, in {other}. Take it away first: "
        f"{'make untry' if other.endswith('-try') else 'pyinfra inventory/local.py remove.py'}"
        for other in others
        if other != layout.directory and host.get_fact(EntriesFact, path=f"{other}/state")
    ]
