"""Virtual environments from hashed requirement files, each beside the one it replaces."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pyinfra import host
from pyinfra.api import FileUploadCommand, QuoteString, StringCommand, operation

from ..facts.file import EntriesFact, FileStateFact
from ..layout import Layout
from .file import Commands

#: Bytes: the engine's environment, the embedded model and what is unpacked meanwhile (measured:
#: 330 MB on Linux x86_64).
NEEDED_SPACE = 600_000_000


@dataclass(frozen=True)
class Environment:
    """An environment that holds what `locks` pin, for a Python of `version` (major, minor, ...);
    its path says both."""

    layout: Layout
    version: tuple[int, ...]
    locks: tuple[Path, ...]

    @property
    def digest(self) -> str:
        contents = repr(self.version[:2]).encode()
        contents += b"".join(lock.read_bytes() for lock in self.locks)
        return hashlib.sha256(contents).hexdigest()[:12]

    @property
    def path(self) -> str:
        return self.layout.path("env", self.digest)

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
    # pip asks rustc for its version, and rustup's rustc then makes ~/.rustup: not in the home.
    setting = StringCommand(
        "export RUSTUP_HOME=", QuoteString(f"{environment.path}/rustup"), ";", _separator=""
    )
    yield StringCommand(
        setting, "rm -rf", QuoteString(environment.path), "&&",
        QuoteString(python), "-m venv", QuoteString(environment.path),
    )  # fmt: skip
    for lock in environment.locks:
        target = f"{environment.path}/{lock.name}"
        yield FileUploadCommand(str(lock), target)
        yield StringCommand(
            setting, QuoteString(environment.python), "-m pip install --quiet --no-cache-dir",
            "--disable-pip-version-check --require-hashes --no-deps --only-binary :all:",
            "-r", QuoteString(target), "||",
            "{ echo", QuoteString(
                f"homeport: pip could not install {lock.name}, see its lines above. It needs the "
                "Python package index, or a mirror named in pip.conf: check the network and the "
                "proxy, then run this again"
            ), ">&2; exit 1; }",
        )  # fmt: skip
    yield StringCommand("touch", QuoteString(mark))


@operation()
def only(environment: Environment) -> Commands:
    """Remove the environments that `environment` replaced."""
    names = host.get_fact(EntriesFact, path=environment.layout.path("env"))
    old = [name for name in names if name != environment.digest]
    if not old:
        host.noop("no older environment is left")
    for name in old:
        yield StringCommand("rm -rf", QuoteString(environment.layout.path("env", name)))
