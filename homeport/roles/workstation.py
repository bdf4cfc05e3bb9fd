"""A workstation: a machine on which people run Claude Code."""

from __future__ import annotations

import json
import shlex
from pathlib import PurePosixPath

from pyinfra import host
from pyinfra.api import deploy

from .. import claude_code, render
from ..facts.file import CannotRead, SizeAndTimeFact, read
from ..facts.host import REMOTE, Machine
from ..model import Route
from ..operations import file, user_files, verify
from ..operations.file import parents
from ..serving import start_by_hand
from ..target import Target, unwritable

DIRECTORIES = ("state", "bin", "lib", "routes")

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
    return unwritable(list(dict.fromkeys(folders)), target)


@deploy("Workstation")
def apply(target: Target) -> None:
    settings, machine, layout = target.settings, target.machine, target.layout
    file.private_directories(
        name=f"Directories in {layout.directory}",
        paths=[layout.directory, *map(layout.path, DIRECTORIES)],
    )
    for route in settings.uses:
        _route(route, target)
    for folder, names in _kept(target).items():
        file.only(name=f"Remove what no route needs in {folder}", folder=folder, keep=names)
    file.write(
        name="Write use-anthropic.sh",
        path=f"{layout.bin}/use-anthropic.sh",
        content=render.use_anthropic(layout, settings.uses),
        mode="755",
    )
    _explain(target)
    file.directories(
        name="Directory ~/.claude",
        paths=parents(layout.claude_settings, machine.home),
        record=layout.created_directories,
    )
    user_files.settings_merged(
        name="Merge ~/.claude/settings.json",
        path=layout.claude_settings,
        wanted=settings.claude_settings,
        layout=layout,
    )
    if settings.add_to_path:
        for path in shell_files(machine):
            user_files.line_present(
                name=f"Put the use-scripts on the PATH in {path}", path=path, layout=layout
            )
    for route in settings.uses:
        if route not in settings.serves:
            verify.reachable(
                name=f"Look for {route.alias}",
                route=route,
                python=machine.python,
                token_path=layout.token(route),
            )
    if settings.show_answer:
        for route in settings.serves:
            verify.shown(name="Show an answer", route=route, layout=layout, machine=machine)


def _route(route: Route, target: Target) -> None:
    layout = target.layout
    tokens = (layout.path("routes"), layout.path("service"))
    settings = claude_code.route_settings(route, target.settings.guardrails, tokens)
    file.write(
        name=f"Write the token of {route.alias} for its clients",
        path=layout.token(route),
        content=f"{route.client_token}\n".encode(),
        mode="600",
    )
    file.write(
        name=f"Write the settings of {route.alias}",
        path=layout.route_settings(route),
        content=f"{json.dumps(settings, indent=2)}\n".encode(),
        mode="600",
    )
    if route in target.settings.serves:
        start = f"start it: {start_by_hand(route, target)}"
        on_401 = "Run the deploy again, it writes the token on both sides"
    else:
        start = f"ask whoever runs {route.endpoint.host} to start it"
        on_401 = "Set the route's token_file to the server's token and run the deploy again"
    file.write(
        name=f"Write {route.script}",
        path=layout.script(route),
        content=render.use_route(route, layout, start, on_401),
        mode="755",
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


def _kept(target: Target) -> dict[str, list[str]]:
    """The files that today's routes have, in each folder of theirs; others are of earlier ones."""
    layout, uses = target.layout, target.settings.uses
    return {
        layout.bin: ["use-anthropic.sh", EXPLAIN, *(route.script for route in uses)],
        layout.path("routes"): [
            f"{route.alias}.{kind}" for route in uses for kind in ("json", "token")
        ],
    }


def shell_files(machine: Machine) -> list[str]:
    """The start-up files that an interactive bash or zsh reads, at a login and without one.

    A login bash reads the first there is of three; Debian's reads ~/.bashrc from there.
    """
    login = [f"{machine.home}/{name}" for name in (".bash_profile", ".bash_login", ".profile")]
    first = next((path for path in login if host.get_fact(SizeAndTimeFact, path=path)), None)
    if first is None and machine.kernel == "Darwin":
        first = login[0]
    found = [f"{machine.home}/.bashrc", f"{machine.home}/.zshrc", first]
    return [path for path in found if path]
