"""When a GPU host's server is started anew, kept, or taken back, for one host and for two.

The operations are the real ones; the hosts are dictionaries of files and one process each, so that
every order of events can be had in milliseconds. tests/lab/ has real ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from homeport import gpu_serving
from homeport.facts.service import RunningService
from homeport.layout import Layout
from homeport.operations import engine
from homeport.pins import Pin
from homeport.remote.pull import File
from homeport.service import Service
from homeport.settings import HostData, of
from homeport.target import Target
from homeport.weights import HubWeights

from .test_gpu_settings import SHARED, Peer, origin
from .test_handshake import MACHINE

STEPS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("tried", {}),
    ("stopped", {}),
    ("started", {"head": False}),
    ("started", {"head": True}),
    ("remembered", {}),
    ("proven", {}),
    ("noted", {}),
    ("taken_back", {}),
    ("concluded", {}),
)

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def good(ask: dict[str, Any]) -> dict[str, Any]:
    proofs = [[True, name, "fine"] for name in ask["proofs"]]
    return {"state": "answered", "proofs": proofs, "seconds": 1, "tokens_per_second": 1}


def bad(ask: dict[str, Any]) -> dict[str, Any]:
    return {**good(ask), "proofs": [[False, name, "broken"] for name in ask["proofs"]]}


@dataclass
class Box:
    """A host: its files, links, and the server's process with the definition it was started by."""

    name: str
    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    process: RunningService = field(default_factory=RunningService)
    starts: int = 0
    refuses_to_start: bool = False

    def start(self, definition: str) -> None:
        if self.refuses_to_start:
            return
        text = self.files[definition]
        found = re.search(r"HOMEPORT_SERVICE=(\S+)", text)
        line = re.search(r"^ExecStart=:(.*)$", text, re.MULTILINE)
        assert found and line
        words = tuple(re.findall(r'"([^"]*)"', line[1]))
        self.process = RunningService(1, found[1], words, True)
        self.starts += 1

    def get_fact(self, fact: type, **arguments: Any) -> Any:
        match fact.__name__:
            case "TextFact":
                return self.files.get(arguments["path"], "")
            case "LinkFact":
                return self.links.get(arguments["path"], "")
            case "FileStateFact":
                return None
            case "RunningServiceFact":
                return self.process
            case "EngineCheckFact":
                return {"problem": None, "version": "0.32.0"}
            case "EntriesFact" | "LastLogLines":
                return []
        raise AssertionError(fact)

    def log(self, *_: Any) -> None: ...

    def noop(self, *_: Any) -> None: ...


class Fleet:
    """Hosts that serve one model, and runs over them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.boxes = {name: Box(name) for name in names}
        self.answer: Answer = good
        self.said: list[str] = []
        self._patch = monkeypatch
        self._now = next(iter(self.boxes.values()))
        patch = monkeypatch.setattr
        patch(engine, "state", SimpleNamespace(is_executing=True, failed_hosts=set()))
        patch(engine, "ctx_host", SimpleNamespace(get=lambda: self._now.name))
        patch(engine, "deployed", lambda target: [])
        patch(engine, "_ask", lambda target, proofs: self.answer(self._asked(target, proofs)))
        patch(engine, "_linked", self._linked)
        patch(engine.file.write, "_inner", self._written)
        patch(engine.service.converged, "_inner", self._converged)
        patch(engine.report, "say", lambda host, sentence: self.said.append(sentence))
        patch(engine.gevent, "sleep", lambda seconds: None)

    def run(self, answer: Answer = good, stop_after: int = 10**6, **values: Any) -> list[str]:
        """A deploy with `values`, killed after so many commands; the hosts on which it failed."""
        self.answer, failed, commands = answer, [], 0
        self.said.clear()
        engine._rounds.clear()
        targets = self.targets(**values)
        for step, arguments in STEPS:
            for name, box in self.boxes.items():
                if name in failed:
                    continue
                self._now = box
                self._patch.setattr(engine, "host", box)
                operation = getattr(engine, step)
                for command in operation._inner(target=targets[name], **arguments):
                    self._carried_out(str(command), box, targets[name])
                    commands += 1
                    if commands >= stop_after:
                        return ["killed"]
                    if "exit 1" in str(command):
                        failed.append(name)
                        break
        return failed

    def targets(
        self, context: int = 262_144, revision: str = "a", **more: Any
    ) -> dict[str, Target]:
        glm = {"model": "glm-5.2-fp8", "host": "glm-host", "port": 8000, "open_to_network": True}
        data = {**SHARED, "routes": {"claude-glm": {**glm, "context": context}}, **more}
        peers = tuple(
            Peer(name, {**data, "address": f"10.0.0.{number}"}, origin)
            for number, name in enumerate(self.boxes, 1)
        )
        found = {}
        for peer in peers:
            settings = of(HostData(peer.name, ("gpu_hosts",), peer.values, origin, peers))
            assert settings.gpu
            file = File("config.json", 7, "sha256", revision * 64)
            weights = HubWeights("a/b", ("*",), 1, Pin("a/b", revision * 40, (file,)))
            route = settings.gpu.route
            route = replace(route, model=replace(route.model, weights=weights))
            gpu = replace(settings.gpu, route=route)
            layout = Layout.under("/root", "/srv/homeport")
            found[peer.name] = Target(replace(settings, gpu=gpu), MACHINE, layout)
        return found

    def contexts(self) -> list[str]:
        """What each host's server was told to hold."""
        commands = [box.process.command for box in self.boxes.values()]
        return [words[words.index("--max-model-len") + 1] for words in commands if words]

    def _asked(self, target: Target, proofs: bool) -> dict[str, Any]:
        return {"proofs": engine._proofs(target) if proofs else []}

    def _written(self, path: str, content: bytes, mode: str = "644") -> Iterator[str]:
        if self._now.files.get(path) != content.decode():
            self._now.files[path] = content.decode()
            yield f"write {path}"

    def _linked(self, link: str, to: str) -> Iterator[str]:
        self._now.links[link] = to
        yield from ()

    def _converged(self, service: Service, definition: str, **_: Any) -> Iterator[str]:
        if not self._now.process.is_right(service):
            yield "restart"

    def _carried_out(self, command: str, box: Box, target: Target) -> None:
        place = gpu_serving.files(target)
        if "systemctl stop" in command:
            box.process = RunningService()
        elif "restart" in command:
            box.start(place.definition)
        elif "rm -f" in command:
            box.files.pop(place.failed, None)


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    return Fleet(monkeypatch, "one")


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    return Fleet(monkeypatch, "one", "two")


