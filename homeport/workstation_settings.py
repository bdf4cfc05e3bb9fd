"""What group data says of a workstation. Touches this machine only."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import tokens
from .claude_code import NEUTRAL_SETTINGS, OLDEST_CLIENT, dotted
from .editors import FILES
from .errors import Kinds, SettingsError, check_keys, did_you_mean
from .model import Endpoint, Route
from .router import ANTHROPIC_ID, LARGE_CONTEXT, Router

#: What may be said of a workstation, and its type; `use` is settings.py's.
WORKSTATION_KEYS: dict[str, Kinds] = {
    "claude_code": (str, type(None)),
    "claude_settings": dict,
    "guardrails": dict,
    "router": (dict, type(None)),
    "model_overrides": dict,
    "managed_settings": (str, type(None)),
    "extras": list,
    "add_to_path": bool,
    "show_answer": bool,
}

#: What may stand in `guardrails`, and in its `permissions`: what of Claude Code's settings keeps a
#: model in bounds (its documentation, Settings; tried with 2.1.330), and its type.
GUARDRAIL_KEYS: dict[str, Kinds] = {
    "permissions": dict,
    "sandbox": dict,
    "hooks": dict,
    "disableAllHooks": bool,
}
PERMISSION_KEYS: dict[str, Kinds] = {
    "allow": list,
    "ask": list,
    "deny": list,
    "defaultMode": str,
    "disableBypassPermissionsMode": str,
    "disableAutoMode": str,
    "blockWritesOutsideWorkingDirectories": bool,
    "blockReadsOutsideWorkingDirectories": bool,
    "additionalDirectories": list,
}

#: The first port that a user's own server may have, on Linux.
FIRST_FREE_PORT = 1024

#: What may stand in `router`, and its type.
ROUTER_KEYS: dict[str, Kinds] = {"port": int, "routes": (list, type(None)), "anthropic": list}

_VERSION = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True)
class WorkstationSettings:
    """`claude_code`: the version that Claude Code is to have at least, None to leave it alone;
    `claude_settings`: what is merged into the user's own; `guardrails`: settings for models that
    are not safety-aligned; `router`: None for none; `model_overrides`: ids of Anthropic's and the
    aliases that serve them; `managed`: the route of every session on the machine, by its managed
    settings, None for none; `extras`: those of editors.FILES that are wanted."""

    claude_code: tuple[int, ...] | None
    claude_settings: dict[str, Any]
    guardrails: dict[str, Any]
    router: Router | None
    model_overrides: dict[str, str]
    managed: Route | None
    extras: tuple[str, ...]
    add_to_path: bool
    show_answer: bool


def of(
    name: str,
    values: Mapping[str, Any],
    origin: Callable[[str], str],
    uses: tuple[Route, ...],
    serves: tuple[Route, ...],
) -> WorkstationSettings:
    """The settings of the workstation `name` that uses and serves these routes; raises
    `SettingsError`, with the file from `origin`. The types of `values` are known to be right."""
    for route in uses:
        if not route.model.aligned and "guardrails" not in values:
            raise SettingsError(
                "group_data/workstations.py: guardrails",
                None,
                f"{route.model.label} is not safety-aligned, and nothing says what it may not do",
                "Restore it (git checkout group_data/workstations.py), or write {} to have none",
            )
    try:
        router = _router(name, values.get("router"), uses, serves)
        return WorkstationSettings(
            claude_code=_version(values.get("claude_code")),
            claude_settings=_json(values, "claude_settings", NEUTRAL_SETTINGS),
            guardrails=_guardrails(values),
            router=router,
            model_overrides=_overrides(values.get("model_overrides", {}), uses, router),
            managed=_managed(values.get("managed_settings"), uses, router),
            extras=_extras(values.get("extras", [])),
            add_to_path=values.get("add_to_path", True),
            show_answer=values.get("show_answer", False),
        )
    except SettingsError as error:
        key = re.split(r"[:\[]", error.field)[0]
        raise error.inside(f"{origin(key)}: ") from None


def _version(value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not _VERSION.fullmatch(value):
        raise SettingsError(
            "claude_code", value, "it is no version", "Write one such as '2.1.330', or None"
        )
    version = tuple(map(int, value.split(".")))
    if version < OLDEST_CLIENT:
        raise SettingsError(
            "claude_code",
            value,
            "it takes no notice of how many tokens a server holds",
            f"Write {dotted(OLDEST_CLIENT)} or newer",
        )
    return version


def _router(
    name: str, spec: dict[str, Any] | None, uses: tuple[Route, ...], serves: tuple[Route, ...]
) -> Router | None:
    if spec is None:
        return None
    try:
        check_keys(spec, ROUTER_KEYS, required=("port",))
        known = {route.alias: route for route in uses}
        wanted = list(known) if spec.get("routes") is None else spec["routes"]
        for alias in wanted:
            if not isinstance(alias, str) or alias not in known:
                raise SettingsError(
                    "routes",
                    alias,
                    f"{name} uses no route with this alias",
                    did_you_mean(alias, known),
                )
        if not wanted:
            raise SettingsError("routes", wanted, "there is nothing to route", "Name some, or None")
        if spec["port"] < FIRST_FREE_PORT:
            raise SettingsError(
                "port",
                spec["port"],
                f"a server that does not run as root gets no port below {FIRST_FREE_PORT}",
                "Write e.g. 18090",
            )
        for route in serves:
            if route.endpoint.port == spec["port"]:
                raise SettingsError(
                    "port",
                    spec["port"],
                    f"{name} serves {route.alias} on the same port",
                    f"Write e.g. {spec['port'] + 1}",
                )
        endpoint = Endpoint("localhost", spec["port"], tokens.of_router(name))
        routes = tuple(known[alias] for alias in dict.fromkeys(wanted))
        return Router(endpoint, routes, tuple(map(str, spec.get("anthropic", []))))
    except SettingsError as error:
        raise error.inside("router: ") from None


def _overrides(
    overrides: dict[str, Any], uses: tuple[Route, ...], router: Router | None
) -> dict[str, str]:
    known = {route.alias: route.model.context for route in uses}
    for name, alias in overrides.items():
        if not isinstance(name, str) or not ANTHROPIC_ID.fullmatch(name) or name in known:
            raise SettingsError(
                "model_overrides", name, "it is no id of a model of Anthropic's", "See /model"
            )
        if not isinstance(alias, str) or known.get(alias, 0) < LARGE_CONTEXT:
            raise SettingsError(
                f"model_overrides[{name!r}]",
                alias,
                f"it is no alias in use that holds {LARGE_CONTEXT:,} tokens, as the client assumes",
                f"Known are {', '.join(k for k, v in known.items() if v >= LARGE_CONTEXT)}",
            )
        if router and name in router.anthropic:
            raise SettingsError(
                f"model_overrides[{name!r}]",
                alias,
                "whoever picks this model of Anthropic's would get that one",
                "Leave it out here, or in the router's anthropic",
            )
    return overrides


def _managed(alias: str | None, uses: tuple[Route, ...], router: Router | None) -> Route | None:
    if alias is None:
        return None
    known = {route.alias: route for route in uses}
    if alias not in known:
        raise SettingsError(
            "managed_settings",
            alias,
            "no route in use has this alias",
            f"Known are {', '.join(known)}",
        )
    if known[alias].endpoint.ca:
        raise SettingsError(
            "managed_settings",
            alias,
            "its ca_file is in the home of one user, and the others cannot read it",
            "Add the certificate to the machine's trusted ones, and leave ca_file out",
        )
    if router:
        raise SettingsError(
            "managed_settings",
            alias,
            "every session goes there, and none to the router",
            "Set router or managed_settings to None",
        )
    return known[alias]


def _extras(names: list[Any]) -> tuple[str, ...]:
    for name in names:
        if not isinstance(name, str) or name not in FILES:
            raise SettingsError("extras", name, "there is no such", f"Known are {', '.join(FILES)}")
    return tuple(names)


def _json(values: Mapping[str, Any], key: str, default: dict[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = values.get(key, default)
    try:
        json.dumps(settings, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SettingsError(
            key, settings, f"it cannot be written as JSON ({error})", "Use plain values"
        ) from None
    return settings


def _guardrails(values: Mapping[str, Any]) -> dict[str, Any]:
    """What keeps a model in bounds that was not trained to stay there by itself."""
    guardrails = _json(values, "guardrails", {})
    try:
        check_keys(guardrails, GUARDRAIL_KEYS, ())
        permissions = guardrails.get("permissions", {})
        check_keys(permissions, PERMISSION_KEYS, ())
        for key in ("allow", "ask", "deny"):
            if not all(isinstance(rule, str) for rule in permissions.get(key, [])):
                raise SettingsError(key, permissions[key], "a rule is text", "Write e.g. 'Bash'")
    except SettingsError as error:
        raise error.inside("guardrails: ") from None
    return guardrails
