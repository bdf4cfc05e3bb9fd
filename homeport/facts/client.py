"""The user's own Claude Code on a host, and who can change it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from pyinfra.api import FactBase, QuoteString, StringCommand

#: Where npm's packages are below its prefix.
_NPM = "/lib/node_modules/@anthropic-ai/claude-code/"


class Kind(StrEnum):
    """What installed a Claude Code, and so upgrades it."""

    CASK = "Homebrew"
    NPM = "npm"
    NATIVE = "its own installer"
    OTHER = "unknown"


@dataclass(frozen=True)
class Client:
    """A Claude Code: the path that it is called by, its `version`, empty where it does not run,
    its `kind`, and npm's `prefix` where it is that. `writable`: the user may replace it."""

    path: str
    version: tuple[int, ...]
    kind: Kind
    prefix: str
    writable: bool


class ClientFact(FactBase[Client | None]):
    """The `Client` at `path`, None where there is none."""

    def command(self, path: str) -> StringCommand:
        # One of npm's may need node, which is beside it where it is none of the system's.
        return StringCommand(
            "p=", QuoteString(path), '; [ -x "$p" ] || exit 0; echo "path=$p"; '
            'real=$(readlink -f "$p"); echo "real=$real"; ',
            f'for d in "$(dirname "$p")" "$(dirname "${{real%%{_NPM}*}}{_NPM}")"; do '
            '[ ! -d "$d" ] || [ -w "$d" ] || echo fixed=yes; done; '
            'PATH="$(dirname "$p"):$PATH" "$p" --version 2>/dev/null </dev/null | '
            "sed 's/^/version=/'",
            _separator="",
        )  # fmt: skip

    def process(self, output: list[str]) -> Client | None:
        found = dict(line.split("=", 1) for line in output if "=" in line)
        if "path" not in found:
            return None
        version = re.match(r"(\d+)\.(\d+)\.(\d+)", found.get("version", ""))
        real = found.get("real", "")
        return Client(
            path=found["path"],
            version=tuple(map(int, version.groups())) if version else (),
            kind=_kind(real),
            prefix=real.partition(_NPM)[0],
            writable="fixed" not in found,
        )

    @staticmethod
    def default() -> None:
        return None


def _kind(real: str) -> Kind:
    if "/Caskroom/claude-code" in real:
        return Kind.CASK
    if _NPM in real:
        return Kind.NPM
    return Kind.NATIVE if "/.local/share/claude/versions/" in real else Kind.OTHER
