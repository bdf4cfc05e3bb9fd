"""Looks at the servers that this machine runs: their managers, processes, logs, and answers."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional, Union

from . import answers, managers, processes, trials
from .answers import Answers
from .asking import Reply
from .managers import Log, State
from .processes import Listener, Process, Processes
from .table import CannotTell, Context, Subject, Unknown, known
from .wanted import LLAMA_CPP, Service

#: Seconds in which it is counted how often a server is started again.
LATELY = 600


@dataclass(frozen=True)
class Seen:
    """A service, and what became of it. `reply` is what it says to the first question, None where
    it answers nobody; `answers` is there where it does. `tree` is its process and those below it,
    `others` who else listens on its port, in words, `listens` where it itself listens; `memory` the
    bytes that models may take, 0 where that is not known; `build` that of a llama.cpp that runs,
    and `addresses` what the host of its URL resolves to, where there are replicas."""

    service: Service
    manager: str
    state: Union[State, Unknown]
    log: Log
    reply: Union[Reply, Unknown, None]
    answers: Optional[Answers]
    tree: tuple[Process, ...] = ()
    listens: tuple[Listener, ...] = ()
    others: tuple[str, ...] = ()
    memory: int = 0
    build: Optional[int] = None
    addresses: tuple[str, ...] = ()
    now: float = field(default_factory=time.time)

    @property
    def process(self) -> Union[Process, Unknown]:
        if not self.tree:
            return Unknown("its process is not seen")
        return self.tree[0]

    @property
    def options(self) -> dict[str, str]:
        """What it was started with; raises `CannotTell`."""
        process = known(self.process)
        if not process.words:
            raise CannotTell("its command line is not for this user to see")
        return processes.options(process.words)

    @property
    def is_up(self) -> bool:
        return self.answers is not None

    @property
    def on_port(self) -> list[Listener]:
        return [one for one in self.listens if one.port == self.service.port]

    @property
    def lines(self) -> list[str]:
        """Of its own log, as far as it may be read."""
        return [] if isinstance(self.log, Unknown) else [one.text for one in self.log if one.own]

    @property
    def of_this_start(self) -> list[str]:
        """The same since its process was started, where its log has times."""
        if isinstance(self.log, Unknown) or not self.tree:
            return self.lines
        since = self.now - self.tree[0].age - 1
        return [one.text for one in self.log if one.own and (one.at is None or one.at >= since)]

    @property
    def restarts(self) -> int:
        log = () if isinstance(self.log, Unknown) else self.log
        return managers.restarts(log, self.now, LATELY)


def look(context: Context) -> Iterable[Subject[Seen]]:
    services, manager = context.wanted.services, context.wanted.manager
    if not services:
        return []
    with ThreadPoolExecutor(3 * len(services)) as pool:
        jobs = [
            (
                one,
                pool.submit(managers.state, one, manager),
                pool.submit(managers.log, one, manager),
                pool.submit(answers.asked, one, context.deep),
            )
            for one in services
        ]
        for _, state, _, _ in jobs:
            state.result()
        there = processes.look()  # not before the processes of these states
        memory = processes.for_models()
        seen = [
            Seen(one, manager, state.result(), log.result(), *asked.result(), memory=memory)
            for one, state, log, asked in jobs
        ]
    found = [_with_processes(one, there) for one in seen]
    return [Subject(one.service.alias, one, _values(one)) for one in found]


def _with_processes(seen: Seen, there: Processes) -> Seen:
    state, log = seen.state, seen.log
    if isinstance(state, State) and "signal" in state.failure and isinstance(log, tuple):
        log = (*log, *managers.those_of(log, managers.killed_by_kernel()))
    tree = there.below(state.pid) if isinstance(state, State) and state.pid else []
    own = [one for one in there.listeners if there.owns(one, tree)]
    port = seen.service.port
    others = [one for one in there.listeners if one.port == port and one not in own]
    url = seen.service.url
    return replace(
        seen,
        log=log,
        build=_build(seen, tree),
        addresses=tuple(trials.addresses(url)) if seen.service.replicas > 1 else (),
        tree=tuple(tree),
        listens=tuple(own),
        others=tuple(dict.fromkeys(there.who(one) for one in others)),
    )


def _values(seen: Seen) -> dict[str, str]:
    service = seen.service
    return {
        "alias": service.alias,
        "name": service.name,
        "port": str(service.port),
        "start": service.start,
        "logs": service.logs,
    }


def facts(seen: Seen) -> dict[str, str]:
    """What really runs, for a fleet to compare."""
    found = {}
    if version := version_of(seen):
        found["engine"] = version
    words = seen.tree[0].words if seen.tree else ()
    revisions = re.findall(r"/([0-9a-f]{40})(?=/|$)", "\n".join(words), re.MULTILINE)
    if revisions:
        found["weights"] = revisions[0][:12]
    if seen.answers and seen.answers.context:
        found["context"] = str(seen.answers.context)
    return found


def version_of(seen: Seen) -> str:
    """The engine that runs and its version: "vllm 0.32.0", "llama.cpp b11549"; "" where it does
    not say."""
    engine, said = seen.service.engine, seen.answers.version if seen.answers else ""
    if engine == LLAMA_CPP:
        return "llama.cpp b%d" % seen.build if seen.build else ""
    return "%s %s" % (engine, said) if said else ""


def _build(seen: Seen, tree: list[Process]) -> Optional[int]:
    """The wheel does not say it, its package does."""
    if seen.service.engine != LLAMA_CPP:
        return None
    said = seen.answers.version if seen.answers else ""
    found = re.match(r"b?([1-9]\d*)", said)
    if found:
        return int(found[1])
    program = tree[0].words[0] if tree and tree[0].words else ""
    for package in Path(program).parent.parent.glob("lib/python3*/site-packages/xllamacpp-*"):
        found = re.search(r"\.(\d+)\.dist-info$", package.name)
        if found:
            return int(found[1])
    return None
