"""Services that run what they should: started, restarted or left alone by what is running."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from .. import render
from ..facts.file import FileStateFact
from ..facts.host import Lingering
from ..facts.service import FIND_SUPERVISORD, RunningServiceFact
from ..layout import Layout
from ..model import Route
from ..service import (
    IDENTITY_VARIABLE,
    RUNTIME_DIR,
    SUPERVISORD,
    Manager,
    Service,
    identity_start,
    systemctl,
)
from ..serving import Deployed, deployed, supervised, supervisor_python
from ..target import Target
from . import file
from .file import Commands, leftovers

# supervisord is gone when it has stopped its program, at most 10 s after the signal. One that was
# killed leaves its program behind. That is found by deployment and service, as it has them in its
# environment, since others on the machine may have a service of the same name.
_STOP_SUPERVISORD = f"""{FIND_SUPERVISORD}
if [ -n "$daemon" ]; then
  kill "$daemon"
  for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    kill -0 "$daemon" 2>/dev/null || break; sleep 1
  done
fi
for process in /proc/[0-9]*; do
  [ -O "$process" ] && grep -zqsF "{IDENTITY_VARIABLE}=$identity" "$process/environ" || continue
  kill "${{process#/proc/}}"; sleep 1; kill -9 "${{process#/proc/}}" 2>/dev/null
done
"""


@operation()
def converged(service: Service, manager: Manager, definition: str, python: str) -> Commands:
    """Have `service` run what its definition says, and start again at the next boot.

    A running process that was started from the very same things is not restarted.
    `python` is the one that has supervisord, where `manager` is that.
    """
    running = host.get_fact(
        RunningServiceFact, service=service.name, manager=manager, definition=definition
    )
    right = running.is_right(service)
    if right and running.current:
        host.noop(f"{service.name} runs what it should, as process {running.pid}")
        return
    match manager:
        case Manager.SYSTEMD | Manager.SYSTEM:
            do = systemctl(manager)
            yield StringCommand(f"{do} daemon-reload && {do} --quiet enable {service.unit}")
            if not right:
                wait = "--no-block " if service.once else ""  # else until it has ended
                # One that failed too often is refused until that is forgotten.
                forget = f"{do} reset-failed {service.unit} 2>/dev/null"
                # What becomes of a server of the machine is found out by whoever has to go back.
                lenient = " || true" if manager is Manager.SYSTEM else ""
                yield StringCommand(f"{forget}; {do} {wait}restart {service.unit}{lenient}")
        case Manager.LAUNCHD:
            if not running.current:
                # Only then: launchd keeps a record of it for ever.
                yield StringCommand(f"launchctl enable {_agent(service.name)}")
            if not right:
                yield _bootstrap(service, definition)
        case Manager.SUPERVISORD:
            yield StringCommand(
                _names(service.owner, service.name, definition), _STOP_SUPERVISORD,
                "PYTHONUTF8=1 ", QuoteString(python), f" {SUPERVISORD} ", QuoteString(definition),
                _separator="",
            )  # fmt: skip


def in_place(service: Service, manager: Manager, definition: str, python: str) -> Commands:
    """The commands of another operation that write the definition of `service` and have it run."""
    content = render.definition(service, manager, definition)
    yield from file.write._inner(path=definition, content=content)
    yield from converged._inner(
        service=service, manager=manager, definition=definition, python=python
    )


@operation()
def served(route: Route, target: Target) -> Commands:
    """Have `route` served by this laptop. What it is started with depends on the program that is
    there, so it is found out when it comes to that."""
    wanted = supervised(route, target)
    yield from in_place(
        wanted.service, wanted.manager, wanted.definition, supervisor_python(target)
    )


@operation()
def only(target: Target, keep: list[str]) -> Commands:
    """Remove the services of this deployment but those with the definitions `keep`.

    They are looked for when it comes to that, since a run that this one waited for may have put
    some there.
    """
    old = [one for one in deployed(target) if one.definition not in keep]
    if not old:
        host.noop("no other service is there")
    for one in old:
        yield absent(one, target.layout)


def absent(old: Deployed, layout: Layout) -> StringCommand:
    """Stop a service, have its manager forget it, and remove its definition and what it was told.

    The definition goes last: by it the next run finds what is left where this one is interrupted.
    """
    left = layout.left_by(old.name.removeprefix(layout.services))
    files = StringCommand(
        "rm -f", *map(QuoteString, left), QuoteString(old.definition),
        f"{leftovers(old.definition)};",
    )  # fmt: skip
    match old.manager:
        case Manager.SYSTEMD | Manager.SYSTEM:
            unit, do = f"{old.name}.service", systemctl(old.manager)
            return StringCommand(
                f"{do} --quiet disable --now {unit};", files, f"{do} daemon-reload;",
                f"{do} reset-failed {unit} 2>/dev/null || true",
            )  # fmt: skip
        case Manager.LAUNCHD:
            return StringCommand(_bootout(old.name), files)
        case Manager.SUPERVISORD:
            names = _names(layout.owner, old.name, old.definition)
            return StringCommand(names, _STOP_SUPERVISORD, files)


@operation()
def lingers(user: str, lingering: Lingering, layout: Layout) -> Commands:
    """Keep the user's systemd services running while nobody is logged in; noted if we did that."""
    # Looked at once more: a run that was at work before this one may have seen to it.
    if lingering is not Lingering.OFF or host.get_fact(
        FileStateFact, path=f"/var/lib/systemd/linger/{user}"
    ):
        host.noop(f"it is {lingering}")
        return
    denied = "homeport: logind refuses to let this user linger. Type: sudo loginctl enable-linger"
    mark = QuoteString(linger_mark(layout))
    yield StringCommand(
        "touch ", mark, f"; {RUNTIME_DIR}loginctl enable-linger || {{ rm -f ", mark,
        "; echo ", QuoteString(denied), ' "$(id -un)" >&2; exit 1; }',
        _separator="",
    )  # fmt: skip