def test_nothing_is_started_anew_that_runs_as_it_should(one: Fleet) -> None:
    assert one.run() == []
    assert one.run() == []
    assert one.boxes["one"].starts == 1


def test_a_first_server_that_does_not_serve_stays_for_somebody_to_mend(one: Fleet) -> None:
    assert one.run(bad) == ["one"]
    assert "does not serve Claude Code" in one.said[-1]
    assert one.run(context=200_000) == []


def test_a_new_server_that_does_not_serve_is_taken_back_once(one: Fleet) -> None:
    assert one.run() == []
    assert one.run(bad, context=200_000) == ["one"]
    assert one.contexts() == ["262144"]
    starts = one.boxes["one"].starts
    assert one.run(context=200_000) == ["one"]
    assert "taken back, as it is up and does not serve Claude Code" in one.said[-1]
    assert one.boxes["one"].starts == starts
    assert one.run(context=150_000) == []


def test_a_proven_server_is_not_taken_back(one: Fleet) -> None:
    for context in (262_144, 200_000):
        assert one.run(context=context) == []
    assert one.run(bad, context=200_000) == ["one"]
    assert one.contexts() == ["200000"]
    assert one.run(context=200_000) == []
    assert one.boxes["one"].starts == 2


def test_the_old_server_does_not_prove_the_new_one(one: Fleet) -> None:
    """Where systemd refuses the restart, the old process goes on and answers."""
    assert one.run() == []
    one.boxes["one"].refuses_to_start = True
    assert one.run(context=200_000) == ["one"]
    assert "was not started: see systemctl status homeport.claude-glm" in one.said[-1]
    one.boxes["one"].refuses_to_start = False
    assert one.run() == []


def test_a_run_that_is_killed_anywhere_is_repaired_by_the_next(one: Fleet) -> None:
    """Of an upgrade that does not answer: what is left is always the server that was proven."""
    for commands in range(1, 30):
        one.boxes["one"] = Box("one")
        assert one.run() == []
        if one.run(bad, commands, context=200_000) != ["killed"]:
            break
        one.run(bad, context=200_000)
        assert one.contexts() == ["262144"], commands
        assert one.run() == [], commands
    assert commands > 4


def test_restart_never_puts_it_off(one: Fleet) -> None:
    assert one.run() == []
    assert one.run(context=200_000, restart="never") == []
    assert one.contexts() == ["262144"]
    assert "is due for a restart, which restart=never puts off: max_model_len" in one.said[0]
    one.boxes["one"].process = RunningService()
    assert one.run(context=200_000, restart="never") == []
    assert one.contexts() == ["200000"]


def test_two_hosts_start_anew_and_go_back_together(pair: Fleet) -> None:
    assert pair.run(nodes=2) == []
    assert pair.run(bad, nodes=2, context=200_000) == ["one"]
    assert pair.contexts() == ["262144", "262144"]
    assert [box.starts for box in pair.boxes.values()] == [3, 3]
    assert pair.run(nodes=2) == []
    assert [box.starts for box in pair.boxes.values()] == [3, 3]


def test_from_replicas_to_one_model_and_back(pair: Fleet) -> None:
    assert pair.run(replicas=2) == []
    assert pair.run(bad, nodes=2) == ["one"]
    assert pair.run(replicas=2) == []
    assert all("--nnodes" not in box.process.command for box in pair.boxes.values())


def test_hosts_do_not_go_back_to_different_servers(pair: Fleet) -> None:
    assert pair.run(nodes=2) == []
    assert pair.run(nodes=2, context=200_000) == []
    proven = gpu_serving.files(pair.targets(nodes=2)["two"]).proven
    pair.boxes["two"].files[proven] = "lost before it could be noted\n"
    assert pair.run(bad, nodes=2, context=150_000) == ["one"]
    assert pair.contexts() == ["150000", "150000"]
    assert pair.run(nodes=2, context=200_000) == []


def test_where_one_host_is_not_ready_the_other_goes_on(
    pair: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pair.run(nodes=2) == []
    failing = pair.targets(nodes=2, context=200_000)["two"]
    record = json.dumps(
        {"identity": gpu_serving.service(failing).identity, "when": "today", "why": "failed"}
    )
    pair.boxes["two"].files[gpu_serving.files(failing).failed] = record
    assert pair.run(nodes=2, context=200_000) == ["two", "one"]
    assert "two did not get this far. Nothing was switched" in pair.said[-1]
    assert pair.contexts() == ["262144", "262144"]
    assert [box.starts for box in pair.boxes.values()] == [1, 1]


def test_restart_never_holds_for_all_hosts_of_a_model(pair: Fleet) -> None:
    assert pair.run(nodes=2) == []
    pair.boxes["two"].process = RunningService()
    assert pair.run(nodes=2, context=200_000, restart="never") == []
    assert pair.contexts() == ["262144"]
