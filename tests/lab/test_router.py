"""A workstation's router, from a bare host to removal, and on a Mac: in this order."""

from __future__ import annotations

import json
import re
import stat
from typing import Any

import pytest

from ..running import Run, wait_until
from . import homebrew
from .host import Host
from .lab import Lab

#: Who is root without a password there, as installing HAProxy needs.
USER = "ops"
DIRECTORY = f"/home/{USER}/.homeport"
UNIT = "homeport.router.service"
LABEL = "homeport.router"
PORT = 18090

GLM = {"model": "glm-5.2-fp8", "host": "glm-host", "port": 8000}
FABLE5 = {
    "model": "gemma-4-12b-coder", "host": "other-host", "port": 8001, "open_to_network": True
}  # fmt: skip
ROUTES: dict[str, Any] = {"claude-glm": GLM, "claude-fable5": FABLE5}

#: What apt and dpkg keep for themselves, and adduser: the package has a user of its own, and these
#: are the files before it went.
PACKAGING = (
    *("var/cache/apt", "var/cache/debconf", "var/lib/apt", "var/lib/dpkg"),
    *("etc/group-", "etc/gshadow-", "etc/passwd-", "etc/shadow-"),
)

#: Says who was asked, by its port, and with which token.
STUB = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        said = f"{self.server.server_port} {self.headers.get('Authorization')}"
        self.wfile.write(said.encode())

ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
"""


def serve(host: Host, *ports: int) -> None:
    host.file("/opt/stub.py").write_text(STUB)
    for port in ports:
        host.run(f"systemd-run --quiet python3 /opt/stub.py {port}")
    wait_until(lambda: all(f":{port} " in host.run("ss -Hltn") for port in ports))


class Desk:
    """The workstation as it was before, and its first run."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host, self.glm, self.other = lab.boot("desk", "glm-host", "other-host")
        self.routes = ROUTES
        serve(self.glm, 8000)
        serve(self.other, 8001, 8002)
        self.before = self.host.tree()
        self.packages = self.host.run("dpkg-query -W")

    def deploy(self, user: str = USER, **data: Any) -> Run:
        wanted = {"routes": self.routes, "router": {"port": PORT}, **data}
        groups = {"workstations": [self.host]}
        return self.lab.deploy(self.lab.inventory(groups, user=user, **wanted))

    def remove(self, user: str = USER) -> Run:
        groups = {"workstations": [self.host]}
        return self.lab.remove(self.lab.inventory(groups, user=user, routes=ROUTES))

    @property
    def pid(self) -> int | None:
        return self.host.service(UNIT, user=USER).pid

    def read(self, path: str) -> str:
        return self.host.file(f"{DIRECTORY}/{path}").read_text()

    def secret(self, name: str) -> str:
        return (self.lab.project / "secrets" / f"{name}.token").read_text().strip()

    def ask(self, model: str) -> str:
        """What the router answers to a request for `model`, with its status."""
        token = self.read("service/router.token").strip()
        words = ["curl -s --max-time 60 --write-out ' %{http_code}'"]
        words.append(f"-H 'Authorization: Bearer {token}' -H 'Content-Type: application/json'")
        words.append(f"-d '{json.dumps({'model': model})}' http://127.0.0.1:{PORT}/v1/messages")
        return self.host.run(" ".join(words), check=False)

    def left(self) -> list[str]:
        paths = self.host.difference(self.before)
        return [path for path in paths if not path.startswith(PACKAGING)]


@pytest.fixture(scope="module")
def desk(lab: Lab) -> Desk:
    return Desk(lab)


def test_who_may_not_install_haproxy_is_told_what_to_type(desk: Desk) -> None:
    run = desk.deploy(user="anna")
    assert run.status == 1
    assert (
        "there is no HAProxy on this machine, which the router is, and sudo asks for a password to "
        "install it. Type: sudo apt install haproxy && sudo systemctl disable --now haproxy; or "
        "set router = None"
    ) in run.output
    assert desk.host.difference(desk.before) == {}


def test_a_port_that_somebody_else_has(desk: Desk) -> None:
    desk.host.run(f"systemd-run --quiet --unit=other python3 -m http.server {PORT}")
    wait_until(lambda: str(PORT) in desk.host.run("ss -Hltn"))
    run = desk.deploy()
    desk.host.run("systemctl stop other")
    assert run.status == 1
    assert f"port {PORT} of the router is in use by a process of another user" in run.output
    assert desk.host.difference(desk.before) == {}


def test_the_first_run_ends_with_an_answer(desk: Desk) -> None:
    run = desk.deploy()
    assert run.status == 0, run.output
    assert (
        f"the router at http://127.0.0.1:{PORT} answers for claude-glm, claude-fable5"
    ) in run.of("desk")
    assert desk.secret("claude-glm") not in run.output
    assert desk.secret("router") not in run.output


def test_each_model_is_asked_where_it_is_with_its_own_token(desk: Desk) -> None:
    assert desk.ask("claude-glm") == f"8000 Bearer {desk.secret('claude-glm')} 200"
    assert desk.ask("claude-fable5") == "8001 None 200"
    assert desk.ask("claude-opus-4-8").endswith(" 404")


