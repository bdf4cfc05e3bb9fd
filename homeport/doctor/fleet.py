"""A fleet's reports as one: grouped by cause, the worst first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Optional

from .table import MACHINE, REFUSED, Check, Finding, Report, Subject, Values, findings_of
from .words import lines as lines_of
from .words import untried

#: The checks of a client that does not reach a server, and what they come to where the server's own
#: host says that it answers.
_UNREACHED = ("refused", "port-silent", "host-silent", "no-answer")
_BETWEEN = "its server answers on %s itself: a firewall, or another address, is in between"

#: How many hosts are named in a line, and of how many each has one of its own.
_NAMED = 20
_EACH = 5

#: What a host's own program says for the inventory and for its own name, which only we know.
_TYPED, _LIMIT = "pyinfra inventory/prod.py", " --limit HOST"


@dataclass(frozen=True)
class Group:
    """What has the same cause on several hosts: each host's own finding, by its name."""

    found: Mapping[str, Finding]

    @property
    def first(self) -> Finding:
        return next(iter(self.found.values()))

    def same(self, part: str) -> bool:
        """Whether all hosts have the same to say there."""
        return len({getattr(one, part) for one in self.found.values()}) == 1

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        one = self.first
        return {
            **{"check": one.check, "warning": one.warning, "about": one.about, "cause": one.cause},
            "hosts": {name: asdict(each) for name, each in self.found.items()},
        }


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
        groups = [group.document() for group in self.groups]
        return {"is_healthy": self.is_healthy, "groups": groups, "hosts": hosts}


def not_seen(why: str, reached: bool) -> Report:
    """The report of a host that there is none of: it was not `reached`, or the doctor failed."""
    wanted = "not-looked-at" if reached else "not-reached"
    (check,) = [check for check in CHECKS if check.name == wanted]
    return Report(tuple(findings_of(check, Subject("", why))), (), (), {}, 0)


def whole(reports: Mapping[str, Report]) -> Whole:
    """All that the hosts have, and what only all of them together show."""
    found: dict[tuple[str, str, str], dict[str, Finding]] = defaultdict(dict)
    up = _up(reports)
    for name, report in reports.items():
        for one in report.findings:
            if one.check in _UNREACHED and up.get(one.about):
                one = replace(one, cause=_BETWEEN % ", ".join(up[one.about]))
            found[one.check, one.about, one.cause].setdefault(name, one)
    groups = [Group(each) for each in found.values()]
    (skew,) = [check for check in CHECKS if check.name == "version-skew"]
    for one in findings_of(skew, Subject("", reports)):
        groups.append(Group({name: one for name in one.detail.split(", ")}))
    groups.sort(key=lambda group: (group.first.warning, -len(group.found)))
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


def lines(
    whole: Whole, typed: str = _TYPED, together: Optional[Mapping[str, Iterable[str]]] = None
) -> Iterator[str]:
    """One line for each healthy host, then a few for each cause. `typed` is how pyinfra and the
    inventory were, `together` has, for a host, all that can only be deployed with it."""
    for name, report in whole.hosts.items():
        if report.is_healthy:
            yield from lines_of(report, name)
    for group in whole.groups:
        for line in _of_group(group):
            names = [one for name in group.found for one in (name, *(together or {}).get(name, ()))]
            few = [" --limit %s" % name for name in dict.fromkeys(names)]
            limits = "".join(few) if len(few) <= _NAMED else ""  # else all, which does no harm
            yield line.replace(_TYPED, typed).replace(_LIMIT, limits)
    for name, report in whole.hosts.items():
        yield from ("%s: %s" % (name, one) for one in untried(report) if not report.is_healthy)
    missed: dict[tuple[str, tuple[str, ...], str], list[str]] = defaultdict(list)
    for name, report in whole.hosts.items():
        for each in report.unchecked:
            missed[each.about, each.checks, each.why].append(name)
    for (about, checks, why), names in missed.items():
        of = " of %s" % about if about else ""
        yield "not checked%s on %s: %s" % (of, _named(names), ", ".join(checks))
        yield "  cause: %s" % why


def _of_group(group: Group) -> Iterator[str]:
    one, hosts = group.first, list(group.found)
    who = hosts[0] if len(hosts) == 1 else "%d hosts" % len(hosts)
    about = "%s: " % one.about if one.about else ""
    what = one.symptom if group.same("symptom") else one.cause
    yield "%s: %s: %s%s" % ("warning" if one.warning else "error", who, about, what)
    alone = " (%s)" % one.detail if one.detail and len(hosts) == 1 else ""
    yield "  cause: %s%s" % (one.cause, alone)
    if group.same("fix"):
        yield "  fix:   %s" % one.fix
    if len(hosts) == 1:
        return
    yield "  hosts: %s" % _named(hosts)
    own = [part for part in ("symptom", "detail", "fix") if not group.same(part)]
    for name in hosts[:_EACH] if own else ():
        said = [getattr(group.found[name], part) for part in own]
        yield "  %s: %s" % (name, "; ".join(filter(None, said)))
    if own and len(hosts) > _EACH:
        yield "  and so on: --json has all of them"


def _named(hosts: list[str]) -> str:
    rest = " and %d more" % (len(hosts) - _NAMED) if len(hosts) > _NAMED else ""
    return "%s%s" % (", ".join(hosts[:_NAMED]), rest)


def why_not_seen(why: str) -> Iterator[Values]:
    yield {"detail": why}


#: What a fleet compares, and what it calls it. A laptop's llama.cpp is not among it, nor is Claude
#: Code: Homebrew, or its user, brings each to a version of its own, a deploy leaves newer ones
#: alone, and one that is too old says so itself.
_COMPARED = {
    "homeport": "homeport",
    "engine": "the engine",
    "weights": "the revision of the weights",
}
_OF_LAPTOPS = "llama.cpp"


def skewed(reports: Mapping[str, Report]) -> Iterator[Values]:
    """Where hosts that do the same do it with different versions."""
    found: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for host, report in reports.items():
        for about, facts in report.facts.items():
            for name, value in facts.items():
                if name in _COMPARED and value and not value.startswith(_OF_LAPTOPS):
                    found[about, name][value].append(host)
    for (about, name), hosts in found.items():
        if len(hosts) > 1:
            most = max(hosts, key=lambda value: len(hosts[value]))
            odd = [host for value, names in hosts.items() if value != most for host in names]
            shown = ", ".join("%s on %s" % (value, _named(names)) for value, names in hosts.items())
            yield {
                "what": _COMPARED[name] + (" of %s" % about if about else ""),
                "versions": shown,
                "detail": ", ".join(odd),
            }


CHECKS: tuple[Check[Any], ...] = (
    Check(
        "not-reached",
        REFUSED,
        symptom="not reached",
        cause="it is asleep or away, or does not let us in",
        fix="wake it, or what that line says; then the same command with --limit HOST",
        source="SSH",
        find=why_not_seen,
    ),
    Check(
        "not-looked-at",
        REFUSED,
        symptom="not looked at",
        cause="the doctor cannot do its work there",
        fix="what that line says; then the same command with --limit HOST",
        source="the doctor itself",
        find=why_not_seen,
    ),
    Check(
        "version-skew",
        MACHINE,
        symptom="{what} differs: {versions}",
        cause="some hosts were deployed at another time, or upgraded by somebody else",
        fix="pyinfra inventory/prod.py deploy.py --limit HOST",
        source="what each host runs",
        find=skewed,
        warning=True,
    ),
)
