"""What Claude Code is told about a route: environment and settings. Pure.

Facts were measured with Claude Code 2.1.330.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from .doctor.limits import OLDEST_CLIENT
from .merge import merge
from .model import Route
from .router import HEADER, LARGE_MODEL, Router

#: The `env` block of any settings file beats the shell, and `--settings FILE` beats the others;
#: so a route's variables stand in its settings file as well as in its script.
_TIERS = ("OPUS", "SONNET", "HAIKU", "FABLE")

#: Its package at npm.
PACKAGE = "@anthropic-ai/claude-code"

#: Some of the client's calls use these names whatever it is told (2.1.330): a server that serves
#: them as well spares it a 404.
BACKGROUND_IDS = ("claude-haiku-4-5-20251001", "claude-haiku-4-5", "claude-haiku-5-5")

#: Merged into the user's ~/.claude/settings.json; true of every self-hosted endpoint.
NEUTRAL_SETTINGS: dict[str, Any] = {
    # The first system block differs from one conversation to the next, which defeats the prefix
    # cache of llama.cpp and SGLang: 0 instead of 9,531 of 11,913 tokens were reused.
    "env": {"CLAUDE_CODE_ATTRIBUTION_HEADER": "0"},
    "permissions": {
        # Auto mode asks a classifier model about each call; a self-hosted model's answer is
        # unusable, so that every call is refused.
        "defaultMode": "default",
        # A tool that Anthropic's servers run, and no other.
        "deny": ["WebSearch"],
    },
    "disableAutoMode": "disable",
}


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def by_hand(version: tuple[int, ...] = OLDEST_CLIENT) -> str:
    """What a person types who is not root to have Claude Code of `version`."""
    return f"npm install --global --prefix ~/.local {PACKAGE}@{dotted(version)}"


def environment(route: Route, ca_path: str | None = None) -> dict[str, str]:
    """The variables that send Claude Code to `route`; each is also what "back" has to unset.

    `ca_path` is where the workstation has the certificates that the endpoint's is signed by.
    """
    model = route.model
    variables = {
        "ANTHROPIC_BASE_URL": route.endpoint.url,
        "ANTHROPIC_AUTH_TOKEN": route.client_token,
        # Empty, not unset: a key left over from elsewhere would go to this host as x-api-key.
        "ANTHROPIC_API_KEY": "",
        "ANTHROPIC_MODEL": route.alias,
        **{f"ANTHROPIC_DEFAULT_{tier}_MODEL": route.alias for tier in _TIERS},
        "CLAUDE_CODE_SUBAGENT_MODEL": route.alias,
        # Without it the client assumes 1,000,000 tokens for a name it does not know.
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(model.context),
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(model.max_output),
        # Else the picker's "Default" is the alias with [1m], which overrides the context above.
        "CLAUDE_CODE_DISABLE_1M_CONTEXT": "1",
        # To the first byte, and between two; that a server is down is said after 5 seconds.
        "API_TIMEOUT_MS": PATIENCE,
        "CLAUDE_STREAM_IDLE_TIMEOUT_MS": PATIENCE,
        "CLAUDE_CODE_MAX_RETRIES": "3",
        **NEUTRAL_SETTINGS["env"],
    }
    if ca_path:
        variables["NODE_EXTRA_CA_CERTS"] = ca_path
    if model.effort:
        # The key effortLevel takes no "max", without a word. This beats --effort and /effort.
        variables["CLAUDE_CODE_EFFORT_LEVEL"] = model.effort
    if model.simple:
        # The full client's first request does not fit below 65,536 tokens.
        variables["CLAUDE_CODE_SIMPLE"] = "1"
    return variables


#: Milliseconds. The first token of a long prompt may take ten minutes; the client gives up after
#: five by itself, and takes no more than thirty (2.1.330).
PATIENCE = "1800000"

#: Those with a secret in them.
SECRETS = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS")

#: Every variable that some route sets in a shell: what the way back has to take away again.
VARIABLES: tuple[str, ...] = (
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_MODEL",
    *(f"ANTHROPIC_DEFAULT_{tier}_MODEL" for tier in _TIERS),
    "CLAUDE_CODE_SUBAGENT_MODEL",
    "CLAUDE_CODE_MAX_CONTEXT_TOKENS",
    "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
    "CLAUDE_CODE_DISABLE_1M_CONTEXT",
    "CLAUDE_CODE_ATTRIBUTION_HEADER",
    "API_TIMEOUT_MS",
    "CLAUDE_STREAM_IDLE_TIMEOUT_MS",
    "CLAUDE_CODE_MAX_RETRIES",
    "ANTHROPIC_CUSTOM_HEADERS",
    "NODE_EXTRA_CA_CERTS",
    "CLAUDE_CODE_EFFORT_LEVEL",
    "CLAUDE_CODE_SIMPLE",
)


def router_environment(router: Router) -> dict[str, str]:
    """The same for a session with the models of `router`."""
    variables = environment(router.route)
    # What is picked in /model is what its subagents are. The tiers stay with the first route, so
    # that nothing of a session goes to Anthropic unless a model of theirs is picked.
    variables["CLAUDE_CODE_SUBAGENT_MODEL"] = "inherit"
    if router.anthropic:
        # The user's own login goes on to Anthropic, and is replaced for any other model.
        # A token of the shell's would take its place, and go there too.
        variables["ANTHROPIC_AUTH_TOKEN"] = ""
        del variables["ANTHROPIC_API_KEY"]
        variables["ANTHROPIC_CUSTOM_HEADERS"] = f"{HEADER}: {router.route.client_token}"
    return variables


def route_settings(
    route: Route,
    guardrails: dict[str, Any],
    secrets: Iterable[str] = (),
    ca_path: str | None = None,
    overrides: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """The settings file of one route, for `claude --settings`. Holds its token: mode 0600.

    `guardrails` are settings that are added where the model is not safety-aligned; it may not read
    the directories `secrets` either. `ca_path` as in `environment`; `overrides` are ids of
    Anthropic's, and the aliases that serve them.
    """
    return _settings(environment(route, ca_path), [route], guardrails, secrets, overrides)


def router_settings(
    router: Router,
    guardrails: dict[str, Any],
    secrets: Iterable[str] = (),
    overrides: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """The same for a session with the models of `router`."""
    found = _settings(
        router_environment(router), list(router.routes), guardrails, secrets, overrides
    )
    options: list[dict[str, str]] = found["modelPicker"]["options"]
    for option in options:
        if option["model"] in router.large:
            option["behavesAs"] = LARGE_MODEL
    options += [
        {"model": name, "label": name, "description": "Anthropic's, with your own login"}
        for name in router.anthropic
    ]
    return found


def _settings(
    variables: dict[str, str],
    routes: list[Route],
    guardrails: dict[str, Any],
    secrets: Iterable[str],
    overrides: Mapping[str, str],
) -> dict[str, Any]:
    """Settings of a session in which any of `routes` can be picked."""
    added: dict[str, Any] = {}
    if guardrails and not all(route.model.aligned for route in routes):
        # "//" is the root.
        denied = [
            f"Read({'' if folder.startswith('~/') else '/'}{folder}/**)" for folder in secrets
        ]
        added = merge(guardrails, {"permissions": {"deny": denied}}).document
    aliases = [route.alias for route in routes]
    served = {name: alias for name, alias in overrides.items() if alias in aliases}
    return {
        **merge(added, NEUTRAL_SETTINGS).document,
        "env": variables,
        # One in the user's settings would be asked for a key, and that sent beside the token. Empty
        # turns it off (2.1.330), though the published schema wants some text.
        "apiKeyHelper": "",
        **({"modelOverrides": served} if served else {}),
        # Only names that this endpoint serves: llama.cpp answers any other name without a word.
        "modelPicker": {
            "replaceBuiltInOptions": True,
            "options": [
                {
                    "model": route.alias,
                    "label": f"{route.alias} · {route.model.label}",
                    "description": route.model.description,
                }
                for route in routes
            ],
        },
    }
