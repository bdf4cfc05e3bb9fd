"""Proof at the end of a deploy: the alias is asked a real question, and answers."""

from __future__ import annotations

import json
import time
from typing import Any

import gevent
from pyinfra import host, state
from pyinfra.api import operation

from .. import report
from ..facts.host import AnswerFact, ClientAnswerFact, Machine
from ..facts.service import LastLogLines, RunningServiceFact
from ..layout import Layout
from ..model import Route
from ..serving import Supervised
from .file import Commands, said_failure

QUESTION = "Name the capital of France."

#: Tokens and seconds allowed for the answer; a slow laptop reads the question at 20 tokens/s.
_ANSWER_TOKENS = 64
_ANSWER_TIMEOUT = 120

#: Seconds a laptop may take to load its model, and between two lines that say it still does.
_LOAD_TIMEOUT = 900
_PROGRESS_EVERY = 15

#: A service has crashed when it was found with another process this often, or for so many seconds
#: with none: longer than any manager waits before it starts one again.
_CRASHES = 3
_GONE_FOR = 20


@operation()
def answers(route: Route, python: str, token_path: str | None, supervised: Supervised) -> Commands:
    """Wait until `route` is served, ask it, and report the answer; fail with the cause in words.

    Changes nothing, and so does nothing until the run executes.
    """
    if not state.is_executing:
        return
    found = _wait(route, python, token_path, supervised)
    if found["state"] != "answered":
        for line in host.get_fact(
            LastLogLines, service=supervised.service, manager=supervised.manager, count=8
        ):
            host.log(f"  {line}")
        sentence = f"{route.alias} at {route.endpoint.url} {verdict(route, found)}"
        yield said_failure(sentence)
        return
    report.say(
        host,
        f"{route.alias} ({route.model.label}, {route.model.context:,} tokens) answers at "
        f"{route.endpoint.url}: {found['seconds']} s, {found['tokens_per_second']} tokens/s",
    )
    host.connector_data[_key(route)] = found


@operation()
def reachable(route: Route, python: str | None, token_path: str | None) -> Commands:
    """Report whether a route that somebody else serves can be used from here; never fails."""
    if not state.is_executing or python is None:
        return
    found = _ask(route, python, token_path, None)
    said = "answers" if found["state"] == "answered" else verdict(route, found)
    report.say(host, f"{route.alias} at {route.endpoint.url} {said}")
    yield from ()


@operation()
def shown(route: Route, layout: Layout, machine: Machine) -> Commands:
    """Report question and answer, what the client answers, and what to type next."""
    if not state.is_executing:
        return
    if found := host.connector_data.get(_key(route)):
        rate = f"{found['tokens']} tokens, {found['tokens_per_second']} tokens/s"
        report.say(host, f"question: {QUESTION}")
        report.say(host, f"answer:   {found['answer']} ({rate})")
    if machine.claude is None:
        report.say(
            host,
            "claude:   not installed; with Node.js 22 or newer: "
            "npm install -g @anthropic-ai/claude-code",
        )
    else:
        answer = host.get_fact(
            ClientAnswerFact,
            python=machine.python,
            script=layout.script(route),
            claude=machine.claude,
            directory=layout.state,
            question=QUESTION,
            seconds=_ANSWER_TIMEOUT,
        )
        report.say(host, f"claude:   {answer}")
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
        gone = gone_since is not None and time.monotonic() - gone_since > _GONE_FOR
        if gone or len(pids) > _CRASHES:
            return {"state": "crashed", "detail": ""}
        if time.monotonic() - told > _PROGRESS_EVERY:
            told = time.monotonic()
            host.log(f"{route.alias} is {found['state']}, {waited:.0f} s so far")
        gevent.sleep(1)


def _ask(route: Route, python: str, token_path: str | None, question: str | None) -> dict[str, Any]:
    ask = {
        "url": route.endpoint.url,
        "alias": route.alias,
        "context": route.model.context,
        "question": question,
        "max_tokens": _ANSWER_TOKENS,
        "timeout": _ANSWER_TIMEOUT if question else 3,
        "token_path": token_path,
    }
    return host.get_fact(AnswerFact, python=python, ask=json.dumps(ask))


def verdict(route: Route, found: dict[str, Any]) -> str:
    """What a probe that `found` no answer says of `route`, to stand behind its name."""
    detail = found.get("detail")
    return {
        "refused": "is not up: nothing listens there",
        "name": f"cannot be found: {route.endpoint.host} has no address here. Add it to your DNS, "
        "or to /etc/hosts",
        "loading": "is still loading its model",
        "crashed": "does not stay up; its last lines are above",
        "token": "takes another token",
        "alias": f"serves {detail}, and not this name",
        "context": f"holds {detail} tokens, fewer than the {route.model.context} of its settings",
    }.get(found["state"], f"does not answer: {detail}")


def _key(route: Route) -> str:
    return f"homeport answer {route.alias}"
