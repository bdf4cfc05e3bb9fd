"""What a llama-server that is on a host says of itself."""
# Formats from llama.cpp's common/ at b3716 to b10587, and from its issues since.

from __future__ import annotations

import re
from dataclasses import dataclass

from pyinfra.api import FactBase, QuoteString, StringCommand

#: Since b10394 it is "version: 0.3.0 (build 10621, commit ...)", before "version: 8920 (...)".
_BUILD = re.compile(r"^version: (?:\S+ \(build )?(\d+)[ ,]", re.MULTILINE)

#: What shares the machine's memory, or is not there but in name.
_NO_CARD = re.compile(r"Iris|U?HD Graphics|Radeon(\(TM\))? Graphics|llvmpipe|Accelerate")


@dataclass(frozen=True)
class Program:
    """A llama-server: its `build`, 0 where it does not say; `problem` is what it says instead,
    where it does not run."""

    build: int
    problem: str | None = None

    def is_new_enough(self, oldest: int) -> bool:
        return self.problem is None and (self.build == 0 or self.build >= oldest)


class HelpFact(FactBase[str]):
    """What a program prints for --help."""

    def command(self, program: str) -> StringCommand:
        return StringCommand(QuoteString(program), "--help", "2>&1", "||", "true")

    @staticmethod
    def default() -> str:
        return ""


class ProgramFact(FactBase[Program | None]):
    """The `Program` at a path, None where there is none."""

    def command(self, program: str) -> StringCommand:
        return StringCommand(
            "p=", QuoteString(program), '; if [ -f "$p" ] && [ -x "$p" ]; then ',
            '"$p" --version 2>&1; echo "status=$?"; fi', _separator="",
        )  # fmt: skip

    def process(self, output: list[str]) -> Program:
        *said, status = output
        if status != "status=0":
            return Program(0, next((line for line in said if line.strip()), status))
        found = _BUILD.search("\n".join(said))
        return Program(int(found[1]) if found else 0)

    @staticmethod
    def default() -> None:
        return None


class CardFact(FactBase[int]):
    """Bytes of the largest graphics card that the program can use, 0 where it can use none."""

    def command(self, program: str) -> StringCommand:
        # Where the driver hangs, so would this; it is asked on Linux only.
        return StringCommand(
            "timeout 20", QuoteString(program), "--list-devices", "2>&1", "||", "true"
        )

    def process(self, output: list[str]) -> int:
        found = re.findall(r"^  \S+: (.*) \((\d+) MiB, \d+ MiB free\)$", "\n".join(output), re.M)
        cards = [int(mib) * 2**20 for name, mib in found if not _NO_CARD.search(name)]
        return max(cards, default=0)

    @staticmethod
    def default() -> int:
        return 0
