"""Proof at the end of a deploy: a laptop's alias is asked real questions, and answers."""

from __future__ import annotations

import json
import time
from typing import Any

import gevent
from pyinfra import host, state
from pyinfra.api import operation

from .. import claude_code, report
from .. import router as routing
from ..doctor.engine_log import meaningful
from ..engines import llama_cpp
from ..facts.engine import TextFact
from ..facts.host import AnswerFact, ClientAnswerFact
from ..facts.service import LastLogLines, RunningServiceFact
from ..model import Route
from ..serving import Supervised, server_token, supervised
from ..target import Target
from . import client, file
from .file import Commands, said_failure

QUESTION = "Name the capital of France."

#: Tokens and seconds allowed for an answer, and where a model may think first; a slow laptop reads
#: at 10 tokens/s, and the longest question has 1,100. A model too small for tools rambles.
_ANSWER_TOKENS = 64
_ANSWER_TIMEOUT = 120
_PROOF_TOKENS = 512
_PROOF_TIMEOUT = 300

#: How often all that has to be proven is tried, before it is believed not to work: a model of a
#: laptop's size does not always call a tool.
_TRIES = 3

#: Lines of a log that are read, and of them shown, where a server does not stay up.
_LOG_LINES = 200
_SHOWN_LINES = 8

#: Seconds a laptop may take to load its model, and between two lines that say it still does.
_LOAD_TIMEOUT = 900
_PROGRESS_EVERY = 15

#: Seconds that a router may take to start.
_ROUTER_TIMEOUT = 15

#: A service has crashed when it was found with another process this often, or for so many seconds
#: with none: longer than any manager waits before it starts one again, or serve.sh before it looks
#: whether there is mains power now.
_CRASHES = 3
_GONE_FOR = 20


@operation()
def answers(route: Route, target: Target) -> Commands:
    """Wait until `route` is served, ask it, and report the answer; fail with the cause in words.

    A server that was started anew since it was last proven is tried in all that Claude Code needs
    of it, and that is noted. Does nothing until the run executes.
    """
    if not state.is_executing:
        return
    wanted = supervised(route, target)
    token_path = server_token(route, target)
    found = _wait(route, target.python, token_path, wanted)
    where = f"{route.alias} at {route.endpoint.url}"
    if found["state"] == "waiting":
        report.say(
            host,
            f"{route.alias} waits for mains power (on_battery = False). To have it now plug in, or "
            "set on_battery = True",
        )
        return
    if found["state"] != "answered":
        yield said_failure(f"{where} {_cause(route, found, wanted)}")
        return
    mark = target.layout.proven(route.alias)
    identity = f"{wanted.service.identity}\n"
    proofs: list[str] = []
    if host.get_fact(TextFact, path=mark) != identity:
        tried = _tried(route, target.python, token_path)
        if failed := [one for one in tried if not one[0]]:
            said = "; ".join(_failed(what, detail) for _, what, detail in failed)
            yield said_failure(f"{where} is up and does not serve Claude Code: {said}")
            return
        proofs = [what for _, what, _ in tried]
        yield from file.write._inner(path=mark, content=identity.encode(), mode="600")
    choice = target.choices.get(route.alias)
    report.say(
        host,
        f"{route.alias} ({route.model.label}{f' {choice.quant.name}' if choice else ''}, "
        f"{route.model.context:,} tokens) answers at {route.endpoint.url}: {found['seconds']} s, "
        f"{found['tokens_per_second']} tokens/s{'; it ' if proofs else ''}{', '.join(proofs)}",
    )
    host.connector_data[_key(route)] = found


@operation()
def reachable(route: Route, target: Target) -> Commands:
    """Report whether a route that somebody else serves can be used from here; never fails."""
    if not state.is_executing:
        return
    layout = target.layout
    found = _ask(route, target.python, layout.token(route), None, ca_path=layout.ca(route))
    said = "answers" if found["state"] == "answered" else verdict(route, found)
    report.say(host, f"{route.alias} at {route.endpoint.url} {said}")
    yield from ()


def routed(route: Route, target: Target) -> str | None:
    """What is wrong with a router, whose `route` is what a session sees of it; None where it is as
    it should be: asked with its token, and without."""
    until = time.monotonic() + _ROUTER_TIMEOUT
    path = routing.secret(target.layout)
    while True:
        found = _ask(route, target.python, path, None)
        if found["state"] != "refused" or time.monotonic() > until:
            break
        gevent.sleep(0.2)
    if found["state"] != "answered":
        return verdict(route, found)
    if _ask(route, target.python, None, None)["state"] != "token":
        return "takes requests without its token"
    return None


@operation()
def shown(route: Route, target: Target) -> Commands:
    """Report question and answer, what the client answers, and what to type next."""
    layout, machine = target.layout, target.machine
    found = host.connector_data.get(_key(route))
    if not state.is_executing or found is None:
        return
    rate = f"{found['tokens']} tokens, {found['tokens_per_second']} tokens/s"
    report.say(host, f"question: {QUESTION}")
    report.say(host, f"answer:   {found['answer']} ({rate})")
    if claude := client.program(target):
        answer = host.get_fact(
            ClientAnswerFact,
            python=machine.python,
            script=layout.script(route),
            claude=claude,
            directory=layout.state,
            question=QUESTION,
            seconds=_ANSWER_TIMEOUT,
        )
        report.say(host, f"claude:   {answer}")
    else:
        report.say(host, f"claude:   not installed; type: {claude_code.by_hand()}")
    report.say(host, f"next:     open a new terminal and type: source {route.script}")
    report.say(host, "back to Anthropic: source use-anthropic.sh")
    yield from ()


