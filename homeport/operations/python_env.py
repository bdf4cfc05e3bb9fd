"""Virtual environments from hashed requirement files, each beside the one it replaces."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gevent
from pyinfra import host, state
from pyinfra.api import Host, QuoteString, StringCommand, operation
from pyinfra.context import ctx_host

from .. import progress
from ..facts.file import EntriesFact, FileStateFact, SizeFact
from ..facts.host import program
from ..layout import Layout
from ..remote.pull import gigabytes
from .file import Commands, upload

#: Bytes: the engine's environment, the embedded model and what is unpacked meanwhile (measured:
#: 330 MB on Linux x86_64).
NEEDED_SPACE = 600_000_000

#: Seconds between two looks at how much of an environment is there.
_LOOK_EVERY = 5


@dataclass(frozen=True)
class Environment:
    """An environment that holds what `locks` pin, for a Python of `version` (major, minor, ...);
    its path says both, after the `label`, for who looks at it there.

    `size` is about how much it takes in the end, in bytes, where that is worth watching.
    """

    layout: Layout
    version: tuple[int, ...]
    locks: tuple[Path, ...]
    label: str = ""
    size: int = 0

    @property
    def requirements(self) -> bytes:
        """What `locks` say, as one file."""
        return b"".join(lock.read_bytes() for lock in self.locks)

    @property
    def digest(self) -> str:
        contents = repr(self.version[:2]).encode() + self.requirements
        return hashlib.sha256(contents).hexdigest()[:12]

    @property
    def name(self) -> str:
        return f"{self.label}-{self.digest}" if self.label else self.digest

    @property
    def path(self) -> str:
        return self.layout.path("env", self.name)

    @property
    def python(self) -> str:
        return f"{self.path}/bin/python"

    @property
    def mark(self) -> str:
        """The file that says that it is complete."""
        return f"{self.path}/complete"

    @property
    def site_packages(self) -> str:
        return f"{self.path}/lib/python{self.version[0]}.{self.version[1]}/site-packages"


@operation()
def present(environment: Environment, python: str) -> Commands:
    """Build `environment` with the host's `python`, unless it is there and complete.

    One without its mark, left by an interrupted run, is built anew.
    """
    mark = environment.mark
    if host.get_fact(FileStateFact, path=mark):
        host.noop(f"{environment.path} is complete")
        return
    requirements = f"{environment.path}.txt"
    yield upload(environment.requirements, requirements)
    # One that was started by a run that was killed may still be at work on the same files.
    with _watched(environment):
        yield program(python, "run_locked.py", environment.layout.path("env"), "sh", "-c",
                      _build_script(environment, python, requirements))  # fmt: skip


@contextmanager
def _watched(environment: Environment) -> Iterator[None]:
    """Show how much of a large `environment` is there, while pip says nothing."""
    if not environment.size or not state.is_executing:
        yield
        return
    watcher = gevent.spawn(_watch, environment, ctx_host.get())
    try:
        yield
    finally:
        watcher.kill()
        progress.end(host)


def _watch(environment: Environment, at: Host) -> None:
    total = gigabytes(environment.size)
    with ctx_host.use(at):  # a greenlet has none of its own
        while True:
            gevent.sleep(_LOOK_EVERY)
            there = at.get_fact(SizeFact, path=environment.path)
            progress.show(at, f"{environment.label}: {gigabytes(there)} of about {total} installed")


def _build_script(environment: Environment, python: str, requirements: str) -> str:
    path, own_python, mark = map(
        shlex.quote, (environment.path, environment.python, environment.mark)
    )
    names = ", ".join(lock.stem.removeprefix("requirements-") for lock in environment.locks)
    failed = shlex.quote(
        f"homeport: pip could not install {names}, see its lines above. It needs the Python "
        "package index, or a mirror named in pip.conf: check the network and the proxy, then run "
        "this again"
    )
    # pip asks rustc for its version, and rustup's rustc then makes ~/.rustup: not in the home.
    # Another user may have to run it. What is unpacked may be more than a /tmp in memory holds.
    return f"""
[ ! -e {mark} ] || exit 0
umask 022
export RUSTUP_HOME={path}/rustup TMPDIR={path}/unpacked
rm -rf {path} && {shlex.quote(python)} -m venv {path} && mkdir "$TMPDIR" || exit 1
{own_python} -m pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes \
  --no-deps --only-binary :all: -r {shlex.quote(requirements)} || {{ echo {failed} >&2; exit 1; }}
rm -rf {shlex.quote(requirements)} "$TMPDIR"
touch {mark}
"""


@operation()
def only(environments: list[Environment]) -> Commands:
    """Remove every environment but these."""
    folder = environments[0].layout.path("env")
    keep = [one.name for one in environments]
    old = [name for name in host.get_fact(EntriesFact, path=folder) if name not in keep]
    if not old:
        host.noop("no older environment is left")
    for name in old:
        yield StringCommand("rm -rf", QuoteString(f"{folder}/{name}"))
