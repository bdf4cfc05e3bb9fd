"""The user's own Claude Code on a host, and who can change it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from pyinfra.api import FactBase, QuoteString, StringCommand

#: Where npm's packages are below its prefix.
_NPM = "/lib/node_modules/@anthropic-ai/claude-code/"

#: Homebrew's of Claude Code: claude-code, and claude-code@latest.
_CASK = re.compile(r"/Caskroom/(claude-code(?:@[^/]*)?)/")


class Kind(StrEnum):
    """What installed a Claude Code, and so upgrades it."""

    CASK = "Homebrew"
    NPM = "npm"
    NATIVE = "its own installer"
    OTHER = "unknown"


@dataclass(frozen=True)
class Client:
    """A Claude Code: the path that it is called by, its `version`, empty where it does not run,
    its `kind`, npm's `prefix` and Homebrew's `cask` where it is one of theirs. `writable`: the
    user may replace it."""

    path: str
    version: tuple[int, ...]
    kind: Kind
    prefix: str
    cask: str
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
            cask=cask[1] if (cask := _CASK.search(real)) else "",
            writable="fixed" not in found,
        )

    @staticmethod
    def default() -> None:
        return None


class CaskOutdatedFact(FactBase[bool]):
    """Whether Homebrew has a newer version of the `cask`; it looks for one first."""

    def command(self, brew: str, cask: str) -> StringCommand:
        path = f"{brew.removesuffix('/brew')}:/usr/bin:/bin:/usr/sbin:/sbin"
        return StringCommand(
            "env", QuoteString(f"PATH={path}"), "HOMEBREW_NO_ENV_HINTS=1",
            QuoteString(brew), "outdated --cask -q", QuoteString(cask), "2>/dev/null || true",
        )  # fmt: skip

    def process(self, output: list[str]) -> bool:
        return any(output)

    @staticmethod
    def default() -> bool:
        return False


def _kind(real: str) -> Kind:
    if _CASK.search(real):
        return Kind.CASK
    if _NPM in real:
        return Kind.NPM
    return Kind.NATIVE if "/.local/share/claude/versions/" in real else Kind.OTHER
