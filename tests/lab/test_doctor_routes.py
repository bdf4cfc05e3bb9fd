"""A workstation and the server of its routes, broken in one way after the other: what is found."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .. import certificates
from .host import Host
from .lab import Lab

ROUTES: dict[str, Any] = {
    "claude-glm": {"model": "glm-5.2-fp8", "host": "glm", "port": 8000, "token_file": "token"},
    "claude-tls": {
        **{"model": "glm-5.2-fp8", "host": "glm", "port": 8443, "token_file": "token"},
        **{"tls": True, "ca_file": "ca.pem"},
    },
}
TOKEN = "geheim-0123456789"
KEY = "sk-ant-api03-abcdefghijklmnop"
FOLDER = "/home/anna/.homeport"
OF_ROUTES = ("claude", *ROUTES)

#: Stands for vLLM and what is in front of it: server.py ADDRESS PORT [plain|old]. What it says is
#: in /root/says.json; on port 8443 it speaks TLS with /root/served.pem.
SERVER = """
import json, ssl, sys, time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        says = json.load(open("/root/says.json"))
        right = self.headers["Authorization"] == "Bearer " + says["token"]
        self.send_response_only(says["status"] if right else 401)
        self.send_header("Date", formatdate(time.time() + says["ahead"], usegmt=True))
        self.end_headers()
        served = [{"id": name, "owned_by": "vllm", "max_model_len": says["context"]}
                  for name in says["serves"]]
        self.wfile.write(json.dumps({"data": served}).encode())

server = ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
if sys.argv[2] == "8443" and "plain" not in sys.argv:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/root/served.pem")
    if "old" in sys.argv:
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
SAYS = {
    "status": 200, "token": TOKEN, "serves": list(ROUTES), "context": 262_144, "ahead": 0,
}  # fmt: skip


@dataclass
class Fleet:
    lab: Lab
    desk: Host
    glm: Host
    inventory: Path

    def finds(self, start: str = "", about: tuple[str, ...] = OF_ROUTES) -> dict[str, Any]:
        """What the desk's own doctor finds of the routes and of where a claude goes, by its checks;
        `start` comes before it in the shell."""
        typed = f"{start} {FOLDER}/bin/homeport-doctor --json"
        self.report = json.loads(self.desk.run(typed, "anna", check=False))
        return {one["check"]: one for one in self.report["findings"] if one["about"] in about}

    def glm_alone(self) -> list[str]:
        return list(self.finds(about=("claude-glm",)))

    def tls_alone(self) -> list[str]:
        return list(self.finds(about=("claude-tls",)))

    @contextmanager
    def saying(self, **changed: Any) -> Iterator[None]:
        said = self.glm.file("/root/says.json")
        said.write_text(json.dumps({**SAYS, **changed}))
        try:
            yield
        finally:
            said.write_text(json.dumps(SAYS))

    def serve(self, port: int, address: str = "0.0.0.0", *options: str) -> None:
        words = shlex.join([address, str(port), *options])
        self.stop(port)
        self.glm.run(f"systemd-run --quiet --unit=glm-{port} python3 /root/server.py {words}")
        self.glm.run(f"until ss -Hltn 'sport = :{port}' | grep -q :; do sleep 0.05; done")

    def stop(self, port: int) -> None:
        self.glm.run(f"systemctl stop glm-{port}; systemctl reset-failed glm-{port}", check=False)

    def certificate(self, *names: str, trusted: bool = True, **options: Any) -> None:
        """Have the server use another one, from a signer that the desk trusts or not."""
        folder = self.lab.folder / "tls"
        folder.mkdir(exist_ok=True)
        ca, _ = certificates.authority(folder, *names, **options)
        self.glm.file("/root/served.pem").write_bytes((folder / "served.pem").read_bytes())
        if trusted:
            self.desk.file(f"{FOLDER}/routes/claude-tls.pem").write_bytes(ca)


@pytest.fixture(scope="module")
def fleet(lab: Lab) -> Fleet:
    desk, glm = lab.boot("desk", "glm")
    folder = lab.folder / "ca"
    folder.mkdir()
    ca, _ = certificates.authority(folder, "glm", valid=(-1, 90))
    (lab.project / "ca.pem").write_bytes(ca)
    (lab.project / "token").write_text(TOKEN)
    glm.file("/root/server.py").write_text(SERVER)
    glm.file("/root/says.json").write_text(json.dumps(SAYS))
    glm.file("/root/served.pem").write_bytes((folder / "served.pem").read_bytes())
    inventory = lab.inventory({"workstations": [desk]}, routes=ROUTES)
    fleet = Fleet(lab, desk, glm, inventory)
    fleet.serve(8000)
    fleet.serve(8443)
    run = lab.deploy(inventory)
    assert run.status == 0, run.output
    return fleet


