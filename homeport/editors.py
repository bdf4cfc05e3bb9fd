"""A route for what starts Claude Code by itself: VS Code's extension and the Agent SDK. Pure.

Both take the route's settings file or its environment; Claude Code's documentation, VS Code and
Agent SDK. The SDK was tried (claude-agent-sdk 0.2.187), VS Code's extension was not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

#: What a workstation may ask for, and how the files are called after the route's name.
FILES = {"vscode": "vscode.jsonc", "agent-sdk": "env"}


def content(kind: str, variables: Mapping[str, str]) -> bytes:
    """The file of that kind with a route's `variables`. Holds its token: mode 0600."""
    if kind == "agent-sdk":
        return "".join(f"{name}={value}\n" for name, value in variables.items()).encode()
    settings: dict[str, Any] = {
        "claudeCode.environmentVariables": [
            {"name": name, "value": value} for name, value in variables.items()
        ],
    }
    if variables.get("ANTHROPIC_AUTH_TOKEN"):
        settings["claudeCode.disableLoginPrompt"] = True
    return f"{json.dumps(settings, indent=2)}\n".encode()
