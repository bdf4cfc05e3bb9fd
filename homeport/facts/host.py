"""What a host is, and what answers on it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypedDict

from pyinfra.api import FactBase, QuoteString, StringCommand
from pyinfra.api.exceptions import FactProcessError

from ..service import IDENTITY_VARIABLE, Manager

REMOTE = Path(__file__).resolve().parent.parent / "remote"

#: Where Homebrew and others put programs that an SSH session's PATH lacks.
EXTRA_PATH = "/opt/homebrew/bin:/usr/local/bin:/home/linuxbrew/.linuxbrew/bin"

#: Where Claude Code, or the npm that installed it, may be besides; the last of them first.
CLIENT_PATH = (
    '"$HOME/.claude/local" "$HOME/.bun/bin" "$HOME/.volta/bin" "$HOME/.npm-global/bin" '
    '"$HOME/.local/bin"'
)

#: The oldest Python that the engine's wheel takes (its Requires-Python).
OLDEST_PYTHON = (3, 10)

# What a Python says of itself, in one start of it: its version, and what it can do.
_LOOKS = """
import sys
from importlib.util import find_spec
def works(test):
    try:
        return "yes" if test() else "no"
    except Exception:
        return "no"
def openmp():
    import ctypes
    return sys.platform == "darwin" or ctypes.CDLL("libgomp.so.1")
print("%d.%d.%d" % sys.version_info[:3])
print("venv=" + works(lambda: find_spec("ensurepip") and find_spec("venv")))
print("openmp=" + works(openmp))
"""

_MACHINE = f"""
: homeport: machine
PATH="$PATH:{EXTRA_PATH}"
export XDG_RUNTIME_DIR="${{XDG_RUNTIME_DIR:-/run/user/$(id -u)}}"
echo "home=$HOME"
echo "kernel=$(uname -s)"
echo "arch=$(uname -m)"
echo "user=$(id -un)"
if [ "$(uname -s)" = Darwin ]; then
  echo manager=launchd
  launchctl print "gui/$(id -u)" >/dev/null 2>&1 && echo at_screen=yes
  echo "memory=$(sysctl -n hw.memsize)"
elif systemctl --user show-environment >/dev/null 2>&1; then echo manager=systemd
else echo manager=supervisord; fi
[ ! -r /proc/meminfo ] || sed -n 's/^MemTotal: *\\([0-9]*\\) kB/memory_kib=\\1/p' /proc/meminfo
linger=$(loginctl show-user "$(id -un)" -p Linger --value 2>/dev/null)
if [ "$linger" = yes ]; then echo lingering=on
elif [ "$(id -u)" = 0 ] || busctl --system list 2>/dev/null | grep -q org.freedesktop.PolicyKit1
then echo lingering=off; else echo lingering=denied; fi
looks='{_LOOKS}'
for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
  path=$(command -v "$python") || continue
  found=$("$path" -c "$looks" 2>/dev/null) || continue
  echo "python=$path $found"
  case $found in 3.[0-9].*) ;; *) break ;; esac
