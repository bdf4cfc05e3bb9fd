"""A fleet's policy: Claude Code's managed settings, which beat every other. Pure.

Places and precedence: Claude Code's documentation, Settings; tried with 2.1.330.
"""

from __future__ import annotations

import json
import plistlib
import shlex
import uuid
from typing import Any

from .claude_code import route_settings
from .layout import Layout
from .model import Route

#: The preferences that Claude Code reads where a Mac is managed.
DOMAIN = "com.anthropic.claudecode"

_FILE = "50-homeport.json"


def path(kernel: str) -> str:
    """Where the settings stand on a machine with that kernel: a file of our own, beside others."""
    if kernel == "Darwin":
        return f"/Library/Application Support/ClaudeCode/managed-settings.d/{_FILE}"
    return f"/etc/claude-code/managed-settings.d/{_FILE}"


def managed_settings(route: Route, guardrails: dict[str, Any], layout: Layout) -> dict[str, Any]:
    """Settings that send every session of every user to `route`.

    Everybody can read them, so each user's own token is asked for where homeport put it.
    """
    secrets = [_of_home(layout.path(name), layout) for name in ("routes", "service")]
    settings = route_settings(route, guardrails, secrets, layout.ca(route))
    # A token or key in a shell, or in other settings, would be sent in its place.
    settings["env"] |= {"ANTHROPIC_AUTH_TOKEN": "", "ANTHROPIC_API_KEY": ""}
    settings["apiKeyHelper"] = f"cat {_in_shell(_of_home(layout.token(route), layout))}"
    return settings


def written(settings: dict[str, Any]) -> bytes:
    """The file with these settings."""
    return f"{json.dumps(settings, indent=2)}\n".encode()


def profile(settings: dict[str, Any]) -> bytes:
    """The same as a configuration profile for a Mac's device management, the same bytes for the
    same settings."""
    text = json.dumps(settings, sort_keys=True)

    def identifier(part: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"homeport {part} {text}")).upper()

    payload = {
        "PayloadType": DOMAIN,
        "PayloadIdentifier": f"homeport.{DOMAIN}",
        "PayloadUUID": identifier("payload"),
        "PayloadVersion": 1,
        **settings,
    }
    return plistlib.dumps(
        {
            "PayloadType": "Configuration",
            "PayloadIdentifier": "homeport.claude-code",
            "PayloadUUID": identifier("profile"),
            "PayloadVersion": 1,
            "PayloadDisplayName": "Claude Code on self-hosted models",
            "PayloadScope": "System",
            "PayloadContent": [payload],
        }
    )


def _of_home(path: str, layout: Layout) -> str:
    """`path` for whichever user."""
    home = f"{layout.home}/"
    return f"~/{path.removeprefix(home)}" if path.startswith(home) else path


def _in_shell(path: str) -> str:
    """The same as a shell's word."""
    if path.startswith("~/"):
        return f"~/{shlex.quote(path[2:])}"
    return shlex.quote(path)
