"""What the doctor is made of: checks in tables, what they find, and how all of them are run."""

from __future__ import annotations

import string
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Generic, Optional, TypeVar, Union

from .wanted import Wanted

T = TypeVar("T")
S = TypeVar("S")

#: What a check says of the thing that it is about: the values of the {words} in its sentences,
#: "detail" for what is this machine's alone, and "symptom", "cause" or "fix" in place of its own.
Values = Mapping[str, str]

#: The headings of the README's troubleshooting, and of the table: what somebody sees.
REFUSED = "Connection refused"
NAMES = "404, or another model answers"
SLOW = "It is slow"
TOOLS = "It ignores tools, or stalls"
ANTHROPIC = "Stuck on Anthropic"
CONTEXT = "The context overflows"
WEIGHTS = "Weights"
MACHINE = "The machine"
HEADINGS = (REFUSED, NAMES, SLOW, TOOLS, ANTHROPIC, CONTEXT, WEIGHTS, MACHINE)


class CannotTell(Exception):
    """A check cannot be made; the text says why."""


@dataclass(frozen=True)
class Unknown:
    """Stands for what could not be looked at."""

    why: str


def known(value: Union[T, Unknown]) -> T:
    """The value; raises `CannotTell` where it could not be looked at."""
    if isinstance(value, Unknown):
        raise CannotTell(value.why)
    return value


@dataclass(frozen=True)
class Check(Generic[S]):
    """One thing that can be wrong: what is seen, why, and what to type, with {words} that `find`
    gives. `find` yields once for each time that it is wrong with its subject, and never passes
    what it cannot see: `known` raises there. `cause` is the same on every machine that has it, as a
    fleet is grouped by it. `source` is where the fact comes from. A `warning` is what works all the
    same, only worse."""

    name: str
    heading: str
    symptom: str
    cause: str
    fix: str
    source: str
    find: Callable[[S], Iterable[Values]] = field(repr=False)
    warning: bool = False

    @property
    def words(self) -> set[str]:
        """The {words} of its sentences."""
        text = self.symptom + self.cause + self.fix
        return {word for _, word, _, _ in string.Formatter().parse(text) if word}


@dataclass(frozen=True)
class Finding:
    """What is wrong here. `about` is the alias, or what else it is about, "" for the machine;
    `detail` what is this machine's alone."""

    check: str
    warning: bool
    about: str
    symptom: str
    cause: str
    fix: str
    detail: str = ""


@dataclass(frozen=True)
class Unchecked:
    """Checks that could not be made, and why."""

    checks: tuple[str, ...]
    about: str
    why: str


@dataclass(frozen=True)
class Subject(Generic[S]):
    """A thing that is looked at: `about` names it, `values` are {words} that all checks of it may
    use."""

    about: str
    seen: S
    values: Values = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """Who looks, and at what. `variables` are those of a shell of the user's, `directory` is
    where claude would be typed, `asked_at` the clock of the machine that asks (None: this one),
    `root` where the machine's files are (tests have another), `deep` reads all weights again."""

    wanted: Wanted
    variables: Mapping[str, str]
    directory: Path
    deep: bool = False
    asked_at: Optional[float] = None
    root: Path = Path("/")


@dataclass(frozen=True)
class Area(Generic[S]):
    """`look` gives the things of one kind; `checks` are made of each."""

    name: str
    look: Callable[[Context], Iterable[Subject[S]]]
    checks: tuple[Check[S], ...]
    #: What is said of a healthy one, "" for nothing.
    healthy: Callable[[S], str] = lambda seen: ""
    #: What was not tried, and why; it is no fault, and said where the machine has others.
    untried: Callable[[S], str] = lambda seen: ""
    #: What a fleet compares, by name.
    facts: Callable[[S], Mapping[str, str]] = lambda seen: {}


