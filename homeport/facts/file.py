"""Files on a host, byte for byte."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from paramiko import SSHException
from pyinfra.api import FactBase, Host, QuoteString, StringCommand
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments


@dataclass(frozen=True)
class FileState:
    """A file's mode, as in "600", and the sha256 of its content in hex."""

    mode: str
    sha256: str


@dataclass(frozen=True)
class FileContent:
    """A file, its links followed to `path`; `content` and `mode` are None where there is none."""

    path: str
    mode: str | None
    content: bytes | None


# GNU's stat first, then BSD's; `sha256sum` is Linux, `shasum` is macOS.
_MODE = '{ stat -c %a "$f" 2>/dev/null || stat -f %Lp "$f"; }'
_SHA256 = "{ sha256sum 2>/dev/null || shasum -a 256; }"


class FileStateFact(FactBase[FileState | None]):
    """The `FileState` of a plain file, None where there is none (or a link)."""

    def command(self, path: str) -> StringCommand:
        return StringCommand(
            "f=", QuoteString(path), "; ",
            f'[ ! -f "$f" ] || [ -L "$f" ] || {{ {_MODE}; {_SHA256} < "$f"; }}',
            _separator="",
        )  # fmt: skip

    def process(self, output: list[str]) -> FileState | None:
        return FileState(mode=output[0], sha256=output[1].split()[0]) if len(output) == 2 else None


class SizeAndTimeFact(FactBase[str | None]):
    """Size and time of change of a file, links followed, as one text; None where there is none.

    Enough to see that a large file is another one, without reading it.
    """

    def command(self, path: str) -> StringCommand:
        return StringCommand(
            ": homeport: size and time; f=", QuoteString(path), "; ",
            '[ ! -f "$f" ] || stat -L -c "%s bytes of %Y" "$f" 2>/dev/null '
            '|| stat -L -f "%z bytes of %m" "$f"',
            _separator="",
        )  # fmt: skip


def connector_arguments(host: Host) -> Any:
    """How commands are run on `host` now: with the sudo, and so on, of operation and run."""
    given = dict(host.current_op_global_arguments or {})
    arguments: Any = pop_global_arguments(host.state, host, given)[0]
    return {key: arguments[key] for key in CONNECTOR_ARGUMENT_KEYS if key in arguments}


class Lines(FactBase[list[str]]):
    """What a command prints, as it is; nothing where it fails."""

    def process(self, output: list[str]) -> list[str]:
        return output

    @staticmethod
    def default() -> list[str]:
        return []


class CannotRead(Exception):
    """A file that is there and cannot be read; the message says why."""


def read(host: Host, path: str) -> FileContent:
    """The file at `path`, links followed; without content where there is none.

    Raises `CannotRead`, so that nobody takes a file that cannot be read for an empty one. Not a
    fact of pyinfra's, since -vvv would print the user's file. base64 keeps line ends and odd bytes
    as they are.
    """
    command = StringCommand(
        "f=", QuoteString(path), "; ",
        '[ ! -L "$f" ] || f=$(readlink -f "$f"); echo "$f"; ',
        f'[ ! -e "$f" ] || {{ {_MODE} && base64 < "$f"; }}',
        _separator="",
    )  # fmt: skip
    try:
        status, output = host.run_shell_command(
            command, print_output=False, print_input=False, **connector_arguments(host)
        )
    except (OSError, SSHException) as error:
        raise CannotRead(f"{path} cannot be read ({error})") from None
    if not status:
        raise CannotRead(f"{path} cannot be read ({output.stderr.strip()}). It was left alone")
    lines = output.stdout_lines
    if len(lines) < 2:
        return FileContent(lines[0] if lines else path, None, None)
    return FileContent(lines[0], lines[1], base64.b64decode("".join(lines[2:])))


class SizeFact(FactBase[int]):
    """The bytes that the directory `path` takes on the disk, 0 where there is none."""

    def command(self, path: str) -> StringCommand:
        return StringCommand("du -sk", QuoteString(path), "2>/dev/null || true")

    def process(self, output: list[str]) -> int:
        return int(output[-1].split()[0]) * 1024

    @staticmethod
    def default() -> int:
        return 0


class DirectoriesFact(FactBase[dict[str, str]]):
    """The modes, as in "700", of those of `paths` that are directories."""

    def command(self, paths: tuple[str, ...]) -> StringCommand:
        return StringCommand(
            "for f in", *map(QuoteString, paths),
            f'; do [ ! -d "$f" ] || echo "$({_MODE}) $f"; done',
        )  # fmt: skip

    def process(self, output: list[str]) -> dict[str, str]:
        return {path: mode for mode, path in (line.split(" ", 1) for line in output)}

    @staticmethod
    def default() -> dict[str, str]:
        return {}


class EntriesFact(Lines):
    """The names in a directory, none where there is no such directory."""

    def command(self, path: str) -> StringCommand:
        return StringCommand("ls -A", QuoteString(path), "2>/dev/null || true")


class PresentFact(Lines):
    """Those of `paths` that are there."""

    def command(self, paths: tuple[str, ...]) -> StringCommand:
        return StringCommand(
            "for f in", *map(QuoteString, paths), '; do [ ! -e "$f" ] || echo "$f"; done'
        )


class UnwritableFact(Lines):
    """Those of `paths` that are there and that the user may not write to."""

    def command(self, paths: tuple[str, ...]) -> StringCommand:
        return StringCommand(
            "for f in", *map(QuoteString, paths),
            '; do [ ! -e "$f" ] || [ -w "$f" ] || echo "$f"; done',
        )  # fmt: skip
