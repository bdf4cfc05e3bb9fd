"""What the real Claude Code 2.1.330 says where something is wrong, and what the doctor finds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from homeport import claude_code, doctoring
from homeport.engines.llama_cpp import NEWEST_FLAGS, LlamaServer
from homeport.model import Endpoint, Route
from homeport.serving import PROGRAM

from .. import certificates, conftest
from ..running import wait_until
from ..serving import llama, tiny_gguf
from ..unit.desk import machine, told
from .scenarios import MANAGED
from .servers import ALIGNED, TOKEN
from .session import Session, prepared, stub

KEY = "sk-ant-api03-abcdefghijklmnop"
HELLO = "-p hello"


@pytest.fixture(scope="module")
def enter() -> Iterator[tuple[str, ...]]:
    with conftest.loopback_namespace("doctor") as enter:
        yield enter


@dataclass
class Home:
    """A home with a route, the client, and the doctor as a deploy leaves it."""

    session: Session

    @property
    def by_hand(self) -> dict[str, str]:
        """A shell in which somebody has typed the route's variables."""
        return {**claude_code.environment(self.session.route), "CLAUDE_CODE_MAX_RETRIES": "0"}

    def says(self, **shell: str) -> str:
        """What the client prints that is started in that shell."""
        done = self.session.run(f"claude {HELLO}", **shell)
        return done.stdout + done.stderr

    def on_the_route(self, prompt: str = "hello") -> str:
        """What it prints with the route's settings; of its script the check would stop it."""
        file = self.session.layout.route_settings(self.session.route)
        self.change(CLAUDE_CODE_MAX_RETRIES="0")
        return self.session.run(f"claude --settings {file!r} -p {prompt!r}").stdout

    def change(self, **variables: str) -> None:
        file = Path(self.session.layout.route_settings(self.session.route))
        settings = json.loads(file.read_text())
        settings["env"].update(variables)
        file.write_text(json.dumps(settings))

    def write(self, path: str, content: Any) -> Path:
        file = self.session.home / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))
        return file

    def finds(self, script: str = "{}", **shell: str) -> dict[str, dict[str, Any]]:
        """The doctor's findings by their checks, in their order; `script` runs it ("{}")."""
        layout = self.session.layout
        for folder in ("lib", "state"):
            Path(layout.path(folder)).mkdir(exist_ok=True)
        program = Path(layout.path("lib", doctoring.PROGRAM))
        program.write_bytes(doctoring.program())
        document = machine(layout, told(self.session.route, layout)).document()
        state = Path(layout.path("state", "doctor.json"))
        state.write_text(json.dumps({"wanted": document, "files": {}}))
        asked = f'{sys.executable} "{program}" --json'
        done = self.session.run(script.replace("{}", asked), **shell)
        assert done.stdout, done.stderr
        report = json.loads(done.stdout)
        return {one["check"]: one for one in report["findings"]}


@contextmanager
def home(folder: Path, enter: tuple[str, ...], **endpoint: Any) -> Iterator[Home]:
    client = conftest.installed_client("2.1.330")
    route = Route(ALIGNED, Endpoint("localhost", conftest.a_free_port(), TOKEN, **endpoint))
    yield Home(prepared(folder, client, route, enter=enter))


def test_a_healthy_one(tmp_path: Path, enter: tuple[str, ...]) -> None:
    with home(tmp_path, enter) as desk, stub(desk.session):
        assert "stub says hello" in desk.on_the_route()
        found = desk.finds()
    assert not [one for one in found.values() if one["about"] in ("claude", "claude-fable5")]


def test_a_leftover_key_in_an_env_block(tmp_path: Path, enter: tuple[str, ...]) -> None:
    with home(tmp_path, enter) as desk, stub(desk.session):
        file = desk.write(".claude/settings.json", {"env": {"ANTHROPIC_API_KEY": KEY}})
        assert "stub says hello" in desk.says(**desk.by_hand)
        found = desk.finds(**desk.by_hand)
        (first, *_) = found.values()
    assert {one["headers"]["x-api-key"] for one in desk.session.requests()} == {KEY}
    assert first["check"] == "key-astray"
    assert first["symptom"] == f"A real Anthropic key goes to {desk.session.route.endpoint.url}"
    assert first["fix"] == f"Remove env.ANTHROPIC_API_KEY from {file}"


def test_a_wrong_token(tmp_path: Path, enter: tuple[str, ...]) -> None:
    with home(tmp_path, enter) as desk, stub(desk.session, status=401):
        assert "Failed to authenticate" in desk.on_the_route()
        assert "token-refused" in desk.finds()


def test_a_model_that_is_not_served(tmp_path: Path, enter: tuple[str, ...]) -> None:
    with home(tmp_path, enter) as desk, stub(desk.session, status=404):
        assert "stub says hello" in desk.on_the_route()
        desk.change(ANTHROPIC_MODEL="claude\N{NON-BREAKING HYPHEN}fable5")
        assert "There's an issue with the selected model" in desk.on_the_route()
        found = desk.finds()["alias-similar"]
        assert found["detail"].startswith("character 7 is U+2011 NON-BREAKING HYPHEN where it is ")


