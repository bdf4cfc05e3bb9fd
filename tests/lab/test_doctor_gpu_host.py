"""What the doctor says of a GPU host with the real vLLM (CPU build), as it should be and broken."""

from __future__ import annotations

import json
from typing import Any

import pytest

from homeport.doctor import metrics

from ..running import wait_until
from .gpu import ALIAS, CONTEXT, DIRECTORY, UNIT, Cluster
from .host import Host

UNIT_FILE = f"/etc/systemd/system/{UNIT}"


class Gpu:
    """The host, deployed once."""

    def __init__(self, cluster: Cluster) -> None:
        self.host: Host = cluster.lab.host("gpu", disk="10G")
        self.first = cluster.lab.deploy(cluster.inventory(self.host))

    def doctor(self, *options: str, user: str = "root") -> dict[str, Any]:
        command = f"{DIRECTORY}/bin/homeport-doctor --json {' '.join(options)}"
        report: dict[str, Any] = json.loads(self.host.run(command, user, check=False))
        return report

    def found(self, *options: str) -> dict[str, dict[str, Any]]:
        """What it finds of the server, by the check; that it is late says what else this machine
        is doing."""
        findings = [one for one in self.doctor(*options)["findings"] if one["about"] == ALIAS]
        return {one["check"]: one for one in findings if one["check"] != "answers-late"}

    def counts(self) -> str:
        return self.host.run("curl -s http://127.0.0.1:8000/metrics", check=False)


@pytest.fixture(scope="module")
def gpu(cluster: Cluster) -> Gpu:
    return Gpu(cluster)


def test_a_healthy_server(gpu: Gpu) -> None:
    assert gpu.first.status == 0, gpu.first.output
    report: dict[str, Any] = {}

    def is_healthy() -> bool:
        """Other tests run beside this one: it may be late once."""
        report.update(gpu.doctor())
        about = [one["about"] for one in (*report["findings"], *report["unchecked"])]
        return ALIAS not in about

    wait_until(is_healthy)
    (said,) = [one for one in report["healthy"] if one.startswith(ALIAS)]
    assert said.startswith(f"{ALIAS} answers at http://gpu:8000 in ")
    facts = report["facts"][ALIAS]
    assert (facts["engine"], facts["context"]) == ("vllm 0.32.0", str(CONTEXT))
    assert len(facts["weights"]) == 12


def test_a_deep_look_has_a_tool_called(gpu: Gpu) -> None:
    assert gpu.found("--deep") == {}


def test_what_it_counts_has_the_names_that_the_doctor_knows(gpu: Gpu) -> None:
    load = metrics.load("vllm", gpu.counts())
    assert None not in (load.running, load.waiting, load.cache_use, load.asked, load.preempted)
    assert load.hits, "the doctor's own requests have found their beginnings"


def test_what_another_user_may_not_see_is_said(gpu: Gpu) -> None:
    """The token is root's, and without it nobody says that all is well."""
    state = f"{DIRECTORY}/state/doctor.json"
    gpu.host.run(f"mkdir -p /tmp/own/lib /tmp/own/state; "
                 f"cp {DIRECTORY}/lib/doctor.pyz /tmp/own/lib; cp {state} /tmp/own/state; "
                 "chmod -R a+rX /tmp/own")  # fmt: skip
    said = gpu.host.run("python3 /tmp/own/lib/doctor.pyz --json", "anna", check=False)
    report = json.loads(said)
    whys = [one["why"] for one in report["unchecked"] if one["about"] == ALIAS]
    assert any("its token cannot be read: " in why for why in whys), report
    assert not [one for one in report["healthy"] if one.startswith(ALIAS)]


def test_started_with_other_options(gpu: Gpu) -> None:
    """In one start, as each takes half a minute: how far it is, and then all that is wrong."""
    file = gpu.host.file(UNIT_FILE)
    text = file.read_text()
    for old, new in (
        (' "--enable-auto-tool-choice" "--tool-call-parser" "glm47"', ""),
        ('"--reasoning-parser" "glm45"', '"--reasoning-parser" "qwen3"'),
        ('"--enable-prefix-caching"', '"--no-enable-prefix-caching"'),
        ('"--host" "0.0.0.0"', '"--host" "127.0.0.1"'),
        (f'"--max-model-len" "{CONTEXT}"', '"--max-model-len" "32768"'),
    ):
        assert old in text, text
        text = text.replace(old, new)
    file.write_text(text)
    gpu.host.run(f"systemctl daemon-reload; systemctl restart {UNIT}")

    finding = gpu.found()["server-loading"]
    assert f"{ALIAS} is still loading: " in finding["symptom"]
    assert ", for 0:00:" in finding["symptom"]
    steps = set()

    def is_up() -> bool:
        loading = gpu.found().get("server-loading", {})
        steps.add(loading.get("symptom", "").partition(": ")[2].partition(", for")[0])
        return not loading

    wait_until(is_up, 400)
    assert any(step.startswith(("loading weights", "warming up")) for step in steps), steps
    found = gpu.found()
    assert set(found) == {
        "tools-not-chosen",
        "tool-parser",
        "reasoning-parser",
        "prefix-cache-off",
        "loopback-only",
        "context-smaller",
        "context-small",
    }
    assert "no --tool-call-parser" in found["tool-parser"]["cause"]
    assert "--reasoning-parser qwen3" in found["reasoning-parser"]["cause"]
    assert "--no-enable-prefix-caching" in found["prefix-cache-off"]["cause"]
    assert "holds 32,768 tokens" in found["context-smaller"]["symptom"]


def test_a_parser_that_nobody_knows(gpu: Gpu) -> None:
    """vLLM takes the name, and dies of it half a minute later."""
    file = gpu.host.file(UNIT_FILE)
    file.write_text(file.read_text().replace('"qwen3"', '"qwen33"'))
    gpu.host.run(f"systemctl daemon-reload; systemctl restart {UNIT}")
    wait_until(lambda: "server-crashed" in gpu.found(), 400)
    finding = gpu.found()["server-crashed"]
    assert finding["cause"] == "the name of a parser is wrong"
    assert finding["fix"].startswith("set tool_call_parser and reasoning_parser in `serving`; then")
