"""llama.cpp from Homebrew: installed, new enough, and taken away again."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from ..facts.engine import TextFact
from ..facts.llama import BuildFact
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
_BREW = """
PATH="${brew%/brew}:/usr/bin:/bin:/usr/sbin:/sbin"
export PATH HOMEBREW_NO_ASK=1 HOMEBREW_NO_ENV_HINTS=1 HOMEBREW_NO_INSTALL_CLEANUP=1
"""

# With --force it takes away older versions as well.
# What is about to be installed is recorded first: an interrupted run leaves nothing unknown.
_INSTALL = """
echo "$brew" > "$record"
"$brew" install "$formula" </dev/null || {
  "$brew" list --versions "$formula" >/dev/null || rm -f "$record"
  echo "$failed" >&2; exit 1; }
"""

_UPGRADE = """
"$brew" upgrade "$formula" </dev/null || { echo "$failed" >&2; exit 1; }
"""

_NEW_ENOUGH = """
build=$("$program" --version 2>&1 \
  | sed -n -e 's/^version: \\([0-9]*\\) .*/\\1/p' -e 's/^version: .*(build \\([0-9]*\\),.*/\\1/p')
[ "${build:-0}" = 0 ] || [ "$build" -ge "$oldest" ] || { echo "$too_old" >&2; exit 1; }
"""

_UNINSTALL = """
! "$brew" list --versions "$formula" >/dev/null \\
  || "$brew" uninstall --force "$formula" </dev/null || { echo "$failed" >&2; exit 1; }
rm -f "$record"
"""


@operation()
def present(brew: str, program: str, build: int, layout: Layout) -> Commands:
    """Have llama.cpp of `build` or newer: the llama-server at the path `program`.

    One that is there and new enough is left as it is, however old.
    """
    found = host.get_fact(BuildFact, program=program)
    if found is not None and (found == 0 or found >= build):
        host.noop(f"{program} is build {found or 'of its own'}")
        return
    verb = "install" if found is None else "upgrade"
    yield StringCommand(
        _variables(
            brew=brew,
            program=program,
            record=record(layout),
            oldest=str(build),
            failed=f"homeport: Homebrew could not {verb} {FORMULA}, see its lines above. Type: "
            f"{brew} {verb} {FORMULA}",
            too_old=f"homeport: {program} is older than build {build}, which the model needs, and "
            f"Homebrew has no newer. Type: {brew} update && {brew} upgrade {FORMULA}",
        ),
        _BREW,
        _INSTALL if found is None else _UPGRADE,
        _NEW_ENOUGH,
        _separator="",
    )


@operation()
def absent(layout: Layout) -> Commands:
    """Take it away, where homeport installed it."""
    brew = host.get_fact(TextFact, path=record(layout)).strip()
    if not brew:
        host.noop("homeport installed nothing with Homebrew")
        return
    kept = f"to keep it: rm {record(layout)}"
    yield StringCommand(
        _variables(
            brew=brew,
            record=record(layout),
            failed=f"homeport: Homebrew could not remove {FORMULA}, see its lines above. Type: "
            f"{brew} uninstall {FORMULA}; or, {kept}. Then run this again",
        ),
        _BREW,
        _UNINSTALL,
        _separator="",
    )


def record(layout: Layout) -> str:
    """The file that says that homeport installed it, and with which brew."""
    return layout.path("state", "installed-by-brew")


def _variables(**values: str) -> StringCommand:
    """Sets these variables of the shell, and `formula`."""
    words: list[object] = []
    for name, value in {**values, "formula": FORMULA}.items():
        words += [f"{name}=", QuoteString(value), "\n"]
    return StringCommand(*words, _separator="")