def test_a_base_url_with_v1(tmp_path: Path, enter: tuple[str, ...]) -> None:
    with home(tmp_path, enter) as desk, stub(desk.session):
        url = desk.session.route.endpoint.url
        shell = {**desk.by_hand, "ANTHROPIC_BASE_URL": f"{url}/v1"}
        assert "There's an issue with the selected model" in desk.says(**shell)
        assert '"/v1/v1/messages' in desk.session.log.read_text()
        assert desk.finds(**shell)["url-path"]["fix"] == f"Type: export ANTHROPIC_BASE_URL={url}"


def test_a_login_that_is_forced(tmp_path: Path, enter: tuple[str, ...]) -> None:
    with home(tmp_path, enter) as desk, stub(desk.session):
        (desk.session.home / "managed.json").write_text('{"forceLoginMethod": "claudeai"}')
        file = desk.session.layout.route_settings(desk.session.route)
        start = MANAGED.replace("source use-fable5.sh -p hello", "{}")
        done = desk.session.run(start.replace("{}", f'claude --settings "{file}" {HELLO}'))
        assert "claude.ai" in done.stdout + done.stderr
        assert not desk.session.requests()
        found = desk.finds(start)
    assert found["login-forced"]["symptom"] == "forceLoginMethod is managed on this machine"


def test_a_certificate_that_has_expired(tmp_path: Path, enter: tuple[str, ...]) -> None:
    ca, _ = certificates.authority(tmp_path, "127.0.0.1", valid=(-9, -2))
    with home(tmp_path, enter, tls=True, ca=ca) as desk:
        own = str(desk.session.layout.ca(desk.session.route))
        Path(own).write_bytes(ca)
        desk.change(NODE_EXTRA_CA_CERTS=own)
        with stub(desk.session, certificate=tmp_path / "served.pem"):
            assert "certificate" in desk.on_the_route()
            assert "cert-expired" in desk.finds()


def test_a_million_tokens(tmp_path: Path, enter: tuple[str, ...]) -> None:
    with home(tmp_path, enter) as desk, stub(desk.session):
        alias = desk.session.route.alias
        for disabled, window in (("1", 65_536), ("", 1_000_000)):
            shell = {
                **desk.by_hand,
                "ANTHROPIC_MODEL": f"{alias}[1m]",
                "CLAUDE_CODE_DISABLE_1M_CONTEXT": disabled,
            }
            output = desk.session.run(f"claude {HELLO} --output-format json", **shell).stdout
            used = json.loads(output)["modelUsage"]
            assert {one["contextWindow"] for one in used.values()} == {window}
            found = desk.finds(**shell)
            assert ("context-1m" in found) == (window == 1_000_000)
    assert found["context-1m"]["fix"].endswith(f"ANTHROPIC_MODEL={alias}")


def test_a_dead_server(tmp_path: Path, enter: tuple[str, ...]) -> None:
    with home(tmp_path, enter) as desk:
        assert "Connection refused" in desk.on_the_route()
        assert "refused" in desk.finds()


def test_a_proxy_before_the_loopback(tmp_path: Path, enter: tuple[str, ...]) -> None:
    with home(tmp_path, enter) as desk, stub(desk.session):
        shell = {**desk.by_hand, "HTTPS_PROXY": f"http://127.0.0.1:{conftest.a_free_port()}"}
        assert "proxy" in desk.says(**shell)
        assert not desk.session.requests()
        assert "proxy-to-loopback" in desk.finds(**shell)


def test_a_server_that_holds_less_than_the_client_is_told(
    tmp_path: Path, enter: tuple[str, ...]
) -> None:
    """The real llama.cpp, which says what it holds, and which engine it is."""
    with home(tmp_path, enter) as desk:
        route = desk.session.route
        small = replace(route, model=replace(ALIGNED, context=16_384, smallest_context=16_384,
                                             max_output=512))  # fmt: skip
        weights, token = tmp_path / "tiny.gguf", tmp_path / "server.token"
        tiny_gguf.write(weights)
        token.write_text(f"{TOKEN.value}\n")
        words = LlamaServer(small, str(weights), str(token)).command_line(NEWEST_FLAGS)
        server = subprocess.Popen(
            [*enter, llama.python(), PROGRAM, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            ready = [*enter, "curl", "-sf", f"{route.endpoint.url}/health", "-o", "/dev/null"]
            wait_until(lambda: subprocess.run(ready).returncode == 0)
            assert "Prompt is too long" in desk.on_the_route("word " * 20_000)
            desk.change(CLAUDE_CODE_ATTRIBUTION_HEADER="1")
            found = desk.finds()
        finally:
            server.terminate()
            server.wait(120)
    assert '"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "16384"' in found["window-too-large"]["fix"]
    assert "attribution" in found, "it says that it is llama.cpp"
