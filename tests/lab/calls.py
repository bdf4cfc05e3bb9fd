"""What was run on a host of the stand-ins, and what the real programs would not have understood."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

#: Where a host has its stand-ins, with their log; a Linux host with Homebrew has just that one.
DARWIN, LINUXBREW = Path("opt/darwin"), Path("opt/linuxbrew")


@dataclass(frozen=True)
class Call:
    """A stand-in that was run; `refused` says what is wrong with its arguments, or is empty."""

    time: float
    pid: int
    uid: int
    program: str
    argv: tuple[str, ...]
    status: int
    refused: str


def home(root: Path) -> Path | None:
    """The folder of the stand-ins in the host at `root`, None where it has none."""
    return next((root / path for path in (DARWIN, LINUXBREW) if (root / path).is_dir()), None)


def calls(root: Path) -> list[Call]:
    """All runs of stand-ins in the host at `root`, oldest first. Programs that are Linux's own
    behind a check of their options are in it only when they refused."""
    folder = home(root)
    if folder is None:
        return []
    lines = (folder / "state/calls.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [Call(**{**one, "argv": tuple(one["argv"])}) for one in found]


def refusals(root: Path) -> list[str]:
    """What the real programs would not have understood, or no stand-in models: a line each."""
    return [
        f"{' '.join([call.program, *call.argv])}: {call.refused}"
        for call in calls(root)
        if call.refused
    ]
