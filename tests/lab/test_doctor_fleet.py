"""The doctor over sixteen workstations."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..running import wait_until
from .host import Host
from .lab import Lab
from .routes import CLUSTER

ROUTES = {"claude-glm": {**CLUSTER["claude-glm"], "open_to_network": True}}

#: Answers as vLLM does when it is asked for its models.
GLM = """
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"data": [{"id": "claude-glm", "max_model_len": 262144}]}).encode()
        self.send_response(200 if self.path == "/v1/models" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""


@dataclass
class Fleet:
    lab: Lab
    desks: list[Host]
    server: Host
    inventory: Path

    def doctor(self, *options: str) -> tuple[int, list[str]]:
        """The status of a run, and what it prints; what pyinfra says goes elsewhere."""
        pyinfra = str(Path(sys.executable).parent / "pyinfra")
        words = [*self.lab.network.words(), pyinfra, str(self.inventory), "doctor.py", *options]
        done = subprocess.run(
            words,
            cwd=self.lab.project,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.lab.folder / "home"),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout.splitlines()

    def as_json(self, *options: str) -> dict[str, Any]:
        status, lines = self.doctor("--json", *options)
        found: dict[str, Any] = json.loads("\n".join(lines))
        assert status == (0 if found["is_healthy"] else 1)
        return found


@pytest.fixture(scope="module")
def fleet(lab: Lab) -> Fleet:
    server, *desks = lab.boot("glm-host", *(f"desk-{number}" for number in range(1, 17)))
    command = shlex.join(["/usr/bin/python3", "-c", GLM])
    server.run(f"systemd-run --quiet --unit=glm {command}")
    wait_until(lambda: "8000" in server.run("ss -Hltn"))
    inventory = lab.inventory({"workstations": desks}, routes=ROUTES)
    run = lab.deploy(inventory)
    assert run.status == 0, run.output
    return Fleet(lab, desks, server, inventory)


def test_a_healthy_fleet_is_a_line_a_host_and_nothing_else(fleet: Fleet) -> None:
    before = fleet.desks[0].tree()
    status, lines = fleet.doctor()
    assert status == 0, lines
    said = [f"{host.name}: healthy; claude-glm is reachable in " for host in fleet.desks]
    assert [line[: len(start)] for line, start in zip(lines, said, strict=True)] == said
    assert fleet.desks[0].difference(before) == {}, "it changes nothing"


def seconds(fleet: Fleet, *options: str) -> float:
    started = time.monotonic()
    fleet.doctor(*options)
    return time.monotonic() - started


def test_sixteen_hosts_take_at_most_twice_as_long_as_the_slowest_alone(fleet: Fleet) -> None:
    """One of them waits for a server that does not answer, and the others not for that one."""
    hosts = fleet.desks[4].file("/etc/hosts")
    before = hosts.read_text()
    hosts.write_text(before.replace(fleet.server.address, "10.77.0.250"))
    alone, together = seconds(fleet, "--limit", "desk-5"), seconds(fleet)
    hosts.write_text(before)
    assert together <= 2 * alone, f"{together:.1f} s, and alone {alone:.1f} s"


def test_sixteen_hosts_without_fault_are_looked_at_side_by_side(fleet: Fleet) -> None:
    """All of them share this machine's cores with each other and with what asks them: each takes
    0.4 s of a core, and one alone 2 s in all. On two cores it is 2 to 2.7 times as long."""
    alone, together = seconds(fleet, "--limit", "desk-1"), seconds(fleet)
    assert together <= 4 * alone, f"{together:.1f} s, and alone {alone:.1f} s"


def test_what_many_have_is_said_once(fleet: Fleet) -> None:
    for host in fleet.desks:
        settings = host.file("/home/anna/.claude/settings.json")
        document = json.loads(settings.read_text())
        document["env"]["ANTHROPIC_API_KEY"] = "sk-ant-api03-left-over-from-elsewhere"
        settings.write_text(json.dumps(document))
    fleet.desks[3].cut()
    status, lines = fleet.doctor()
    fleet.desks[3].heal()
    assert status == 1
    text = "\n".join(lines)
    assert "sk-ant-api03" not in text
    (many,) = [line for line in lines if line.startswith(("error: 15 hosts", "warning: 15 hosts"))]
    assert "key" in many.lower()
    (away,) = [index for index, line in enumerate(lines) if line == "error: desk-4: not reached"]
    assert "Could not connect" in lines[away + 1]
    assert lines[away + 2].endswith("the same command with --limit desk-4")
    assert not any("healthy" in line for line in lines)


def test_only_what_differs_is_named(fleet: Fleet) -> None:
    for host in fleet.desks:
        settings = host.file("/home/anna/.claude/settings.json")
        document = json.loads(settings.read_text())
        document["env"].pop("ANTHROPIC_API_KEY", None)
        settings.write_text(json.dumps(document))
    noted = fleet.desks[0].file("/home/anna/.homeport/state/doctor.json")
    document = json.loads(noted.read_text())
    document["wanted"]["homeport"] = "0.0.1"
    noted.write_text(json.dumps(document))
    script = fleet.desks[1].file("/home/anna/.homeport/bin/use-glm.sh")
    script.write_text(script.read_text().replace("glm-host", "other-host"))
    found = fleet.as_json()
    groups = {group["check"]: group["hosts"] for group in found["groups"]}
    assert set(groups) == {"version-skew", "deploy-due", "file-changed"}
    assert list(groups["version-skew"]) == ["desk-1"]
    assert "homeport 0.0.1 -> 0.1.0" in groups["deploy-due"]["desk-1"]["symptom"]
    assert "use-glm.sh" in groups["file-changed"]["desk-2"]["symptom"]


def test_the_deploy_that_it_names_mends_it(fleet: Fleet) -> None:
    run = fleet.lab.deploy(fleet.inventory, "--limit", "desk-1", "--limit", "desk-2")
    assert run.status == 0, run.output
    assert fleet.as_json()["is_healthy"]


def test_what_deploy_would_change_is_said_before(fleet: Fleet) -> None:
    text = fleet.inventory.read_text()
    fleet.inventory.write_text(text.replace("'port': 8000", "'port': 8000, 'max_output': 9000"))
    found = fleet.as_json("--limit", "desk-1")
    fleet.inventory.write_text(text)
    symptoms = [group["hosts"]["desk-1"]["symptom"] for group in found["groups"]]
    (due,) = [one for one in symptoms if one.startswith("deploy.py would change: ")]
    assert due.endswith("claude-glm: max_output 20000 -> 9000")


def test_a_server_that_is_down_is_one_line_for_all_of_its_clients(fleet: Fleet) -> None:
    fleet.server.run("systemctl stop glm")
    found = fleet.as_json()
    (group,) = [one for one in found["groups"] if one["about"] == "claude-glm"]
    assert len(group["hosts"]) == 16
    assert group["check"] == "refused"


def test_nothing_is_deployed_yet(fleet: Fleet) -> None:
    (bare,) = fleet.lab.boot("bare")
    inventory = fleet.lab.inventory({"workstations": [bare]}, name="bare", routes=ROUTES)
    found = Fleet(fleet.lab, [bare], fleet.server, inventory).as_json()
    assert "not-deployed" in [group["check"] for group in found["groups"]]
