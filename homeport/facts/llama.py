"""What a llama-server that is on a host says of itself."""
# Formats from llama.cpp's common/ at b3716 to b10587, and from its issues since.

from __future__ import annotations

import re

from pyinfra.api import FactBase, QuoteString, StringCommand

#: Since b10394 it is "version: 0.3.0 (build 10621, commit ...)", before "version: 8920 (...)".
_BUILD = re.compile(r"^version: (?:\S+ \(build )?(\d+)\b", re.MULTILINE)

_NO_CARD = re.compile(r"Iris|U?HD Graphics|Radeon(\(TM\))? Graphics|llvmpipe|Accelerate")


def build(text: str) -> int:
    """The number of the build that `--version` tells, 0 where it tells none."""
    found = _BUILD.search(text)
    return int(found[1]) if found else 0


class HelpFact(FactBase[str]):
    """What a program prints for --help."""

    def command(self, program: str) -> StringCommand:
        return StringCommand(QuoteString(program), "--help", "2>&1", "||", "true")

    @staticmethod
    def default() -> str:
        return ""


class BuildFact(FactBase[int | None]):
    """The number of its build: None where there is no such program, 0 where it does not say."""

    def command(self, program: str) -> StringCommand:
        return StringCommand(
            "p=", QuoteString(program),
            '; [ ! -x "$p" ] || { echo "$p"; "$p" --version 2>&1; }; true', _separator="",
        )  # fmt: skip

    def process(self, output: list[str]) -> int:
        return build("\n".join(output))

    @staticmethod
    def default() -> None:
        return None


class CardFact(FactBase[int]):
    """Bytes of the largest graphics card that the program can use, 0 where it can use none. What
    shares the machine's memory, or is not there but in name, is no card."""

    def command(self, program: str) -> StringCommand:
        return StringCommand(QuoteString(program), "--list-devices", "2>&1", "||", "true")

    def process(self, output: list[str]) -> int:
        found = re.findall(r"^  \S+: (.*) \((\d+) MiB, \d+ MiB free\)$", "\n".join(output), re.M)
        cards = [int(mib) * 2**20 for name, mib in found if not _NO_CARD.search(name)]
        return max(cards, default=0)

    @staticmethod
    def default() -> int:
        return 0
