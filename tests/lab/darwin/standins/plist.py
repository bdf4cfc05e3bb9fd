"""plutil, by plistlib."""

from __future__ import annotations

import json
import plistlib
import sys
from pathlib import Path
from typing import Any

from .runtime import Failed, Refused, content

_USAGE = "plutil: [command_option] [other_options] file..."


def plutil(argv: list[str]) -> int:
    """-lint, -p, -convert FORMAT and -extract KEYPATH FORMAT, with -o PATH, -s and --."""
    words = list(argv)
    command = words.pop(0) if words and words[0].startswith("-") else "-lint"
    takes = {"-lint": 0, "-p": 0, "-convert": 1, "-extract": 2}.get(command)
    if takes is None or len(words) < takes:
        raise Refused(f"plutil {command} is not modelled", _USAGE, 1)
    wanted, words = words[:takes], words[takes:]
    target, silent = None, False
    while words and words[0].startswith("-") and words[0] != "-":
        option = words.pop(0)
        if option == "--":
            break
        if option == "-s":
            silent = True
        elif option == "-o" and words:
            target = words.pop(0)
        else:
            raise Refused(f"plutil {option} is not modelled", _USAGE, 1)
    if not words:
        raise Refused("plutil without a file", f"No files specified.\n{_USAGE}", 1)
    status = 0
    for name in words:
        try:
            document = plistlib.loads(content(name))
        except Exception as error:  # that of expat has no public name
            print(f"{name}: {error}")
            status = 1
            continue
        if command == "-lint":
            if not silent:
                print(f"{name}: OK")
        elif command == "-p":
            print(_shown(document, 0))
        else:
            found = _at(document, wanted[0], name) if command == "-extract" else document
            _write(_encoded(found, wanted[-1], name), target or name)
    return status


def _at(document: Any, path: str, name: str) -> Any:
    for step in path.split("."):
        try:
            document = document[int(step) if isinstance(document, list) else step]
        except (KeyError, IndexError, ValueError, TypeError):
            raise Failed(
                f"{name}: Could not extract value, error: No value at that key path or invalid "
                f"key path: {path}"
            ) from None
    return document


def _encoded(value: Any, form: str, name: str) -> bytes:
    if form == "xml1":
        return plistlib.dumps(value)
    if form == "binary1":
        return plistlib.dumps(value, fmt=plistlib.FMT_BINARY)
    if form == "json":
        return json.dumps(value, separators=(",", ":")).encode()
    if form == "raw" and not isinstance(value, (dict, list)):
        return f"{str(value).lower() if isinstance(value, bool) else value}\n".encode()
    raise Refused(f"plutil's format {form} for {name}", f"Unknown format specifier: {form}", 1)


def _write(content: bytes, target: str) -> None:
    if target == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        Path(target).write_bytes(content)


def _shown(value: Any, depth: int) -> str:
    inner, outer = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict):
        lines = [f'{inner}"{key}" => {_shown(item, depth + 1)}' for key, item in value.items()]
        return "\n".join(["{", *lines, f"{outer}}}"])
    if isinstance(value, list):
        lines = [f"{inner}{at} => {_shown(item, depth + 1)}" for at, item in enumerate(value)]
        return "\n".join(["[", *lines, f"{outer}]"])
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
