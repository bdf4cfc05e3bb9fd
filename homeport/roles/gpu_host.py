"""A GPU host. This version pulls its weights; its server it does not install yet, and says so."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from .. import report
from ..operations import file, hub, python_env, service
from ..serving import environment
from ..target import Target
from . import supervision, weights

DIRECTORIES = ("state", "env", "lib", "log", "service", "weights")


def problems(target: Target) -> list[str]:
    """What stands in the way on this host, a sentence each, found without changing anything."""
    return supervision.problems(target) or weights.problems(target)


def services(target: Target) -> list[str]:
    """The definitions of the services that this role has on the host."""
    return []


@deploy("GPU host")
def apply(target: Target, keep: list[str]) -> None:
    """`keep` are the definitions of all services that any role has on this host."""
    layout = target.layout
    file.private_directories(
        name=f"Directories in {layout.directory}",
        paths=[layout.directory, *map(layout.path, DIRECTORIES)],
    )
    supervision.apply(target=target)
    if not target.settings.serves_mirror:  # that role has pulled them, with the others'
        weights.apply(target=target, routes=target.settings.serves)
    service.only(name="Remove what is served no more", target=target, keep=keep)
    python_env.only(
        name="Remove older environments",
        environments=[environment(target), hub.environment(target)],
    )
    for route in target.settings.serves:
        report.say(
            host,
            f"{route.alias}: this version does not manage the server at {route.endpoint.url}; "
            f"serve {route.model.label} there under this name yourself, with the route's token",
        )
