"""A laptop: a machine that serves a small model to itself."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from ..facts.file import FileStateFact, SizeAndTimeFact
from ..facts.host import OLDEST_PYTHON, python_version
from ..model import Route
from ..operations import file, hub, python_env, service, verify
from ..render import definition
from ..service import definition_path
from ..serving import (
    PROGRAM,
    Supervised,
    environment,
    server_token,
    supervised,
    supervisor_python,
    weights_path,
)
from ..settings import Engine
from ..target import Target, install_python
from . import ports, supervision, weights

DIRECTORIES = ("state", "env", "lib", "log", "service", "weights")


def problems(target: Target) -> list[str]:
    """What stands in the way on this host, a sentence each, found without changing anything."""
    found = [_python_problem(target), _engine_problem(target), *supervision.problems(target)]
    if not any(found):
        found += [_disk_problem(target), *weights.problems(target)]
        for route in target.settings.serves:
            found += [_weights_problem(route, target), _port_problem(route, target)]
    return [problem for problem in found if problem]


def services(target: Target) -> list[str]:
    """The definitions of the services that this role has on the host."""
    machine, layout = target.machine, target.layout
    names = [f"{layout.services}{route.alias}" for route in target.settings.serves]
    return [definition_path(name, machine.manager, layout) for name in names]


@deploy("Laptop")
def apply(target: Target, keep: list[str]) -> None:
    """`keep` are the definitions of all services that any role has on this host."""
    layout = target.layout
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
    supervision.apply(target=target)
    if not target.settings.serves_mirror:  # that role has pulled them, with the others'
        weights.apply(target=target, routes=target.settings.serves)
    service.only(name="Remove what is served no more", target=target, keep=keep)
    for route in target.settings.serves:
        _serve(route, supervised(route, target), target)
    python_env.only(
        name="Remove older environments", environments=[engine, hub.environment(target)]
    )


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
        name=f"Directory for what {machine.manager} starts at boot",
        paths=supervision.enabled_directories(target),
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
    taken = ports.problem(route.endpoint.port, route.alias, target)
    return taken and f"{taken}; for make try: make try TRY_PORT=18081"
