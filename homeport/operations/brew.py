"""Formulae of Homebrew's: installed, llama.cpp new enough, and taken away again."""

from __future__ import annotations

from shlex import quote

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from ..facts.engine import TextFact
from ..facts.llama import ProgramFact
from ..layout import Layout
from .file import Commands

FORMULA = "llama.cpp"

#: Homebrew's own installer (brew.sh).
INSTALLER = (
    "/bin/bash -c "
    '"$(curl -fsSL https://raw.githubusercontent.com/Homebrew/install/HEAD/install.sh)"'
)

# Called by its path, as a session over SSH does not have it on its own; brew's tools are beside it.
# It asks nothing, gives no advice, and leaves what else the user has as it is (docs.brew.sh,
# Manpage, Environment). It does update itself first: its newest llama.cpp is wanted.
SURROUNDINGS = """
PATH="${brew%/brew}:/usr/bin:/bin:/usr/sbin:/sbin"
export PATH HOMEBREW_NO_ASK=1 HOMEBREW_NO_ENV_HINTS=1 HOMEBREW_NO_INSTALL_CLEANUP=1
export HOMEBREW_NO_INSTALLED_DEPENDENTS_CHECK=1 HOMEBREW_NO_AUTOREMOVE=1
fail() { echo "$1" >&2; exit 1; }
has() { "$brew" list --versions "$1" >/dev/null 2>&1; }
"""

# What is about to be installed is recorded first, and then what came with it, a name a line after
# brew's path: an interrupted run leaves nothing unknown but that. A formula that is there already
# is its owner's, whether it is linked or not.
_INSTALL = """
if ! has "$formula"; then
  [ ! -x "$program" ] || fail "$foreign"
  before=$("$brew" list --formula -1) || fail "$failed"
  [ -e "$record" ] || { printf '%s\\n' "$brew" "$formula" > "$record"; new=yes; }
  if ! "$brew" install "$formula" </dev/null; then
    [ -z "$new" ] || has "$formula" || rm -f "$record"
    fail "$failed"
  fi
  "$brew" list --formula -1 | while read -r name; do
    printf '%s\\n' "$before" "$formula" | grep -qxF -- "$name" || echo "$name" >> "$record"
  done
fi
[ -x "$program" ] || "$brew" link "$formula" </dev/null
[ -x "$program" ] || fail "$failed"
"""

_UPGRADE = """
new_enough() {
  build=$("$program" --version 2>&1 | sed -n \\
    -e 's/^version: \\([0-9]*\\) .*/\\1/p' -e 's/^version: .*(build \\([0-9]*\\),.*/\\1/p')
  [ "${build:-0}" = 0 ] || [ "$build" -ge "$oldest" ]
}
new_enough || "$brew" upgrade "$formula" </dev/null || fail "$failed"
new_enough || fail "$too_old"
"""

# With --force it takes away older versions as well. Of what came with it that goes which brew
# installed for the sake of something else, and which nothing needs any more; one after the other,
# as one may need the next.
_UNINSTALL = """
! has "$formula" || "$brew" uninstall --force "$formula" </dev/null || fail "$failed"
names=$(tail -n +3 "$record")
while [ -n "$names" ]; do
  name=$("$brew" leaves --installed-as-dependency | grep -xF -- "$names" | head -n 1)
  [ -n "$name" ] && "$brew" uninstall --force "$name" </dev/null || break
done
rm -f "$record"
"""


@operation()
def present(brew: str, program: str, build: int, layout: Layout) -> Commands:
    """Have llama.cpp of `build` or newer: the llama-server at the path `program`.

    One that is there and new enough is left as it is, however old.
    """
    found = host.get_fact(ProgramFact, program=program)
    if found and found.is_new_enough(build):
        host.noop(f"{program} is build {found.build or 'of its own'}")
        return
    verb = "upgrade" if found else "install"
    yield StringCommand(
        variables(
            brew=brew,
            formula=FORMULA,
            program=program,
            record=record(layout, FORMULA),
            oldest=str(build),
            failed=f"homeport: Homebrew could not {verb} {FORMULA}, see its lines above. Type: "
            f"{brew} {verb} {FORMULA}",
            foreign=f"homeport: {program} is not of Homebrew's making, and too old. Move it away, "
            "or name another as engine in group_data/laptops.py",
            too_old=f"homeport: {program} is older than build {build}, which the model needs, and "
            f"Homebrew has no newer. Type: {brew} update && {brew} upgrade {FORMULA}",
        ),
        SURROUNDINGS,
        _INSTALL,
        _UPGRADE,
        _separator="",
    )


@operation()
def installed(brew: str, formula: str, layout: Layout) -> Commands:
    """Have the `formula`, which has a program of its name; there it is known not to be yet."""
    failed = (
        f"homeport: Homebrew could not install {formula}, see its lines above. Type: {brew} "
        f"install {formula}"
    )
    yield StringCommand(
        variables(
            brew=brew,
            formula=formula,
            program=f"{brew.removesuffix('/brew')}/{formula}",
            record=record(layout, formula),
            failed=failed,
            foreign=failed,
        ),
        SURROUNDINGS,
        _INSTALL,
        _separator="",
    )


@operation()
def absent(layout: Layout, formula: str = FORMULA) -> Commands:
    """Take it away, where homeport installed it."""
    brew, _, _ = host.get_fact(TextFact, path=record(layout, formula)).partition("\n")
    if not brew:
        host.noop(f"homeport installed no {formula} with Homebrew")
        return
    kept = f"to keep it: rm {quote(record(layout, formula))}"
    yield StringCommand(
        variables(
            brew=brew,
            formula=formula,
            record=record(layout, formula),
            failed=f"homeport: Homebrew could not remove {formula}, see its lines above. Type: "
            f"{brew} uninstall {formula}; or, {kept}. Then run this again",
        ),
        SURROUNDINGS,
        _UNINSTALL,
        _separator="",
    )


def record(layout: Layout, formula: str) -> str:
    """The file that says that homeport installed it, with which brew, and what came with it."""
    return layout.path("state", f"{formula}-by-brew")


def variables(**values: str) -> StringCommand:
    """Sets these variables of the shell."""
    words: list[object] = []
    for name, value in values.items():
        words += [f"{name}=", QuoteString(value), "\n"]
    return StringCommand(*words, _separator="")
