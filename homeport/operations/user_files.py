"""Files that belong to the user: homeport adds to them, and takes away just that."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from .. import merge, report, shell_line
from ..facts.file import CannotRead, FileContent, read
from ..layout import Layout
from ..merge import Addition, JsonError
from .file import Commands, in_words, replace_commands


class Damaged(CannotRead):
    """A settings file that cannot be merged into; the message says what to do."""


@operation()
@in_words
def settings_merged(path: str, wanted: dict[str, Any], layout: Layout) -> Commands:
    """Merge `wanted` into the JSON file `path` of the user's.

    The first original is kept under the state directory, and so is the record of what was added,
    written before the file is: an interrupted run leaves at most a record of too much.
    """
    file, record = _read(path, layout)
    document = document_of(file)
    merged = merge.merge(document, wanted, record.additions)
    if merged.kept:
        report.say(host, f"{file.path}: kept your own {', '.join(merged.kept)}")
    if merged.document == document and merged.record == record.additions:
        host.noop(f"{file.path} has all it needs")
        return
    if record.content is None and read(host, _original(path, layout)).content is None:
        original = file.content or b""
        yield from replace_commands(_original(path, layout), original, "600", guard=b"")
    new_record = {
        "path": file.path,
        "created": record.created if record.content is not None else file.content is None,
        "additions": [addition.to_json() for addition in merged.record],
    }
    yield from replace_commands(
        _record(path, layout), json.dumps(new_record, indent=2).encode(), "600"
    )
    if merged.document != document:
        yield from _write(file, merge.render(merged.document, _text(file)))


@operation()
@in_words
def settings_unmerged(path: str, layout: Layout) -> Commands:
    """Take away what `settings_merged` added and nobody changed since.

    Where nothing else changed either, the file is the original again, to the byte.
    """
    file, record = _read(path, layout)
    if record.content is None or file.content is None:
        host.noop(f"nothing was added to {path}")
        return
    document = document_of(file)
    left = merge.unmerge(document, record.additions)
    original = read(host, _original(path, layout))
    if record.created and left == {}:
        yield StringCommand("rm -f", QuoteString(file.path))
    elif left != document:
        same = json.dumps(left) == json.dumps(document_of(original))
        text = _text(original) if same else merge.render(left, _text(file))
        yield from _write(file, text)
    else:
        host.noop(f"{file.path} holds nothing of ours")


@operation()
@in_words
def line_present(path: str, wanted: str, layout: Layout) -> Commands:
    """End the shell's start-up file `path` with the line `wanted` (shell_line.py)."""
    file = read(host, path)
    text = (file.content or b"").decode(errors="surrogateescape")
    new = shell_line.add(text, wanted, layout.name)
    if new == text:
        host.noop(f"{path} has the line")
        return
    if file.content is None:
        yield StringCommand("echo", QuoteString(path), ">>", QuoteString(layout.created_files))
    yield from _write(file, new)


@operation()
@in_words
def line_absent(path: str, layout: Layout) -> Commands:
    """Take that line out again, and the file with it where homeport made it and it is empty."""
    file = read(host, path)
    text = (file.content or b"").decode(errors="surrogateescape")
    new = shell_line.remove(text, layout.name)
    if new == text:
        host.noop(f"{path} holds nothing of ours")
        return
    created = read(host, layout.created_files).content or b""
    if not new and path in created.decode().splitlines():
        yield StringCommand("rm -f", QuoteString(file.path))
    else:
        yield from _write(file, new)


def document_of(file: FileContent) -> dict[str, Any]:
    """The JSON object in `file`, {} where there is no file or an empty one.

    Raises `Damaged`, with the command to look at it.
    """
    try:
        return merge.parse(_text(file)) if _text(file).strip() else {}
    except (JsonError, UnicodeDecodeError) as error:
        raise Damaged(
            f"{file.path} is not valid JSON ({error}). It was left alone: mend it, then run this "
            f"again. To see where: python3 -m json.tool '{file.path}'"
        ) from None


class _Record:
    def __init__(self, content: bytes | None) -> None:
        self.content = content
        data: dict[str, Any] = json.loads(content) if content else {}
        self.created: bool = data.get("created", False)
        self.additions = tuple(Addition.from_json(one) for one in data.get("additions", ()))


def _read(path: str, layout: Layout) -> tuple[FileContent, _Record]:
    record = read(host, _record(path, layout))
    return read(host, path), _Record(record.content)


def _write(file: FileContent, text: str) -> Commands:
    """Replace the user's file, its links and mode kept, unless it changed since it was read."""
    content = text.encode(errors="surrogateescape")
    yield from replace_commands(file.path, content, file.mode or "600", guard=file.content or b"")


def _text(file: FileContent) -> str:
    return (file.content or b"").decode()


def _record(path: str, layout: Layout) -> str:
    return layout.path("state", f"{PurePosixPath(path).name}.record")


def _original(path: str, layout: Layout) -> str:
    return layout.path("state", f"{PurePosixPath(path).name}.original")
