"""What the real Claude Code 2.1.330 sends and shows, through the scripts as they are rendered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.model import Endpoint, Route, Token

from .. import conftest
from ..running import wait_until
from .servers import CODER
from .session import GUARDRAILS, Session, prepared, screen, stub


@pytest.fixture
def session(tmp_path: Path, free_port: int, request: pytest.FixtureRequest) -> Iterator[Session]:
    client = conftest.installed_client("2.1.330")
    route = Route(CODER, Endpoint("localhost", free_port, Token("geheim")))
    with conftest.loopback_namespace() as enter:
        session = prepared(tmp_path, client, route, enter=enter)
        with stub(session, calls=getattr(request, "param", None)):
            yield session


def test_what_goes_over_the_wire(session: Session) -> None:
    """The route's token and alias, and no key that was lying about."""
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
    session.ask("source use-fable5.sh -p hello")
    before = len(session.requests())
    session.ask(
        "source use-fable5.sh -p hello >/dev/null; source use-anthropic.sh; claude -p hello",
        ANTHROPIC_API_KEY="sk-ant-mine",
        CLAUDE_CODE_MAX_RETRIES="0",
    )
    assert len(session.requests()) == 2 * before


def test_the_model_picker_shows_the_alias(session: Session) -> None:
    session.trusts(session.home)
    kept = session.home / ".claude" / "settings.json"
    with screen(session, "source use-fable5.sh") as client:
        client.enter("/model")
        client.wait_for("Amodelofours")
        picker = client.text.partition("Selectmodel")[2]
        client.enter()
        wait_until(lambda: kept.exists() and "claude-fable5" in kept.read_text())
    assert "claude-fable5·Gemma412BCoder" in picker
    assert "Opus" not in picker and "Sonnet" not in picker
    assert "[1m]" not in picker, "a default with another context than the server's"
    settings = json.loads(kept.read_text())
    assert settings["model"] == "claude-fable5", "use-anthropic.sh warns of what is kept here"


def call(name: str, **arguments: str) -> dict[str, Any]:
    return {"name": name, "input": arguments}


def write_to(path: str) -> dict[str, Any]:
    return call("Write", file_path=path, content="x")


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
    assert session.ask("source use-fable5.sh -p hi --settings x.json 2>&1 || true").startswith(
        "homeport: claude-fable5: --settings would take the place of the route's own."
    )
    assert session.requests() == []
