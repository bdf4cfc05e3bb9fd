"""The error for a setting that cannot work. Pure."""

from __future__ import annotations


class SettingsError(ValueError):
    """A setting that cannot work: which field, the value found, why, and what to write instead."""

    def __init__(self, field: str, value: object, problem: str, fix: str) -> None:
        self.field, self.value, self.problem, self.fix = field, value, problem, fix
        end = "" if fix.endswith("?") else "."
        super().__init__(f"{field} is {value!r}: {problem}. {fix}{end}")

    def inside(self, outer: str) -> SettingsError:
        """The same error, with the place that `field` stands in put before it."""
        return SettingsError(f"{outer}{self.field}", self.value, self.problem, self.fix)
