"""A report as people read it."""

from __future__ import annotations

from collections.abc import Iterator

from .table import Report


def untried(report: Report) -> list[str]:
    """What is said of an unhealthy machine besides, and is no fault."""
    return ["note: %s" % one for one in report.untried]


def lines(report: Report, name: str) -> Iterator[str]:
    """One line where all is well; else the worst first, each with its cause and what to type."""
    if report.is_healthy:
        yield "%s: healthy%s" % (name, "".join("; %s" % one for one in report.healthy))
        return
    for one in report.findings:
        about = "%s: " % one.about if one.about else ""
        yield "%s: %s%s" % ("warning" if one.warning else "error", about, one.symptom)
        yield "  cause: %s%s" % (one.cause, " (%s)" % one.detail if one.detail else "")
        yield "  fix:   %s" % one.fix
    for said in untried(report):
        yield said
    for missed in report.unchecked:
        about = " of %s" % missed.about if missed.about else ""
        yield "not checked%s: %s" % (about, ", ".join(missed.checks))
        yield "  cause: %s" % missed.why
