"""Managed settings as homeport writes them, obeyed by the real Claude Code 2.1.330."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from homeport import policy
from homeport.catalog import MODELS
from homeport.model import Endpoint, Route, Token

from .. import conftest
from .session import GUARDRAILS, Session, prepared, stub

# Lets a command see a /etc of its own, with a drop-in of managed settings from its standard input.
_MANAGED = """unshare --mount sh -ec '
mount -t tmpfs tmpfs /mnt && mkdir -p /mnt/upper/claude-code/managed-settings.d /mnt/work
cat > /mnt/upper/claude-code/managed-settings.d/50-homeport.json
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work overlay /etc
exec bash -c "$0" < /dev/null' '%s' < managed.json
"""


@pytest.fixture
def session(tmp_path: Path, free_port: int) -> Iterator[Session]:
    model = replace(MODELS["glm-5.2-fp8"], aligned=False)
    route = Route(model, Endpoint("localhost", free_port, Token("geheim")))
    with conftest.loopback_namespace() as enter:
        found = prepared(tmp_path, conftest.installed_client("2.1.330"), route, enter=enter)
        settings = policy.managed_settings(route, GUARDRAILS, found.layout)
        (found.home / "managed.json").write_bytes(policy.written(settings))
        with stub(found):
            yield found


@pytest.mark.parametrize(
    "start",
    [
        "claude -p hello",
        "export ANTHROPIC_AUTH_TOKEN=mine ANTHROPIC_API_KEY=sk-ant-mine; claude -p hello",
        "export ANTHROPIC_BASE_URL=http://127.0.0.1:9; claude -p hello --model opus",
        "source use-glm.sh -p hello",
    ],
)
def test_every_session_goes_there_with_the_users_own_token(session: Session, start: str) -> None:
    settings = session.home / ".claude" / "settings.json"
    settings.parent.mkdir()
    env = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_AUTH_TOKEN": "theirs"}
    settings.write_text(json.dumps({"env": env, "apiKeyHelper": "echo sk-ant-helper"}))
    assert "stub says hello" in session.ask(_MANAGED % start)
    assert session.requests()
    for request in session.requests():
        assert request["headers"]["authorization"] == "Bearer geheim"
        assert request["headers"].get("x-api-key", "geheim") == "geheim"
        assert request["body"]["model"] == "claude-glm"
        assert request["body"]["output_config"] == {"effort": "max"}
