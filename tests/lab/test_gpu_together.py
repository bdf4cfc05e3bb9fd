"""Two GPU hosts: two replicas of a model, then one model over both; with the real vLLM."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ..running import Run, wait_until
from ..serving.stack import BROKEN, VERSION
from .gpu import ALIAS, DIRECTORY, UNIT, Cluster
from .host import Host

#: Each host holds a layer. The CPU build splits a model so only where it goes through the compiler,
#: which here is told to compile nothing.
SPLIT: dict[str, Any] = {
    "nodes": 2,
    "engine_arguments": ["--dtype", "float32", "-cc.mode=2", "-cc.backend=eager"],
}


class Pair:
    """Two hosts, as they were before."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.lab = cluster, cluster.lab
        self.one, self.two = (self.lab.host(name, disk="10G") for name in ("one", "two"))

    def deploy(self, *options: str, **data: Any) -> Run:
        return self.lab.deploy(self.cluster.inventory(self.one, self.two, **data), *options)

    @property
    def pids(self) -> list[int | None]:
        return [host.service(UNIT).pid for host in (self.one, self.two)]


@pytest.fixture(scope="module")
def pair(cluster: Cluster) -> Pair:
    return Pair(cluster)


def asked(host: Host, token: str) -> str:
    """What the server of `host` says to a real question, or curl's error."""
    message = {"role": "user", "content": "Hi"}
    body = json.dumps({"model": ALIAS, "max_tokens": 100, "messages": [message]})
    return host.run(
        f"curl -sS -H 'Authorization: Bearer {token}' http://127.0.0.1:8000/v1/messages "
        f"-H 'Content-Type: application/json' -d '{body}' 2>&1",
        check=False,
    )


def test_two_replicas_each_serve_the_whole_model(pair: Pair) -> None:
    run = pair.deploy(replicas=2)
    assert run.status == 0, run.output
    for name in ("one", "two"):
        assert any(f"{ALIAS} reuses its prefix cache: " in line for line in run.of(name))
    for host in (pair.one, pair.two):
        assert "Paris" in asked(host, pair.cluster.token)


def test_one_model_over_both(pair: Pair) -> None:
    run = pair.deploy(**SPLIT)
    assert run.status == 0, run.output
    assert any(f"{ALIAS} reuses its prefix cache: " in line for line in run.of("one"))
    assert any("one, two talk to each other unencrypted" in line for line in run.of("one"))
    assert "Paris" in asked(pair.one, pair.cluster.token)
    # Requests are answered by the first only.
    assert "refused" in asked(pair.two, pair.cluster.token) or "connect" in asked(pair.two, "")
    lines = [host.run(f"systemctl cat {UNIT}") for host in (pair.one, pair.two)]
    assert ['"--node-rank" "0"' in lines[0], '"--node-rank" "1"' in lines[1]] == [True, True]
    assert '"--headless"' in lines[1]
    assert '"--headless"' not in lines[0]


def test_again_nothing_is_changed(pair: Pair) -> None:
    pids = pair.pids
    run = pair.deploy(**SPLIT)
    assert [run.of(name)[0] for name in ("one", "two")] == ["no changes", "no changes"]
    assert pair.pids == pids


def test_an_upgrade_that_does_not_answer_is_taken_back_on_both(pair: Pair) -> None:
    run = pair.deploy(version=BROKEN, **SPLIT)
    assert run.status == 1
    assert "It was taken back, the one before serves again" in run.of("one")[-1]
    assert "Paris" in asked(pair.one, pair.cluster.token)
    assert pair.deploy(**SPLIT).status == 0
    for host in (pair.one, pair.two):
        link = host.file(f"{DIRECTORY}/env/current").readlink().name
        assert link.startswith(f"vllm-{VERSION}-")


def test_half_of_a_model_is_not_deployed(pair: Pair) -> None:
    run = pair.deploy("--limit", "two", **SPLIT)
    assert run.status == 1
    assert "--limit leaves out one, and claude-glm is served by one and two together" in run.output


def test_where_one_ends_both_start_again(pair: Pair) -> None:
    """By itself the engine would wait for the lost part for ever, in either direction."""
    head, _ = pair.pids
    pair.two.run("pkill -9 -u homeport")
    wait_until(lambda: None not in pair.pids and pair.pids[0] != head)
    wait_until(lambda: "Paris" in asked(pair.one, pair.cluster.token), 400)
    pids = pair.pids
    run = pair.deploy(**SPLIT)
    assert [run.of(name)[0] for name in ("one", "two")] == ["no changes", "no changes"]
    assert pair.pids == pids


def test_they_are_removed_together(pair: Pair) -> None:
    run = pair.lab.remove(pair.cluster.inventory(pair.one, pair.two, **SPLIT))
    assert run.status == 0, run.output
    for host in (pair.one, pair.two):
        assert host.run("getent passwd homeport", check=False) == ""
        assert "gcc" not in host.run("dpkg-query -W -f '${Package} '").split()
