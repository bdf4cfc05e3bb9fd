"""What somebody changed since the last deploy, and what the next one would change."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from .. import merge
from .table import ANTHROPIC, MACHINE, Area, Check, Context, Subject, Unknown, Values, known
from .wanted import Wanted

#: Where a deploy notes what it made; Wanted.directory has it.
NOTED = "state/doctor.json"


@dataclass(frozen=True)
class Drift:
    """`noted` is what the last deploy was to make, None where there was none; `missing`, `changed`
    and `modes` are files of that deploy that are no longer as it left them. `lost` is what it added
    to ~/.claude/settings.json and is not there now, such as "permissions.deny"."""

    wanted: Wanted
    noted: Union[Wanted, Unknown, None]
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    lost: Union[tuple[str, ...], Unknown] = ()

    @property
    def due(self) -> list[str]:
        """What the next deploy would change, in words: "claude-glm: context 131072 -> 262144"."""
        noted = known(self.noted)
        if noted is None:
            return []
        found = list(changes(noted.document(), self.wanted.document()))
        if not found and noted.deployed != self.wanted.deployed:
            found = ["group data, or homeport's own programs and templates"]
        return found


def look(context: Context) -> Iterator[Subject[Drift]]:
    yield Subject("", _look(context))


def _look(context: Context) -> Drift:
    path = Path(context.wanted.directory, NOTED)
    try:
        document = json.loads(path.read_text("utf-8"))
        noted, files = Wanted.of(document["wanted"]), dict(document["files"])
    except FileNotFoundError:
        return Drift(context.wanted, None)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Drift(context.wanted, Unknown("%s cannot be read: %s" % (path, error)))
    found: dict[str, list[str]] = {"missing": [], "changed": [], "modes": [], "unreadable": []}
    for name, (mode, sha256) in files.items():
        kind = _kind(Path(name), mode, sha256)
        if kind:
            found[kind].append(name)
    kinds = {kind: tuple(names) for kind, names in found.items()}
    return Drift(context.wanted, noted, **kinds, lost=_lost(context.wanted))


def _lost(wanted: Wanted) -> Union[tuple[str, ...], Unknown]:
    record = Path(wanted.directory, "state", "settings.json.record")
    try:
        noted = json.loads(record.read_text("utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        return Unknown("%s cannot be read: %s" % (record, error))
    path = Path(noted["path"])
    try:
        document = merge.parse(path.read_text("utf-8"))
    except FileNotFoundError:
        document = {}
    except (OSError, ValueError) as error:
        return Unknown("%s cannot be read: %s" % (path, error))
    added = [merge.Addition.from_json(one) for one in noted["additions"]]
    # Where the owner has a value of their own now, that is theirs.
    lost = [".".join(one.path) for one in added if merge.lacks(document, one)]
    return tuple(dict.fromkeys(lost))


def _kind(path: Path, mode: str, sha256: str) -> str:
    """What became of a file, "" where it is as it was."""
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            return "changed"
        return "" if path.stat().st_mode & 0o7777 == int(mode, 8) else "modes"
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError:
        return "unreadable"


#: What of a document is a list, and what tells its things apart.
_LISTS = {"services": "alias", "routes": "alias", "mirrored": "repo"}


def changes(noted: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """In words, what of two documents of a `Wanted` is different; the digest is not."""
    for kind, name in _LISTS.items():
        before = {one[name]: one for one in noted[kind]}
        after = {one[name]: one for one in wanted[kind]}
        for alias in dict.fromkeys([*before, *after]):
            if alias not in after:
                yield "%s: no longer among its %s" % (alias, kind)
            elif alias not in before:
                yield "%s: new among its %s" % (alias, kind)
            else:
                yield from ("%s: %s" % (alias, one) for one in _differ(before[alias], after[alias]))
    rest = [
        {key: value for key, value in one.items() if key not in (*_LISTS, "deployed")}
        for one in (noted, wanted)
    ]
    yield from _differ(*rest)


def _differ(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from ("%s.%s" % (key, one) for one in _differ(old, new))
        elif _plain(old) != _plain(new):
            yield "%s %s -> %s" % (key, _shown(old), _shown(new))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def _shown(value: Any) -> str:
    return "(none)" if value is None or value == "" else str(value)


def never_deployed(drift: Drift) -> Iterable[Values]:
    if known(drift.noted) is None:
        yield {}


def touched(drift: Drift) -> Iterator[Values]:
    known(drift.noted)
    for names, what in (
        (drift.missing, "gone"),
        (drift.changed, "changed"),
        (drift.modes, "of another mode"),
        (drift.unreadable, "not to be read"),
    ):
        if names:
            shown = ", ".join(names[:3]) + (" and %d more" % (len(names) - 3) if names[3:] else "")
            yield {"files": shown, "what": what, "first": shlex.quote(names[0])}


def lost(drift: Drift) -> Iterator[Values]:
    if keys := known(drift.lost):
        yield {"keys": ", ".join(keys)}


def due(drift: Drift) -> Iterator[Values]:
    if drift.due:
        yield {"changes": "; ".join(drift.due)}


CHECKS: tuple[Check[Drift], ...] = (
    Check(
        "not-deployed",
        MACHINE,
        symptom="nothing of homeport is noted here",
        cause="deploy.py never came to its end on this machine",
        fix="pyinfra inventory/prod.py deploy.py --limit HOST, or make onboard on it",
        source="state/doctor.json, which a deploy writes last",
        find=never_deployed,
    ),
    Check(
        "file-changed",
        MACHINE,
        symptom="{files}: {what} since the last deploy",
        cause="somebody, or another program, changed what is homeport's",
        fix="run the deploy again, it writes them anew; to keep yours, see: ls -l {first}",
        source="sizes and hashes noted by that deploy",
        find=touched,
        warning=True,
    ),
    Check(
        "settings-lost",
        ANTHROPIC,
        symptom="~/.claude/settings.json has no longer {keys}",
        cause="somebody, or another program, took out what a deploy had merged into it",
        fix="run the deploy again; to do without, change claude_settings in "
        "group_data/workstations.py",
        source="state/settings.json.record",
        find=lost,
        warning=True,
    ),
    Check(
        "deploy-due",
        MACHINE,
        symptom="deploy.py would change: {changes}",
        cause="group data, or homeport, changed after the last deploy",
        fix="pyinfra inventory/prod.py deploy.py --dry --limit HOST, then without --dry",
        source="what the last deploy noted, and what the next is to make",
        find=due,
        warning=True,
    ),
)


def facts(drift: Drift) -> Mapping[str, str]:
    noted = drift.noted
    return {"homeport": noted.homeport} if isinstance(noted, Wanted) else {}


AREA = Area("drift", look, CHECKS, facts=facts)
