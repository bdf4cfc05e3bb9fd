"""A workstation: a machine on which people run Claude Code."""

from __future__ import annotations

import json
import shlex
from pathlib import PurePosixPath
from typing import Any

from pyinfra import host
from pyinfra.api import deploy

from .. import claude_code, doctoring, editors, policy, render, shell_line
from .. import router as routing
from ..facts.file import CannotRead, DirectoriesFact, SizeAndTimeFact, read
from ..facts.host import REMOTE, Machine
from ..facts.packages import RootFact
from ..layout import Layout
from ..model import Route
from ..operations import client, file, user_files, verify
from ..operations import policy as root_file
from ..operations.file import parents
from ..router import Router
from ..serving import start_by_hand, supervisor_python
from ..target import Target, unwritable
from ..workstation_settings import WorkstationSettings

DIRECTORIES = ("state", "bin", "client", "lib", "routes")

#: Says on the workstation where a `claude` goes, and why; and the command that runs it.
PROGRAM = REMOTE / "explain.py"
EXPLAIN = "homeport-explain"


def problems(target: Target) -> list[str]:
    """What stands in the way on this host, a sentence each, found without changing anything."""
    machine, path = target.machine, target.layout.claude_settings
    folders = parents(path, machine.home)
    try:
        settings = read(host, path)
        user_files.document_of(settings)
        for file in (settings, *(read(host, one) for one in shell_files(machine))):
            folders.append(str(PurePosixPath(file.path).parent))  # links are followed
    except CannotRead as error:
        return [str(error)]
    found = [client.problem(target), *unwritable(list(dict.fromkeys(folders)), target)]
    found.append(_policy_problem(target))
    return [problem for problem in found if problem]


@deploy("Workstation")
def apply(target: Target) -> None:
    settings, machine, layout = target.settings, target.machine, target.layout
    own = settings.workstation
    assert own, "settings.py gives every host of this group some"  # noqa: S101
    file.private_directories(
        name=f"Directories in {layout.directory}",
        paths=[layout.directory, *map(layout.path, DIRECTORIES)],
    )
    installed = _client(target, own.claude_code)
    for route in settings.uses:
        _route(route, target, own)
    if own.router:
        _router(own.router, target, own)
    for folder, names in _kept(target, installed).items():
        file.only(name=f"Remove what no route needs in {folder}", folder=folder, keep=names)
    file.write(
        name="Write use-anthropic.sh",
        path=f"{layout.bin}/use-anthropic.sh",
        content=render.use_anthropic(layout, settings.uses),
        mode="755",
    )
    if _fish_folder(machine):
        _fish(target)
    _explain(target)
    if own.managed:
        document = policy.managed_settings(own.managed, own.guardrails, layout)
        root_file.present(
            name="Write the machine's managed settings",
            path=policy.path(machine.kernel),
            content=policy.written(document),
            layout=layout,
        )
    else:
        root_file.absent(name="Have no managed settings of ours", layout=layout)
    file.directories(
        name="Directory ~/.claude",
        paths=parents(layout.claude_settings, machine.home),
        record=layout.created_directories,
    )
    user_files.settings_merged(
        name="Merge ~/.claude/settings.json",
        path=layout.claude_settings,
        wanted=own.claude_settings,
        layout=layout,
    )
    if own.add_to_path:
        for path in shell_files(machine):
            user_files.line_present(
                name=f"Put the use-scripts on the PATH in {path}",
                path=path,
                wanted=_line(path, layout),
                layout=layout,
            )
    for route in settings.uses:
        if route not in settings.serves:
            verify.reachable(
                name=f"Look for {route.alias}",
                route=route,
                target=target,
            )
    if own.show_answer:
        for route in settings.serves:
            verify.shown(name="Show an answer", route=route, target=target)


def _client(target: Target, version: tuple[int, ...] | None) -> bool:
    """Claude Code itself; whether it is one of homeport's own directory."""
    if version:
        client.present(
            name=f"Have Claude Code {claude_code.dotted(version)}",
            version=version,
            target=target,
        )
    ours = version if version and client.ours(target) else None
    if ours and not client.to_be_had(target, ours):
        return True  # an older one is better than none
    if ours:
        file.write(
            name="Write the claude that calls it",
            path=client.wrapper(target.layout),
            content=render.claude(f"{client.directory(target, ours)}/bin/claude"),
            mode="755",
        )
    client.only(name="Remove versions that nobody calls", version=ours, target=target)
    return ours is not None


def _route(route: Route, target: Target, own: WorkstationSettings) -> None:
    layout = target.layout
    tokens = (layout.path("routes"), layout.path("service"))
    settings = claude_code.route_settings(
        route, own.guardrails, tokens, layout.ca(route), own.model_overrides
    )
    if route.endpoint.ca:
        file.write(
            name=f"Write the certificate that {route.alias} is trusted by",
            path=layout.path("routes", f"{route.alias}.pem"),
            content=route.endpoint.ca,
        )
    if route in target.settings.serves:
        start = f"start it: {start_by_hand(route, target)}"
        on_401 = "Run the deploy again, it writes the token on both sides"
    else:
        start = f"ask whoever runs {route.endpoint.host} to start it"
        on_401 = "Set the route's token_file to the server's token and run the deploy again"
    _script(route, settings, render.use_route(route, layout, start, on_401), target)