def test_all_is_well(fleet: Fleet) -> None:
    assert fleet.finds() == {}
    said = [one.partition(" in ")[0] for one in fleet.report["healthy"]]
    assert {"claude-glm is reachable", "claude-tls is reachable"} <= set(said)
    assert fleet.report["seconds"] < 3
    assert fleet.report["facts"]["claude-glm"]["context"] == "262144"
    assert TOKEN not in json.dumps(fleet.report)


# The way there


def test_a_server_that_is_not_started(fleet: Fleet) -> None:
    fleet.stop(8000)
    found = fleet.finds()
    assert list(found) == ["refused"]
    assert found["refused"]["symptom"] == "nothing listens at http://glm:8000"


def test_a_server_on_its_own_loopback(fleet: Fleet) -> None:
    fleet.serve(8000, "127.0.0.1")
    found = fleet.finds()
    assert list(found) == ["refused"] and "its own loopback" in found["refused"]["cause"]
    shown = found["refused"]["fix"].partition("what listens: ")[2]
    assert "127.0.0.1:8000" in fleet.glm.run(shown), "what is to be typed there shows it"
    fleet.serve(8000)


def test_a_firewall(fleet: Fleet) -> None:
    # What the server answers from that port goes nowhere.
    rule = "ipproto 6 sport 8000 blackhole"
    fleet.glm.run(f"ip rule add {rule} priority 1")
    try:
        assert fleet.glm_alone() == ["port-silent"]
    finally:
        fleet.glm.run(f"ip rule del {rule}")


def test_a_host_that_is_off(fleet: Fleet) -> None:
    fleet.glm.cut()
    assert fleet.glm_alone() == ["host-silent"]
    unmade = [one for one in fleet.report["unchecked"] if one["about"] == "claude-glm"]
    assert unmade and unmade[0]["why"] == "http://glm:8000 does not list its models"
    fleet.glm.heal()


def test_a_machine_without_a_network(fleet: Fleet) -> None:
    fleet.desk.run("ip link set host0 down")
    assert fleet.glm_alone() == ["no-network"]
    fleet.desk.run("ip link set host0 up")
    fleet.desk.wait_until_up()


def test_a_name_without_an_address(fleet: Fleet) -> None:
    hosts, switch = fleet.desk.file("/etc/hosts"), fleet.desk.file("/etc/nsswitch.conf")
    known, asked = hosts.read_text(), switch.read_text()
    hosts.write_text("127.0.0.1 localhost\n")
    switch.write_text("hosts: files\n")
    assert fleet.glm_alone() == ["name-unknown"]
    switch.write_text("hosts: files dns\n")
    assert fleet.glm_alone() == ["dns-silent"], "no DNS server answers in the lab"
    hosts.write_text(known)
    switch.write_text(asked)


# TLS


@pytest.mark.parametrize(
    ("names", "valid", "trusted", "check"),
    [
        (["glm"], (-9, -2), True, "cert-expired"),
        (["glm"], (2, 90), True, "cert-early"),
        (["glm"], (-1, 5), True, "cert-expiring"),
        (["other"], (-1, 90), True, "cert-name"),
        (["glm"], (-1, 90), False, "cert-unknown"),
    ],
)
def test_certificates(
    fleet: Fleet, names: list[str], valid: tuple[float, float], trusted: bool, check: str
) -> None:
    fleet.certificate(*names, valid=valid, trusted=trusted)
    fleet.serve(8443)
    assert fleet.tls_alone() == [check]


def test_tls_that_is_not_what_the_route_says(fleet: Fleet) -> None:
    fleet.certificate("glm", valid=(-1, 90))
    fleet.serve(8443, "0.0.0.0", "plain")
    assert fleet.tls_alone() == ["https-to-http"]
    fleet.serve(8443, "0.0.0.0", "old")
    assert fleet.tls_alone() == ["tls-old"]
    fleet.serve(8443)
    settings = fleet.desk.file(f"{FOLDER}/state/doctor.json")
    told = settings.read_text()
    settings.write_text(told.replace("https://glm:8443", "http://glm:8443"))
    assert "http-to-https" in fleet.tls_alone()
    settings.write_text(told)


# The answer


def test_a_server_that_hangs(fleet: Fleet) -> None:
    fleet.glm.run("systemctl kill --signal=STOP glm-8000")
    found = fleet.glm_alone()
    fleet.glm.run("systemctl kill --signal=CONT glm-8000")
    assert found == ["no-answer"]


