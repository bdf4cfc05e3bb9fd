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
    settings = route_settings(route, guardrails, ca_path=layout.ca(route))
    # A token or key in a shell, or in other settings, would be sent in its place.
    settings["env"] |= {"ANTHROPIC_AUTH_TOKEN": "", "ANTHROPIC_API_KEY": ""}
    settings["apiKeyHelper"] = f"cat {_of_home(layout.token(route), layout)}"
    return settings


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
    """`path` in a shell's words, for whichever user."""
    home = f"{layout.home}/"
    if path.startswith(home):
        return f"~/{shlex.quote(path.removeprefix(home))}"
    return shlex.quote(path)
