"""A laptop: a machine that serves a small model to itself."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from .. import report
from ..facts.file import FileStateFact, SizeAndTimeFact
from ..facts.host import OLDEST_PYTHON, python_version
from ..facts.llama import Program, ProgramFact
from ..model import Route
from ..operations import brew, file, hub, python_env, service, verify
from ..serving import (
    PROGRAM,
    STARTER,
    as_if_chosen,
    brew_prefix,
    by_homebrew,
    definition,
    environment,
    llama_server,
    template_path,
    weights_path,
)
from ..target import Target, install_python
from . import ports, supervision, weights

DIRECTORIES = ("state", "env", "lib", "log", "service", "weights")


def problems(target: Target) -> list[str]:
    """What stands in the way on this host, a sentence each, found without changing anything."""
    if not target.settings.serves:
        return []
    found = [_python_problem(target), _engine_problem(target), *supervision.problems(target)]
    if not any(found):
        found += [_disk_problem(target), *weights.problems(target)]
        for route in target.settings.serves:
            found += [_weights_problem(route, target), _port_problem(route, target)]
    return [problem for problem in found if problem]


def services(target: Target) -> list[str]:
    """The definitions of the services that this role has on the host."""
    return [definition(route, target) for route in target.settings.serves]


@deploy("Laptop")
def apply(target: Target, keep: list[str]) -> None:
    """`keep` are the definitions of all services that any role has on this host."""
    settings, layout = target.settings, target.layout
    for sentence in target.too_large:
        report.say(host, sentence)
    file.private_directories(
        name=f"Directories in {layout.directory}",
        paths=[layout.directory, *map(layout.path, DIRECTORIES)],
    )
    if settings.serves:
        _engine(target)
        supervision.apply(target=target)
        if not settings.serves_mirror:  # that role has pulled them, with the others'
            weights.apply(target=target, routes=settings.serves)
    service.only(name="Remove what is served no more", target=target, keep=keep)
    for route in settings.serves:
        _serve(route, target)
    python_env.only(
        name="Remove older environments",
        environments=[environment(target), hub.environment(target)],
    )
    if not settings.serves_mirror:
        weights.unneeded(target=target, routes=settings.serves)


def _engine(target: Target) -> None:
    """The program that serves, and what starts it."""
    layout, settings, engine = target.layout, target.settings.laptop, environment(target)
    program = llama_server(target)
    if program and by_homebrew(target):
        brew.present(
            name="Install llama.cpp with Homebrew",
            brew=f"{brew_prefix(target)}/bin/brew",
            program=program,
            build=oldest_build(target),
            layout=layout,
        )
    if engine.locks:
        python_env.present(name="Install the engine", environment=engine, python=target.python)
    for file_ in (PROGRAM, STARTER):
        file.write(
            name=f"Write {file_.name}",
            path=layout.path("lib", file_.name),
            content=file_.read_bytes(),
        )
    if settings and settings.chat_template is not None:
        file.write(
            name="Write the chat template",
            path=str(template_path(target)),
            content=settings.chat_template,
        )


def _serve(route: Route, target: Target) -> None:
    layout = target.layout
    if route.endpoint.token:
        file.write(
            name=f"Write the token of {route.alias}",
            path=layout.server_token(route),
            content=f"{route.endpoint.token.value}\n".encode(),
            mode="600",
        )
    file.directories(
        name=f"Directory for what {target.machine.manager} starts at boot",
        paths=supervision.enabled_directories(target),
        record=layout.created_directories,
    )
    service.served(name=f"Have {route.alias} served", route=route, target=target)
    verify.answers(name=f"Ask {route.alias}", route=route, target=target)


def oldest_build(target: Target) -> int:
    """The oldest llama.cpp that loads all that this host serves."""
    recipes = [route.model.laptop for route in target.settings.serves]
    return max(recipe.build for recipe in recipes if recipe)


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
    """Whether there is a llama-server, or can be one, that is new enough."""
    program, machine = llama_server(target), target.machine
    if program is None:
        return None
    found: Program | None = host.get_fact(ProgramFact, program=program)
    oldest, ours = oldest_build(target), by_homebrew(target)
    if found and found.is_new_enough(oldest):
        return None
    if found and found.problem:
        fix = f"Type: {brew_prefix(target)}/bin/brew reinstall {brew.FORMULA}"
        fix = fix if ours else "Mend it, or set engine = None"
        return f"{program} does not run: {found.problem}. {fix}"
    if not ours:
        if found is None:
            return (
                f"there is no program {program}. Build llama.cpp there, or set engine = None in "
                "group_data/laptops.py, or for this host"
            )
        return (
            f"{program} is llama.cpp of build {found.build}, and the model needs {oldest} or "
            "newer. Upgrade it, or set engine = None"
        )
    if machine.user == "root":
        return "Homebrew refuses to work for root. Log in as the laptop's user"
    if machine.brew is None:
        return (
            f'Homebrew is not on this machine. Type: {brew.INSTALLER}; or set engine = "xllamacpp"'
        )
    if not machine.brew_is_ours:
        verb = "upgrade" if found else "install"
        return (
            f"{brew_prefix(target)} is another user's Homebrew, who has to type: "
            f'brew {verb} {brew.FORMULA}; or set engine = "xllamacpp"'
        )
    return None


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
    if path is None:
        return None
    there: str | None = host.get_fact(SizeAndTimeFact, path=path)
    if there is None:
        return (
            f"{route.alias}: there is no file {path}. Put the GGUF file of {route.model.label} "
            "there, or write where it is as the route's 'weights'"
        )
    tried = as_if_chosen(route, target)
    if not tried or any(one.works for one in tried):
        return None
    last = tried[-1]
    return (
        f"{route.alias}: {path} does not fit {last.memory}: {last.over(last.memory.limit)} at the "
        "most. Put a smaller quant there"
    )


def _port_problem(route: Route, target: Target) -> str | None:
    taken = ports.problem(route.endpoint.port, route.alias, target)
    return taken and f"{taken}; for make try: make try TRY_PORT=18081"