def test_secrets_are_in_files_of_the_user_alone(desk: Desk) -> None:
    router, glm = desk.read("service/router.token").strip(), desk.secret("claude-glm")
    assert desk.read("service/router.tokens") == f"claude-glm {glm}\n"
    for name in ("router.cfg", "router.token", "router.tokens"):
        file = desk.host.file(f"{DIRECTORY}/service/{name}")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    unit = desk.host.file(f"/home/{USER}/.config/systemd/user/{UNIT}").read_text()
    words = desk.host.run("ps -eo args=")
    for text in (desk.read("service/router.cfg"), unit, words, desk.read("bin/use-router.sh")):
        assert router not in text and glm not in text


def test_the_distributions_own_server_does_not_run(desk: Desk) -> None:
    assert desk.host.run("ps -C haproxy -o user=").split() == [USER]
    own = desk.host.service("haproxy.service")
    assert (own.pid, own.active, own.enabled) == (None, "inactive", "masked")
    listening = {line.split()[3] for line in desk.host.run("ss -Hltnp | grep haproxy").splitlines()}
    assert listening == {f"127.0.0.1:{PORT}"}


def test_again_nothing_changes(desk: Desk) -> None:
    pid = desk.pid
    assert desk.deploy().of("desk")[0] == "no changes"
    assert pid and desk.pid == pid


def test_another_token_and_another_route_are_taken_up(desk: Desk) -> None:
    pid = desk.pid
    (desk.lab.project / "secrets/claude-glm.token").write_text("another\n")
    assert desk.deploy().status == 0
    assert desk.ask("claude-glm") == "8000 Bearer another 200"
    assert desk.pid != pid
    pid = desk.pid
    desk.routes = {**ROUTES, "claude-fable5": {**FABLE5, "port": 8002}}
    assert desk.deploy().status == 0
    assert desk.ask("claude-fable5") == "8002 None 200"
    assert desk.pid != pid


def test_a_host_that_is_away_is_said_to_be_and_comes_back(desk: Desk) -> None:
    desk.other.cut()
    said = desk.ask("claude-fable5")
    desk.other.heal()
    assert "homeport: claude-fable5 cannot be reached (http://other-host:8002)" in said
    assert said.endswith(" 503")
    wait_until(lambda: desk.ask("claude-fable5") == "8002 None 200")


def test_it_comes_back_when_it_was_killed_and_after_a_reboot(desk: Desk) -> None:
    pid = desk.pid
    desk.host.run(f"kill -KILL {pid}")
    wait_until(lambda: desk.pid not in (pid, None))
    desk.host.reboot()
    wait_until(lambda: desk.ask("claude-fable5") == "8002 None 200")
    assert desk.deploy().of("desk")[0] == "no changes"


def test_one_that_was_stopped_is_started_again(desk: Desk) -> None:
    desk.host.run(f"systemctl --user stop {UNIT}", user=USER)
    said = desk.host.run(f"{DIRECTORY}/bin/use-router.sh --check", user=USER, check=False)
    assert f"nothing listens at http://127.0.0.1:{PORT}; start the router: systemctl" in said
    assert desk.deploy().of("desk")[0] == "1 change made"
    assert desk.host.run(f"{DIRECTORY}/bin/use-router.sh --check", user=USER) == ""


def test_without_a_router_it_goes_with_its_secrets(desk: Desk) -> None:
    run = desk.deploy(router=None)
    assert run.status == 0, run.output
    assert desk.host.run("pgrep haproxy", check=False) == ""
    left = [path for path in desk.host.tree() if re.search(r"homeport.*router", path)]
    assert [path for path in left if not path.endswith(("log/router.log", "lib/router"))] == []
    assert desk.deploy(router=None).of("desk")[0] == "no changes"


def test_removal_leaves_no_trace(desk: Desk) -> None:
    assert desk.deploy().status == 0
    run = desk.remove()
    assert run.status == 0, run.output
    assert desk.left() == []
    assert desk.host.run("dpkg-query -W") == desk.packages
    assert desk.host.run("pgrep haproxy", check=False) == ""
    assert desk.remove().of("desk")[0] == "no changes"


def test_a_haproxy_that_is_there_is_used_and_left(desk: Desk) -> None:
    desk.host.run("DEBIAN_FRONTEND=noninteractive apt-get -qq -y install haproxy")
    before, own = desk.host.tree(), desk.host.service("haproxy.service")
    run = desk.deploy(user="anna")
    assert run.status == 0, run.output
    assert "the router at http://127.0.0.1:18090 answers for" in run.output
    assert desk.remove(user="anna").status == 0
    assert desk.host.difference(before) == {}
    assert desk.host.service("haproxy.service") == own


def test_a_mac_has_it_from_homebrew(lab: Lab, desk: Desk) -> None:
    host = lab.mac("mac")
    homebrew.offer_haproxy(host.root)
    before = host.tree()
    data: dict[str, Any] = {"routes": ROUTES, "router": {"port": PORT}}
    inventory = lab.inventory({"workstations": [host]}, name="mac", **data)
    run = lab.deploy(inventory)
    assert run.status == 0, run.output
    answer = f"the router at http://127.0.0.1:{PORT} answers for claude-glm, claude-fable5"
    assert answer in run.of("mac")
    assert "state = running" in lab.login(host, "anna", f"launchctl print gui/501/{LABEL}")
    assert lab.deploy(inventory).of("mac")[0] == "no changes"
    assert lab.remove(inventory).status == 0
    assert host.difference(before) == {}
