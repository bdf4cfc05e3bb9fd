"""pull.py as a test runs it: as a process of its own, which reaches nothing but loopback."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeport import ROOT

from ..hub import Hub

PULL = ROOT / "homeport/remote/pull.py"
GUARD = ROOT / "tests/hub/guard"
REPO = "owner/name"
PART = ".homeport-part"

#: Module constants of pull.py, so that no test waits long for what is the same in a moment.
QUICK = {"BACKOFF": (0.05, 0.2), "SILENCE": 2.0}

_RUN = """
import shutil, sys
sys.path.insert(0, {folder!r})
import pull
{before}
sys.exit(pull.main(sys.argv[1:]))
"""


def some_bytes(size: int, seed: object = 0) -> bytes:
    return random.Random(str(seed)).randbytes(size)


def hashes(contents: Mapping[str, bytes]) -> dict[str, str]:
    return {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}


def found(folder: Path) -> dict[str, str]:
    """The hash of every file below `folder`, by its path there."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@dataclass
class Done:
    """A process that ended. `said` is what it printed for people, `words` what stopped it."""

    status: int
    said: str
    words: str
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.said)


class AtWork:
    """A pull.py that runs."""

    def __init__(self, process: subprocess.Popen[str], destination: Path) -> None:
        self.process, self.destination = process, destination
        self._started = time.monotonic()

    def wait(self, seconds: float = 180) -> Done:
        try:
            said, words = self.process.communicate(timeout=seconds)
        finally:
            self.process.kill()
        return Done(self.process.returncode, said, words, time.monotonic() - self._started)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def progress(self) -> dict[str, Any]:
        """What progress.json says of this very process; nothing before it is written."""
        try:
            now: dict[str, Any] = json.loads(
                (self.destination / ".homeport/progress.json").read_text()
            )
        except FileNotFoundError:
            return {}
        return now if now["pid"] == self.process.pid else {}

    def until_bytes(self, count: int, seconds: float = 180) -> None:
        """Wait until it has `count` bytes on disk."""
        deadline = time.monotonic() + seconds
        while on_disk(self.destination) < count:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)


def on_disk(destination: Path) -> int:
    sizes = 0
    for folder, _, names in os.walk(destination):
        if Path(folder).name == ".homeport":
            continue
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # in its place, or gone, meanwhile
                sizes += Path(folder, name).lstat().st_size
    return sizes


class Puller:
    """Runs pull.py for one destination."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.destination = folder, folder / "weights"
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        self.environment = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(GUARD),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._count = 0

    def desired(
        self, hub: Hub | str, revision: str, pins: Mapping[str, Any] | None = None, **more: Any
    ) -> Path:
        """DESIRED: all of a revision of owner/name."""
        self._count += 1
        path = self.folder / f"desired-{self._count}.json"
        values = {
            "endpoint": hub if isinstance(hub, str) else hub.url,
            "repo": REPO,
            "revision": revision,
            "patterns": ["*"],
            "destination": str(self.destination),
            "files": pins,
        }
        path.write_text(json.dumps(values | more))
        return path

    def start(
        self,
        *words: object,
        before: str = "",
        limits: Mapping[str, Any] = QUICK,
        environment: Mapping[str, str] | None = None,
    ) -> AtWork:
        """`before` is Python that runs first, after `import pull`."""
        lines = [f"pull.{name} = {value!r}" for name, value in limits.items()]
        script = _RUN.format(folder=str(PULL.parent), before="\n".join([*lines, before]))
        command = [sys.executable, "-c", script, *map(str, words)]
        process = subprocess.Popen(
            command,
            env=self.environment | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return AtWork(process, self.destination)

    def pull(self, desired: Path, *words: str, **how: Any) -> Done:
        return self.start("pull", desired, *words, **how).wait()

    def status(self, *words: str) -> dict[str, Any]:
        """Asked without any network."""
        done = self.start("status", self.destination, *words, before=NO_NETWORK).wait()
        state: dict[str, Any] = done.json
        assert (done.status == 0) == (state["state"] == "complete")
        return state

    def progress(self) -> dict[str, Any]:
        now: dict[str, Any] = self.start("progress", self.destination).wait().json
        return now

    @property
    def current(self) -> Path:
        return self.destination / "current"

    def orphans(self) -> list[str]:
        return [str(path) for path in self.destination.rglob(f"*{PART}")]


#: Any use of a socket is an error.
NO_NETWORK = """
import socket
def refused(*words): raise AssertionError("no network is allowed here")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refused
"""


def pins(hub: Hub, commit: str, repo: str = REPO) -> dict[str, dict[str, Any]]:
    """The `files` of DESIRED for all files of a commit."""
    specs = {}
    for path, file in hub.files(repo, commit).items():
        kind = {"sha256": file.sha256} if file.sha256 else {"git_sha1": file.git_sha1}
        specs[path] = {"size": file.size, **kind}
    return specs


def fetched(hub: Hub) -> dict[str, int]:
    """The bytes of each file that were sent, for those of which any were."""
    counts: dict[str, int] = {}
    for request in list(hub.requests):
        if request.file and request.method == "GET" and request.status in (200, 206):
            counts[request.file] = counts.get(request.file, 0) + request.bytes_sent
    return {path: count for path, count in counts.items() if count}


def times_fetched(hub: Hub, path: str) -> int:
    """How often a body of this file was sent, or some of it."""
    return sum(
        request.file == path and request.method == "GET" and request.status in (200, 206)
        for request in list(hub.requests)
    )