def _router(router: Router, target: Target, own: WorkstationSettings) -> None:
    """What a session with all models of the router needs."""
    layout, machine, route = target.layout, target.machine, router.route
    tokens = (layout.path("routes"), layout.path("service"))
    start = routing.start_by_hand(machine.manager, layout, supervisor_python(target))
    content = render.use_route(
        route,
        layout,
        f"start the router: {start}",
        "Run the deploy again, it writes the token on both sides",
        claude_code.router_environment(router),
    )
    settings = claude_code.router_settings(router, own.guardrails, tokens, own.model_overrides)
    _script(route, settings, content, target)


def _script(route: Route, settings: dict[str, Any], content: bytes, target: Target) -> None:
    """The use-script with that content, the two files that it needs, and others like them."""
    layout = target.layout
    for kind in _extras(route, target):
        file.write(
            name=f"Write {route.name} for {kind}",
            path=layout.path("routes", f"{route.name}.{editors.FILES[kind]}"),
            content=editors.content(kind, settings["env"]),
            mode="600",
        )
    file.write(
        name=f"Write the token of {route.name} for its clients",
        path=layout.token(route),
        content=f"{route.client_token}\n".encode(),
        mode="600",
    )
    file.write(
        name=f"Write the settings of {route.name}",
        path=layout.route_settings(route),
        content=f"{json.dumps(settings, indent=2)}\n".encode(),
        mode="600",
    )
    file.write(name=f"Write {route.script}", path=layout.script(route), content=content, mode="755")


def _fish(target: Target) -> None:
    """The functions that take the place of the scripts, which fish cannot source."""
    layout, uses = target.layout, target.settings.uses
    file.private_directories(name=f"Directory {layout.fish}", paths=[layout.fish])
    functions = [(route, render.use_route_fish(route, layout)) for route in uses]
    if router := target.settings.router:
        variables = claude_code.router_environment(router)
        functions.append((router.route, render.use_route_fish(router.route, layout, variables)))
    for route, content in functions:
        file.write(name=f"Write {route.command}.fish", path=layout.function(route), content=content)
    file.write(
        name="Write use-anthropic.fish",
        path=f"{layout.fish}/use-anthropic.fish",
        content=render.use_anthropic(layout, uses, "fish"),
    )


def _policy_problem(target: Target) -> str | None:
    settings = target.settings.workstation
    if not settings or not settings.managed:
        return None
    if settings.managed not in target.settings.uses:
        return (
            f"managed_settings is {settings.managed.alias!r}, and this machine is too small to "
            "serve it: every session would lead nowhere. Set another for this host, or None"
        )
    if host.get_fact(RootFact):
        return None
    return (
        f"{policy.path(target.machine.kernel)} is root's to write, and sudo asks for a password. "
        "Log in as one who may, or set managed_settings = None"
    )


def _explain(target: Target) -> None:
    layout = target.layout
    program = layout.path("lib", PROGRAM.name)
    file.write(name=f"Write {PROGRAM.name}", path=program, content=PROGRAM.read_bytes())
    file.write(
        name=f"Write {EXPLAIN}",
        path=f"{layout.bin}/{EXPLAIN}",
        content=f'#!/bin/sh\nexec {shlex.join([target.python, program])} "$@"\n'.encode(),
        mode="755",
    )


def _extras(route: Route, target: Target) -> tuple[str, ...]:
    """None for a model that has to have its guardrails: these files cannot carry them."""
    settings = target.settings.workstation
    if settings is None or (settings.guardrails and not route.model.aligned):
        return ()
    return settings.extras


def _kept(target: Target, client_installed: bool) -> dict[str, list[str]]:
    """The files that today's routes have, in each folder of theirs; others are of earlier ones."""
    layout, router = target.layout, target.settings.router
    uses = (*target.settings.uses, *((router.route,) if router else ()))
    installed = ["claude"] if client_installed else []
    functions = ["use-anthropic.fish", *(f"{route.command}.fish" for route in uses)]
    return {
        layout.bin: [
            *("use-anthropic.sh", EXPLAIN, doctoring.COMMAND),
            *(route.script for route in uses),
            *installed,
        ],
        layout.fish: functions if _fish_folder(target.machine) else [],
        layout.path("routes"): [
            f"{route.name}.{kind}"
            for route in uses
            for kind in (
                *("json", "token"),
                *(("pem",) if route.endpoint.ca else ()),
                *(editors.FILES[one] for one in _extras(route, target)),
            )
        ],
    }


def shell_files(machine: Machine) -> list[str]:
    """The start-up files that an interactive bash, zsh or fish reads, at a login and without one.

    A login bash reads the first there is of three; Debian's reads ~/.bashrc from there.
    """
    login = [f"{machine.home}/{name}" for name in (".bash_profile", ".bash_login", ".profile")]
    first = next((path for path in login if host.get_fact(SizeAndTimeFact, path=path)), None)
    if first is None and machine.kernel == "Darwin":
        first = login[0]
    found = [f"{machine.home}/.bashrc", f"{machine.home}/.zshrc", first]
    if folder := _fish_folder(machine):
        found.append(f"{folder}/config.fish")
    return [path for path in found if path]


def _fish_folder(machine: Machine) -> str | None:
    """Where fish has its settings; None where nobody uses it: its first start makes the folder."""
    path = f"{machine.home}/.config/fish"
    return path if host.get_fact(DirectoriesFact, paths=(path,)) else None


def _line(path: str, layout: Layout) -> str:
    if path.endswith(".fish"):
        return shell_line.fish_line(layout.bin, layout.fish, layout.name)
    return shell_line.line(layout.bin, layout.name)
