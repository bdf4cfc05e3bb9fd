"""Claude Code itself: which one a typed `claude` is, and whether it is new enough."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Optional

from .commands import Said, run, under
from .limits import OLDEST_CLIENT
from .table import CONTEXT, MACHINE, Area, Check, Context, Subject, Unknown, Values

Version = tuple[int, ...]

#: Where Claude Code may be beside the PATH, the first of them first (homeport/facts/host.py).
_IN_HOME = (".local/bin", ".npm-global/bin", ".volta/bin", ".bun/bin", ".claude/local")
_OF_ALL = ("/opt/homebrew/bin", "/usr/local/bin", "/home/linuxbrew/.linuxbrew/bin", "/usr/bin")

_PACKAGE = "@anthropic-ai/claude-code"


@dataclass(frozen=True)
class Claude:
    """One Claude Code: where it is called, its version, None where it does not run, and what it
    says then; `upgrade` is what brings it to the wanted version."""

    path: str
    version: Optional[Version]
    problem: str
    upgrade: str


@dataclass(frozen=True)
class Client:
    """`typed` is the one that a typed `claude` is, `own` what homeport installed, None where there
    is none; `wanted` is the version that there should be at least, () where that is left alone."""

    wanted: Version
    typed: Optional[Claude]
    own: Optional[Claude]


def look(context: Context) -> Iterator[Subject[Client]]:
    wanted = context.wanted.client or ""
    if not wanted and not context.wanted.routes:
        return
    wrapper = "%s/bin/claude" % context.wanted.directory
    own = _claude(wrapper, context) if _is_program(wrapper, context) else None
    path = next((one for one in _candidates(context) if _is_program(one, context)), wrapper)
    typed = own if path == wrapper else _claude(path, context)
    yield Subject("", Client(_numbers(wanted) or (), typed, own), {"wanted": wanted})


def _candidates(context: Context) -> Iterator[str]:
    """Where a `claude` may be, in the order in which a shell of the user's finds it, as far as its
    PATH is known: where a fleet is asked, it is not, and homeport's own line in the start-up files
    puts its programs first (homeport/shell_line.py)."""
    home = context.variables.get("HOME") or context.wanted.home
    first = "%s/bin" % context.wanted.directory
    named = context.variables.get("PATH", first).split(os.pathsep)
    folders = [one for one in named if one.startswith("/")]
    folders += ["%s/%s" % (home, place) for place in _IN_HOME]
    nodes = sorted(under(context, home).glob(".nvm/versions/node/*"), reverse=True)
    folders += ["%s/.nvm/versions/node/%s/bin" % (home, one.name) for one in nodes]
    for folder in (*folders, *_OF_ALL):
        yield "%s/claude" % folder.rstrip("/")


def _is_program(path: str, context: Context) -> bool:
    file = under(context, path)
    return file.is_file() and os.access(file, os.X_OK)


def _claude(path: str, context: Context) -> Claude:
    """What it says itself: that takes 0.02 s, the first time 0.4 (measured, 2.1.330), writes
    nothing, and proves that it runs. One of npm's may need the node beside it."""
    file = under(context, path)
    folders = "%s%s%s" % (file.parent, os.pathsep, os.environ.get("PATH", os.defpath))
    said = run([str(file), "--version"], {"PATH": folders, "DISABLE_AUTOUPDATER": "1"})
    version = _numbers(said.output) if isinstance(said, Said) and not said.status else None
    words = said.why if isinstance(said, Unknown) else (said.errors or said.output).strip()
    return Claude(
        path,
        version,
        "" if version else words[:200],
        _upgrade(path, file.resolve(), context.wanted.client or "latest"),
    )


def _upgrade(path: str, real: Path, version: str) -> str:
    prefix, mark, _ = str(real).partition("/lib/node_modules/%s/" % _PACKAGE)
    cask = re.search(r"/Caskroom/(claude-code[^/]*)/", str(real))
    if cask:
        return "brew upgrade --cask %s" % cask[1]
    if mark:
        return "npm install --global --prefix %s %s@%s" % (quote(prefix), _PACKAGE, version)
    if "/.local/share/claude/versions/" in str(real):
        return "%s install %s" % (quote(path), version)
    return "npm install --global --prefix ~/.local %s@%s" % (_PACKAGE, version)


