"""The error for a setting that cannot work. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Any

Kinds = type | tuple[type, ...]


class SettingsError(ValueError):
    """A setting that cannot work: which field, the value found, why, and what to write instead."""

    def __init__(self, field: str, value: object, problem: str, fix: str) -> None:
        self.field, self.value, self.problem, self.fix = field, value, problem, fix
        end = "" if fix.endswith("?") else "."
        super().__init__(f"{field} is {value!r}: {problem}. {fix}{end}")

    def inside(self, outer: str) -> SettingsError:
        """The same error, with the place that `field` stands in put before it."""
        return SettingsError(f"{outer}{self.field}", self.value, self.problem, self.fix)


def check_keys(spec: dict[str, Any], known: dict[str, Kinds], required: Iterable[str]) -> None:
    """Raise `SettingsError` where `spec` has a key that is not `known`, or a value of another type
    than that says, or lacks one that is `required`."""
    for key, value in spec.items():
        if key not in known:
            raise SettingsError(str(key), value, "nothing reads this key", did_you_mean(key, known))
        if not is_kind(value, known[key]):
            raise SettingsError(
                key, value, f"it has to be a {kind_name(known[key])}", "Write it so"
            )
    for key in required:
        if key not in spec:
            raise SettingsError(key, None, "it cannot be left out", f"Add {key!r}")


def did_you_mean(value: object, known: Collection[str]) -> str:
    """The fix for a value that is none of those `known`: the one that is most like it, or all."""
    close = get_close_matches(str(value), known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known are {', '.join(known) or 'none'}"


def is_kind(value: object, kind: Kinds) -> bool:
    """Whether `value` is of that type; True and False are no numbers."""
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def kind_name(kind: Kinds) -> str:
    """What people call it."""
    names = {dict: "dictionary", list: "list", str: "text", int: "whole number", bool: "True/False"}
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(names.get(one, "None") for one in kinds)
