"""Where a `claude` that is typed here goes: from this shell, and from each route's use-script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Union

from ..remote import explain
from .routes import session_of
from .session_checks import CHECKS, OF_ROUTES, Typed
from .start_up import Line, lines
from .table import Area, Context, Subject, Unknown

#: What the session is called that no route's script starts.
SHELL = "claude"

#: Those that decide where a session goes, and what it shows there.
DECISIVE = ("ANTHROPIC_BASE_URL", *explain.SECRETS)


def look(context: Context) -> Iterable[Subject[Typed]]:
    found = list(_sessions(context))
    # A key that is given away is the first of all.
    return sorted(found, key=lambda one: not any(_is_leak(each) for each in one.seen.findings))


def _is_leak(finding: explain.Finding) -> bool:
    return finding.name == "key-astray"


def _sessions(context: Context) -> Iterator[Subject[Typed]]:
    start_up: Union[tuple[Line, ...], Unknown]
    try:
        start_up = tuple(lines(Path(context.wanted.home), context.root))
    except OSError as error:
        start_up = Unknown("%s cannot be read: %s" % (error.filename, error.strerror))
    read = () if isinstance(start_up, Unknown) else start_up
    # Over SSH there are no variables of a shell's: those of the files stand for them.
    afar = set(context.variables) <= {"HOME"}
    told = [
        one
        for one in read
        if one.value is not None and (afar or context.variables.get(one.name) == one.value)
    ]
    names = {one.name for one in told}
    shell = {name: value for name, value in context.variables.items() if name not in names}
    weak = [one.source for one in told]
    own = session_of(context, None, shell, weak)
    findings = tuple(explain.findings(own))
    yield Subject(
        SHELL,
        Typed(
            session=own,
            findings=findings,
            start_up=start_up,
            hidden=tuple(
                one for one in read if afar and one.value is None and one.name in DECISIVE
            ),
            routes=bool(context.wanted.routes),
        ),
    )
    said = {(one.name, one.symptom) for one in findings}
    for route in context.wanted.routes:
        try:
            session = session_of(context, route, shell, weak)
        except KeyError:
            continue  # a finding of the route's
        new = tuple(
            one
            for one in explain.findings(session)
            if (one.name, one.symptom) not in said and one.name not in OF_ROUTES
        )
        said |= {(one.name, one.symptom) for one in new}
        yield Subject(route.name, Typed(session, new))


AREA = Area("sessions", look, CHECKS)