def _numbers(text: str) -> Optional[Version]:
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else None


# What can be wrong with it


def _of(one: Claude) -> Mapping[str, str]:
    version = ".".join(map(str, one.version or ()))
    return {"path": one.path, "version": version, "upgrade": one.upgrade}


def _is_hidden(seen: Client) -> bool:
    """Whether an older one than homeport's own comes before that."""
    typed, own = seen.typed, seen.own
    if typed is None or own is None or typed == own or typed.version is None:
        return False
    return typed.version < (own.version or ())


def _none(seen: Client) -> Iterator[Values]:
    if seen.typed is None and seen.wanted:
        yield {}


def _broken(seen: Client) -> Iterator[Values]:
    for one in dict.fromkeys((seen.typed, seen.own)):
        if one and one.version is None:
            yield {**_of(one), **_by_hand(one, seen), "detail": one.problem}


def _hidden(seen: Client) -> Iterator[Values]:
    if seen.typed and seen.own and _is_hidden(seen):
        yield {**_of(seen.typed), "own": seen.own.path}


def _too_old(seen: Client) -> Iterator[Values]:
    one = seen.typed
    if one and one.version and one.version < OLDEST_CLIENT and not _is_hidden(seen):
        yield {**_of(one), **_by_hand(one, seen)}


def _by_hand(one: Claude, seen: Client) -> Mapping[str, str]:
    """The fix where no deploy installs any."""
    return {} if seen.wanted else {"fix": one.upgrade}


def _older(seen: Client) -> Iterator[Values]:
    one = seen.typed
    if one and one.version and OLDEST_CLIENT <= one.version < seen.wanted and not _is_hidden(seen):
        yield _of(one)


def _facts(seen: Client) -> Mapping[str, str]:
    return {"client": _of(seen.typed)["version"]} if seen.typed and seen.typed.version else {}


_AGAIN = "run the deploy again, or: {upgrade}"

CHECKS: tuple[Check[Client], ...] = (
    Check(
        "no-client",
        MACHINE,
        symptom="claude: command not found",
        cause="Claude Code is not installed",
        fix="run the deploy again, or: npm install --global --prefix ~/.local "
        + _PACKAGE
        + "@{wanted}",
        source="the PATH, and where npm, Homebrew and its own installer put it",
        find=_none,
    ),
    Check(
        "client-broken",
        MACHINE,
        symptom="{path} does not run",
        cause="Claude Code is damaged, or not made for this machine",
        fix=_AGAIN,
        source="claude --version",
        find=_broken,
    ),
    Check(
        "client-too-old",
        CONTEXT,
        symptom="sessions end with an error where they grow: {path} is Claude Code {version}",
        cause="Claude Code is too old to be told how many tokens a server holds",
        fix=_AGAIN,
        source="measured: CLAUDE_CODE_MAX_CONTEXT_TOKENS counts since Claude Code 2.1.324, "
        "its patience before the answer since 2.1.328",
        find=_too_old,
    ),
    Check(
        "another-client-first",
        MACHINE,
        symptom="a typed claude is {path}, Claude Code {version}, and not {own}",
        cause="an older Claude Code comes first on the PATH",
        fix="remove it, or: {upgrade}",
        source="the PATH of the shell, or where homeport/facts/host.py looks",
        find=_hidden,
        warning=True,
    ),
    Check(
        "client-old",
        MACHINE,
        symptom="{path} is Claude Code {version}",
        cause="Claude Code is older than what is deployed here",
        fix=_AGAIN,
        source="claude_code of group_data/workstations.py",
        find=_older,
        warning=True,
    ),
)

AREA = Area("client", look, CHECKS, facts=_facts)
