"""A GPU host. This version does not install its server; it says so, and changes nothing."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from .. import report
from ..target import Target


@deploy("GPU host")
def apply(target: Target) -> None:
    for route in target.settings.serves:
        report.say(
            host,
            f"{route.alias}: this version does not manage the server at {route.endpoint.url}; "
            f"serve {route.model.label} there under this name yourself, with the route's token",
        )
