"""The mirror: a host that pulls weights once for all, and serves them on the LAN."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from .. import mirroring
from ..facts.nginx import NginxFact
from ..model import Endpoint
from ..operations import file, mirror, nginx, python_env, service
from ..service import Manager
from ..serving import environment
from ..target import Target
from . import ports, supervision, weights

DIRECTORIES = ("state", "env", "lib", "log", "service", "weights")


def problems(target: Target) -> list[str]:
    """What stands in the way on this host, a sentence each, found without changing anything."""
    if target.machine.kernel != "Linux":
        return [f"the mirror needs Linux, and this is {target.machine.kernel}. Choose another host"]
    found = [_nginx_problem(), *supervision.problems(target)]
    if not any(found):
        taken = ports.problem(_endpoint(target).port, "the mirror", target)
        found += [*weights.problems(target), taken]
    return [problem for problem in found if problem]


def services(target: Target) -> list[str]:
    """The definitions of the services that this role has on the host."""
    return [mirroring.definition(target.machine.manager, target.layout)]


@deploy("Mirror")
def apply(target: Target, keep: list[str]) -> None:
    """`keep` are the definitions of all services that any role has on this host."""
    layout, endpoint = target.layout, _endpoint(target)
    held = weights.of(target.settings.mirrors)
    file.private_directories(
        name=f"Directories in {layout.directory}",
        paths=[
            layout.directory,
            *map(layout.path, DIRECTORIES),
            *mirroring.directories(layout),
        ],
    )
    if target.machine.manager is Manager.SUPERVISORD:
        python_env.present(
            name="Install supervisord", environment=environment(target), python=target.python
        )
    supervision.apply(target=target)
    # Those that the host itself serves, too: one repository has one set of files.
    weights.apply(target=target, routes=(*target.settings.serves, *target.settings.mirrors))
    nginx.present(name="Have nginx", layout=layout)
    service.only(name="Remove what is served no more", target=target, keep=keep)
    if endpoint.token:
        file.write(
            name="Write the token of the mirror",
            path=mirroring.token(layout),
            content=f"{endpoint.token.value}\n".encode(),
            mode="600",
        )
    file.directories(
        name=f"Directory for what {target.machine.manager} starts at boot",
        paths=supervision.enabled_directories(target),
        record=layout.created_directories,
    )
    mirror.served(name="Have the mirror served", weights=held, endpoint=endpoint, target=target)
    mirror.answers(name="Ask the mirror", weights=held, endpoint=endpoint, target=target)
    weights.unneeded(target=target, routes=(*target.settings.serves, *target.settings.mirrors))


def _endpoint(target: Target) -> Endpoint:
    endpoint = target.settings.serves_mirror
    assert endpoint, "settings.py gives every host of this group one"  # noqa: S101
    return endpoint


def _nginx_problem() -> str | None:
    found = host.get_fact(NginxFact)
    if found.program or found.installable:
        return None
    return (
        "there is no nginx on this machine, and sudo asks for a password to install it. Type: "
        f"{nginx.BY_HAND}"
    )
