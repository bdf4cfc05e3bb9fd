"""What the files that shells and logins read at their start export, found without running any.

Over SSH, as the fleet asks, no interactive shell's variables are there to be looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from ..remote import explain
from .table import Context, Unknown

#: In a home, in the order in which a later one changes what an earlier one said.
FILES = (
    *(".profile", ".bash_profile", ".bashrc"),
    *(".zshenv", ".zprofile", ".zshrc", ".zlogin"),
    ".config/fish/config.fish",
)

#: The start of a command that exports what follows.
_EXPORT = re.compile(
    r"(?:^|[;&|{)]|\b(?:then|do|else)\s)\s*(?:export|(?:declare|typeset)\s+-g?xg?)\s+(?=[A-Za-z_])"
)
_UNSET = re.compile(r"(?:^|[;&|{)]|\b(?:then|do|else)\s)\s*unset\s+(?:-v\s+)?((?:\w+[ \t]*)+)")
_ASSIGNED = re.compile(r"""([A-Za-z_]\w*)(?:=('[^']*'|"[^"]*"|[^\s;&|#]*))?[ \t]*""")
_ITSELF = re.compile(r"\$(?:\{(?:no_proxy|NO_PROXY)(?:[:+-][^}]*)?\}|no_proxy\b|NO_PROXY\b)")
_FUNCTION = re.compile(r"\s*(?:function\s+[\w-]+|[\w-]+\s*\(\s*\))")
_FISH = re.compile(r"\s*set\s+((?:-\S+\s+)+)([A-Za-z_]\w*)(?:\s+('[^']*'|\"[^\"]*\"|[^\s;#]+))?")


@dataclass(frozen=True)
class Line:
    """A line that exports a variable; `value` is None where only a shell could tell."""

    name: str
    value: Optional[str]
    path: str
    number: int

    @property
    def place(self) -> str:
        return "%s:%d" % (self.path, self.number)

    @property
    def untold(self) -> str:
        """Why its value is not known."""
        return "%s sets %s to what only a shell can tell" % (self.place, self.name)

    @property
    def source(self) -> explain.Source:
        return explain.Source("start-up", self.place, {"env": {self.name: self.value}})


@dataclass(frozen=True)
class Shell:
    """A shell of the user's: the variables that no start-up file tells, those that one does, all
    that such files export, and the lines whose values only a shell could tell, where none can be
    asked."""

    variables: Mapping[str, str]
    told: tuple[explain.Source, ...]
    lines: Union[tuple[Line, ...], Unknown]
    hidden: tuple[Line, ...]


def shell_of(context: Context) -> Shell:
    found: Union[tuple[Line, ...], Unknown]
    try:
        found = tuple(lines(Path(context.wanted.home), context.root))
    except OSError as error:
        found = Unknown("%s cannot be read: %s" % (error.filename, error.strerror))
    read = () if isinstance(found, Unknown) else found
    # Over SSH there are no variables of a shell's: those of the files stand for them.
    afar = set(context.variables) <= {"HOME"}
    told = [
        one
        for one in read
        if one.value is not None and (afar or context.variables.get(one.name) == one.value)
    ]
    names = {one.name for one in told}
    return Shell(
        variables={name: one for name, one in context.variables.items() if name not in names},
        told=tuple(one.source for one in told),
        lines=found,
        hidden=tuple(one for one in read if afar and one.value is None),
    )


def lines(home: Path, root: Path) -> list[Line]:
    """The lines that count of all files, the last for each variable of the client's; raises
    OSError where a file cannot be read."""
    found: dict[str, Line] = {}
    logins = [root / "etc" / "environment"]
    logins += sorted((home / ".config" / "environment.d").glob("*.conf"))
    for path in (*logins, *(home / name for name in FILES)):
        try:
            text = path.read_text("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue
        for number, name, value, exported in _read(path, text, path in logins):
            if name not in explain.VARIABLES:
                continue
            if exported:
                found[name] = Line(name, value, str(path), number)
            else:
                found.pop(name, None)
    return list(found.values())


def _read(path: Path, text: str, login: bool) -> Iterator[tuple[int, str, Optional[str], bool]]:
    """Line, name, value, and whether it is exported there or taken away, in their order."""
    if path.suffix == ".fish":
        yield from _fish(text)
        return
    assigned: dict[str, tuple[int, Optional[str]]] = {}
    for number, line in _outside_functions(text, "}"):
        if login or not _EXPORT.search(line):
            alone = _ASSIGNED.match(line.strip())
            if alone and alone[2] is not None:
                assigned[alone[1]] = number, _value(alone[1], alone[2])
                if login:
                    yield number, alone[1], _value(alone[1], alone[2]), True
        for start in _EXPORT.finditer(line):
            place = start.end()
            while word := _ASSIGNED.match(line, place):
                place = word.end()
                if word[2] is not None:
                    yield number, word[1], _value(word[1], word[2]), True
                elif word[1] in assigned:
                    yield assigned[word[1]][0], word[1], assigned[word[1]][1], True
        for taken in _UNSET.finditer(line):
            for name in taken[1].split():
                yield number, name, None, False


def _fish(text: str) -> Iterator[tuple[int, str, Optional[str], bool]]:
    for number, line in _outside_functions(text, "end"):
        found = _FISH.match(line)
        if found:
            options = found[1].split()
            short = "".join(one for one in options if not one.startswith("--"))
            if "x" in short or "--export" in options:
                yield number, found[2], _plain(found[3] or ""), True
            elif "e" in short or "--erase" in options:
                yield number, found[2], None, False


def _outside_functions(text: str, end: str) -> Iterable[tuple[int, str]]:
    """The lines, by their number, that are no comment and no part of a function."""
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.split("#")[0].strip()
        if inside:
            inside = bare != end
        elif _FUNCTION.match(line):
            inside = not bare.endswith(end)
        elif bare:
            yield number, line


def _value(name: str, word: str) -> Optional[str]:
    """What `name` is set to; of a list that is added to, as NO_PROXY mostly is, what is added."""
    if name in explain.NO_PROXIES:
        word = _ITSELF.sub("", word)
    return _plain(word)


def _plain(word: str) -> Optional[str]:
    """The value that a word stands for; None where a shell would work it out."""
    if word.startswith("'"):
        return word[1:-1]
    if re.search(r"[$`\\]", word) or (word[:1] != '"' and re.search(r"['\"]", word)):
        return None
    return word[1:-1] if word.startswith('"') else word
