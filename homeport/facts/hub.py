"""What a host has of a repository's weights, and how far the pull of them is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pyinfra.api import FactBase, QuoteString, StringCommand


@dataclass(frozen=True)
class Snapshot:
    """What remote/pull.py's `status` says: `complete` as it was asked for, the `revision` that
    `current` points to, its `files` (a number) and `size` (bytes), the revisions beside it,
    those of them that nothing keeps, and the bytes that all have on the disk, whole or not."""

    complete: bool = False
    revision: str = ""
    files: int = 0
    size: int = 0
    others: tuple[str, ...] = ()
    abandoned: tuple[str, ...] = ()
    on_disk: int = 0


class SnapshotFact(FactBase[Snapshot]):
    """The `Snapshot` in `destination`, found without any network by the `program` on the host."""

    def command(self, python: str, program: str, destination: str, digest: str) -> StringCommand:
        return StringCommand(
            "[ ! -f", QuoteString(program), "] ||", QuoteString(python), QuoteString(program),
            "status", QuoteString(destination), digest, "|| true",
        )  # fmt: skip

    def process(self, output: list[str]) -> Snapshot:
        try:
            found = json.loads(output[-1])
            return Snapshot(
                complete=found["state"] == "complete",
                revision=found["revision"],
                files=found["files"],
                size=found["bytes"],
                others=tuple(found["others"]),
                abandoned=tuple(found["abandoned"]),
                on_disk=found["on_disk"],
            )
        except (KeyError, TypeError, ValueError):  # of an older version
            return Snapshot()

    @staticmethod
    def default() -> Snapshot:
        return Snapshot()


class RecordFact(FactBase[dict[str, Any]]):
    """What remote/pull.py wrote down in `destination`, {} where there is nothing: `record` is a
    revision, for its manifest, or "progress", for what a pull says of itself."""

    def command(self, destination: str, record: str) -> StringCommand:
        path = f"{destination}/.homeport/{record}.json"
        return StringCommand("cat", QuoteString(path), "2>/dev/null || true")

    def process(self, output: list[str]) -> dict[str, Any]:
        try:
            found = json.loads("\n".join(output))
        except ValueError:  # a power cut
            return {}
        return found if isinstance(found, dict) else {}

    @staticmethod
    def default() -> dict[str, Any]:
        return {}
