"""This machine as a user would use it: a clean clone, a home of its own, the real server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from homeport import ROOT

from ..running import Run, described, wait_until

#: A home that is hard on quoting.
HOME_NAME = "jörg 50% $x"


@dataclass
class Machine:
    """A home on this machine, and the project in it."""

    home: Path
    project: Path
    port: int
    path: str = os.environ["PATH"]
    environment: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()

    @property
    def directory(self) -> Path:
        return self.home / ".homeport-try"

    def make(self, target: str, *variables: str) -> Run:
        return self.run("make", target, f"TRY_PORT={self.port}", *variables)

    def pyinfra(self, *arguments: str) -> Run:
        return self.run(str(Path(sys.executable).parent / "pyinfra"), *arguments)

    def run(self, *command: str) -> Run:
        started = time.monotonic()
        done = subprocess.run(
            [*self.prefix, *command],
            cwd=self.project,
            env=self.variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        return Run(done.returncode, done.stdout, time.monotonic() - started)

    def variables(self) -> dict[str, str]:
        """The environment of a fresh login: what packages need to be found here, and no more."""
        kept = {
            k: v for k, v in os.environ.items() if re.match(r"PIP_|SSL_|LANG|.*_PROXY$", k, re.I)
        }
        return {
            **kept,
            "PATH": self.path,
            "HOME": str(self.home),
            "TRY_PORT": str(self.port),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.environment,
        }

    def tree(self) -> dict[str, str]:
        """Every path in the home, with its mode and a hash of its content."""
        found = {}
        for path in sorted(self.home.rglob("*")):
            if self.project not in (path, *path.parents):
                with suppress(FileNotFoundError):  # gone meanwhile
                    found[str(path.relative_to(self.home))] = described(path)
        return found

    def servers(self) -> list[int]:
        """The model servers that run from this home."""
        return self._processes(b"serve_llama.py")

    def supervisors(self) -> list[int]:
        return self._processes(b"supervisor.supervisord")

    def _processes(self, program: bytes) -> list[int]:
        found = []
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = file.read_bytes()
            except OSError:
                continue
            if program in line and os.fsencode(self.home) in line:
                found.append(int(file.parent.name))
        return found

    def end_servers(self) -> None:
        for pid in self.supervisors():
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not self.supervisors() and not self.servers())


@pytest.fixture
def machine(tmp_path: Path, free_port: int) -> Iterator[Machine]:
    """An empty home, and the project that is being worked on."""
    home = tmp_path / HOME_NAME
    home.mkdir()
    machine = Machine(home, ROOT, free_port)
    yield machine
    machine.end_servers()
