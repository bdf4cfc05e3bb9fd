"""Processes that are measured, and the Hub that they ask."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
PULL = ROOT / "homeport/remote/pull.py"
REPO = "bench/mark"
PART = ".homeport-part"


@dataclass
class Cost:
    """What a process took."""

    seconds: float
    cpu: float
    memory_mb: float


def measured(command: list[str], environment: dict[str, str]) -> Cost:
    """Run it to its end; raises where it fails."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr
    words = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {words.decode()[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(seconds, cpu, usage.ru_maxrss * 1024 / 1e6)


def make_files(folder: Path, count: int, size: int) -> None:
    """`count` files of random bytes, of different sizes, `size` in all."""
    folder.mkdir()
    chance = random.Random(0)
    weights = [chance.uniform(0.5, 1.5) for _ in range(count)]
    for number, weight in enumerate(weights):
        left = int(size * weight / sum(weights))
        name = f"model-{number + 1:05}-of-{count:05}.safetensors"
        with (folder / name).open("wb") as file:
            while left > 0:
                file.write(os.urandom(min(left, 2**24)))
                left -= 2**24


class Hub:
    """The tests' Hub in a process of its own, and what it says of its network traffic."""

    def __init__(self, url: str, pid: int, files: dict[str, int]) -> None:
        self.url, self.pid, self.files = url, pid, files
        self.revision = ""

    def warm(self) -> None:
        """Have it hash all files: it does so when it is first asked for one."""
        for path in self.files:
            url = f"{self.url}/{REPO}/resolve/main/{quote(path)}"
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=600) as answer:
                self.revision = answer.headers["X-Repo-Commit"]

    def pins(self) -> dict[str, dict[str, object]]:
        """By its listing, as `make pin` does it."""
        url: str | None = f"{self.url}/api/models/{REPO}/tree/{self.revision}?recursive=true"
        found: dict[str, dict[str, object]] = {}
        while url:
            with urllib.request.urlopen(url, timeout=600) as answer:
                entries = json.load(answer)
                link = answer.headers.get("Link", "")
            url = link.partition("<")[2].partition(">")[0] or None
            for entry in entries:
                if entry["type"] == "file":
                    lfs = entry.get("lfs")
                    kind = {"sha256": lfs["oid"]} if lfs else {"git_sha1": entry["oid"]}
                    found[entry["path"]] = {"size": entry["size"], **kind}
        return found


@contextlib.contextmanager
def hub_of(folder: Path) -> Iterator[Hub]:
    command = [sys.executable, "-m", "tests.hub", f"{REPO}={folder}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        url = process.stdout.readline().strip()
        files = {
            path.relative_to(folder).as_posix(): path.stat().st_size
            for path in folder.rglob("*")
            if path.is_file()
        }
        hub = Hub(url, process.pid, files)
        hub.warm()
        yield hub
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()


@dataclass(frozen=True)
class Client:
    """A way to fetch everything into a folder; `workers` is None for pull.py."""

    name: str
    workers: int | None = None

    def command(self, hub: Hub, folder: Path) -> list[str]:
        if self.workers is None:
            desired = folder.with_name(f"{folder.name}.json")
            values = {
                "endpoint": hub.url,
                "repo": REPO,
                "revision": hub.revision,
                "patterns": ["*"],
                "destination": str(folder),
                "files": hub.pins(),
            }
            desired.write_text(json.dumps(values))
            return [sys.executable, str(PULL), "pull", str(desired)]
        hf = str(Path(sys.executable).with_name("hf"))
        words = ["download", REPO, "--revision", hub.revision, "--local-dir", str(folder)]
        return [hf, *words, "--max-workers", str(self.workers)]

    def environment(self, hub: Hub, home: Path) -> dict[str, str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": str(ROOT / "tests/hub/guard"),
        }
        if self.workers is None:
            return environment
        return environment | {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(home / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
