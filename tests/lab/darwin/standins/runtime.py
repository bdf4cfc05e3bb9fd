"""What all stand-ins share: dispatch by name, BSD options, and the log of calls.

Runs on the Darwin-like host only, as /usr/bin/NAME, and starts with every command there: so it
imports next to nothing, and neither do the modules beside it.
"""

from __future__ import annotations

import os
import sys
import time
from _json import encode_basestring_ascii as _json_text  # the json module doubles the start-up
from collections.abc import Iterable, Sequence
from importlib import import_module

HOME = __file__.rpartition("/lib/")[0]  # /opt/darwin, or /opt/linuxbrew: see ../../homebrew
STATE = f"{HOME}/state"
LINUX = f"{HOME}/linux"  # where the real programs and /proc are, see files/enter
LOG = f"{STATE}/calls.jsonl"

#: The module that has each stand-in, as a function of that name.
MODULES = {
    "system": ("date", "df", "dscl", "pmset", "sw_vers", "sysctl", "uname"),
    "file": ("base64", "mktemp", "readlink", "sed", "shasum", "stat", "wc"),
    "plist": ("plutil",),
    "process": ("lsof", "ps"),
    "homebrew": ("brew",),
    "launchctl": ("launchctl",),
}

#: Linux spellings that portable scripts try first on purpose, with a Mac's one after `||`. They
#: fail as on a Mac, and are no mistake.
PROBES = {("stat", "c")}


class Failed(Exception):
    """The program ends with `status`, having said `text` on stderr."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.text, self.status, self.refused = text, status, ""


class Refused(Failed):
    """The arguments are not a Mac's, or not modelled here: `why` goes into the log as well."""

    def __init__(self, why: str, text: str = "", status: int = 1) -> None:
        super().__init__(text or why, status)
        self.refused = why


def options(
    name: str, argv: Sequence[str], known: str, usage: str, status: int = 1
) -> tuple[list[tuple[str, str]], list[str]]:
    """BSD getopt(3): stops at the first operand. `known` is as there: `a`, or `a:` with a value."""
    found: list[tuple[str, str]] = []
    rest = list(argv)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            at = known.find(letter)
            if at < 0 or letter == ":":
                text = f"{name}: illegal option -- {letter}\n{usage}"
                if (name, letter) in PROBES:
                    raise Failed(text, status)
                raise Refused(f"no option -{letter} on a Mac: {word}", text, status)
            value = ""
            if known[at + 1 : at + 2] == ":":
                if not letters and not rest:
                    text = f"{name}: option requires an argument -- {letter}\n{usage}"
                    raise Refused(f"-{letter} without its value", text, status)
                value, letters = letters or rest.pop(0), ""
            found.append((letter, value))
    return found, rest


def passed_on(program: str, argv: Iterable[str]) -> int:
    """The exit status of the Linux program of that name."""
    path = f"{LINUX}/bin/{program}"
    sys.stdout.flush()
    return os.waitstatus_to_exitcode(os.spawnv(os.P_WAIT, path, [program, *argv]) << 8)


def content(path: str) -> bytes:
    """Of a file, or of stdin for `-`."""
    if path == "-":
        return sys.stdin.buffer.read()
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib doubles the start-up
        return file.read()


def log(program: str, argv: Sequence[str], status: int, refused: str = "") -> None:
    """Append one line; a single write to a file opened for appending is never torn."""
    words = ", ".join(_json_text(word) for word in argv)
    line = (
        f'{{"time": {time.time():.3f}, "pid": {os.getpid()}, "uid": {os.getuid()}, '
        f'"program": {_json_text(program)}, "argv": [{words}], "status": {status}, '
        f'"refused": {_json_text(refused)}}}\n'
    )
    try:
        file = os.open(LOG, os.O_WRONLY | os.O_APPEND)
    except OSError as error:
        sys.exit(f"the log of the stand-ins cannot be written: {error}")
    try:  # noqa: SIM105 - contextlib takes 5 ms
        os.write(file, line.encode())
    except OSError:
        pass  # on a full disk the command still does what it does
    os.close(file)


def main() -> None:
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    name, argv = sys.argv[0].rpartition("/")[2], sys.argv[1:]
    if name == "refused":  # by files/filter: refused PROGRAM WHY ARGUMENT...
        program, why, *rest = argv
        log(program, rest, 64, why)
        return
    module = next(module for module, names in MODULES.items() if name in names)
    refused = ""
    try:
        status = getattr(import_module(f"standins.{module}"), name)(argv)
    except Failed as error:
        sys.stdout.flush()
        print(error.text, file=sys.stderr)
        status, refused = error.status, error.refused
    except BrokenPipeError:
        status = 141
    except BaseException as error:
        log(name, argv, 70, f"the stand-in itself failed: {error!r}")
        raise
    log(name, argv, status, refused)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(status)
