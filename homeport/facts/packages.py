"""What a host has of its distribution's packages, and of users for services."""

from __future__ import annotations

from pyinfra.api import FactBase, QuoteString, StringCommand

from .file import Lines

#: Shell that runs its arguments as root: `root apt-get update`.
AS_ROOT = 'root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }; '


class MissingFact(Lines):
    """Those of `packages` that are not installed."""

    def command(self, packages: tuple[str, ...]) -> StringCommand:
        return StringCommand(
            "for package in", *map(QuoteString, packages),
            "; do dpkg-query -W -f '${Status}\\n' \"$package\" 2>/dev/null | "
            "grep -q ' installed$' || echo \"$package\"; done",
        )  # fmt: skip


class InstalledFact(Lines):
    """Those packages in the list `record`, of packages and paths, that are still installed; none
    without a list."""

    def command(self, record: str) -> StringCommand:
        return StringCommand(
            "for package in $(grep -v ^/", QuoteString(record), "2>/dev/null | sort -u); do "
            "dpkg-query -W -f '${Package}\\n' \"$package\" 2>/dev/null; done; true",
        )  # fmt: skip


class AccountFact(FactBase[bool]):
    """Whether there is the user `account`."""

    def command(self, account: str) -> StringCommand:
        return StringCommand(
            "getent passwd", QuoteString(account), ">/dev/null && echo yes || true"
        )

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]

    @staticmethod
    def default() -> bool:
        return False


class RootFact(FactBase[bool]):
    """Whether the user may be root without a password."""

    def command(self) -> StringCommand:
        return StringCommand(f"{AS_ROOT} root true 2>/dev/null && echo yes || true")

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]

    @staticmethod
    def default() -> bool:
        return False


class OwnerFact(FactBase[str | None]):
    """Who owns a directory, None where there is none."""

    def command(self, path: str) -> StringCommand:
        return StringCommand("stat -c %U", QuoteString(path), "2>/dev/null || true")

    def process(self, output: list[str]) -> str | None:
        return output[0] if output else None

    @staticmethod
    def default() -> str | None:
        return None
