"""Files that are written whole or not at all, and taken away again."""

from __future__ import annotations

import base64
import hashlib
import secrets
import shlex
from collections import defaultdict
from collections.abc import Callable, Generator
from functools import wraps
from io import BytesIO
from pathlib import PurePosixPath
from typing import ParamSpec

from pyinfra import host, state
from pyinfra.api import (
    FileUploadCommand,
    FunctionCommand,
    Host,
    QuoteString,
    State,
    StringCommand,
    operation,
)
from pyinfra.api.command import PyinfraCommand

from .. import report
from ..facts.file import (
    CannotRead,
    DirectoriesFact,
    EntriesFact,
    FileState,
    FileStateFact,
    connector_arguments,
    read,
)
from ..facts.host import program
from ..layout import Layout

Commands = Generator[PyinfraCommand, None, None]
Parameters = ParamSpec("Parameters")


def in_words(commands: Callable[Parameters, Commands]) -> Callable[Parameters, Commands]:
    """The operation `commands`, which fails in words where it comes to a file it cannot read;
    an exception would stop the run on every host."""

    @wraps(commands)
    def contained(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Commands:
        try:
            yield from commands(*arguments, **keywords)
        except CannotRead as error:
            yield failure(str(error))

    return contained


def failure(sentence: str) -> StringCommand:
    """The command by which an operation fails, and says why."""
    return StringCommand("echo", QuoteString(f"homeport: {sentence}"), ">&2; exit 1")


def said_failure(sentence: str) -> StringCommand:
    """The same, where the last lines of the run are to say it as well."""
    report.say(host, sentence)
    return failure(sentence)


#: What this run has written, or found as it should be, on each host (by its name): path -> state.
_written: dict[str, dict[str, FileState]] = defaultdict(dict)


def written() -> dict[str, FileState]:
    """Every file of this host that `write` has seen to in this run."""
    return dict(_written[host.name])


@operation()
def write(path: str, content: bytes, mode: str = "644") -> Commands:
    """Make `path` hold exactly `content`; its directory has to be there.

    The content goes into a new file beside it, 0600 from the first byte, which takes the place of
    the old one only when it is complete. Nothing of it appears in commands or diffs.
    """
    wanted = FileState(mode, hashlib.sha256(content).hexdigest())
    _written[host.name][path] = wanted
    if host.get_fact(FileStateFact, path=path) == wanted:
        host.noop(f"{path} is as it should be")
        return
    yield from replace_commands(path, content, mode)


@operation()
def absent(paths: list[str]) -> Commands:
    """Remove those of `paths`, files of homeport's own, that are there."""
    left = [path for path in paths if host.get_fact(FileStateFact, path=path)]
    if not left:
        host.noop("none is there")
    for path in left:
        yield StringCommand("rm -f", QuoteString(path))


@operation()
def no_leftovers(paths: list[str]) -> Commands:
    """Remove what interrupted writes of `paths` left beside them."""
    left = []
    for folder in dict.fromkeys(map(_folder, paths)):
        starts = tuple(_beside(path) for path in paths)
        names = [f"{folder}/{name}" for name in host.get_fact(EntriesFact, path=folder)]
        left += [name for name in names if name.startswith(starts)]
    if not left:
        host.noop("nothing was left")
    for path in left:
        yield StringCommand("rm -f", QuoteString(path))


@operation()
def tree_absent(layout: Layout, python: str) -> Commands:
    """Remove homeport's own directory: the parts that it made, and itself when that empties it."""
    if layout.directory not in host.get_fact(DirectoriesFact, paths=(layout.directory,)):
        host.noop(f"{layout.directory} is not there")
    else:
        # The engine's installation may still be at work, where the run that started it was killed.
        remove = shlex.join(["rm", "-rf", *layout.parts])
        yield program(python, "run_locked.py", layout.path("env"), "sh", "-c", remove)
        yield StringCommand("rmdir", QuoteString(layout.directory))
    if state.is_executing:
        report.say(host, f"nothing of {layout.name} is left")


@operation()
def only(folder: str, keep: list[str]) -> Commands:
    """Remove every file in `folder`, one of homeport's own, but those with the names to `keep`."""
    others = [name for name in host.get_fact(EntriesFact, path=folder) if name not in keep]
    if not others:
        host.noop(f"{folder} holds nothing else")
    for name in others:
        yield StringCommand("rm -f", QuoteString(f"{folder}/{name}"))


@operation()
def private_directories(paths: list[str]) -> Commands:
    """Make directories that the user alone may enter, parents first."""
    yield from modes_of._inner(modes=dict.fromkeys(paths, "700"))


@operation()
def modes_of(modes: dict[str, str]) -> Commands:
    """Make directories, parents first, each with the mode (as in "700") that `modes` says."""
    there = host.get_fact(DirectoriesFact, paths=tuple(modes))
    unfit = [path for path, mode in modes.items() if there.get(path) != mode]
    if not unfit:
        host.noop("all directories are there")
    for path in unfit:
        mode, word = modes[path], QuoteString(path)
        yield StringCommand(f"umask 022; mkdir -p -m {mode}", word, f"&& chmod {mode}", word)


@operation()
def directories(paths: list[str], record: str) -> Commands:
    """Make directories outside homeport's own, parents first, and note the new ones in `record`."""
    there = host.get_fact(DirectoriesFact, paths=tuple(paths)) if paths else {}
    missing = [path for path in paths if path not in there]
    if not missing:
        host.noop("all directories are there")
    for path in missing:
        line, file = QuoteString(path), QuoteString(record)
        yield StringCommand(
            "{ grep -qsxF", line, file, "|| echo", line, ">>", file, "; } && mkdir", line
        )  # fmt: skip


@operation()
@in_words
def directories_absent(record: str) -> Commands:
    """Remove the directories that `directories` made, those that are empty."""
    content = read(host, record).content or b""
    paths = content.decode().splitlines()
    there = host.get_fact(DirectoriesFact, paths=tuple(paths)) if paths else {}
    left = [path for path in reversed(paths) if path in there]
    if not left:
        host.noop("no directories were made")
    for path in left:
        yield StringCommand("rmdir", QuoteString(path), "2>/dev/null || true")


def parents(path: str, home: str) -> list[str]:
    """The directories between `home` and `path`, outermost first, neither of them included."""
    within = PurePosixPath(path).relative_to(home).parents
    return [str(PurePosixPath(home, part)) for part in reversed(within) if part.parts]


def replace_commands(path: str, content: bytes, mode: str, guard: bytes | None = None) -> Commands:
    """Commands that put `content` at `path`; with `guard`, only while the file still holds that
    (an empty one: while there is none), so that nobody's edit in between is lost.

    What an interrupted run left of its own attempt is removed; no other run is at work meanwhile
    (operations/lock.py).
    """
    new = f"{_beside(path)}{secrets.token_hex(4)}"
    folder = _folder(path)
    closed = f"homeport: {path} was not written: {folder} is not there, or not yours to write in"
    full = f"homeport: {path} was not written, there is no room for it. See: df -h {folder}"
    # As long as it will be, so that a full disk is found out here, in words.
    yield StringCommand(
        "[ -w", QuoteString(folder), "] || { echo", QuoteString(closed), ">&2; exit 1; };",
        "rm -f", f"{leftovers(path)};",
        "umask 077 && head -c", str(max(len(content), 1)), "/dev/zero >", QuoteString(new),
        "|| { rm -f", QuoteString(new), "; echo", QuoteString(full), ">&2; exit 1; }",
    )  # fmt: skip
    yield upload(content, new)
    check = StringCommand('[ "$(wc -c <', QuoteString(new), f')" -eq {len(content)} ]')
    if guard is not None:
        check = StringCommand(
            check, '&& [ "$( { cat', QuoteString(path), "2>/dev/null || :; } |",
            "{ sha256sum 2>/dev/null || shasum -a 256; } | cut -c1-64)\" =",
            hashlib.sha256(guard).hexdigest(), "]",
        )  # fmt: skip
    failed = f"homeport: {path} was not written: it changed, or the disk is full. Run it again"
    yield StringCommand(
        check, "&& chmod", mode, QuoteString(new), "&& mv -f", QuoteString(new), QuoteString(path),
        "|| { rm -f", QuoteString(new), "; echo", QuoteString(failed), ">&2; exit 1; }",
    )  # fmt: skip


def upload(content: bytes, path: str) -> PyinfraCommand:
    """The command that fills the file `path` with `content`.

    Where another user's rights are used, pyinfra would first put it into /tmp, under a name that
    can be foretold and for all to read; so there it goes through a pipe.
    """
    arguments = connector_arguments(host)
    if any(arguments.get(key) for key in ("_sudo", "_sudo_user", "_su_user", "_doas", "_dzdo")):
        command = StringCommand("base64 -d >", QuoteString(path))
        arguments["_stdin"] = base64.b64encode(content).decode()

        def fill(state: State, host: Host) -> bool:
            return host.run_shell_command(command, **arguments)[0]

        return FunctionCommand(fill, (), {})
    return FileUploadCommand(BytesIO(content), path)


def leftovers(path: str) -> str:
    """A shell's pattern for what interrupted writes of `path` left beside it."""
    return f"{shlex.quote(_beside(path))}*"


def _folder(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _beside(path: str) -> str:
    """What the names of new files for `path` start with."""
    return f"{path}.homeport-new-"
