"""A fleet's reports as one: grouped by cause, the worst first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from .table import MACHINE, REFUSED, Check, Finding, Report, Subject, Values, findings_of
from .words import lines as lines_of

#: The checks of a client that does not reach a server, and what they come to where the server's own
#: host says that it answers.
_UNREACHED = ("refused", "port-silent", "host-silent", "no-answer")
_BETWEEN = "its server answers on %s itself: a firewall, or another address, is in between"

#: How many hosts are named in a line.
_NAMED = 20


@dataclass(frozen=True)
class Group:
    """What is wrong with the same cause on `hosts`; `details` are those that have something of
    their own to say."""

    finding: Finding
    hosts: tuple[str, ...]
    details: Mapping[str, str]


@dataclass(frozen=True)
class Whole:
    """`hosts` has each host's report by its name."""

    hosts: Mapping[str, Report]
    groups: tuple[Group, ...]

    @property
    def is_healthy(self) -> bool:
        return not self.groups and all(report.is_healthy for report in self.hosts.values())

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        hosts = {name: report.document() for name, report in self.hosts.items()}
        groups = [asdict(group) for group in self.groups]
        return {"is_healthy": self.is_healthy, "groups": groups, "hosts": hosts}


def not_seen(why: str) -> Report:
    """The report of a host that there is none of."""
    (check,) = [check for check in CHECKS if check.name == "not-looked-at"]
    return Report(tuple(findings_of(check, Subject("", why))), (), (), {}, 0)


def whole(reports: Mapping[str, Report]) -> Whole:
    """All that the hosts have, and what only all of them together show."""
    found: dict[tuple[str, str, str], list[tuple[str, Finding]]] = defaultdict(list)
    up = _up(reports)
    for name, report in reports.items():
        for one in report.findings:
            if one.check in _UNREACHED and up.get(one.about):
                cause = _BETWEEN % ", ".join(up[one.about])
                one = replace(one, cause=cause)
            found[one.check, one.about, one.cause].append((name, one))
    groups = [
        Group(
            finding=pairs[0][1],
            hosts=tuple(dict.fromkeys(name for name, _ in pairs)),
            details={name: one.detail for name, one in pairs if one.detail},
        )
        for pairs in found.values()
    ]
    for check in CHECKS:
        if check.name != "not-looked-at":
            for one in findings_of(check, Subject("", reports)):
                groups.append(Group(one, tuple(one.detail.split(", ")), {}))
    groups.sort(key=lambda group: (group.finding.warning, -len(group.hosts)))
    return Whole(reports, tuple(groups))


def _up(reports: Mapping[str, Report]) -> dict[str, list[str]]:
    """The hosts that serve each alias, and find nothing wrong with it that keeps it from that."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, report in reports.items():
        failing = {one.about for one in report.findings if not one.warning}
        for about, facts in report.facts.items():
            if "engine" in facts and about not in failing:
                found[about].append(name)
    return found


def lines(whole: Whole) -> Iterator[str]:
    """One line for each healthy host, then a few for each cause."""
    for name, report in whole.hosts.items():
        if report.is_healthy:
            yield from lines_of(report, name)
    for group in whole.groups:
        one, hosts = group.finding, group.hosts
        who = hosts[0] if len(hosts) == 1 else "%d hosts" % len(hosts)
        about = "%s: " % one.about if one.about else ""
        yield "%s: %s: %s%s" % ("warning" if one.warning else "error", who, about, one.symptom)
        only = group.details.get(hosts[0], "") if len(hosts) == 1 else ""
        yield "  cause: %s%s" % (one.cause, " (%s)" % only if only else "")
        yield "  fix:   %s" % one.fix
        if len(hosts) > 1:
            yield "  hosts: %s" % _named(hosts)
    missed: dict[tuple[str, tuple[str, ...], str], list[str]] = defaultdict(list)
    for name, report in whole.hosts.items():
        for each in report.unchecked:
            missed[each.about, each.checks, each.why].append(name)
    for (about, checks, why), names in missed.items():
        of = " of %s" % about if about else ""
        yield "not checked%s on %s: %s" % (of, _named(tuple(names)), ", ".join(checks))
        yield "  cause: %s" % why


def _named(hosts: tuple[str, ...]) -> str:
    rest = " and %d more" % (len(hosts) - _NAMED) if len(hosts) > _NAMED else ""
    return "%s%s" % (", ".join(hosts[:_NAMED]), rest)


def why_not_seen(why: str) -> Iterator[Values]:
    yield {"why": why}


#: What a fleet compares, and what it calls it.
_COMPARED = {
    "homeport": "homeport",
    "engine": "the engine",
    "weights": "the revision of the weights",
    "client": "Claude Code",
}


def skewed(reports: Mapping[str, Report]) -> Iterator[Values]:
    """Where hosts that do the same do it with different versions."""
    found: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for host, report in reports.items():
        for about, facts in report.facts.items():
            for name, value in facts.items():
                if name in _COMPARED:
                    found[about, name][value].append(host)
    for (about, name), hosts in found.items():
        if len(hosts) > 1:
            most = max(hosts, key=lambda value: len(hosts[value]))
            odd = [host for value, names in hosts.items() if value != most for host in names]
            shown = ", ".join(
                "%s on %s" % (value, _named(tuple(names))) for value, names in hosts.items()
            )
            yield {
                "what": _COMPARED[name] + (" of %s" % about if about else ""),
                "versions": shown,
                "limits": " ".join("--limit %s" % host for host in odd[:_NAMED]),
                "detail": ", ".join(odd),
            }


CHECKS: tuple[Check[Any], ...] = (
    Check(
        "not-looked-at",
        REFUSED,
        symptom="not looked at: {why}",
        cause="it is asleep or away, or does not let us in",
        fix="wake it, or what that line says; then the same command with --limit HOST",
        source="SSH",
        find=why_not_seen,
    ),
    Check(
        "version-skew",
        MACHINE,
        symptom="{what} differs: {versions}",
        cause="some hosts were deployed at another time, or upgraded by somebody else",
        fix="pyinfra inventory/prod.py deploy.py {limits}",
        source="what each host runs",
        find=skewed,
        warning=True,
    ),
)
