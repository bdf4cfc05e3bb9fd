"""Names that are not the same, and look as if they were."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches


def closest(name: str, served: Iterable[str]) -> str:
    """The served name that `name` is most likely to mean; "" for none."""
    bare = {_letters(one): one for one in served}
    close = get_close_matches(_letters(name), bare, 1, 0.85)
    return bare[close[0]] if close else ""


def _letters(name: str) -> str:
    """A name without what the eye overlooks: case, blanks, kinds of dash, what has no width."""
    found = []
    for letter in unicodedata.normalize("NFKC", name).casefold():
        kind = unicodedata.category(letter)
        found.append("-" if kind == "Pd" else "" if kind in ("Zs", "Cf", "Cc") else letter)
    return "".join(found)


def difference(asked: str, served: str) -> str:
    """Where two names part, and by which characters."""
    place = 0
    while asked[place : place + 1] == served[place : place + 1] != "":
        place += 1
    return "character %d is %s where it is asked for, and %s where it is served" % (
        place + 1,
        _called(asked[place : place + 1]),
        _called(served[place : place + 1]),
    )


def _called(letter: str) -> str:
    if not letter:
        return "none"
    shown = '"%s", ' % letter if letter.isascii() and letter.isprintable() else ""
    return "%sU+%04X %s" % (shown, ord(letter), unicodedata.name(letter, ""))
