"""Claude Code itself: installed where it is missing, and new enough where it is there."""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from .. import claude_code, report
from ..claude_code import dotted
from ..facts.client import CaskOutdatedFact, Client, ClientFact, Kind
from ..facts.engine import TextFact
from ..facts.file import EntriesFact
from ..layout import Layout
from ..target import Target
from . import brew
from .file import Commands

#: The cask of the newest version; "claude-code" is a week behind it, or more.
CASK = "claude-code@latest"

# Below the prefix that it is told npm looks for the settings of the whole system as well, and those
# may name the company's registry; so it is told where they are. A cache that a user does not have
# goes with what it was for. The node that there is need not be the one that Claude Code asks for:
# its program needs none. npm may have been told to run no scripts of packages; one of this one puts
# the program in place.
_NPM = """
PATH="$(dirname "$npm"):$PATH"; export PATH
if [ ! -d "$HOME/.npm" ] && [ -z "$npm_config_cache" ]; then
  trap 'rm -rf "$cache"' EXIT
  npm_config_cache=$cache; export npm_config_cache
fi
npm_config_globalconfig=$("$npm" config get globalconfig) && export npm_config_globalconfig
"$npm" install --global --no-fund --no-audit --engine-strict=false --include=optional \\
  --prefix "$prefix" "$package" </dev/null >&2 || fail "$failed"
is_new_enough || (cd "$prefix/lib/node_modules/@anthropic-ai/claude-code" && node install.cjs) >&2
"""

# What an interrupted run left is in npm's way.
_ANEW = 'rm -rf "$prefix"\n'

# A cask that has no newer version yet does, where Claude Code is not too old for the routes.
_CASK = """
if ! "$brew" list --cask --versions "$cask" >/dev/null 2>&1; then
  printf '%s\\n' "$brew" > "$record"
  "$brew" install --cask "$cask" </dev/null || { rm -f "$record"; fail "$failed"; }
fi
is_new_enough || "$brew" upgrade --cask "$cask" </dev/null || fail "$failed"
wanted=$oldest
"""

_UPGRADE_CASK = """
"$brew" upgrade --cask "$cask" </dev/null || fail "$failed"
wanted=$oldest
"""

_NATIVE = """
"$program" install "$wanted" </dev/null >&2 || fail "$failed"
"""

_CHECK = """
fail() { echo "$1" >&2; exit 1; }
is_new_enough() {
  has=$("$program" --version 2>/dev/null </dev/null); has=${has%% *}
  [ -n "$has" ] && [ "$(printf '%s\\n' "$wanted" "$has" | sort -V | head -n 1)" = "$wanted" ]
}
"""


@dataclass(frozen=True)
class Change:
    """What brings Claude Code to a version: a shell's `script` for the one at `program`, None where
    the user may not, and what a person types instead; npm's `prefix`, or Homebrew's `cask`."""

    program: str
    script: str | None
    by_hand: str
    prefix: str = ""
    cask: str = CASK


def own(target: Target) -> Client | None:
    """The user's own Claude Code, which is left alone where it is new enough. One that does not
    run, and that nobody can mend, is none."""
    path = target.machine.claude
    found: Client | None = host.get_fact(ClientFact, path=path) if path else None
    broken = found and not found.version and found.kind in (Kind.NATIVE, Kind.OTHER)
    return None if broken else found


def program(target: Target) -> str | None:
    """The path of the Claude Code that a user gets who types `claude`, None where there is none."""
    if theirs := own(target):
        return theirs.path
    found = host.get_fact(ClientFact, path=wrapper(target.layout))
    return wrapper(target.layout) if found else None


def wrapper(layout: Layout) -> str:
    """What calls the Claude Code that homeport installed."""
    return f"{layout.bin}/claude"


def directory(target: Target, version: tuple[int, ...]) -> str:
    return target.layout.path("client", dotted(version))


def problem(target: Target) -> str | None:
    """Why the Claude Code that is there cannot be used, and what to type, where homeport does not
    see to it itself."""
    found, settings = own(target), target.settings.workstation
    if settings is None or found is None or not found.version:
        return None  # homeport is taken away, or there is nothing to look at
    if found.version >= claude_code.OLDEST_CLIENT:
        return None
    wanted = settings.claude_code
    change = _change(found, target, wanted or claude_code.OLDEST_CLIENT)
    if wanted and change.script:
        return None
    return (
        f"{found.path} is Claude Code {dotted(found.version)}, which takes no notice of how many "
        f"tokens a server holds; {dotted(claude_code.OLDEST_CLIENT)} does. Type: {change.by_hand}"
    )


@operation()
def present(version: tuple[int, ...], target: Target) -> Commands:
    """Have Claude Code of `version` or newer. A newer one is left as it is, and said."""
    found = own(target)
    if found and found.version >= version:
        if found.version > version:
            report.say(
                host,
                f"{found.path} is Claude Code {dotted(found.version)}; this fleet is tested with "
                f"{dotted(version)}",
            )
        host.noop(f"{found.path} is Claude Code {dotted(found.version)}")
        return
    if found and _newest_of_homebrew(found, target):
        report.say(
            host,
            f"{found.path} is Claude Code {dotted(found.version)}, and Homebrew has no newer "
            f"{found.cask}; this fleet is tested with {dotted(version)}",
        )
        host.noop(f"Homebrew has no newer than {dotted(found.version)}")
        return
    if found is None and ours(target) and _is_there(target, version):
        host.noop(f"Claude Code {dotted(version)} is there")
        return
    change = _change(found, target, version)
    if change.script is None:
        there = f"is {dotted(found.version) or 'broken'}" if found else "is not installed"
        report.say(host, f"Claude Code {there}. Type: {change.by_hand}")
        host.noop(f"it cannot be brought to {dotted(version)} from here")
        return
    yield StringCommand(
        brew.variables(
            program=change.program,
            wanted=dotted(version),
            prefix=change.prefix,
            package=f"{claude_code.PACKAGE}@{dotted(version)}",
            npm=target.machine.npm or "",
            cache=target.layout.path("client", "npm-cache"),
            brew=target.machine.brew or "",
            cask=change.cask,
            oldest=dotted(claude_code.OLDEST_CLIENT),
            record=_record(target.layout),
            failed=f"homeport: Claude Code could not be installed, see the lines above. Type: "
            f"{change.by_hand}",
            too_old=f"homeport: {change.program} does not run, or is older than it has to be. "
            f"Type: {change.by_hand}",
        ),
        _CHECK,
        change.script,
        'is_new_enough || fail "$too_old"',
        _separator="",
    )