def test_a_port_of_something_else(fleet: Fleet) -> None:
    state = fleet.desk.file(f"{FOLDER}/state/doctor.json")
    told = state.read_text()
    state.write_text(told.replace("glm:8000", "glm:22").replace("glm:8443", "glm:22"))
    found = fleet.finds()
    state.write_text(told)
    assert {"no-http", "tls-other"} <= set(found)


@pytest.mark.parametrize(
    ("says", "check"),
    [
        ({"token": "another"}, "token-refused"),
        ({"status": 503}, "loading"),
        ({"status": 502}, "gateway"),
        ({"status": 404}, "no-models"),
        ({"serves": ["claude\N{NON-BREAKING HYPHEN}glm", "claude-tls"]}, "alias-similar"),
        ({"serves": ["qwen", "claude-tls"]}, "alias-unknown"),
        ({"context": 65_536}, "window-too-large"),
        ({"ahead": 600}, "clock"),
    ],
)
def test_answers(fleet: Fleet, says: dict[str, Any], check: str) -> None:
    with fleet.saying(**says):
        assert fleet.glm_alone() == [check]


@pytest.mark.parametrize(
    ("variables", "check"),
    [
        ({"ANTHROPIC_DEFAULT_HAIKU_MODEL": ""}, "tier-unset"),
        ({"ANTHROPIC_DEFAULT_HAIKU_MODEL": "claude-haiku-4-5"}, "tier-not-served"),
        ({"CLAUDE_CODE_EFFORT_LEVEL": ""}, "effort-unset"),
        ({"CLAUDE_CODE_MAX_OUTPUT_TOKENS": "64000"}, "output-too-large"),
        ({"API_TIMEOUT_MS": ""}, "impatient"),
        ({"CLAUDE_CODE_MAX_OUTPUT_TOKENS": "4096"}, "thinking"),
        ({"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "32768"}, "model-too-small"),
        ({"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "8192", "CLAUDE_CODE_SIMPLE": "1"}, "overflow"),
        ({"ANTHROPIC_BASE_URL": "http://glm:8001"}, "route-elsewhere"),
    ],
)
def test_settings_of_a_route(fleet: Fleet, variables: dict[str, str], check: str) -> None:
    file = fleet.desk.file(f"{FOLDER}/routes/claude-glm.json")
    as_deployed = file.read_text()
    settings = json.loads(as_deployed)
    settings["env"].update(variables)
    file.write_text(json.dumps(settings))
    found = fleet.glm_alone()
    file.write_text(as_deployed)
    assert found == [check]


def test_a_route_without_its_rules(fleet: Fleet) -> None:
    files = [f"{FOLDER}/routes/claude-glm.json", "/home/anna/.claude/settings.json"]
    as_deployed = [fleet.desk.file(file).read_text() for file in files]
    for file, text in zip(files, as_deployed, strict=True):
        fleet.desk.file(file).write_text(text.replace("WebSearch", "Other"))
    found = fleet.glm_alone()
    for file, text in zip(files, as_deployed, strict=True):
        fleet.desk.file(file).write_text(text)
    assert found == ["web-search"]


def test_the_trusted_certificates_are_gone(fleet: Fleet) -> None:
    file = fleet.desk.file(f"{FOLDER}/routes/claude-tls.pem")
    moved = file.rename(file.with_suffix(".away"))
    assert "ca-unread" in fleet.tls_alone()
    moved.rename(file)


def test_settings_that_are_gone(fleet: Fleet) -> None:
    file = fleet.desk.file(f"{FOLDER}/routes/claude-glm.json")
    moved = file.rename(file.with_suffix(".away"))
    assert fleet.glm_alone() == ["route-files"]
    moved.rename(file)


# Where a claude goes


@pytest.fixture
def bashrc(fleet: Fleet) -> Iterator[Callable[[str], None]]:
    """Has a text stand before anna's .bashrc, which her logins read."""
    file = fleet.desk.file("/home/anna/.bashrc")
    before = file.read_text()

    def put(text: str) -> None:
        file.write_text(text + before)

    yield put
    file.write_text(before)


def test_a_key_on_its_way_to_another_host(fleet: Fleet, bashrc: Callable[[str], None]) -> None:
    bashrc(f"export ANTHROPIC_BASE_URL=http://glm:8000\nexport ANTHROPIC_API_KEY={KEY}\n")
    (first, *_) = fleet.finds().values()
    assert first["check"] == "key-astray"
    assert first["fix"] == (
        "Remove ANTHROPIC_API_KEY from /home/anna/.bashrc:2, and open a new shell"
    )
    assert KEY not in json.dumps(fleet.report)


def test_the_fleets_doctor_reads_what_its_shell_does_not(
    fleet: Fleet, bashrc: Callable[[str], None]
) -> None:
    bashrc(f"case $- in *i*) export ANTHROPIC_API_KEY={KEY} ;; esac\n")
    assert fleet.finds() == {}, "this shell has it not"
    run = fleet.lab.deploy(fleet.inventory, script="doctor.py")
    assert run.status == 1
    assert "A leftover ANTHROPIC_API_KEY: it takes the place of your own login" in run.output
    assert "/home/anna/.bashrc:1" in run.output and KEY not in run.output


@pytest.mark.parametrize(
    ("path", "content", "shell", "check"),
    [
        ("", "", "ANTHROPIC_API_KEY=sk-ant-x", "key-left-over"),
        ("/etc/claude-code/managed-settings.json", {"forceLoginMethod": "claudeai"}, "",
         "login-forced"),
        ("/etc/claude-code/managed-settings.json", {"env": {"ANTHROPIC_BASE_URL": "http://x:1"}},
         "", "url-managed"),
        ("/home/anna/.claude/settings.local.json", {"env": {"ANTHROPIC_BASE_URL": "http://x:1"}},
         "ANTHROPIC_BASE_URL=http://glm:8000 ANTHROPIC_AUTH_TOKEN=t", "export-beaten"),
        ("/home/anna/.claude/settings.local.json", "{", "", "settings-unread"),
        ("/home/anna/.claude/settings.local.json", {"model": "claude-glm"}, "",
         "model-at-anthropic"),
        ("", "", "HOMEPORT_ROUTE=claude-glm ANTHROPIC_BASE_URL=https://glm:8443", "routes-mixed"),
        ("", "", "ANTHROPIC_DEFAULT_OPUS_MODEL=claude-glm", "left-over"),
        ("", "", "ANTHROPIC_AUTH_TOKEN=left", "token-to-anthropic"),
        ("", "", "HTTP_PROXY=http://10.77.0.1:9", "proxy"),
    ],
)  # fmt: skip
def test_stuck_elsewhere(fleet: Fleet, path: str, content: Any, shell: str, check: str) -> None:
    if content:
        text = content if isinstance(content, str) else json.dumps(content)
        fleet.desk.run(f"mkdir -p {shlex.quote(str(Path(path).parent))}")
        fleet.desk.file(path).write_text(text)
    found = fleet.finds(shell)
    if content:
        fleet.desk.file(path).unlink()
    assert check in found


#: A session that somebody has put together by hand, and all that is wrong with it.
BY_HAND = {
    "ANTHROPIC_BASE_URL=http://glm:8000 ANTHROPIC_AUTH_TOKEN=t ANTHROPIC_API_KEY=dummy "
    "ANTHROPIC_MODEL=qwen ANTHROPIC_CUSTOM_HEADERS=X-Api-Key:x ANTHROPIC_SMALL_FAST_MODEL=x "
    "CLAUDE_CODE_MAX_CONTEXTS_TOKENS=1": (
        *("key-beside-token", "model-elsewhere", "header-secret", "small-fast-model", "typo"),
        *("tiers-elsewhere", "context-unset"),
    ),
    "ANTHROPIC_BASE_URL=http://glm:8000 ANTHROPIC_MODEL=claude-glm[1m] "
    "CLAUDE_CODE_MAX_CONTEXT_TOKENS=1000 CLAUDE_CODE_AUTO_COMPACT_WINDOW=1000000": (
        *("login-astray", "context-1m", "context-other", "compaction-window"),
    ),
    "ANTHROPIC_BASE_URL=glm:8000": ("no-url",),
    "ANTHROPIC_BASE_URL=http://else:1/v1 ANTHROPIC_MODEL=claude-glm": ("url-path", "no-route"),
    "CLAUDE_CODE_USE_BEDROCK=1 HOMEPORT_ROUTE=claude-old": ("other-provider", "unknown-route"),
    "ANTHROPIC_CUSTOM_HEADERS=X-Api-Key:x": ("header-secret",),
}


@pytest.mark.parametrize("shell", BY_HAND)
def test_a_session_by_hand(fleet: Fleet, shell: str) -> None:
    assert set(BY_HAND[shell]) - set(fleet.finds(shell)) == set()


def test_all_is_well_again(fleet: Fleet) -> None:
    assert fleet.finds() == {}
