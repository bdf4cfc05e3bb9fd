"""Write what the doctor finds into the README: python -m homeport.troubleshooting"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

from . import ROOT
from .doctor import fleet
from .doctor.areas import checks
from .doctor.table import HEADINGS, Check

BEGIN, END = "<!-- the doctor's checks, by `make readme`: begin -->", "<!-- end -->"

README = ROOT / "README.md"


def section() -> str:
    """The tables of all checks, one for each heading."""
    every = [*checks(), *fleet.CHECKS]
    return "\n".join(line for heading in HEADINGS for line in _table(heading, every))


def _table(heading: str, every: list[Check[Any]]) -> Iterator[str]:
    rows = [check for check in every if check.heading == heading]
    if rows:
        yield f"\n### {heading}\n"
        yield "| what is seen | why | what to type |"
        yield "|---|---|---|"
        for check in rows:
            cells = (check.symptom, check.cause, check.fix)
            yield f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    """A sentence with its {words} in capitals, as a reader fills them in."""
    text = re.sub(r"\{(\w+)\}", lambda found: found[1].upper().replace("_", " "), text)
    text = text.replace("{{", "{").replace("}}", "}")
    return re.sub(r"([|<>])", r"\\\1", text).replace("*", r"\*")


def written(readme: str) -> str:
    """`readme` with today's tables."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{section()}\n{END}{after}"


def main() -> int:
    README.write_text(written(README.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
