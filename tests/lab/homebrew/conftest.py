"""A folder that is to the stand-ins what /opt/darwin is on a host: they run here without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ..darwin import Chip, sysctl
from . import HERE, STANDINS


class Machine:
    """One user's Homebrew, in `prefix`, and what it would install."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.prefix = folder, folder / "prefix"
        for name in ("lib", "state", "prefix/bin", "prefix/Cellar", "prefix/opt"):
            (folder / name).mkdir(parents=True)
        (self.prefix / "var/homebrew").mkdir(parents=True)
        (folder / "lib/standins").symlink_to(STANDINS)
        (folder / "lib/llama").symlink_to(HERE / "llama")
        (folder / "state/calls.jsonl").touch()
        settings = {"prefix": str(self.prefix), "bottle": "arm64_sequoia"}
        (folder / "homebrew.json").write_text(json.dumps(settings))

    def be(self, chip: Chip, gigabytes: int = 16) -> None:
        lines = [f"{key}: {value}\n" for key, value in sysctl(chip, gigabytes << 30).items()]
        (self.folder / "state/sysctl").write_text("".join(lines))

    def offer(self, version: str) -> None:
        formula = self.folder / "formulae/llama.cpp"
        (formula / "bin").mkdir(parents=True, exist_ok=True)
        (formula / "version").write_text(f"{version}\n")
        (formula / "bin/llama-server").touch()

    def brew(
        self,
        *words: str,
        uid: int = 501,
        stdin: int = subprocess.DEVNULL,
        env: Mapping[str, str] = {},
    ) -> subprocess.CompletedProcess[str]:
        """Typed by a user with that uid."""
        code = f"import os, sys; os.getuid = lambda: {uid}; sys.path.insert(0, {self._lib!r}); "
        code += "sys.argv.pop(0); from standins.runtime import main; main()"
        return self._run(code, ("brew", *words), stdin, env)

    def server(
        self, number: int, *words: str, version: str = "", env: Mapping[str, str] = {}
    ) -> subprocess.CompletedProcess[str]:
        """llama-server of that build; there is no engine that it could load."""
        code = f"import sys; sys.path.insert(0, {self._lib!r}); from llama.server import main; "
        code += f"main({number}, {version or str(number)!r}, '/nonexistent')"
        return self._run(code, words, subprocess.DEVNULL, env)

    def refused(self) -> list[str]:
        lines = (self.folder / "state/calls.jsonl").read_text().splitlines()
        return [call["refused"] for call in map(json.loads, lines) if call["refused"]]

    @property
    def _lib(self) -> str:
        return str(self.folder / "lib")

    def _run(
        self, code: str, words: tuple[str, ...], stdin: int, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-ISBc", code, *words],
            stdin=stdin,
            capture_output=True,
            cwd=self.folder,
            env={"HOME": str(self.folder), "PATH": os.defpath, **env},
            text=True,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)