@dataclass(frozen=True)
class Report:
    """`healthy` are sentences on what is as it should be, `untried` on what was not tried of
    others; `facts` are what a fleet compares, by the thing and its name."""

    findings: tuple[Finding, ...]
    unchecked: tuple[Unchecked, ...]
    healthy: tuple[str, ...]
    facts: Mapping[str, Mapping[str, str]]
    seconds: float
    untried: tuple[str, ...] = ()

    @property
    def is_healthy(self) -> bool:
        return not self.findings and not self.unchecked

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"is_healthy": self.is_healthy, **asdict(self)}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Report:
        return cls(
            findings=tuple(Finding(**one) for one in document["findings"]),
            unchecked=tuple(
                Unchecked(tuple(one["checks"]), one["about"], one["why"])
                for one in document["unchecked"]
            ),
            healthy=tuple(document["healthy"]),
            facts=document["facts"],
            seconds=document["seconds"],
            untried=tuple(document["untried"]),
        )


def examine(areas: Iterable[Area[Any]], context: Context) -> Report:
    """All that `areas` find, the worst first: side by side, since each mostly waits."""
    started = time.monotonic()
    areas = tuple(areas)
    with ThreadPoolExecutor(len(areas)) as pool:
        found = list(pool.map(lambda area: _examine(area, context), areas))
    findings = [one for each in found for one in each.findings]
    return Report(
        findings=tuple(sorted(findings, key=lambda one: one.warning)),
        unchecked=tuple(one for each in found for one in each.unchecked),
        healthy=tuple(one for each in found for one in each.healthy),
        facts=_together(each.facts for each in found),
        untried=tuple(one for each in found for one in each.untried),
        seconds=round(time.monotonic() - started, 2),
    )


def _together(found: Iterable[Mapping[str, Mapping[str, str]]]) -> dict[str, dict[str, str]]:
    """The facts of all areas; several may have some of the same thing."""
    whole: dict[str, dict[str, str]] = {}
    for one in found:
        for about, facts in one.items():
            whole.setdefault(about, {}).update(facts)
    return whole


def _examine(area: Area[Any], context: Context) -> Report:
    findings: list[Finding] = []
    unchecked: list[Unchecked] = []
    healthy: list[str] = []
    untried: list[str] = []
    facts: dict[str, Mapping[str, str]] = {}
    try:
        subjects = list(area.look(context))
    except Exception as error:  # a look that fails has not passed
        names = tuple(check.name for check in area.checks)
        unchecked.append(Unchecked(names, "", _failed(error)))
        subjects = []
    for subject in subjects:
        before = len(findings), len(unchecked)
        reasons: dict[str, list[str]] = {}
        for check in area.checks:
            try:
                findings += findings_of(check, subject)
            except CannotTell as reason:
                reasons.setdefault(str(reason), []).append(check.name)
            except Exception as error:
                reasons.setdefault(_failed(error), []).append(check.name)
        for why, unmade in reasons.items():
            unchecked.append(Unchecked(tuple(unmade), subject.about, why))
        well = before == (len(findings), len(unchecked))
        try:
            healthy += filter(None, [area.healthy(subject.seen) if well else ""])
            untried += filter(None, [area.untried(subject.seen)])
            if one := area.facts(subject.seen):
                facts[subject.about] = {**facts.get(subject.about, {}), **one}
        except Exception as error:
            unchecked.append(Unchecked((area.name,), subject.about, _failed(error)))
    return Report(tuple(findings), tuple(unchecked), tuple(healthy), facts, 0, tuple(untried))


def _failed(error: Exception) -> str:
    """What an exception comes to, that nobody foresaw: not its text, which may hold a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    place = "%s line %s" % (Path(frames[-1].filename).name, frames[-1].lineno) if frames else "?"
    if isinstance(error, OSError) and error.strerror:
        return "%s (%s)" % (error.strerror, place)
    return "the doctor itself fails: %s in %s" % (type(error).__name__, place)


def findings_of(check: Check[Any], subject: Subject[Any]) -> Iterator[Finding]:
    for own in check.find(subject.seen):
        values = {**subject.values, **own}
        yield Finding(
            check=check.name,
            warning=check.warning,
            about=subject.about,
            symptom=values.get("symptom") or check.symptom.format_map(values),
            cause=values.get("cause") or check.cause.format_map(values),
            fix=values.get("fix") or check.fix.format_map(values),
            detail=values.get("detail", ""),
        )