@operation()
def no_lingering(layout: Layout) -> Commands:
    """Undo `lingers`, where homeport did it."""
    if host.get_fact(FileStateFact, path=linger_mark(layout)):
        yield StringCommand(f"{RUNTIME_DIR}loginctl disable-linger")
    else:
        host.noop("homeport did not change it")


def linger_mark(layout: Layout) -> str:
    return layout.path("state", "linger-enabled")


def _names(owner: str, service: str, definition: str) -> StringCommand:
    """Sets the two shell variables that _STOP_SUPERVISORD reads."""
    start = identity_start(owner, service)
    return StringCommand(
        "identity=", QuoteString(start), "; conf=", QuoteString(definition), "; ", _separator=""
    )


def _agent(service: str) -> str:
    return f'"gui/$(id -u)/{service}"'


def _bootout(service: str) -> str:
    """Shell that stops a launchd agent and waits, 10 s at most, until launchd has forgotten it."""
    agent = _agent(service)
    return (
        f"launchctl bootout {agent} 2>/dev/null; for i in 1 2 3 4 5 6 7 8 9 10; do "
        f"launchctl print {agent} >/dev/null 2>&1 || break; sleep 1; done;"
    )


def _bootstrap(service: Service, definition: str) -> StringCommand:
    """(Re)load a launchd agent. Right after a bootout, bootstrap fails with EIO (5) for a while."""
    return StringCommand(
        f"{_bootout(service.name)} for i in 1 2 3 4 5 6 7 8 9 10; do "
        'launchctl bootstrap "gui/$(id -u)" ', QuoteString(definition), "; status=$?; "
        "[ $status = 0 ] && exit 0; [ $status = 5 ] || break; sleep 1; done; echo ",
        QuoteString(
            "homeport: launchd does not take the agent, its own words are above. "
            "See: plutil -lint "
        ), " ", QuoteString(definition), " >&2; exit 1",
        _separator="",
    )  # fmt: skip
