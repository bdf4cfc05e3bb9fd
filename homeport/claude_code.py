"""What Claude Code is told about a route: environment and settings. Pure.

Facts were measured with Claude Code 2.1.330.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .merge import merge
from .model import Route

#: The `env` block of any settings file beats the shell, and `--settings FILE` beats the others;
#: so a route's variables stand in its settings file as well as in its script.
_TIERS = ("OPUS", "SONNET", "HAIKU", "FABLE")

#: The oldest Claude Code that honours CLAUDE_CODE_MAX_CONTEXT_TOKENS for names that start with
#: "claude-" (docs/clients.md).
OLDEST_CLIENT = (2, 1, 330)

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
        **NEUTRAL_SETTINGS["env"],
    }
    if ca_path:
        variables["NODE_EXTRA_CA_CERTS"] = ca_path
    if model.effort:
        variables["CLAUDE_CODE_EFFORT_LEVEL"] = model.effort
    if model.simple:
        # The full client's first request does not fit below 65,536 tokens.
        variables["CLAUDE_CODE_SIMPLE"] = "1"
    return variables


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
    "NODE_EXTRA_CA_CERTS",
    "CLAUDE_CODE_EFFORT_LEVEL",
    "CLAUDE_CODE_SIMPLE",
)


def route_settings(
    route: Route,
    guardrails: dict[str, Any],
    secrets: Iterable[str] = (),
    ca_path: str | None = None,
) -> dict[str, Any]:
    """The settings file of one route, for `claude --settings`. Holds its token: mode 0600.

    `guardrails` are settings that are added where the model is not safety-aligned; it may not read
    the directories `secrets` either. `ca_path` as in `environment`.
    """
    added: dict[str, Any] = {}
    if guardrails and not route.model.aligned:
        denied = [f"Read(/{directory}/**)" for directory in secrets]  # "//" is the root
        added = merge(guardrails, {"permissions": {"deny": denied}}).document
    return {
        **merge(added, NEUTRAL_SETTINGS).document,
        "env": environment(route, ca_path),
        # Only names that this endpoint serves: llama.cpp answers any other name without a word.
        "modelPicker": {
            "replaceBuiltInOptions": True,
            "options": [
                {
                    "model": route.alias,
                    "label": f"{route.alias} · {route.model.label}",
                    "description": route.model.description,
                }
            ],
        },
    }
