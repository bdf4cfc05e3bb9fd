"""Where a `claude` that is typed here goes: from this shell, and from each route's use-script."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..remote import explain
from .routes import session_of
from .session_checks import CHECKS, OF_ROUTES, Typed
from .start_up import shell_of
from .table import Area, Context, Subject

#: What the session is called that no route's script starts.
SHELL = "claude"

#: Those that decide where a session goes, and what it shows there.
DECISIVE = ("ANTHROPIC_BASE_URL", *explain.SECRETS)

#: What is wrong wherever a session goes.
WHEREVER = ("settings-unread", "login-forced", "url-managed", "typo")


def look(context: Context) -> Iterable[Subject[Typed]]:
    found = list(_sessions(context))
    # A key that is given away is the first of all.
    return sorted(found, key=lambda one: not any(_is_leak(each) for each in one.seen.findings))


def _is_leak(finding: explain.Finding) -> bool:
    return finding.name == "key-astray"


def _sessions(context: Context) -> Iterator[Subject[Typed]]:
    shell = shell_of(context)
    hidden = tuple(one for one in shell.hidden if one.name in DECISIVE)
    own = session_of(context, None, shell)
    findings = tuple(explain.findings(own))
    if any(one.name in explain.SECRETS for one in hidden):  # there is something to log in with
        findings = tuple(one for one in findings if one.name != "login-astray")
    if any(one.name == "ANTHROPIC_BASE_URL" for one in hidden):  # to nobody knows where
        findings = tuple(one for one in findings if one.name in WHEREVER)
    yield Subject(
        SHELL,
        Typed(
            session=own,
            findings=findings,
            start_up=shell.lines,
            hidden=hidden,
            routes=bool(context.wanted.routes),
            approved=_approved(own, context),
        ),
    )
    said = {(one.name, one.symptom) for one in findings}
    for route in context.wanted.routes:
        try:
            session = session_of(context, route, shell)
        except KeyError:
            continue  # a finding of the route's
        new = tuple(
            one
            for one in explain.findings(session)
            if (one.name, one.symptom) not in said and one.name not in OF_ROUTES
        )
        said |= {(one.name, one.symptom) for one in new}
        yield Subject(route.name, Typed(session, new))


def _approved(session: explain.Session, context: Context) -> tuple[str, ...]:
    """The ends of the API keys that the user told the client to log in with, where there is no
    other login (read from Claude Code 2.1.330)."""
    folder = str(session.get("CLAUDE_CONFIG_DIR")) or context.wanted.home
    try:
        said = json.loads(Path(folder, ".claude.json").read_text("utf-8"))
        ends = () if said.get("oauthAccount") else said["customApiKeyResponses"]["approved"]
        return tuple(str(one) for one in ends if one)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()


AREA = Area("sessions", look, CHECKS)
