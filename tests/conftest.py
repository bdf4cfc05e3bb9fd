"""What all tests share."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

# Other tests run beside these, and some of them start a model server.
settings.register_profile("homeport", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("homeport")

CLIENT = Path(__file__).parent / "client"

#: Set in CI, where a missing tool is a failure; on anybody's own machine the test is skipped.
IN_CI = bool(os.environ.get("CI"))


#: The files that take longest, to be started first, so that none is left alone at the end.
_LONGEST = (
    "test_gpu_together.py",
    "test_mirror.py",
    "test_gpu_host.py",
    "test_faults.py",
    "test_matrix_vllm.py",
    "test_matrix.py",
    "test_try.py",
    "test_parsers.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Note how a run ended where CI asks for that: make says 2 of everything."""
    noted = os.environ.get("HOMEPORT_TEST_STATUS")
    if noted and not hasattr(session.config, "workerinput"):
        Path(noted).write_text(str(int(exitstatus)))


def missing(reason: str) -> NoReturn:
    """Skip the test for `reason`, or fail it in CI."""
    if IN_CI:
        pytest.fail(f"in CI nothing may be missing: {reason}")
    pytest.skip(reason)


@pytest.fixture
def needs() -> Callable[..., None]:
    """needs("zsh", "curl"): the programs that the test cannot do without."""

    def check(*programs: str) -> None:
        for program in programs:
            if shutil.which(program) is None:
                missing(f"{program} is not installed")

    return check


def a_free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens; and nothing will, since it is not among
    those that the kernel hands out, and other workers of this run have other ones."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
    for port in random.SystemRandom().sample(
        range(20_000 + worker * 1000, 21_000 + worker * 1000), 1000
    ):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


@pytest.fixture
def free_port() -> int:
    return a_free_port()


@contextmanager
def loopback_namespace(name: str = "") -> Iterator[tuple[str, ...]]:
    """A network namespace with loopback only: the words that run a command in it.

    One process that wants several gives each a `name`.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        missing("network namespaces need root and iproute2")
    name = f"homeport-{os.getpid()}-{name}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield ("ip", "netns", "exec", name)
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def client_versions() -> list[str]:
    """The versions of Claude Code in tests/client/package.json, the newest first."""
    pinned = json.loads((CLIENT / "package.json").read_text())["dependencies"]
    return [name.removeprefix("claude-") for name in pinned]


def installed_client(version: str | None = None) -> Path:
    """Claude Code of that version, or the newest, from tests/client/package-lock.json.

    The program is called `claude`, and is alone in its folder.
    """
    version = version or client_versions()[0]
    modules = CLIENT / "node_modules"
    program = modules / f"claude-{version}" / "bin" / "claude.exe"  # so called on Linux, too
    claude = modules / ".homeport" / version / "claude"
    with (CLIENT / "package.json").open() as installing:
        fcntl.flock(installing, fcntl.LOCK_EX)
        if not program.exists():
            if shutil.which("npm") is None:
                missing("npm is not installed")
            subprocess.run(["npm", "ci", "--silent"], cwd=CLIENT, check=True, timeout=600)
        if not claude.is_symlink():
            claude.parent.mkdir(parents=True, exist_ok=True)
            claude.symlink_to(program)
    return claude