@operation()
def only(version: tuple[int, ...] | None, target: Target) -> Commands:
    """Remove what homeport installed, but `version`; all of it where that is None."""
    folder = target.layout.path("client")
    keep = dotted(version) if version else ""
    others = [name for name in host.get_fact(EntriesFact, path=folder) if name != keep]
    if not others:
        host.noop("nothing else is there")
    for name in others:
        yield StringCommand("rm -rf", QuoteString(f"{folder}/{name}"))


@operation()
def absent(layout: Layout) -> Commands:
    """Take away what Homebrew installed for us; what npm did is in homeport's own directory."""
    path = host.get_fact(TextFact, path=_record(layout)).strip()
    if not path:
        host.noop("homeport installed no Claude Code with Homebrew")
        return
    failed = (
        f"homeport: Homebrew could not remove {CASK}. Type: {path} uninstall --cask {CASK}; or, to "
        f"keep it: rm {quote(_record(layout))}. Then run this again"
    )
    yield StringCommand(
        brew.variables(brew=path, cask=CASK, record=_record(layout), failed=failed),
        brew.SURROUNDINGS,
        '! "$brew" list --cask --versions "$cask" >/dev/null 2>&1 || '
        '"$brew" uninstall --cask "$cask" </dev/null || fail "$failed"; rm -f "$record"',
        _separator="",
    )


def ours(target: Target) -> bool:
    """Whether the user's Claude Code is to be one of homeport's own directory."""
    settings = target.settings.workstation
    wanted = settings and settings.claude_code
    return bool(wanted and own(target) is None and not _by_brew(target))


def to_be_had(target: Target, version: tuple[int, ...]) -> bool:
    """Whether homeport's own can be of that version: npm is there, or was."""
    return bool(target.machine.npm) or _is_there(target, version)


def _change(found: Client | None, target: Target, version: tuple[int, ...]) -> Change:
    """How Claude Code gets to `version` here, by what installed it."""
    machine, package = target.machine, f"{claude_code.PACKAGE}@{dotted(version)}"
    native = f"curl -fsSL https://claude.ai/install.sh | bash -s {dotted(version)}"
    by_npm = f"npm install --global --prefix ~/.local {package}; or, without npm: {native}"
    if found is None and _by_brew(target):
        path = f"{(machine.brew or '').removesuffix('/brew')}/claude"
        return Change(path, f"{brew.SURROUNDINGS}{_CASK}", f"brew install --cask {CASK}")
    if found is None and machine.npm:
        prefix = directory(target, version)
        return Change(f"{prefix}/bin/claude", f"{_ANEW}{_NPM}", by_npm, prefix)
    if found is None or found.kind is Kind.OTHER:
        return Change("", None, native)
    if found.kind is Kind.CASK:
        newest = f"brew uninstall --cask {found.cask} && brew install --cask {CASK}"
        newest = "" if found.cask == CASK else f"; or, for the newest: {newest}"
        if machine.brew_is_ours:
            script, who = f"{brew.SURROUNDINGS}{_UPGRADE_CASK}", ""
        else:
            script, who = None, " (as the user whose Homebrew it is)"
        typed = f"brew upgrade --cask {found.cask}{who}{newest}"
        return Change(found.path, script, typed, cask=found.cask)
    if found.kind is Kind.NATIVE:
        return Change(found.path, _NATIVE, f"claude install {dotted(version)}")
    typed = f"npm install --global --prefix {quote(found.prefix)} {package}"
    possible = found.writable and machine.npm
    return Change(
        found.path, _NPM if possible else None, typed if possible else f"sudo {typed}", found.prefix
    )


def _is_there(target: Target, version: tuple[int, ...]) -> bool:
    """Whether homeport installed that version, and it works."""
    path = f"{directory(target, version)}/bin/claude"
    done: Client | None = host.get_fact(ClientFact, path=path)
    return bool(done and done.version >= version)


def _by_brew(target: Target) -> bool:
    """Whether Homebrew installs it: on a Mac, by whom it belongs to."""
    machine = target.machine
    return machine.kernel == "Darwin" and machine.brew_is_ours and machine.user != "root"


def _newest_of_homebrew(found: Client, target: Target) -> bool:
    """Whether it is new enough for the routes, and Homebrew has no newer."""
    machine = target.machine
    if found.kind is not Kind.CASK or not machine.brew_is_ours:
        return False
    if found.version < claude_code.OLDEST_CLIENT:
        return False
    return not host.get_fact(CaskOutdatedFact, brew=machine.brew, cask=found.cask)


def _record(layout: Layout) -> str:
    """The file that says which brew installed it for us."""
    return layout.path("state", "client-by-brew")
