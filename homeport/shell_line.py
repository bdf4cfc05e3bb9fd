"""The one line that homeport puts into a shell's start-up file. Pure."""

from __future__ import annotations

import re
import shlex


def line(directory: str, name: str) -> str:
    """Puts `directory` on the PATH, once; the comment at its end marks it as that of `name`.

    bash and zsh, also where the variable is unset and the shell stops at that.
    """
    quoted = shlex.quote(directory)
    return (
        f'case ":${{PATH-}}:" in *:{quoted}:*) ;; *) PATH={quoted}:"${{PATH-}}"; '
        f"export PATH ;; esac # added by {name}"
    )


def fish_line(directory: str, functions: str, name: str) -> str:
    """The same for fish, which finds its functions in the directory `functions`.

    For this shell alone: fish_add_path would set a universal variable.
    """
    quoted, found = fish_quote(directory), fish_quote(functions)
    return (
        f"contains -- {found} $fish_function_path; "
        f"or set -g fish_function_path {found} $fish_function_path; "
        f"contains -- {quoted} $PATH; or set -gx PATH {quoted} $PATH # added by {name}"
    )


def fish_quote(text: str) -> str:
    """One word of fish's, in which no variable is meant."""
    if re.fullmatch(r"[A-Za-z0-9_@+=:,./-]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def add(text: str, wanted: str, name: str) -> str:
    """`text` with the line in it, at its end where it is new, and no other version of it.

    Where `text` does not end its last line, the mark says so, for `remove` to put that back.
    """
    if {wanted, f"{wanted}{_UNENDED}"} & set(text.split("\n")):
        return text
    text = remove(text, name)
    if text and not text.endswith("\n"):
        return f"{text}\n{wanted}{_UNENDED}\n"
    return f"{text}{wanted}\n"


def remove(text: str, name: str) -> str:
    """`text` without the line."""
    mark = rf"# added by {re.escape(name)}"
    text = re.sub(rf"\n[^\n]*{mark}{re.escape(_UNENDED)}\n\Z", "", text)
    return re.sub(rf"^[^\n]*{mark}({re.escape(_UNENDED)})?\n", "", text, flags=re.MULTILINE)


_UNENDED = ", and so was the line break before it"