def _wait(route: Route, python: str, token_path: str | None, supervised: Supervised) -> Any:
    started = told = time.monotonic()
    pids: list[int] = []
    gone_since: float | None = None
    while True:
        found = _ask(route, python, token_path, QUESTION)
        waited = time.monotonic() - started
        if found["state"] not in ("refused", "loading") or waited > _LOAD_TIMEOUT:
            return found
        pid = host.get_fact(
            RunningServiceFact,
            service=supervised.service.name,
            manager=supervised.manager,
            definition=supervised.definition,
        ).pid
        if pid is None:
            gone_since = gone_since or time.monotonic()
        else:
            gone_since = None
            if pid not in pids:
                pids.append(pid)
        if waited > _GONE_FOR and found["state"] == "refused" and _waits_for_mains(supervised):
            return {"state": "waiting", "detail": ""}
        gone = gone_since is not None and time.monotonic() - gone_since > _GONE_FOR
        if gone or len(pids) > _CRASHES:
            return {"state": "crashed", "detail": ""}
        if time.monotonic() - told > _PROGRESS_EVERY:
            told = time.monotonic()
            host.log(f"{route.alias} is {found['state']}, {waited:.0f} s so far")
        gevent.sleep(1)


def _waits_for_mains(supervised: Supervised) -> bool:
    """Whether the last that the service said is what serve.sh says on battery."""
    if "on-mains" not in supervised.service.wrapper:
        return False
    lines: list[str] = host.get_fact(
        LastLogLines, service=supervised.service, manager=supervised.manager, count=3
    )
    return any("waits for mains power" in line for line in lines)


def _ask(
    route: Route,
    python: str,
    token_path: str | None,
    question: str | None,
    proofs: tuple[str, ...] = (),
    ca_path: str | None = None,
) -> dict[str, Any]:
    tokens, timeout = _ANSWER_TOKENS, _ANSWER_TIMEOUT if question else 3
    if proofs:
        timeout = _PROOF_TIMEOUT
    if "tool" in proofs:
        tokens = _PROOF_TOKENS
    ask = {
        "url": route.endpoint.url,
        "alias": route.alias,
        "context": route.model.context,
        "question": question,
        "max_tokens": min(tokens, route.model.max_output),
        "timeout": timeout,
        "token_path": token_path,
        "ca_path": ca_path,
        "proofs": proofs,
    }
    return host.get_fact(AnswerFact, python=python, ask=json.dumps(ask))


def _tried(route: Route, python: str, token_path: str | None) -> list[tuple[bool, str, str]]:
    """All that Claude Code needs of a server: whether it works, what, and a detail."""
    recipe = route.model.laptop
    calls_tools = recipe is None or recipe.tools
    names = ("context", "answer", "count", *(("tool",) if calls_tools else ()), "system", "cache")
    tried: list[tuple[bool, str, str]] = []
    for _ in range(_TRIES):
        found = _ask(route, python, token_path, QUESTION, names)
        if found["state"] != "answered":
            return [(False, "answers", verdict(route, found))]
        tried = [(works, what, detail) for works, what, detail in found["proofs"]]
        if all(works for works, _, _ in tried):
            break
    return tried


def _failed(what: str, detail: str) -> str:
    """What a proof that failed says, and what to do about it."""
    template = "Set chat_template in group_data/laptops.py to a template for this model that "
    fix = {
        "takes a system message": "Its chat template refuses one inside a conversation, where "
        f"Claude Code has them: each turn after the first would fail. {template}takes them",
        "calls a tool": f"{template}has tools, or choose a larger quant",
    }.get(what)
    return f"{what}: {detail}{f'. {fix}' if fix else ''}"


def _cause(route: Route, found: dict[str, Any], supervised: Supervised) -> str:
    """Why a server did not answer, in words, after the lines of its log that say so."""
    lines: list[str] = host.get_fact(
        LastLogLines, service=supervised.service, manager=supervised.manager, count=_LOG_LINES
    )
    for line in meaningful(lines, _SHOWN_LINES):
        host.log(f"  {line}")
    cause = llama_cpp.cause(lines) if found["state"] == "crashed" else None
    return f"does not stay up: {cause}" if cause else verdict(route, found)


def verdict(route: Route, found: dict[str, Any]) -> str:
    """What a probe that `found` no answer says of `route`, to stand behind its name."""
    detail = found.get("detail")
    return {
        "refused": "is not up: nothing listens there",
        "name": f"cannot be found: {route.endpoint.host} has no address here. Add it to your DNS, "
        "or to /etc/hosts",
        "loading": "is still loading its model",
        "crashed": "does not stay up; its last lines are above",
        "certificate": f"has a certificate that is not trusted here: {detail}. Its signer's goes "
        "into the route's ca_file",
        "token": "takes another token",
        "alias": f"serves {detail}, and not this name",
        "context": f"holds {detail} tokens, fewer than the {route.model.context} of its settings",
    }.get(found["state"], f"does not answer: {detail}")


def _key(route: Route) -> str:
    return f"homeport answer {route.alias}"
