"""weights.lock.json: which commit of each Hub repository is served, and every file's hash.

`make pin` writes it, people review and commit it, and every host verifies what it pulls against it,
so that no mirror and no proxy can alter a byte.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from . import ROOT
from .errors import SettingsError
from .remote.pull import File, Problem, digest, file_of, gigabytes, is_commit

LOCK = ROOT / "weights.lock.json"


@dataclass(frozen=True)
class Pin:
    """A commit (40 hex digits) of a repository, and its files as they have to be."""

    repo: str
    revision: str
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """What `status` on a host compares with what it has."""
        return digest(self.repo, self.revision, list(self.files))

    @property
    def specs(self) -> dict[str, Any]:
        return {file.path: file.spec() for file in self.files}


def read(path: Path = LOCK) -> dict[str, Pin]:
    """The pins by repository, none where there is no such file; raises `SettingsError`."""
    try:
        return parse(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise _broken(path.name, str(error)) from None


@cache
def parse(text: str, name: str = LOCK.name) -> dict[str, Pin]:
    pins = {}
    try:
        for repo, pinned in json.loads(text).items():
            if not is_commit(pinned["revision"]):
                raise Problem(f"{repo} has the revision {pinned['revision']!r}, which is no commit")
            files = tuple(file_of(*item) for item in sorted(pinned["files"].items()))
            pins[repo] = Pin(repo, pinned["revision"], files)
    except json.JSONDecodeError as error:
        raise _broken(name, f"line {error.lineno}: {error.msg}") from None
    except Problem as error:
        raise _broken(name, str(error)) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _broken(name, f"{type(error).__name__}: {error}") from None
    return pins


def written(pins: dict[str, Pin]) -> str:
    """The text of the file: a line for each file, so that a change can be reviewed."""
    repos = []
    for repo, pin in sorted(pins.items()):
        files = [f"   {json.dumps(file.path)}: {json.dumps(file.spec())}" for file in pin.files]
        head = f' {json.dumps(repo)}: {{\n  "revision": "{pin.revision}",\n  "files": {{\n'
        repos.append(head + ",\n".join(files) + "\n  }\n }")
    return "{\n" + ",\n".join(repos) + "\n}\n"


def difference(before: Pin | None, after: Pin) -> list[str]:
    """What `after` changes, a line each: the commit, then every file that is new, gone or other."""
    if before is None:
        there = f"{len(after.files)} files, {gigabytes(after.size)}"
        return [f"{after.repo}: new, {after.revision}, {there}"]
    if before == after:
        return [f"{after.repo}: unchanged, {after.revision}"]
    lines = [f"{after.repo}: {before.revision} -> {after.revision}"]
    old, new = ({file.path: file for file in pin.files} for pin in (before, after))
    for path in sorted({*old, *new}):
        was, now = old.get(path), new.get(path)
        if was and now and was != now:
            size = gigabytes(now.size)
            grown = size if was.size == now.size else f"{gigabytes(was.size)} -> {size}"
            lines.append(f"  ~ {path} ({grown}, {now.kind} {now.hash[:12]})")
        elif now and not was:
            lines.append(f"  + {path} ({gigabytes(now.size)})")
        elif was and not now:
            lines.append(f"  - {path} ({gigabytes(was.size)})")
    return lines


def _broken(name: str, problem: str) -> SettingsError:
    fix = f"Restore it (git checkout {name}), or remove it and type: make pin"
    return SettingsError(name, "damaged", problem, fix)
