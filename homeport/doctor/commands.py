"""Programs of the machine that is looked at, asked with patience that ends. They change nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from .table import Context, Unknown

#: Seconds that a program may take.
PATIENCE = 5.0

#: Where a program is looked for after the PATH, which over SSH often lacks what root uses.
_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")


@dataclass(frozen=True)
class Said:
    """What a program printed, and its exit status."""

    status: int
    output: str
    errors: str


def under(context: Context, path: str) -> Path:
    """The file of the machine that is looked at, by its absolute `path` there."""
    return context.root / path.lstrip("/")


def path_of(name: str, context: Context) -> Optional[str]:
    """The program that a shell of the user's would call, None where there is none."""
    named = context.variables.get("PATH", "").split(os.pathsep)
    folders = [str(under(context, one)) for one in (*named, *_FOLDERS) if one.startswith("/")]
    return shutil.which(name, path=os.pathsep.join(folders))


def ask(words: tuple[str, ...], context: Context) -> Union[Said, Unknown]:
    """What the program `words[0]` says; `Unknown` where it is not there, or does not end."""
    program = path_of(words[0], context)
    if program is None:
        return Unknown("there is no %s" % words[0])
    return run([program, *words[1:]], {})


def run(command: list[str], variables: Mapping[str, str]) -> Union[Said, Unknown]:
    """The same of a program at a path, with `variables` added to this process's."""
    name = Path(command[0]).name
    try:
        return ended(command, {**os.environ, "LC_ALL": "C", **variables})
    except subprocess.TimeoutExpired:
        return Unknown("%s says nothing for %.0f s" % (name, PATIENCE))
    except OSError as error:
        return Unknown("%s cannot be started: %s" % (name, error.strerror))


def ended(command: Sequence[str], environment: Mapping[str, str]) -> Said:
    """What a program says, with this environment. Raises `OSError`, and `TimeoutExpired` where it
    does not end: then it is killed with all that it started, and not waited for, as one that sleeps
    in a driver does not even end by that."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        found = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        _kill(process)
        raise
    output, errors = (text.decode(errors="replace") for text in found)
    return Said(process.returncode, output, errors)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):  # it has ended meanwhile, or is another user's
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        process.returncode = -signal.SIGKILL  # so that Python does not tell of it either


def answer(words: tuple[str, ...], context: Context) -> Union[str, Unknown]:
    """What a program prints where it succeeds; else `Unknown`, with what it says instead."""
    said = ask(words, context)
    if isinstance(said, Unknown):
        return said
    if said.status:
        lines = (said.errors or said.output).strip().splitlines() or ["status %d" % said.status]
        return Unknown("%s fails: %s" % (words[0], lines[0]))
    return said.output
