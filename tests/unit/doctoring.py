"""A machine for the doctor to look at, made of files and of programs that say what they are to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from homeport.doctor.table import Area, Context, Finding, Report, examine
from homeport.doctor.wanted import SYSTEMD, Route, Service, Wanted

SERVICE = Service(
    name="homeport.claude-fable5",
    alias="claude-fable5",
    engine="llama_cpp",
    definition="/home/anna/.config/systemd/user/homeport.claude-fable5.service",
    url="http://127.0.0.1:18080",
    bind="127.0.0.1",
    port=18080,
    context=8_192,
    max_output=512,
    start="systemctl --user restart homeport.claude-fable5.service",
    logs="journalctl --user -u homeport.claude-fable5 -n 50",
)

ROUTE = Route(
    alias="claude-glm",
    name="claude-glm",
    url="https://gpu:8000",
    context=200_000,
    max_output=32_000,
    file="/home/anna/.homeport/routes/claude-glm.json",
    token="/home/anna/.homeport/routes/claude-glm.token",
    command="use-glm",
    served=False,
    engine="vllm",
)

WANTED = Wanted(
    homeport="0.1.0",
    home="/home/anna",
    directory="/home/anna/.homeport",
    manager=SYSTEMD,
    owner="0123456789ab",
    deployed="",
)


@dataclass
class Machine:
    """`root` is where its files are."""

    root: Path

    def __post_init__(self) -> None:
        self.file(f"{WANTED.directory}/state/doctor.json", "{}")
        self.program("timedatectl", "echo NTP=yes; echo NTPSynchronized=yes")

    def file(self, path: str, text: str) -> Path:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def program(self, name: str, script: str) -> Path:
        """A program of the system's, or one at the path `name`."""
        path = name if name.startswith("/") else f"/usr/bin/{name}"
        file = self.file(path, f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        return file

    def look(self, area: Area[Any], wanted: Wanted = WANTED, **context: Any) -> Report:
        given: dict[str, Any] = {"variables": {"HOME": wanted.home}, "directory": self.root}
        return examine([area], Context(wanted, **{**given, **context}, root=self.root))


def serving(*services: Service, **values: Any) -> Wanted:
    return replace(WANTED, services=services or (SERVICE,), **values)


def names(found: Report | Iterable[Finding]) -> list[str]:
    findings = found.findings if isinstance(found, Report) else found
    return [one.check for one in findings]
