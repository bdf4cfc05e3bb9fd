"""What a fleet imposes, and what editors are given, is made from the route and nothing else."""

from __future__ import annotations

import json
import plistlib
from pathlib import Path
from typing import Any

import pytest

from homeport import claude_code, editors, mdm, policy, tokens
from homeport.catalog import MODELS
from homeport.layout import Layout
from homeport.model import Endpoint, Route, Token

from .test_plan import MAC, plan

LAYOUT = Layout.under("/home/jörg x", "~/.home port")
ROUTE = Route(MODELS["glm-5.2-fp8"], Endpoint("glm-host", 8000, Token("geheim")))
DATA: dict[str, Any] = {
    "routes": {
        "claude-glm": {"model": "glm-5.2-fp8", "host": "10.0.0.1", "port": 8000, "token_env": "T"}
    },
    "guardrails": {},
}


def test_managed_settings_are_the_routes_without_its_token() -> None:
    found = policy.managed_settings(ROUTE, {}, LAYOUT)
    assert found["env"] == claude_code.environment(ROUTE) | {"ANTHROPIC_AUTH_TOKEN": ""}
    assert found["apiKeyHelper"] == "cat ~/'.home port/routes/claude-glm.token'"
    assert "geheim" not in json.dumps(found)
    elsewhere = policy.managed_settings(ROUTE, {}, Layout.under("/home/x", "/srv/home port"))
    assert elsewhere["apiKeyHelper"] == "cat '/srv/home port/routes/claude-glm.token'"


def test_guardrails_hold_for_whichever_user() -> None:
    coder = Route(MODELS["gemma-4-12b-coder"], Endpoint("localhost", 18080))
    rules = policy.managed_settings(coder, {"permissions": {"ask": ["Bash"]}}, LAYOUT)
    assert rules["permissions"]["ask"] == ["Bash"]
    assert "Read(~/.home port/routes/**)" in rules["permissions"]["deny"]


def test_a_profile_holds_the_same_settings_and_stays_the_same() -> None:
    settings = policy.managed_settings(ROUTE, {}, LAYOUT)
    profile = plistlib.loads(policy.profile(settings))
    (payload,) = profile["PayloadContent"]
    assert payload["PayloadType"] == policy.DOMAIN
    assert {k: v for k, v in payload.items() if not k.startswith("Payload")} == settings
    assert policy.profile(settings) == policy.profile(dict(reversed(settings.items())))


def test_make_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mdm, "FOLDER", tmp_path / "policy")
    assert mdm.main(["claude-fable5"]) == 0
    assert capsys.readouterr().out.count("written: policy/") == 2
    document = json.loads((tmp_path / "policy/managed-settings.json").read_text())
    assert document["env"]["ANTHROPIC_MODEL"] == "claude-fable5"
    assert document["permissions"]["ask"], "its model is not safety-aligned"
    with pytest.raises(SystemExit, match="say which route: make policy ROUTE="):
        mdm.main([])
    with pytest.raises(SystemExit, match=r"ROUTE is 'claude-gml': no route\. Known are"):
        mdm.main(["claude-gml"])


def test_make_policy_makes_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mdm, "FOLDER", tmp_path / "policy")
    monkeypatch.setattr(tokens, "ROOT", tmp_path)
    assert mdm.main(["claude-glm"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]


def test_a_workstation_gets_files_for_editors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T", "geheim")
    found = plan(MAC, claude_code=None, extras=["vscode", "agent-sdk"], **DATA)
    settings = json.loads(found.upload(r"routes/claude-glm\.json"))
    vscode = json.loads(found.upload(r"routes/claude-glm\.vscode\.jsonc"))
    variables = {one["name"]: one["value"] for one in vscode["claudeCode.environmentVariables"]}
    lines = found.upload(r"routes/claude-glm\.env").decode().splitlines()
    assert settings["env"] == variables == dict(line.split("=", 1) for line in lines)
    assert not [name for name in plan(MAC, claude_code=None, **DATA).uploads if "vscode" in name]
    assert set(editors.FILES) == {"vscode", "agent-sdk"}


def test_managed_settings_need_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T", "geheim")
    with pytest.raises(AssertionError, match=r"50-homeport\.json is root's to write, and sudo"):
        plan(MAC, claude_code=None, managed_settings="claude-glm", **DATA)
    found = plan(
        MAC, {"root true": ["yes"]}, claude_code=None, managed_settings="claude-glm", **DATA
    )
    assert b"geheim" not in found.upload(r"state/50-homeport\.json")
    (command,) = [one for one in found.commands if "root cp" in one]
    assert "/Library/Application Support/ClaudeCode/managed-settings.d/50-homeport.json" in command
    assert not [one for one in plan(MAC, claude_code=None, **DATA).commands if "root cp" in one]
