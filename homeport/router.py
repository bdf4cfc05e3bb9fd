"""The router: one port on a workstation for several models, by the name that a request asks for.
Pure.

It is HAProxy, which passes requests and answers on as they are but for the credentials
(benchmarks/router.py says what that costs).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from ipaddress import ip_address

from .errors import SettingsError
from .layout import Layout
from .model import Endpoint, Route
from .service import Manager, Service, definition_path, start_command

#: What its script, its files and its service are called.
NAME = "router"

#: Tokens that Claude Code takes a model for that `behavesAs` LARGE_MODEL, where it may not have a
#: million; it then compacts below 190,000. CLAUDE_CODE_MAX_CONTEXT_TOKENS is for all names that it
#: does not know, and for no other (measured, 2.1.330).
LARGE_CONTEXT = 200_000
LARGE_MODEL = "claude-opus-4-8"

ANTHROPIC_ID = re.compile(r"claude-[a-z0-9.-]+")

#: The header by which a caller proves itself whose own login goes on to Anthropic.
HEADER = "X-Homeport-Router"


@dataclass(frozen=True)
class Router:
    """`routes` are what can be picked in one session, the first unless another is, and besides
    them the models `anthropic` of Anthropic's, with the user's own login."""

    endpoint: Endpoint
    routes: tuple[Route, ...]
    anthropic: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.anthropic:
            if not ANTHROPIC_ID.fullmatch(name) or name in [one.alias for one in self.routes]:
                raise SettingsError(
                    "anthropic", name, "it is no id of a model of Anthropic's", "See /model"
                )
        for route in self.routes:
            if route.endpoint.tls and _is_address(route.endpoint.host):
                raise SettingsError(
                    "routes",
                    route.alias,
                    "the router checks a certificate by its name, and this route has an IP address",
                    "Give the route a host name",
                )

    @property
    def large(self) -> tuple[str, ...]:
        """The aliases that a session has to take for a model of Anthropic's: it has one context for
        all names that it does not know, and one of them holds less."""
        if min(route.model.context for route in self.routes) >= LARGE_CONTEXT:
            return ()
        return tuple(one.alias for one in self.routes if one.model.context >= LARGE_CONTEXT)

    @property
    def route(self) -> Route:
        """What a session sees: the first model, with what those hold that it does not know."""
        models = [route.model for route in self.routes]
        model = replace(
            models[0],
            context=min(one.context for one in models),
            smallest_context=min(one.smallest_context for one in models),
            max_output=min(one.max_output for one in models),
            aligned=all(one.aligned for one in models),
            # One for all of the session, which beats /effort; and Anthropic bills by it.
            effort=None if self.anthropic else models[0].effort,
        )
        return Route(model, self.endpoint, known_as=NAME)

    @property
    def models(self) -> str:
        """What GET /v1/models answers."""
        listed = [
            {
                "type": "model",
                "id": route.alias,
                "display_name": route.model.label,
                "created_at": "2026-01-01T00:00:00Z",
            }
            for route in self.routes
        ]
        ends = {"first_id": self.routes[0].alias, "last_id": self.routes[-1].alias}
        return json.dumps({"data": listed, "has_more": False, **ends})

    @property
    def tokens(self) -> bytes:
        """Each route's token, a line each."""
        found = [(route.alias, route.endpoint.token) for route in self.routes]
        return "".join(f"{alias} {token.value}\n" for alias, token in found if token).encode()


def service(program: str, inputs: tuple[str, ...], layout: Layout) -> Service:
    """HAProxy, the program at that path, with the configuration in `layout`."""
    return Service(
        name=_name(layout),
        owner=layout.owner,
        description="the router of Claude Code's requests",
        command=(program, "-db", "-C", layout.path("service"), "-f", f"{NAME}.cfg"),
        log=layout.path("log", f"{NAME}.log"),
        inputs=inputs,
    )


def definition(manager: Manager, layout: Layout) -> str:
    """Where the definition of its service stands."""
    return definition_path(_name(layout), manager, layout)


def start_by_hand(manager: Manager, layout: Layout, python: str) -> str:
    """What a person types to have it run; `python` is the one with supervisord."""
    return start_command(_name(layout), manager, definition(manager, layout), python)


def configuration(layout: Layout) -> str:
    return layout.path("service", f"{NAME}.cfg")


def secret(layout: Layout) -> str:
    """The file with what a caller has to show."""
    return layout.path("service", f"{NAME}.token")


def tokens(layout: Layout) -> str:
    """The file with the tokens of the routes."""
    return layout.path("service", f"{NAME}.tokens")


def _name(layout: Layout) -> str:
    return f"{layout.services}{NAME}"


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
