"""What a laptop runs for a route: the environment, and the supervised service in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pyinfra import host

from . import ROOT
from .engines import llama_cpp
from .engines.llama_cpp import LlamaServer
from .facts.file import EntriesFact, SizeAndTimeFact
from .facts.llama import HelpFact
from .facts.service import LaunchdLabelsFact
from .laptop_settings import Engine
from .layout import expand
from .memory import Choice, Memory, Quant
from .model import Route
from .operations.python_env import Environment
from .service import (
    Manager,
    Service,
    definition_path,
    digest,
    sealed,
    start_command,
    wanted_by,
)
from .target import Target
from .weights import FileWeights, HubWeights, PackagedWeights

#: The server program of the engine "xllamacpp", and what starts any of them.
PROGRAM = Path(__file__).resolve().parent / "remote" / "serve_llama.py"
STARTER = PROGRAM.with_name("serve.sh")


@dataclass(frozen=True)
class Supervised:
    """A service, what supervises it, and the path of its definition."""

    service: Service
    manager: Manager
    definition: str


def llama_server(target: Target) -> str | None:
    """The path of the llama-server that this host serves with, None where it is the wheel.

    Homebrew's is the one for a Mac, and for a Linux user who has one of their own, and is not root:
    brew refuses to work for root.
    """
    machine, settings = target.machine, target.settings.laptop
    if settings and settings.program:
        return expand(settings.program, machine.home)
    engine = settings.engine if settings else None
    if engine is None:
        has_brew = machine.brew_is_ours and machine.user != "root"
        engine = Engine.HOMEBREW if machine.kernel == "Darwin" or has_brew else Engine.XLLAMACPP
    if engine == Engine.XLLAMACPP:
        return None
    return f"{brew_prefix(target)}/bin/llama-server"


def by_homebrew(target: Target) -> bool:
    """Whether that program is Homebrew's to install."""
    settings = target.settings.laptop
    return bool(llama_server(target)) and not (settings and settings.program)


def brew_prefix(target: Target) -> str:
    """Where Homebrew is, or goes: its installer has one place for each kind of machine."""
    machine = target.machine
    if machine.brew:
        return machine.brew.removesuffix("/bin/brew")
    if machine.kernel != "Darwin":
        return "/home/linuxbrew/.linuxbrew"
    return "/opt/homebrew" if machine.arch == "arm64" else "/usr/local"


def environment(target: Target) -> Environment:
    """The packages that this host needs to serve its routes."""
    locks = []
    if target.settings.serves and not llama_server(target):
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


def template_path(target: Target) -> str | None:
    """The path of the chat template that replaces the models' own."""
    settings = target.settings.laptop
    replaced = settings and settings.chat_template is not None
    return target.layout.path("lib", "chat-template.jinja") if replaced else None


def supervised(route: Route, target: Target) -> Supervised:
    """The service that serves `route`. Asks the program that is there, so not before it is."""
    layout, settings = target.layout, target.settings.laptop
    server = LlamaServer(
        route=route,
        model_path=_model_path(route, target),
        token_path=server_token(route, target),
        template_path=template_path(target),
        memory=_memory(route, target),
    )
    inputs = [_weights_version(route, target)]
    if route.endpoint.token:
        inputs.append(sealed(route.endpoint.token.value))
    if settings and settings.chat_template is not None:
        inputs.append(digest(settings.chat_template.decode(errors="replace")))
    if path := llama_server(target):
        program = [path]
        flags = llama_cpp.flags_in_help(host.get_fact(HelpFact, program=path))
        inputs.append(host.get_fact(SizeAndTimeFact, path=path) or "")
    else:
        program = [environment(target).python, layout.path("lib", PROGRAM.name)]
        flags = llama_cpp.NEWEST_FLAGS
        inputs.append(digest(PROGRAM.read_text()))
    words = server.command_line(flags)
    service = Service(
        name=_service_name(route, target),
        owner=layout.owner,
        description=f"{route.alias}: {route.model.label}",
        command=(*program, *words),
        wrapper=_wrapper(route, target, words),
        log=layout.log(route),
        inputs=tuple(inputs),
    )
    return Supervised(service, target.machine.manager, definition(route, target))


def _memory(route: Route, target: Target) -> Memory | None:
    """The memory that the model is in: that which was chosen for it, else the best that it works
    in, as far as that is known."""
    if choice := target.choices.get(route.alias):
        return choice.memory
    works = [one.memory for one in as_if_chosen(route, target) if one.works]
    return next(iter((*works, *target.memories)), None)


def as_if_chosen(route: Route, target: Target) -> list[Choice]:
    """What a GGUF file of the user's own takes in each of the machine's memories, the best first;
    nothing where that is not known."""
    recipe, path = route.model.laptop, weights_path(route, target)
    there = host.get_fact(SizeAndTimeFact, path=path) if path else None
    if not there or not path or recipe is None or recipe.footprint is None:
        return []
    quant = Quant(PurePosixPath(path).name, int(there.split()[0]), path)
    return [Choice(quant, route.model.context, one, recipe.footprint) for one in target.memories]


def _wrapper(route: Route, target: Target, words: list[str]) -> tuple[str, ...]:
    """What starts the server: nothing, where its manager sees to its log, and where nothing in
    `words` may become unknown to it by an upgrade."""
    settings, layout = target.settings.laptop, target.layout
    power = "always" if not settings or settings.on_battery else "on-mains"
    rotates = target.machine.manager is Manager.LAUNCHD  # the others do that themselves
    if power == "always" and not rotates and "--no-mmap" not in words:
        return ()
    log = layout.log(route) if rotates else "-"
    return ("/bin/sh", layout.path("lib", STARTER.name), power, log)


def definition(route: Route, target: Target) -> str:
    """Where the definition of the service of `route` stands."""
    return definition_path(_service_name(route, target), target.machine.manager, target.layout)


def start_by_hand(route: Route, target: Target) -> str:
    """What a person types to have `route` served."""
    return start_command(
        _service_name(route, target),
        target.machine.manager,
        definition(route, target),
        supervisor_python(target),
    )


def _service_name(route: Route, target: Target) -> str:
    return f"{target.layout.services}{route.alias}"


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
    return f"{target.layout.weights(weights.name)}/{weights.pinned.revision}"


def _weights_version(route: Route, target: Target) -> str:
    """What is different when the weights are."""
    match route.model.weights:
        case PackagedWeights(sha256=sha256):
            return sha256
        case HubWeights() as weights:
            return weights.pinned.digest
    return host.get_fact(SizeAndTimeFact, path=_model_path(route, target)) or "missing"
