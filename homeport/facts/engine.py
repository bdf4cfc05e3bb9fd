"""What a server's engine says of itself, and what homeport keeps of it on the host."""

from __future__ import annotations

import json
from typing import TypedDict

from pyinfra.api import FactBase, QuoteString, StringCommand

from .host import program


class EngineCheck(TypedDict):
    """`problem` is why the engine would not start, None where it would; `version` its own."""

    problem: str | None
    version: str


class EngineCheckFact(FactBase[EngineCheck]):
    """What remote/check_engine.py finds, run by the engine's `python`."""

    def command(
        self, python: str, user: str, engine: str, arguments: tuple[str, ...]
    ) -> StringCommand:
        """By the `user` who is to run it, who has to be able to."""
        return StringCommand(
            # What it finds beside its own packages would be another's.
            "cd / && runuser -u", QuoteString(user), "-- env HOME=/nonexistent HF_HUB_OFFLINE=1 "
            "VLLM_LOGGING_LEVEL=ERROR PYTHONDONTWRITEBYTECODE=1",
            program(python, "check_engine.py", engine, *arguments), "2>/dev/null || true",
        )  # fmt: skip

    def process(self, output: list[str]) -> EngineCheck:
        for line in reversed(output):
            if line.startswith('{"problem": '):  # a library may say something at its end
                found: EngineCheck = json.loads(line)
                return found
        return self.default()

    @staticmethod
    def default() -> EngineCheck:
        return {"problem": "its Python does not run", "version": ""}


class TextFact(FactBase[str]):
    """The text of a file of homeport's own, "" where there is none."""

    def command(self, path: str) -> StringCommand:
        return StringCommand("cat", QuoteString(path), "2>/dev/null || true")

    def process(self, output: list[str]) -> str:
        return "".join(f"{line}\n" for line in output)

    @staticmethod
    def default() -> str:
        return ""


class LinkFact(FactBase[str]):
    """Where a link leads, "" where there is none."""

    def command(self, path: str) -> StringCommand:
        return StringCommand("readlink", QuoteString(path), "|| true")

    def process(self, output: list[str]) -> str:
        return output[0] if output else ""

    @staticmethod
    def default() -> str:
        return ""
