"""What group data says of a workstation. Touches this machine only."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .claude_code import NEUTRAL_SETTINGS, OLDEST_CLIENT
from .errors import Kinds, SettingsError, check_keys
from .model import Route

#: What may be said of a workstation, and its type; `use` is settings.py's.
WORKSTATION_KEYS: dict[str, Kinds] = {
    "claude_code": (str, type(None)),
    "claude_settings": dict,
    "guardrails": dict,
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

_VERSION = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True)
class WorkstationSettings:
    """`claude_code`: the version that Claude Code is to have at least, None to leave it alone;
    `claude_settings`: what is merged into the user's own; `guardrails`: settings for models that
    are not safety-aligned."""

    claude_code: tuple[int, ...] | None
    claude_settings: dict[str, Any]
    guardrails: dict[str, Any]
    add_to_path: bool
    show_answer: bool


def of(
    values: Mapping[str, Any], origin: Callable[[str], str], uses: tuple[Route, ...]
) -> WorkstationSettings:
    """The settings of a workstation that uses these routes; raises `SettingsError`, with the file
    from `origin`. The types of `values` are known to be right."""
    for route in uses:
        if not route.model.aligned and "guardrails" not in values:
            raise SettingsError(
                "group_data/workstations.py: guardrails",
                None,
                f"{route.model.label} is not safety-aligned, and nothing says what it may not do",
                "Restore it (git checkout group_data/workstations.py), or write {} to have none",
            )
    try:
        return WorkstationSettings(
            claude_code=_version(values.get("claude_code")),
            claude_settings=_json(values, "claude_settings", NEUTRAL_SETTINGS),
            guardrails=_guardrails(values),
            add_to_path=values.get("add_to_path", True),
            show_answer=values.get("show_answer", False),
        )
    except SettingsError as error:
        raise error.inside(f"{origin(error.field.partition(':')[0])}: ") from None


def _version(value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not _VERSION.fullmatch(value):
        raise SettingsError(
            "claude_code", value, "it is no version", "Write one such as '2.1.330', or None"
        )
    version = tuple(map(int, value.split(".")))
    if version < OLDEST_CLIENT:
        oldest = ".".join(map(str, OLDEST_CLIENT))
        raise SettingsError(
            "claude_code",
            value,
            "it takes no notice of how many tokens a server holds",
            f"Write {oldest} or newer",
        )
    return version


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
