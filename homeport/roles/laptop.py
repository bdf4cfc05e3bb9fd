"""A laptop: a machine that serves a small model to itself."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.connectors.local import LocalConnector

from .. import report
from ..facts.file import FileStateFact, SizeAndTimeFact
from ..facts.host import OLDEST_PYTHON, Lingering, Machine, PortOwnerFact, python_version
from ..facts.service import RunningServiceFact
from ..model import Route
from ..operations import file, python_env, service, verify
from ..operations.file import parents
from ..render import definition
from ..service import Manager, definition_path
from ..serving import (
    PROGRAM,
    Supervised,
    deployed,
    environment,
    server_token,
    supervised,
    supervisor_python,
    weights_path,
)
from ..settings import Engine
from ..target import Target, install_python, unwritable

DIRECTORIES = ("state", "env", "lib", "log", "service")


def problems(target: Target) -> list[str]:
    """What stands in the way on this host, a sentence each, found without changing anything."""
    machine = target.machine
    found = [
        _python_problem(target),
        _engine_problem(target),
        _linger_problem(machine),
        _session_problem(machine),
    ]
    if not any(found):
        found.append(_disk_problem(target))
        found += unwritable(_definition_directories(target), target)
        for route in target.settings.serves:
            found += [_weights_problem(route, target), _port_problem(route, target)]
    return [problem for problem in found if problem]


@deploy("Laptop")
def apply(target: Target) -> None:
    machine, layout = target.machine, target.layout
    engine = environment(target)
    file.private_directories(
        name=f"Directories in {layout.directory}",
        paths=[layout.directory, *map(layout.path, DIRECTORIES)],
    )
    if engine.locks:
        python_env.present(name="Install the engine", environment=engine, python=target.python)
    file.write(
        name="Write the server program",
        path=layout.path("lib", PROGRAM.name),
        content=PROGRAM.read_bytes(),
    )
    if machine.manager is Manager.SYSTEMD:
        service.lingers(
            name="Let services run without a login",
            user=machine.user,
            lingering=machine.lingering,
            layout=layout,
        )
        if machine.lingering is Lingering.DENIED:
            report.say(host, f"the server ends with the last login. {_linger_fix(machine)}")
    wanted = [(route, supervised(route, target)) for route in target.settings.serves]
    service.only(
        name="Remove what is served no more",
        target=target,
        keep=[one.definition for _, one in wanted],
    )
    for route, one in wanted:
        _serve(route, one, target)
    python_env.only(name="Remove older environments", environment=engine)


def _serve(route: Route, wanted: Supervised, target: Target) -> None:
    machine, layout = target.machine, target.layout
    if route.endpoint.token:
        file.write(
            name=f"Write the token of {route.alias}",
            path=layout.server_token(route),
            content=f"{route.endpoint.token.value}\n".encode(),
            mode="600",
        )
    file.directories(
        name=f"Directories for the {machine.manager} service",
        paths=_definition_directories(target),
        record=layout.created_directories,
    )
    file.write(
        name=f"Write the {machine.manager} service of {route.alias}",
        path=wanted.definition,
        content=definition(wanted.service, machine.manager, wanted.definition),
    )
    service.converged(
        name=f"Have {route.alias} served",
        service=wanted.service,
        manager=machine.manager,
        definition=wanted.definition,
        python=supervisor_python(target),
    )
    verify.answers(
        name=f"Ask {route.alias}",
        route=route,
        python=target.python,
        token_path=server_token(route, target),
        supervised=wanted,
    )


def _definition_directories(target: Target) -> list[str]:
    """The directories outside homeport's own that the services' definitions need."""
    manager, home = target.machine.manager, target.machine.home
    if manager is Manager.SUPERVISORD:
        return []
    directories = parents(definition_path("any", manager, target.layout), home)
    if manager is Manager.SYSTEMD:
        directories.append(f"{directories[-1]}/default.target.wants")  # made by `enable`
    return directories


def _python_problem(target: Target) -> str | None:
    machine = target.machine
    fix = f"Type: {install_python(machine)}"
    oldest = ".".join(map(str, OLDEST_PYTHON))
    if not environment(target).locks:
        return None  # nothing is installed: any Python can look at ports and ask the server
    if machine.python_version < OLDEST_PYTHON:
        return (
            f"{machine.python} is Python {python_version(machine)}, and the engine needs {oldest} "
            f"or newer. {fix}"
        )
    if not machine.venv:
        return f"{machine.python} cannot make virtual environments (no ensurepip). {fix}"
    return None


def _linger_problem(machine: Machine) -> str | None:
    """Over SSH the server would end when the deploy does; on this very machine a user stays."""
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


def _engine_problem(target: Target) -> str | None:
    if target.settings.engine is not Engine.LLAMA_SERVER or target.machine.llama_server:
        return None
    return (
        "there is no llama-server on this machine. Type: brew install llama.cpp, or set "
        'engine = "xllamacpp"'
    )


def _disk_problem(target: Target) -> str | None:
    needed = environment(target)
    enough = target.machine.free >= python_env.NEEDED_SPACE
    if enough or not needed.locks or host.get_fact(FileStateFact, path=needed.mark):
        return None
    return (
        f"the disk of {target.layout.directory} has {target.machine.free // 10**6} MB free, and "
        f"the engine needs {python_env.NEEDED_SPACE // 10**6} MB. See what takes the room with: "
        f"du -xhd1 '{target.machine.home}'"
    )


def _weights_problem(route: Route, target: Target) -> str | None:
    path = weights_path(route, target)
    if path is None or host.get_fact(SizeAndTimeFact, path=path):
        return None
    return (
        f"{route.alias}: there is no file {path}. Put the GGUF file of {route.model.label} there, "
        "or write where it is as the route's 'weights'"
    )


def _port_problem(route: Route, target: Target) -> str | None:
    port = route.endpoint.port
    owner = host.get_fact(PortOwnerFact, python=target.machine.python, port=port)
    if owner is None:
        return None
    if (owner["value"] or "").startswith(f"{target.layout.owner}/"):
        return None  # ours, even where whatever supervised it was killed
    for known in deployed(target):
        running = host.get_fact(
            RunningServiceFact,
            service=known.name,
            manager=known.manager,
            definition=known.definition,
        )
        if owner["pid"] is not None and owner["pid"] == running.pid:
            return None
    who = f"{owner['command']} (process {owner['pid']})" if owner["pid"] else owner["command"]
    return (
        f"port {port} of {route.alias} is in use by {who}. End that, or give the route another "
        "port; for make try: make try TRY_PORT=18081"
    )
