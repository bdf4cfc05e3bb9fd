"""The router of a workstation: several models, and Anthropic's, in one session of Claude Code."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from .. import router as routing
from ..facts.haproxy import OLDEST, PACKAGE, HaproxyFact
from ..operations import brew, file, python_env, router, service
from ..service import Manager
from ..serving import environment
from ..target import Target, install_python
from . import ports, supervision

DIRECTORIES = ("state", "env", "lib", "log", "routes", "service")


def problems(target: Target) -> list[str]:
    """What stands in the way on this host, a sentence each, found without changing anything."""
    one = target.settings.router
    if one is None:
        return []
    taken = ports.problem(one.endpoint.port, "the router", target)
    found = [_haproxy_problem(target), taken, *supervision.problems(target)]
    if target.machine.manager is Manager.SUPERVISORD and not target.machine.venv:
        found.append(
            f"{target.machine.python} cannot make virtual environments (no ensurepip), which "
            f"supervisord needs. Type: {install_python(target.machine)}"
        )
    return [problem for problem in found if problem]


def services(target: Target) -> list[str]:
    """The definitions of the services that this role has on the host."""
    return (
        [routing.definition(target.machine.manager, target.layout)]
        if target.settings.router
        else []
    )


@deploy("Router")
def apply(target: Target, keep: list[str]) -> None:
    """`keep` are the definitions of all services that any role has on this host."""
    layout, one = target.layout, target.settings.router
    if one is None:
        service.only(name="Remove services that nothing needs", target=target, keep=keep)
        # What an interrupted run left without a service.
        told = [routing.secret(layout), routing.tokens(layout), routing.configuration(layout)]
        file.absent(name="Have nothing of a router", paths=told)
        return
    file.private_directories(
        name=f"Directories in {layout.directory}",
        paths=[layout.directory, *map(layout.path, DIRECTORIES)],
    )
    if target.machine.manager is Manager.SUPERVISORD:
        python_env.present(
            name="Install supervisord", environment=environment(target), python=target.python
        )
    supervision.apply(target=target)
    router.present(name="Have HAProxy", target=target)
    service.only(name="Remove services that nothing needs", target=target, keep=keep)
    for route in one.routes:
        if route.endpoint.ca:
            file.write(
                name=f"Write the certificate that {route.alias} is trusted by",
                path=layout.ca(route) or "",
                content=route.endpoint.ca,
            )
    file.directories(
        name=f"Directory for what {target.machine.manager} starts at boot",
        paths=supervision.enabled_directories(target),
        record=layout.created_directories,
    )
    router.served(name="Have the router serve", router=one, target=target)
    router.answers(name="Ask the router", router=one, target=target)


def _haproxy_problem(target: Target) -> str | None:
    found, machine = host.get_fact(HaproxyFact), target.machine
    if found.program and found.version >= OLDEST:
        return None
    oldest = ".".join(map(str, OLDEST))
    if found.program:
        return f"{found.program} is older than {oldest}, which the router needs. Upgrade it"
    if machine.kernel == "Darwin":
        if machine.brew is None:
            return f"Homebrew is not here, which HAProxy comes from. Type: {brew.INSTALLER}"
        if not machine.brew_is_ours or machine.user == "root":
            return f"Homebrew is another user's, who has to type: brew install {PACKAGE}"
        return None
    if found.installable and found.to_be_had >= OLDEST:
        return None
    if found.installable:
        return f"the HAProxy that apt has is older than {oldest}. Set router = None, or upgrade"
    return (
        "there is no HAProxy on this machine, which the router is, and sudo asks for a password to "
        f"install it. Type: {router.BY_HAND}; or set router = None"
    )
