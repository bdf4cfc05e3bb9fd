"""The one line that homeport puts into a shell's start-up file. Pure."""

from __future__ import annotations

import shlex


def line(directory: str, name: str) -> str:
    """Puts `directory` on the PATH, once; the comment at its end marks it as ours.

    bash and zsh, also where the variable is unset and the shell stops at that.
    """
    quoted = shlex.quote(directory)
    return (
        f'case ":${{PATH-}}:" in *:{quoted}:*) ;; *) PATH={quoted}:"${{PATH-}}"; '
        f"export PATH ;; esac {_marker(name)}\n"
    )


def add(text: str, wanted: str, name: str) -> str:
    """`text` with the line at its end, and no older version of it."""
    if wanted in text.splitlines(keepends=True):
        return text
    text = remove(text, name)
    return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{wanted}"


def remove(text: str, name: str) -> str:
    """`text` without the line."""
    lines = text.splitlines(keepends=True)
    return "".join(one for one in lines if not one.rstrip().endswith(_marker(name)))


def _marker(name: str) -> str:
    return f"# added by {name}"
