"""The server of a GPU host: tried before it is switched to, proven, and else taken back.

A restart costs half an hour, so it is decided from what the running process was started with, is
announced, and can be forbidden. A server that was never proven takes nothing from one that was: the
definition before it is kept, and is put back by itself where the new one does not answer. The hosts
that serve one model together go through each step together: `_rounds` is what they know of one
another in this run.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import gevent
from pyinfra import host, state
from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import ctx_host

from .. import gpu_serving, progress, render, report
from ..doctor.engine_log import meaningful
from ..facts.engine import EngineCheckFact, LinkFact, TextFact
from ..facts.file import EntriesFact, FileStateFact
from ..facts.host import AnswerFact
from ..facts.service import LastLogLines, RunningService, RunningServiceFact
from ..gpu_serving import files, settings_of
from ..service import Manager, Service, systemctl
from ..serving import deployed
from ..target import Target
from . import account, file, hub, service
from .file import Commands, said_failure
from .verify import QUESTION, verdict

#: Seconds between two looks at a server that loads; how long it may take (GLM-5.2 takes half an
#: hour from a fast disk); and for how long it may be found without a process.
_LOOK_EVERY = 2
_LOAD_TIMEOUT = 7_200
_GONE_FOR = 40

#: How often all that has to be proven is tried, before it is believed not to work.
_TRIES = 3

#: Tokens and seconds for one answer: a model that thinks does so before it speaks.
_ANSWER_TOKENS = 4_096
_ANSWER_TIMEOUT = 300

#: Seconds for which a server may say something that it does not say again, such as too late.
_WRONG_FOR = 60

#: The endings of what homeport notes of a server, and tells it.
_OURS = (".env", ".yaml", ".token", ".proven", ".failed", ".previous")

#: Lines of the log that are looked through, and shown, where a server died.
_LOG_LINES = 400
_SHOWN_LINES = 6


@dataclass
class Round:
    """What this run has found of one replica: the hosts that are `ready`, those whose server is
    `due` for a restart, with the reasons in words, those where one was `running` before that, those
    whose part has `started`, and what each could go back to (`previous`); whether the new one is
    `proven`, or why it is to be taken back (`failure`)."""

    ready: set[str] = field(default_factory=set)
    due: dict[str, str] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    started: set[str] = field(default_factory=set)
    previous: dict[str, str] = field(default_factory=dict)
    proven: bool = False
    failure: str | None = None


_rounds: dict[tuple[str, str], Round] = {}


def _round(target: Target) -> Round:
    gpu = settings_of(target)
    return _rounds.setdefault((gpu.route.alias, gpu.members[0]), Round())


@operation()
def tried(target: Target) -> Commands:
    """Find out whether the server has to be started anew, and whether it would start: its own
    argument parser, in its new environment, is asked. Changes nothing."""
    gpu, wanted, now = settings_of(target), gpu_serving.service(target), _round(target)
    running = _running(target)
    if running.pid and state.is_executing:
        now.running.add(host.name)
    if running.is_right(wanted):
        now.ready.add(host.name)
        return
    reasons = _reasons(running, wanted)
    if not state.is_executing:
        if running.pid:
            may = "" if gpu.may_restart else ", but for restart=never"
            host.log(f"would restart {gpu.route.alias}{may}: {reasons}")
        return
    if not gpu.may_restart and (other := _other(target)):
        yield said_failure(
            f"{gpu.route.alias}: {other} is served here, and restart=never lets it be. Nothing was "
            "switched"
        )
        return
    if failure := _failed_before(wanted, target):
        yield said_failure(f"{gpu.route.alias}: {failure}")
        return
    found = host.get_fact(
        EngineCheckFact,
        python=gpu_serving.environment(target).python,
        user=account.name(target.layout),
        engine=gpu.engine.NAME,
        arguments=gpu_serving.arguments(wanted, gpu),
    )
    problem = found["problem"]
    if not problem and found["version"] != str(gpu.version):
        problem = f"the environment has version {found['version'] or 'none'}, not {gpu.version}"
    if problem:
        yield said_failure(
            f"{gpu.route.alias}: {gpu.engine.NAME} {gpu.version} would not start: {problem}. "
            "Nothing was switched; correct `serving` or engine_arguments"
        )
        return
    now.due[host.name] = reasons
    now.ready.add(host.name)


@operation()
def stopped(target: Target) -> Commands:
    """Stop the server of this host where it serves a model together with others, and any of them
    is to be started anew: they start together."""
    gpu, now = settings_of(target), _round(target)
    if not state.is_executing or not now.due or gpu.place.nodes == 1:
        return
    if missing := [name for name in gpu.members if name not in now.ready]:
        yield said_failure(
            f"{gpu.route.alias} is served by {' and '.join(gpu.members)} together, and "
            f"{', '.join(missing)} did not get this far. Nothing was switched"
        )
        return
    if not _allowed(target):
        return
    if _running(target).pid:
        # Its definition may be as it should be: what is stopped is not right, and is started again.
        yield StringCommand(f"{systemctl(Manager.SYSTEM)} stop", _unit(target))
        _round(target).due.setdefault(host.name, "another host of the model is started anew")


@operation()
def started(target: Target, head: bool) -> Commands:
    """Have the server run what it should, on the heads or on the others, and again at boot."""
    gpu, wanted, place = settings_of(target), gpu_serving.service(target), files(target)
    if gpu.head != head:
        return
    running = _running(target)
    right = running.is_right(wanted)
    if not right and state.is_executing and not _allowed(target):
        report.say(
            host,
            f"{gpu.route.alias} is due for a restart, which restart=never puts off: "
            f"{_round(target).due.get(host.name, '')}",
        )
        host.noop("restart=never")
        _round(target).started.add(host.name)
        return
    content = render.definition(wanted, Manager.SYSTEM, place.definition)
    if not right:
        if state.is_executing and running.pid:
            host.log(f"restarts {gpu.route.alias}: {_round(target).due.get(host.name, '')}")
        yield from _kept(target, content)
    token, secret = gpu.route.endpoint.token, gpu_serving.secret_of(gpu)
    if token and secret:
        for path, text in ((place.token, f"{token.value}\n"), (place.secrets, secret.text)):
            yield from file.write._inner(path=path, content=text.encode(), mode="600")
    yield from file.write._inner(path=place.definition, content=content)
    yield from _linked(place.current, gpu_serving.environment(target).name)
    yield from service.converged._inner(
        service=wanted, manager=Manager.SYSTEM, definition=place.definition, python=target.python
    )
    _round(target).started.add(host.name)


@operation()
def remembered(target: Target) -> Commands:
    """Find out whether there is a server before that this host could go back to."""
    if state.is_executing and (previous := _previous(target)):
        _round(target).previous[host.name] = gpu_serving.common_part(previous)
    yield from ()


@operation()
def proven(target: Target) -> Commands:
    """Wait for the server, and prove all that Claude Code needs of it. Where a new one does not
    serve, its hosts are to go back to the one before; fails, in words, where there is none."""
    gpu, place = settings_of(target), files(target)
    if not state.is_executing or not gpu.head:
        return
    wanted, running = gpu_serving.service(target), _running(target)
    if not running.is_right(wanted) and not _allowed(target):
        yield from _deferred(target)
        return
    now = _round(target)
    if missing := [name for name in gpu.members if name not in now.started]:
        yield said_failure(f"{gpu.route.alias} did not start on {', '.join(missing)}")
        return
    problem = _watched(target, wanted)
    if _lost():
        return  # nobody knows what became of it
    if problem is None and not _running(target).is_right(wanted):
        problem = f"was not started: see systemctl status {gpu_serving.name(target)}"
    now.proven = problem is None
    if problem is None:
        return
    # One that was proven before is the right one, and something else is wrong now.
    is_new = host.get_fact(TextFact, path=place.proven) != _identity_record(wanted)
    befores = {now.previous.get(name) for name in gpu.members}
    if is_new and len(befores) == 1 and None not in befores:
        now.failure = problem
    else:
        yield said_failure(f"{gpu.route.alias} {problem}")


@operation()
def noted(target: Target) -> Commands:
    """Note that this very server was proven, on each of its hosts."""
    place = files(target)
    identity = _identity_record(gpu_serving.service(target))
    if not (state.is_executing and _round(target).proven):
        return
    if host.get_fact(TextFact, path=place.proven) != identity:
        yield from file.write._inner(path=place.proven, content=identity.encode(), mode="600")
        yield StringCommand("rm -f", QuoteString(place.failed))


@operation()
def taken_back(target: Target) -> Commands:
    """Put the server before back, where the new one does not answer."""
    if not state.is_executing:
        return
    gpu, place, now = settings_of(target), files(target), _round(target)
    previous = _previous(target)
    if now.failure is None or previous is None:
        return
    wanted = gpu_serving.service(target)
    host.log(f"takes {gpu.route.alias} back to what was proven before")
    yield from file.write._inner(path=place.definition, content=previous.encode())
    for name in gpu_serving.environments_in(previous, target.layout)[:1]:
        yield from _linked(place.current, name)
    do = systemctl(Manager.SYSTEM)
    yield StringCommand(
        f"{do} daemon-reload; {do} reset-failed", _unit(target), f"2>/dev/null; {do} restart",
        _unit(target), "|| true",
    )  # fmt: skip
    # Last: a run that is killed before this tries the new one once more.
    record = {"identity": wanted.identity, "why": now.failure, "when": time.strftime("%F %H:%M")}
    yield from file.write._inner(
        path=place.failed, content=f"{json.dumps(record)}\n".encode(), mode="600"
    )


@operation()
def concluded(target: Target) -> Commands:
    """Say how a new server that was taken back ended, and fail: what was asked for is not there."""
    gpu, now = settings_of(target), _round(target)
    if not state.is_executing or not gpu.head or now.failure is None:
        return
    problem = _watched(target, None)
    if _lost():
        return
    after = "the one before serves again" if problem is None else f"and the one before {problem}"
    yield said_failure(
        f"{gpu.route.alias}: {gpu.engine.NAME} {gpu.version} {now.failure}. It was taken back, "
        f"{after}"
    )


@operation()
def only_needed(target: Target) -> Commands:
    """Remove the environments, programs, tokens and notes that neither what runs, nor the one
    before, nor a pull needs."""
    layout, place, served = target.layout, files(target), hub.served_from(target)
    keep = {
        *("current", gpu_serving.environment(target).name, hub.environment(target).name),
        *gpu_serving.environments_in(served, layout),
    }
    old = []
    for folder in map(layout.path, ("env", "service", "state", "lib")):
        for name in host.get_fact(EntriesFact, path=folder):
            path = f"{folder}/{name}"
            if folder == layout.path("env"):
                unwanted = name not in keep
            else:
                unwanted = name.endswith(_OURS) or name.startswith("together-")
                unwanted &= path not in served and path not in vars(place).values()
            old += [path] if unwanted else []
    if not old:
        host.noop("nothing older is left")
    for path in old:
        yield StringCommand("rm -rf", QuoteString(path))


def _running(target: Target) -> RunningService:
    running: RunningService = host.get_fact(
        RunningServiceFact,
        service=gpu_serving.name(target),
        manager=Manager.SYSTEM,
        definition=files(target).definition,
    )
    return running


def _unit(target: Target) -> QuoteString:
    return QuoteString(f"{gpu_serving.name(target)}.service")


def _allowed(target: Target) -> bool:
    """Whether the server may be started anew; where no part of it runs it may be started."""
    return settings_of(target).may_restart or not _round(target).running


def _other(target: Target) -> str | None:
    """The service of another route that runs here."""
    for one in deployed(target):
        if one.name == gpu_serving.name(target) or ".pull." in one.name:
            continue
        running: RunningService = host.get_fact(
            RunningServiceFact, service=one.name, manager=one.manager, definition=one.definition
        )
        if running.pid:
            return one.name.removeprefix(target.layout.services)
    return None


def _reasons(running: RunningService, wanted: Service) -> str:
    if not running.pid:
        return "it does not run"
    found = gpu_serving.changes(running.command, wanted.command)
    return ", ".join(found) or "its token, or its environment"


def _identity_record(wanted: Service) -> str:
    return f"{wanted.identity}\n"


def _failed_before(wanted: Service, target: Target) -> str | None:
    """Why this very server was taken back by an earlier run."""
    place = files(target)
    try:
        found = json.loads(host.get_fact(TextFact, path=place.failed) or "{}")
    except ValueError:  # a power cut
        return None
    if found.get("identity") != wanted.identity:
        return None
    return (
        f"this was tried on {found['when']} and taken back, as it {found['why']}. Change "
        f"something, or, to try the same again: sudo rm {place.failed}"
    )


def _kept(target: Target, content: bytes) -> Commands:
    """Keep the definition that is about to be replaced, where its server was proven."""
    place = files(target)
    before: str = host.get_fact(TextFact, path=place.definition)
    identity = host.get_fact(TextFact, path=place.proven).strip()
    if before and identity and identity in before and before.encode() != content:
        yield from file.write._inner(path=place.previous, content=before.encode(), mode="600")


def _previous(target: Target) -> str | None:
    """The definition that is gone back to, None where there is no other."""
    place = files(target)
    previous: str = host.get_fact(TextFact, path=place.previous)
    wanted = render.definition(gpu_serving.service(target), Manager.SYSTEM, place.definition)
    return previous if previous and previous.encode() != wanted else None


def _linked(link: str, target_name: str) -> Commands:
    """Have the link `link` lead to `target_name` beside it; it is never missing meanwhile."""
    if host.get_fact(LinkFact, path=link) == target_name:
        return
    new = QuoteString(f"{link}.new")
    yield StringCommand(
        "ln -sfn", QuoteString(target_name), new, "&& mv -fT", new, QuoteString(link)
    )


def _deferred(target: Target) -> Commands:
    """Ask the server that goes on as it was started."""
    gpu = settings_of(target)
    found = _ask(target, proofs=False)
    said = "goes on answering as it was started"
    if found["state"] not in ("answered", "context", "token"):
        said = verdict(gpu.route, found)
    report.say(host, f"{gpu.route.alias} at {gpu.route.endpoint.url} {said}")
    yield from ()


def _watched(target: Target, wanted: Service | None) -> str | None:
    """Wait until the server answers, show how far it is, and try what has to be proven; why it does
    not serve, None where it does. Without `wanted` it is the one before, of which an answer is
    enough."""
    gpu = settings_of(target)
    started = time.monotonic()
    seen, wrong_since = started, 0.0
    crashes = _running(target).restarts + (2 if gpu.place.nodes > 1 else 0)
    try:
        while True:
            found = _ask(target, proofs=False)
            waited = time.monotonic() - started
            if found["state"] not in ("refused", "loading", "failed"):
                break
            if found["state"] == "failed":
                wrong_since = wrong_since or time.monotonic()
                if _lost() or time.monotonic() - wrong_since > _WRONG_FOR:
                    break
            else:
                wrong_since = 0
            running = _running(target)
            if running.pid:
                seen = time.monotonic()
            if running.restarts > crashes or time.monotonic() - seen > _GONE_FOR:
                return _crashed(target)
            if waited > _LOAD_TIMEOUT:
                return f"is still loading after {waited / 3600:.1f} hours"
            minutes, seconds = divmod(int(waited), 60)
            how_far = _loading(target)
            progress.show(host, f"{gpu.route.alias}: {how_far}, {minutes}:{seconds:02} so far")
            gevent.sleep(_LOOK_EVERY)
    finally:
        progress.end(host)
    if wanted is None:
        usable = found["state"] in ("answered", "context", "token")
        return None if usable else verdict(gpu.route, found)
    if found["state"] != "answered":
        return verdict(gpu.route, found)
    return _tried_all(target, waited)


def _tried_all(target: Target, waited: float) -> str | None:
    gpu = settings_of(target)
    model, endpoint = gpu.route.model, gpu.route.endpoint
    for _ in range(_TRIES):  # a model may answer otherwise once, and a busy server late
        found = _ask(target, proofs=True)
        failed = [
            f"{what}: {detail}" for works, what, detail in found.get("proofs", ()) if not works
        ]
        if found["state"] == "answered" and not failed:
            break
    if found["state"] != "answered":
        return verdict(gpu.route, found)
    if failed:
        return f"is up and does not serve Claude Code: {'; '.join(failed)}"
    loaded = f", after {waited:.0f} s" if waited > _LOOK_EVERY else ""
    report.say(
        host,
        f"{gpu.route.alias} ({model.label}, {model.context:,} tokens, {gpu.engine.NAME} "
        f"{gpu.version}) answers at {endpoint.url}: {found['seconds']} s, "
        f"{found['tokens_per_second']} tokens/s{loaded}",
    )
    for _, what, detail in found["proofs"]:
        report.say(host, f"{gpu.route.alias} {what}: {detail}")
    if gpu.place.nodes > 1:
        report.say(
            host,
            f"{', '.join(gpu.members)} talk to each other unencrypted, and listen on ports of all "
            "numbers for it: let only them into that network",
        )
    if not endpoint.loopback:
        report.say(
            host,
            f"without the token these answer too, so keep others from port {endpoint.port}, by a "
            f"firewall or a proxy: {', '.join(gpu.engine.UNGUARDED)}",
        )
    return None


def _ask(target: Target, proofs: bool) -> dict[str, Any]:
    gpu, place = settings_of(target), files(target)
    endpoint = gpu.route.endpoint
    # One that was put off may have none yet.
    has_token = endpoint.token and host.get_fact(FileStateFact, path=place.token)
    # One that is put off, or was taken back, listens where its own definition says.
    definition = host.get_fact(TextFact, path=place.definition)
    port = re.search(r'"--port" "(\d+)"', definition)
    address = endpoint.address if endpoint.loopback else "127.0.0.1"
    at = replace(endpoint, host=address, port=int(port[1]) if port else endpoint.port)
    ask = {
        "url": at.url,
        "alias": gpu.route.alias,
        "context": gpu.route.model.context,
        "question": QUESTION if proofs else None,
        "max_tokens": min(_ANSWER_TOKENS, gpu.route.model.max_output),
        "timeout": _ANSWER_TIMEOUT if proofs else 10,
        "token_path": place.token if has_token else None,
        "proofs": _proofs(target) if proofs else [],
    }
    found: dict[str, Any] = host.get_fact(AnswerFact, python=target.python, ask=json.dumps(ask))
    return found


def _proofs(target: Target) -> list[str]:
    """What is to be tried: what the settings do without is not."""
    recipe = settings_of(target).recipe
    without = {"tool": not recipe.tool_call_parser, "cache": not recipe.prefix_caching}
    names = ("context", "answer", "count", "tool", "system", "cache")
    return [name for name in names if not without.get(name)]


def _lost() -> bool:
    """Whether the connection to the host broke, so that what it is asked says nothing."""
    return ctx_host.get() in state.failed_hosts


def _loading(target: Target) -> str:
    """How far the server says that it is."""
    engine = settings_of(target).engine
    steps = [step for line in _log(target, 60) if (step := engine.loading(line))]
    return steps[-1] if steps else "starting"


def _crashed(target: Target) -> str:
    lines = _log(target, _LOG_LINES)
    for line in meaningful(lines, _SHOWN_LINES):
        host.log(f"  {line}")
    cause = settings_of(target).engine.cause(lines)
    unit = gpu_serving.name(target)
    why = cause or f"its last lines are above, all of them in: journalctl -u {unit}"
    return f"does not stay up: {why}"


def _log(target: Target, count: int) -> Iterable[str]:
    lines: list[str] = host.get_fact(
        LastLogLines,
        service=gpu_serving.service(target),
        manager=Manager.SYSTEM,
        count=count,
    )
    return lines
