"""What a laptop runs for a route: the environment, and the supervised service in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pyinfra import host

from . import ROOT
from .engines import llama_cpp
from .engines.llama_cpp import LlamaServer
from .facts.file import EntriesFact, SizeAndTimeFact
from .facts.host import HelpFact
from .facts.service import LaunchdLabelsFact
from .layout import expand
from .model import Route
from .operations.python_env import Environment
from .service import Manager, Service, definition_path, digest, sealed, wanted_by
from .settings import Engine
from .target import Target
from .weights import FileWeights, HubWeights, PackagedWeights

#: The server program of the engine "xllamacpp".
PROGRAM = Path(__file__).resolve().parent / "remote" / "serve_llama.py"


@dataclass(frozen=True)
class Supervised:
    """A service, what supervises it, and the path of its definition; `start_command` is what a
    person types to have it run."""

    service: Service
    manager: Manager
    definition: str
    start_command: str


def environment(target: Target) -> Environment:
    """The packages that this host needs to serve its routes."""
    locks = []
    if target.settings.serves and target.settings.engine is Engine.XLLAMACPP:
        locks.append("requirements-engine.txt")
        if not target.machine.openmp:
            locks.append("requirements-openmp.txt")
    for route in target.settings.serves:
        if isinstance(route.model.weights, PackagedWeights):
            locks.append(route.model.weights.lock)
    if target.machine.manager is Manager.SUPERVISORD:
        locks.append("requirements-supervisor.txt")
    paths = tuple(ROOT / lock for lock in dict.fromkeys(locks))
    return Environment(target.layout, target.machine.python_version, paths)


def server_token(route: Route, target: Target) -> str | None:
    """The path of the file with the token that the server of `route` asks for."""
    return target.layout.server_token(route) if route.endpoint.token else None


def supervised(route: Route, target: Target) -> Supervised:
    """The service that serves `route`."""
    machine, layout = target.machine, target.layout
    server = LlamaServer(
        route=route,
        model_path=_model_path(route, target),
        token_path=server_token(route, target),
    )
    inputs = [_weights_version(route, target)]
    if route.endpoint.token:
        inputs.append(sealed(route.endpoint.token.value))
    if target.settings.engine is Engine.XLLAMACPP:
        program = [environment(target).python, layout.path("lib", PROGRAM.name)]
        flags = llama_cpp.NEWEST_FLAGS
        inputs.append(digest(PROGRAM.read_text()))
    else:
        program = [machine.llama_server or "llama-server"]
        flags = llama_cpp.flags_in_help(host.get_fact(HelpFact, program=program[0]))
        inputs.append(host.get_fact(SizeAndTimeFact, path=program[0]) or "")
    service = Service(
        name=f"{layout.services}{route.alias}",
        owner=layout.owner,
        description=f"{route.alias}: {route.model.label}",
        command=(*program, *server.command_line(flags)),
        log=layout.log(route),
        inputs=tuple(inputs),
    )
    definition = definition_path(service.name, machine.manager, layout)
    start = service.start_command(machine.manager, definition, supervisor_python(target))
    return Supervised(service, machine.manager, definition, start)


@dataclass(frozen=True)
class Deployed:
    """A service of this deployment that is on the host, wanted or not."""

    name: str
    manager: Manager
    definition: str


def deployed(target: Target) -> list[Deployed]:
    """The services of this deployment on the host, under whatever manager they were put."""
    found = []
    for manager in Manager:
        if (manager is Manager.SYSTEM) != (target.machine.manager is Manager.SYSTEM):
            continue  # root's deployment has none of a user's, and the other way round
        pattern = PurePosixPath(
            definition_path(f"{target.layout.services}*", manager, target.layout)
        )
        names = [*host.get_fact(EntriesFact, path=str(pattern.parent))]
        if manager in (Manager.SYSTEMD, Manager.SYSTEM):
            # One whose unit somebody deleted is enabled all the same, and may run.
            wants = host.get_fact(EntriesFact, path=f"{pattern.parent}/{wanted_by(manager)}.wants")
            names += [name for name in wants if name not in names]
        if manager is Manager.LAUNCHD and target.machine.manager is manager:
            labels = host.get_fact(LaunchdLabelsFact)  # likewise
            names += [f"{label}.plist" for label in labels if f"{label}.plist" not in names]
        found += [
            Deployed(name.removesuffix(pattern.suffix), manager, str(pattern.parent / name))
            for name in names
            if PurePosixPath(name).match(pattern.name)
        ]
    return found


def supervisor_python(target: Target) -> str:
    """The Python whose supervisord supervises where neither launchd nor systemd does."""
    return environment(target).python


def weights_path(route: Route, target: Target) -> str | None:
    """Where the GGUF file is that the user put on the host; None for weights of homeport's own."""
    weights = route.model.weights
    return expand(weights.path, target.machine.home) if isinstance(weights, FileWeights) else None


def _model_path(route: Route, target: Target) -> str:
    match route.model.weights:
        case PackagedWeights(path=path):
            return f"{environment(target).site_packages}/{path}"
        case FileWeights(path=path):
            return expand(path, target.machine.home)
        case HubWeights() as weights:
            return f"{snapshot_path(weights, target)}/{weights.gguf}"


def snapshot_path(weights: HubWeights, target: Target) -> str:
    """The directory that has the pinned revision's files, once they are proven."""
    return f"{target.layout.weights(weights.repo)}/{weights.pinned.revision}"


def _weights_version(route: Route, target: Target) -> str:
    """What is different when the weights are."""
    match route.model.weights:
        case PackagedWeights(sha256=sha256):
            return sha256
        case HubWeights() as weights:
            return weights.pinned.digest
    return host.get_fact(SizeAndTimeFact, path=_model_path(route, target)) or "missing"
