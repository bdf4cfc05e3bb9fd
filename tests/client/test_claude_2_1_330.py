"""What the real Claude Code 2.1.330 sends and shows, through the scripts as they are rendered."""

from __future__ import annotations

import json
import os
import pty
import re
import runpy
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from homeport import ROOT, claude_code, render
from homeport.catalog import MODELS
from homeport.layout import Layout
from homeport.model import Endpoint, Route, Token

from .. import conftest

STUB = Path(__file__).parent / "stub_server.py"


@dataclass
class Session:
    """A home with one route, a server that answers it, and nothing else on the network."""

    home: Path
    layout: Layout
    route: Route
    enter: tuple[str, ...]
    log: Path
    claude: Path

    def variables(self, **more: str) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "PATH": f"{self.layout.bin}:{self.claude.parent}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            **more,
        }

    def ask(self, script: str, **environment: str) -> str:
        done = subprocess.run(
            [*self.enter, "bash", "-c", script],
            env=self.variables(**environment),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.stdout

    def requests(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [one for one in lines if one["path"].startswith("/v1/messages")]


@pytest.fixture
def session(tmp_path: Path, free_port: int, request: pytest.FixtureRequest) -> Iterator[Session]:
    claude = conftest.installed_client()
    home = tmp_path / "jörg x"
    layout = Layout.under(str(home), "~/.homeport")
    model = replace(MODELS["gemma-4-12b-coder"], description="A model of ours")
    route = Route(model, Endpoint("localhost", free_port, Token("geheim")))
    for name in ("bin", "routes"):
        Path(layout.path(name)).mkdir(parents=True)
    write(layout.script(route), render.use_route(route, layout, "start it", "FIX"))
    write(f"{layout.bin}/use-anthropic.sh", render.use_anthropic(layout, (route,)))
    write(layout.token(route), b"geheim\n")
    tokens = (layout.path("routes"), layout.path("service"))
    settings = json.dumps(claude_code.route_settings(route, GUARDRAILS, tokens))
    write(layout.route_settings(route), settings.encode())
    log, calls = tmp_path / "log", tmp_path / "calls"
    log.touch()
    calls.write_text(json.dumps(getattr(request, "param", [])).replace("@HOME", str(home)))
    with conftest.loopback_namespace() as enter:
        words = [sys.executable, *map(str, (STUB, free_port, route.alias, log, calls))]
        stub = subprocess.Popen([*enter, *words])
        try:
            yield Session(home, layout, route, enter, log, claude)
        finally:
            stub.terminate()
            stub.wait()


def write(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)
    Path(path).chmod(0o755 if path.endswith(".sh") else 0o600)


def wait_for_stub(session: Session) -> None:
    session.ask("for i in 1 2 3 4 5 6 7 8 9; do curl -s $U && break; sleep .2; done",
                U=f"{session.route.endpoint.url}/v1/models")  # fmt: skip


def test_what_goes_over_the_wire(session: Session) -> None:
    """The route's token and alias, and no key that was lying about."""
    wait_for_stub(session)
    output = session.ask("source use-fable5.sh -p hello", ANTHROPIC_API_KEY="sk-ant-left-over")
    assert "stub says hello" in output
    assert session.requests()
    for request in session.requests():
        assert request["headers"]["authorization"] == "Bearer geheim"
        assert "x-api-key" not in request["headers"]
        assert request["body"]["model"] == "claude-fable5"
        assert request["body"]["max_tokens"] <= session.route.model.max_output
        assert "x-anthropic-billing-header" not in json.dumps(request["body"]["system"])
        assert "web_search" not in json.dumps(request["body"]["tools"])


def test_an_env_block_in_the_users_settings_does_not_win(session: Session) -> None:
    wait_for_stub(session)
    env = {
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        "ANTHROPIC_API_KEY": "sk-ant-in-settings",
        "ANTHROPIC_MODEL": "claude-opus-4-8",
    }
    (session.home / ".claude").mkdir()
    (session.home / ".claude" / "settings.json").write_text(json.dumps({"env": env}))
    assert "stub says hello" in session.ask("use-fable5.sh -p hello")
    (request,) = {json.dumps(one["headers"]) for one in session.requests()[:1]}
    assert "sk-ant" not in request


def test_the_way_back_is_the_real_thing(session: Session) -> None:
    """After use-anthropic.sh nothing of the client's reaches our server any more."""
    wait_for_stub(session)
    session.ask("source use-fable5.sh -p hello")
    before = len(session.requests())
    session.ask(
        "source use-fable5.sh -p hello >/dev/null; source use-anthropic.sh; claude -p hello",
        ANTHROPIC_API_KEY="sk-ant-mine",
        CLAUDE_CODE_MAX_RETRIES="0",
    )
    assert len(session.requests()) == 2 * before


def test_the_model_picker_shows_the_alias(session: Session) -> None:
    wait_for_stub(session)
    trusted = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
    (session.home / ".claude.json").write_text(
        json.dumps(
            {
                "hasCompletedOnboarding": True,
                "theme": "dark",
                "projects": {str(session.home): trusted},
            }
        )
    )
    screen = type_into(session, ["bash", "-c", "source use-fable5.sh"], "/model")
    assert "claude-fable5·Gemma412BCoder" in screen, screen[-3000:]
    assert "Amodelofours" in screen
    picker = screen.partition("Selectmodel")[2]
    assert picker and "Opus" not in picker and "Sonnet" not in picker
    assert "[1m]" not in picker, "a default with another context than the server's"
    settings = json.loads((session.home / ".claude" / "settings.json").read_text())
    assert settings["model"] == "claude-fable5", "use-anthropic.sh warns of what is kept here"


def type_into(session: Session, command: list[str], text: str) -> str:
    """What a terminal shows, without colours and blanks, after `text` and Enter.

    Then Enter is typed once more, which takes what is marked.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(session.home)
        words = [*session.enter, *command]
        os.execvpe(words[0], words, session.variables(COLUMNS="160", LINES="50"))
    shown = read_for(terminal, 6)
    os.write(terminal, text.encode())
    shown += read_for(terminal, 2)
    os.write(terminal, b"\r")
    shown += read_for(terminal, 4)
    os.write(terminal, b"\r")
    read_for(terminal, 3)
    os.write(terminal, b"\x1b\x03\x03")
    read_for(terminal, 1)
    os.close(terminal)
    os.waitpid(pid, 0)
    plain = re.sub(r"\x1b\[[0-9;?<>=]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b.", "", shown)
    return re.sub(r"\s+", "", plain)


def read_for(terminal: int, seconds: float) -> str:
    deadline, shown = time.monotonic() + seconds, b""
    while (left := deadline - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            try:
                shown += os.read(terminal, 65_536)
            except OSError:
                break
    return shown.decode(errors="replace")


def call(name: str, **arguments: str) -> dict[str, Any]:
    return {"name": name, "input": arguments}


def write_to(path: str) -> dict[str, Any]:
    return call("Write", file_path=path, content="x")


GUARDRAILS: dict[str, Any] = runpy.run_path(str(ROOT / "group_data" / "workstations.py"))[
    "guardrails"
]


def secret(rule: str) -> str:
    """A file that a rule such as Read(~/.ssh/**) or Read(//**/.env) is about."""
    path = rule.removeprefix("Read(").removesuffix(")").replace("**", "sub").replace("*", "x")
    return path.replace("~", "@HOME") if path.startswith("~") else f"@HOME/project/{path[2:]}"


SECRETS = [
    secret(rule)
    for rule in GUARDRAILS["permissions"]["deny"]
    if rule.startswith("Read(") and "proc" not in rule
]

#: What the model tries, and what it is told: None where it may.
TRIES = [
    (call("Bash", command="touch '@HOME/project/by-bash'", description="x"), "haven't granted"),
    *((call("Read", file_path=path), "denied") for path in SECRETS),
    (call("Read", file_path="@HOME/project/link-to-key"), "denied"),
    (call("Read", file_path="@HOME/.homeport/routes/claude-fable5.token"), "denied"),
    (write_to("@HOME/.ssh/authorized_keys"), "cannot be written"),
    (write_to("@HOME/other/outside"), "is outside"),
    (call("WebFetch", url="http://127.0.0.1:1/", prompt="x"), "is disabled for this session"),
    (call("Read", file_path="@HOME/project/plain"), None),
    (write_to("@HOME/project/inside"), None),
]

#: What a user's own settings may say.
OPEN = {
    "permissions": {
        "defaultMode": "acceptEdits",
        "allow": ["Bash", "Read(//**)", "Edit(//**)", "Write", "WebFetch"],
    },
    "sandbox": {"enabled": True, "autoAllowBashIfSandboxed": True},
}


@pytest.mark.parametrize("session", [[one for one, _ in TRIES]], indirect=True)
@pytest.mark.parametrize(
    "start", ["source use-fable5.sh", "source use-fable5.sh --version >/dev/null; claude"]
)
def test_the_guardrails_hold_against_the_users_own_settings(session: Session, start: str) -> None:
    home = session.home
    for folder in (".ssh", ".claude", "other", "project"):
        (home / folder).mkdir(parents=True)
    for path in (*SECRETS, "@HOME/project/plain"):
        file = Path(path.replace("@HOME", str(home)))
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.is_dir():
            # Some are files of the client's own, who reads them.
            file.write_text('"no such thing"' if file.name == "plain" else '{"a": "a secret"}')
    (home / "project/link-to-key").symlink_to(home / ".ssh/sub")
    (home / ".claude/settings.json").write_text(json.dumps(OPEN))
    wait_for_stub(session)
    output = session.ask(f"cd project; {start} -p go --permission-mode acceptEdits")
    assert "stub says hello" in output
    last = session.requests()[-1]["body"]
    blocks = [one for message in last["messages"] for one in message["content"]]
    results = [one for one in blocks if isinstance(one, dict) and one["type"] == "tool_result"]
    assert len(results) == len(TRIES)
    for (tried, refusal), result in zip(TRIES, results, strict=True):
        assert bool(result.get("is_error")) == bool(refusal), (tried, result)
        assert (refusal or "") in json.dumps(result["content"]), (tried, result)
        assert "a secret" not in json.dumps(result["content"]), tried
    there = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    assert "project/inside" in there
    assert not there & {"project/by-bash", ".ssh/authorized_keys", "other/outside"}


def test_other_settings_on_the_command_line_are_refused(session: Session) -> None:
    """They would replace the route's, guardrails and all."""
    wait_for_stub(session)
    assert session.ask("source use-fable5.sh -p hi --settings x.json 2>&1 || true").startswith(
        "homeport: claude-fable5: --settings would take the place of the route's own."
    )
    assert session.requests() == []
