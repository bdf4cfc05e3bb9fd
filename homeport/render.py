"""The templates, filled in. Pure but for reading templates/."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import PurePosixPath

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from . import ROOT, claude_code
from . import router as routing
from .layout import Layout
from .mirroring import Held
from .model import Endpoint, Route
from .router import HEADER, Router
from .service import (
    IDENTITY_VARIABLE,
    RETRY_AFTER,
    Manager,
    Service,
    supervisor_quote,
    systemd_quote,
    wanted_by,
)
from .shell_line import fish_quote


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(ROOT / "templates"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - shell and units, not HTML; each value has its own quoting
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    environment.filters["sh"] = shlex.quote
    environment.filters["fish"] = fish_quote
    environment.filters["systemd"] = systemd_quote
    environment.filters["systemd_path"] = lambda path: path.replace("%", "%%")
    environment.filters["nginx"] = nginx_quote
    environment.filters["supervisor"] = supervisor_quote
    environment.filters["supervisor_path"] = lambda path: path.replace("%", "%%")
    return environment


def _fill(template: str, **values: object) -> bytes:
    return _templates().get_template(template).render(values).encode()


def definition(service: Service, manager: Manager, path: str) -> bytes:
    """The service's definition for `manager`, to stand at `path`."""
    match manager:
        case Manager.LAUNCHD:
            return service.plist()
        case Manager.SYSTEMD | Manager.SYSTEM:
            return _fill(
                "service.j2" if manager is Manager.SYSTEMD else "system-service.j2",
                service=service,
                variable=IDENTITY_VARIABLE,
                retry_after=RETRY_AFTER,
                wanted_by=wanted_by(manager),
            )
        case Manager.SUPERVISORD:
            return _fill(
                "supervisord.conf.j2", service=service, variable=IDENTITY_VARIABLE, definition=path
            )


def mirror(
    endpoint: Endpoint, held: list[Held], user: str | None, without: tuple[str, ...], ipv6: bool
) -> bytes:
    """nginx's configuration, with which it serves `held` at `endpoint`.

    `user` is whom its processes are to run as, None where nginx does not run as root; `without` are
    modules that it was built without.
    """
    if endpoint.loopback:
        addresses = [endpoint.url.removeprefix("http://")]
    else:
        addresses = [f"{endpoint.port}", *([f"[::]:{endpoint.port}"] if ipv6 else [])]
    modules = ("proxy", "fastcgi", "uwsgi", "scgi")
    return _fill(
        "mirror.nginx.j2",
        addresses=addresses,
        token=endpoint.token.value if endpoint.token else None,
        held=held,
        user=user,
        temporary=["client_body", *(name for name in modules if name not in without)],
    )


def nginx_quote(text: str) -> str:
    """One word of nginx's configuration, in which no variable is meant."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def router(wanted: Router, layout: Layout, kernel: str, restart: str) -> bytes:
    """HAProxy's configuration, for its start in the folder "service" on a machine with `kernel`;
    `restart` is what a person types to have it started again."""
    # Homebrew's OpenSSL may have none of its own; macOS has them for its own programs.
    system_ca = "/etc/ssl/cert.pem" if kernel == "Darwin" else "@system-ca"
    served = (*(route.alias for route in wanted.routes), *wanted.anthropic)
    return _fill(
        "router.haproxy.j2",
        address=f"{wanted.endpoint.address}:{wanted.endpoint.port}",
        routes=wanted.routes,
        anthropic=wanted.anthropic,
        background=[one for one in claude_code.BACKGROUND_IDS if one not in served],
        secret=PurePosixPath(routing.secret(layout)).name,
        tokens=PurePosixPath(routing.tokens(layout)).name,
        models=_haproxy_string(wanted.models),
        unknown=_haproxy_string(
            _error_body(
                "not_found_error",
                "the router has no route to %[var(txn.model),json(utf8s)]; it has "
                + ", ".join(served),
            )
        ),
        error=lambda kind, message: _haproxy_string(_error_body(kind, message)),
        ca=lambda route: f"../routes/{route.alias}.pem" if route.endpoint.ca else system_ca,
        system_ca=system_ca,
        restart=restart,
    )


def _error_body(kind: str, message: str) -> str:
    """An error as the Messages API has them."""
    error = {"type": kind, "message": f"homeport: {message}"}
    return json.dumps({"type": "error", "error": error})


def _haproxy_string(text: str) -> str:
    """One word of HAProxy's configuration, in which nothing has a meaning; JSON, that is."""
    return "'" + text.replace("'", "\\u0027") + "'"


def use_route(
    route: Route,
    layout: Layout,
    start: str,
    token_fix: str,
    variables: dict[str, str] | None = None,
) -> bytes:
    """The script that sends Claude Code to `route`, with its environment or other `variables`.

    `start` and `token_fix` are what to do, or whom to ask, where nothing answers and where the
    server takes another token.
    """
    return _fill(
        "use-route.sh.j2",
        route=route,
        layout=layout,
        start=start,
        token_fix=token_fix,
        ca=layout.ca(route),
        **_variables(route, layout, variables),
    )


def claude(program: str) -> bytes:
    """The script that calls the Claude Code that homeport installed at `program`: npm's would be
    updated by itself, in another place."""
    called = shlex.quote(program)
    return f'#!/bin/sh\nDISABLE_AUTOUPDATER=1 exec {called} "$@"\n'.encode()


def use_route_fish(route: Route, layout: Layout, variables: dict[str, str] | None = None) -> bytes:
    """The same as a function of fish, which leaves the check of the server to that script."""
    return _fill(
        "use-route.fish.j2",
        route=route,
        layout=layout,
        **_variables(route, layout, variables),
    )


def use_anthropic(layout: Layout, routes: tuple[Route, ...], shell: str = "sh") -> bytes:
    """The script, or for the `shell` "fish" the function, that undoes whichever route is active."""
    return _fill(
        f"use-anthropic.{shell}.j2",
        layout=layout,
        aliases=[route.alias for route in routes],
        all_variables=_ALL_VARIABLES,
        common=_common(layout),
    )


def _common(layout: Layout) -> dict[str, str]:
    """Variables that people have for other reasons, too, and what those of a route start with."""
    return {
        "NODE_EXTRA_CA_CERTS": f"{layout.path('routes')}/",
        "ANTHROPIC_CUSTOM_HEADERS": f"{HEADER}: ",
        "API_TIMEOUT_MS": claude_code.PATIENCE,
    }


_ALL_VARIABLES = (*claude_code.VARIABLES, "HOMEPORT_ROUTE")


def _variables(
    route: Route, layout: Layout, variables: dict[str, str] | None
) -> dict[str, Mapping[str, str] | tuple[str, ...] | str]:
    """What a script sets: of those with a secret, what stands before the token, which stays in its
    own file: people read these scripts, and copy them about."""
    found = variables or claude_code.environment(route, layout.ca(route))
    secret = {
        name: found[name].removesuffix(route.client_token)
        for name in claude_code.SECRETS
        if found.get(name)
    }
    return {
        "secret": secret,
        "variables": {name: value for name, value in found.items() if name not in secret},
        "all_variables": _ALL_VARIABLES,
        "common": _common(layout),
        "install": claude_code.by_hand(),
    }
