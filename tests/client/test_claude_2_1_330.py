"""What the real Claude Code 2.1.330 sends and shows, through the scripts as they are rendered."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from homeport import claude_code, render
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
def session(tmp_path: Path, free_port: int) -> Iterator[Session]:
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
    settings = json.dumps(claude_code.route_settings(route))
    write(layout.route_settings(route), settings.encode())
    log = tmp_path / "log"
    log.touch()
    with conftest.loopback_namespace() as enter:
        stub = subprocess.Popen([*enter, sys.executable, STUB, str(free_port), route.alias, log])
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
