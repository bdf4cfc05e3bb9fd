"""Say what is wrong with homeport on this machine, why, and what to type. It changes nothing.

usage: homeport-doctor [--json] [--deep]

Asks the servers that this machine runs or uses, and nobody else. The status is 0 where all is
healthy, 1 where something is not, or could not be looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .areas import areas
from .table import Context, examine
from .wanted import Wanted
from .words import lines


def main(arguments: Sequence[str], state: Path) -> int:
    """`state` is the file that the deploy wrote."""
    parser = argparse.ArgumentParser(
        prog="homeport-doctor", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--json", action="store_true", help="the same, for programs")
    parser.add_argument("--deep", action="store_true", help="read and hash all weights again")
    asked = parser.parse_args(arguments)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        wanted = Wanted.of(json.loads(state.read_text("utf-8"))["wanted"])
    except PermissionError:
        own = shlex.quote(str(state.parent.parent / "bin" / "homeport-doctor"))
        print("homeport-doctor: this is root's to ask here. Type: sudo %s" % own, file=sys.stderr)
        return 1
    except (OSError, ValueError, KeyError, TypeError) as error:
        said = "homeport-doctor: %s cannot be read (%s). Run the deploy again"
        print(said % (state, error), file=sys.stderr)
        return 1
    try:
        directory = Path.cwd()
    except FileNotFoundError:  # somebody removed it
        directory = Path(wanted.home)
    report = examine(areas(wanted), Context(wanted, os.environ, directory, asked.deep))
    if asked.json:
        print(json.dumps(report.document(), indent=2))
    else:
        print("\n".join(lines(report, "this machine")))
    return 0 if report.is_healthy else 1


def answer(question: Mapping[str, Any]) -> None:
    """Answer the fleet's doctor, with one JSON object on a line of its own."""
    context = Context(
        wanted=Wanted.of(question["wanted"]),
        variables={"HOME": question["wanted"]["home"]},
        directory=Path(question["wanted"]["home"]),
        deep=question["deep"],
        asked_at=question["asked_at"],
    )
    print(json.dumps(examine(areas(context.wanted), context).document()))