done
case $directory in "~/"*) directory=$HOME/${{directory#??}} ;; esac
own=$directory
while [ ! -d "$directory" ]; do directory=$(dirname "$directory"); done
echo "free_kib=$(df -Pk "$directory" | tail -n 1 | sed -E 's/.* ([0-9]+) +[0-9]+% .*/\\1/')"
brew=$(command -v brew)
if [ "$(uname -s)" = Darwin ] && [ "$(sysctl -n hw.optional.arm64 2>/dev/null)" = 1 ]; then
  # Whatever a shell under Rosetta says; and what a Homebrew for Intel installs has no GPU.
  echo arch=arm64
  if [ -x /opt/homebrew/bin/brew ]; then brew=/opt/homebrew/bin/brew
  elif [ "$brew" = /usr/local/bin/brew ]; then brew=; fi
fi
[ -z "$brew" ] || echo "brew=$brew"
[ -n "$brew" ] && [ -w "${{brew%/bin/brew}}/bin" ] && echo brew_is_ours=yes
nvm=$HOME/.nvm/versions/node
nodes=$(ls "$nvm" 2>/dev/null | sort -V)
chosen=$(cat "$HOME/.nvm/alias/default" 2>/dev/null)
node=$(echo "$nodes" | grep -F "v${{chosen#v}}." | tail -n 1)
[ -n "$node" ] || node=$(echo "$nodes" | grep -xF "v${{chosen#v}}" || echo "$nodes" | tail -n 1)
for path in "$nvm/$node/bin" {CLIENT_PATH}; do PATH="$path:$PATH"; done
npm=$(command -v npm) && echo "npm=$npm"
# Homeport's own is nobody's, however often the PATH names it.
IFS=:; set -f
for path in $PATH; do
  if [ "${{path%/}}" != "$own/bin" ] && [ -f "$path/claude" ] && [ -x "$path/claude" ]; then
    echo "claude=$path/claude"; break
  fi
done
true
"""


class Lingering(StrEnum):
    """Whether the user's systemd services run while nobody is logged in."""

    ON = "on"
    OFF = "off"
    DENIED = "denied"  # off, and only root can change it: logind asks polkit, which is not there


@dataclass(frozen=True)
class Machine:
    """A host, seen as the user that pyinfra is connected as.

    `free` is in bytes, where homeport goes; `openmp` is whether libgomp is there, which the
    engine's wheel links to and does not bring; `at_screen` is whether the user of a Mac is logged
    in there, which launchd wants. `memory` is in bytes, `arch` as uname says it; `brew` is
    Homebrew's program, None where there is none, and `brew_is_ours` whether this user may install
    with it. `npm` and `claude` are paths as well, but not of what homeport installed.
    """

    home: str
    kernel: str
    arch: str
    memory: int
    user: str
    manager: Manager
    free: int
    python: str | None
    python_version: tuple[int, ...]
    venv: bool
    openmp: bool
    lingering: Lingering
    at_screen: bool
    brew: str | None
    brew_is_ours: bool
    npm: str | None
    claude: str | None


class MachineFact(FactBase[Machine]):
    """The `Machine`, in one command; of several Pythons the first that is new enough."""

    def command(self, directory: str) -> StringCommand:
        """`directory` is where homeport goes, in which there has to be room."""
        return StringCommand("directory=", QuoteString(directory), "\n", _MACHINE, _separator="")

    def process(self, output: list[str]) -> Machine:
        found = dict(line.split("=", 1) for line in output if "=" in line)
        path, _, version = found.get("python", "").rpartition(" ")
        try:
            return Machine(
                home=found["home"],
                kernel=found["kernel"],
                arch=found["arch"],
                memory=int(found.get("memory") or int(found["memory_kib"]) * 1024),
                user=found["user"],
                manager=Manager(found["manager"]),
                free=int(found["free_kib"]) * 1024,
                python=path or None,
                python_version=tuple(int(part) for part in version.split(".") if part),
                venv=found.get("venv") == "yes",
                openmp=found.get("openmp") == "yes",
                lingering=Lingering(found.get("lingering", "off")),
                at_screen=found.get("at_screen") == "yes",
                brew=found.get("brew"),
                brew_is_ours=found.get("brew_is_ours") == "yes",
                npm=found.get("npm"),
                claude=found.get("claude"),
            )
        except (KeyError, ValueError) as error:
            raise FactProcessError(f"the host said something unexpected: {error}") from error


class PortOwner(TypedDict):
    """Who listens on a port; the pid is None for another user's process. `value` is what the
    variable `service.IDENTITY_VARIABLE` has in its environment, where that can be read."""

    pid: int | None
    command: str
    value: str | None


class PortOwnerFact(FactBase[PortOwner | None]):
    """Who listens on `port`, None where nobody does."""

    def command(self, python: str, port: int) -> StringCommand:
        return program(python, "port_owner.py", str(port), IDENTITY_VARIABLE)

    def process(self, output: list[str]) -> PortOwner | None:
        owner: PortOwner | None = json.loads(output[-1])
        return owner


class AnswerFact(FactBase[dict[str, Any]]):
    """What remote/probe.py finds: {"state": ..., ...}, as its docstring says."""

    def command(self, python: str, ask: str) -> StringCommand:
        return program(python, "probe.py", ask)

    def process(self, output: list[str]) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(output[-1])
        return answer

    @staticmethod
    def default() -> dict[str, Any]:
        return {"state": "failed", "detail": "the probe said nothing"}


class MirrorAnswerFact(AnswerFact):
    """The same of remote/ask_mirror.py."""

    def command(self, python: str, ask: str) -> StringCommand:
        return program(python, "ask_mirror.py", ask)


class ClientAnswerFact(FactBase[str]):
    """What the real client answers through a route's script, or what it says instead."""

    def command(
        self, python: str, script: str, claude: str, directory: str, question: str, seconds: int
    ) -> StringCommand:
        return program(python, "ask_client.py", script, claude, directory, question, str(seconds))

    @staticmethod
    def default() -> str:
        return "said nothing"


def python_version(machine: Machine) -> str:
    return ".".join(map(str, machine.python_version))


def program(python: str, name: str, *arguments: str) -> StringCommand:
    """The command that runs a program of remote/ on a host without putting it there."""
    return StringCommand(*map(QuoteString, words(python, name, *arguments)))


def words(python: str, name: str, *arguments: str) -> list[str]:
    """The same, unquoted."""
    source = re.sub(r'\A""".*?"""\n', "", (REMOTE / name).read_text(), flags=re.DOTALL)
    return [python, "-c", source, *arguments]
