"""What a mirror serves: the files of whole revisions, at the addresses that the Hub has them. Pure.

A file is served when it is listed here, and listed it is when a pin names it or when the revision
was proven whole before another became current. Nothing else of homeport's directory has an address.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from .layout import Layout
from .remote.pull import File, Problem, recorded
from .service import Manager, Service, definition_path, digest

#: The service's main process, and its arguments are nginx's words. nginx writes over its own
#: command line and environment, so that nobody could tell what it was started from; this shell
#: keeps both. nginx ends with it, however it ends.
WRAPPER = (
    'trap \'kill "$child"\' TERM INT; setpriv --pdeathsig TERM "$@" & child=$!; '
    'wait "$child"; wait "$child"'
)


@dataclass(frozen=True)
class Held:
    """A whole revision of a repository, on the mirror's disk; `main` is what a pin names now."""

    repo: str
    revision: str
    files: tuple[File, ...]
    main: bool

    @property
    def names(self) -> list[str]:
        """What the Hub's clients may call it."""
        return [self.revision, "main"] if self.main else [self.revision]

    @property
    def info(self) -> str:
        """The file with what the Hub's API says of it, and that with its list of files."""
        return f"{self.repo.replace('/', '--')}.{self.revision}.info.json"

    @property
    def tree(self) -> str:
        return f"{self.repo.replace('/', '--')}.{self.revision}.tree.json"

    @property
    def documents(self) -> dict[str, bytes]:
        """Both, with their content."""
        info = {
            "_id": hashlib.sha256(self.repo.encode()).hexdigest()[:24],
            "id": self.repo,
            "modelId": self.repo,
            "author": self.repo.partition("/")[0],
            "sha": self.revision,
            "private": False,
            "gated": False,
            "disabled": False,
            "tags": [],
            "siblings": [{"rfilename": file.path} for file in self.files],
        }
        tree = [_entry(file) for file in self.files]
        return {self.info: _json(info), self.tree: _json(tree)}


def from_manifest(manifest: Mapping[str, Any]) -> Held | None:
    """The revision that a manifest of remote/pull.py describes, None where it was never whole."""
    if not manifest.get("digest"):
        return None
    try:
        files = tuple(recorded(*item) for item in sorted(manifest["files"].items()))
        return Held(manifest["repo"], manifest["revision"], files, main=False)
    except (AttributeError, KeyError, TypeError, Problem):  # damaged
        return None


def definition(manager: Manager, layout: Layout) -> str:
    """Where the definition of the mirror's service stands."""
    return definition_path(_name(layout), manager, layout)


def service(program: str, inputs: tuple[str, ...], layout: Layout) -> Service:
    """nginx, the program at that path, with the configuration in `layout`; `inputs` as for any."""
    return Service(
        name=_name(layout),
        owner=layout.owner,
        description="the mirror of weights",
        command=(
            *("/bin/sh", "-c", WRAPPER, "mirror"),
            *(program, "-p", f"{layout.directory}/", "-c", configuration(layout)),
        ),
        log=log(layout),
        inputs=inputs,
    )


def log(layout: Layout) -> str:
    return layout.path("log", "mirror.log")


def configuration(layout: Layout) -> str:
    return layout.path("service", "mirror.nginx.conf")


def token(layout: Layout) -> str:
    """The file with the token, for the question at the end of a deploy."""
    return layout.path("service", "mirror.token")


def documents(layout: Layout) -> str:
    """The folder of what `Held.documents` says."""
    return layout.path("mirror", "api")


def directories(layout: Layout) -> list[str]:
    return [layout.path("mirror"), documents(layout), layout.path("mirror", "run")]


def inputs(content: bytes, version: str) -> tuple[str, ...]:
    """What nginx is started from: its configuration, and the `version` of the program."""
    return (digest(content.decode()), version)


def _name(layout: Layout) -> str:
    return f"{layout.services}mirror"


def _entry(file: File) -> dict[str, Any]:
    """A line of the Hub's list of files."""
    found = {"type": "file", "path": file.path, "size": file.size, "oid": file.hash}
    if file.kind != "sha256":
        return found
    pointer = (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{file.hash}\nsize {file.size}\n"
    ).encode()
    blob = hashlib.sha1(b"blob %d\0%b" % (len(pointer), pointer), usedforsecurity=False)
    lfs = {"oid": file.hash, "size": file.size, "pointerSize": len(pointer)}
    return {**found, "oid": blob.hexdigest(), "lfs": lfs}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def largest(held: list[Held]) -> tuple[Held, File] | None:
    """A file to ask for, None where there is none."""
    files = [(one, file) for one in held if one.main for file in one.files]
    return max(files, key=lambda found: found[1].size, default=None)


def path(held: Held, file: File) -> str:
    """Where a file is, below the directory of all weights."""
    return str(PurePosixPath(held.repo, held.revision, file.path))
