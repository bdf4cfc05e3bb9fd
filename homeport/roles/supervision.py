"""What every role needs whose services go on when the deploy has ended."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.connectors.local import LocalConnector

from .. import report
from ..facts.host import Lingering, Machine
from ..operations import file, service
from ..operations.file import parents
from ..service import Manager, definition_path
from ..target import Target, unwritable


def problems(target: Target) -> list[str]:
    """What stands in the way on this host, a sentence each."""
    machine = target.machine
    found = [_linger_problem(machine), _session_problem(machine)]
    if not any(found):
        folders = [*_definition_directories(target), *enabled_directories(target)]
        found += unwritable(folders, target)
    return [problem for problem in found if problem]


@deploy("Supervision")
def apply(target: Target) -> None:
    """Have the user's services started at boot, and a place for their definitions."""
    machine, layout = target.machine, target.layout
    if machine.manager is Manager.SYSTEMD:
        service.lingers(
            name="Let services run without a login",
            user=machine.user,
            lingering=machine.lingering,
            layout=layout,
        )
        if machine.lingering is Lingering.DENIED:
            report.say(host, f"the services end with the last login. {_linger_fix(machine)}")
    file.directories(
        name=f"Directories for {machine.manager}",
        paths=_definition_directories(target),
        record=layout.created_directories,
    )


def _definition_directories(target: Target) -> list[str]:
    """The directories outside homeport's own that the services' definitions need."""
    manager, home = target.machine.manager, target.machine.home
    if manager in (Manager.SUPERVISORD, Manager.SYSTEM):
        return []  # the machine has it
    return parents(definition_path("any", manager, target.layout), home)


def enabled_directories(target: Target) -> list[str]:
    """Where systemd notes what is started at boot. It removes that when it is empty, unless
    somebody deleted a unit by hand."""
    if target.machine.manager is not Manager.SYSTEMD:
        return []
    return [f"{_definition_directories(target)[-1]}/default.target.wants"]


def _linger_problem(machine: Machine) -> str | None:
    """Over SSH a service would end when the deploy does; on this very machine a user stays."""
    denied = machine.manager is Manager.SYSTEMD and machine.lingering is Lingering.DENIED
    if not denied or host.connector_cls is LocalConnector:
        return None
    return (
        f"the server would end with this login: logind lets nobody linger. {_linger_fix(machine)}"
    )


def _session_problem(machine: Machine) -> str | None:
    if machine.manager is not Manager.LAUNCHD or machine.at_screen:
        return None
    return (
        f"launchd starts a user's agents only while that user is logged in at the screen, and "
        f"{machine.user} is not. Log in there, and run this again"
    )


def _linger_fix(machine: Machine) -> str:
    return f"Type: sudo loginctl enable-linger {machine.user}"
