"""What the doctor says of where a claude goes, of each kind that homeport-explain knows."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from homeport import claude_code
from homeport.catalog import MODELS
from homeport.doctor import routes, sessions, start_up
from homeport.doctor.start_up import lines
from homeport.model import Endpoint, Route, Token
from homeport.remote import explain

from .desk import Desk, names

GLM = Route(MODELS["glm-5.2-fp8"], Endpoint("glm-host", 8000, Token("a-token-of-glm-0001")))
LAPTOP = Route(MODELS["gemma-4-12b-coder"], Endpoint("localhost", 18080))
KEY = "sk-ant-api03-abcdefghijklmnop"
URL = GLM.endpoint.url

USER, MANAGED = "home/anna/.claude/settings.json", "etc/claude-code/managed-settings.json"
BASHRC = "home/anna/.bashrc"
CONTEXT = "CLAUDE_CODE_MAX_CONTEXT_TOKENS"
TIER = {"ANTHROPIC_DEFAULT_OPUS_MODEL": "claude-glm"}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.home.mkdir(parents=True)
    desk.add(GLM)
    desk.add(LAPTOP)
    return desk


def exports(**more: str) -> dict[str, str]:
    """The shell after `source use-glm.sh`."""
    return {**claude_code.environment(GLM), "HOMEPORT_ROUTE": GLM.alias, **more}


def by_hand(**more: str) -> dict[str, str]:
    """The same variables, and no route's settings that go along."""
    return {**exports(), "HOMEPORT_ROUTE": "", **more}


def test_each_kind_of_finding_has_its_row() -> None:
    found: dict[str, bool] = {}
    for node in ast.walk(ast.parse(Path(explain.__file__).read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
            kind, severity = (one.value for one in node.args[:2] if isinstance(one, ast.Constant))
            found[str(kind)] = severity == "warning"
    rows = {check.name: check.warning for check in sessions.AREA.checks}
    assert rows.pop("key-left-over") is True
    assert rows == found


@pytest.mark.parametrize("shell", [None, {}, exports(), exports(HTTP_PROXY="http://proxy:1")])
def test_a_healthy_desk(desk: Desk, shell: dict[str, str] | None) -> None:
    desk.write(USER, claude_code.NEUTRAL_SETTINGS)
    assert desk.report("sessions", shell).is_healthy


@pytest.mark.parametrize(
    ("check", "shell", "files"),
    [
        ("key-astray", by_hand(ANTHROPIC_API_KEY=KEY), {}),
        ("key-astray", by_hand(ANTHROPIC_AUTH_TOKEN=KEY), {}),
        ("login-astray", by_hand(ANTHROPIC_AUTH_TOKEN=""), {}),
        ("login-forced", {}, {MANAGED: {"forceLoginMethod": "claudeai"}}),
        ("url-managed", {}, {MANAGED: {"env": {"ANTHROPIC_BASE_URL": "http://corp:1"}}}),
        ("other-provider", exports(CLAUDE_CODE_USE_BEDROCK="1"), {}),
        ("export-beaten", by_hand(), {USER: {"env": {"ANTHROPIC_BASE_URL": "http://old:1"}}}),
        ("settings-unread", {}, {USER: '{"a": 1,}'}),
        ("settings-unread", {}, {MANAGED: {"model": 5}}),
        ("token-to-anthropic", {"ANTHROPIC_AUTH_TOKEN": "left-over"}, {}),
        ("model-at-anthropic", {}, {USER: {"model": "claude-glm"}}),
        ("model-restricted", exports(),
         {MANAGED: {"availableModels": ["claude-opus-5"], "enforceAvailableModels": True}}),
        ("model-unlisted", by_hand(ANTHROPIC_DEFAULT_OPUS_MODEL="claude-glm"),
         {MANAGED: {"availableModels": ["opus"]}}),
        ("header-secret", exports(ANTHROPIC_CUSTOM_HEADERS="X-Api-Key: geheim"), {}),
        ("header-to-anthropic", {"ANTHROPIC_CUSTOM_HEADERS": "X-Api-Key: geheim", **TIER}, {}),
        ("unknown-route", exports(HOMEPORT_ROUTE="claude-old"), {}),
        ("url-path", by_hand(ANTHROPIC_BASE_URL=f"{URL}/v1"), {}),
        ("no-url", by_hand(ANTHROPIC_BASE_URL="glm-host:8000"), {}),
        ("proxy-to-loopback",
         by_hand(ANTHROPIC_BASE_URL=LAPTOP.endpoint.url, HTTP_PROXY="http://proxy:1"), {}),
        ("model-elsewhere", by_hand(ANTHROPIC_MODEL="claude-fable5"), {}),
        ("context-unset", by_hand(CLAUDE_CODE_MAX_CONTEXT_TOKENS=""), {}),
        ("context-other", by_hand(CLAUDE_CODE_MAX_CONTEXT_TOKENS="1000000"), {}),
        ("context-1m",
         by_hand(ANTHROPIC_MODEL="claude-glm[1m]", CLAUDE_CODE_DISABLE_1M_CONTEXT=""), {}),
        ("key-left-over", {"ANTHROPIC_API_KEY": KEY}, {}),
        ("key-left-over", {}, {USER: {"env": {"ANTHROPIC_API_KEY": KEY}}}),
        ("key-beside-token", by_hand(ANTHROPIC_API_KEY="dummy"), {}),
        ("helper-beside-token", by_hand(), {USER: {"apiKeyHelper": "cat key"}}),
        ("routes-mixed", exports(ANTHROPIC_BASE_URL=LAPTOP.endpoint.url), {}),
        ("left-over", {"ANTHROPIC_DEFAULT_OPUS_MODEL": "claude-glm"}, {}),
        ("left-over", {CONTEXT: str(GLM.model.context)}, {}),
        ("no-route", by_hand(ANTHROPIC_BASE_URL="http://a:b@other:1"), {}),
        ("tiers-elsewhere", by_hand(ANTHROPIC_DEFAULT_HAIKU_MODEL="claude-haiku-4-5"), {}),
        ("auto-mode", by_hand(), {}),
        ("compaction-window", by_hand(CLAUDE_CODE_AUTO_COMPACT_WINDOW="1000000"), {}),
        ("small-fast-model", exports(ANTHROPIC_SMALL_FAST_MODEL="x"), {}),
        ("typo", {"ANTROPIC_BASE_URL": URL}, {}),
    ],
)  # fmt: skip
def test_findings(desk: Desk, check: str, shell: dict[str, str], files: dict[str, Any]) -> None:
    for path, content in files.items():
        desk.write(path, content)
    report = desk.report("sessions", shell)
    assert check in names(report)
    assert len(names(report)) == len({(one.check, one.symptom) for one in report.findings})
    (row,) = (one for one in sessions.AREA.checks if one.name == check)
    assert {one.cause for one in report.findings if one.check == check} == {row.cause}
    session = routes.session_of(desk.context(shell))
    causes = {one.cause for one in explain.findings(session) if one.name == check}
    assert causes <= {row.cause}, "the same words in both"
    assert KEY not in str(report) and "geheim" not in str(report)


CORP = "https://llm.corp.example/anthropic"
GATEWAY = {"ANTHROPIC_BASE_URL": CORP, "ANTHROPIC_AUTH_TOKEN": "of-the-gateway"}
BY_KEY = {"ANTHROPIC_BASE_URL": CORP, "ANTHROPIC_API_KEY": "sk-of-the-gateway"}
BEDROCK = {"CLAUDE_CODE_USE_BEDROCK": "1"}

#: What users have who go elsewhere by intent.
OWN_WAYS: list[tuple[dict[str, str], dict[str, Any]]] = [
    (GATEWAY, {}),
    (BY_KEY, {}),
    ({**GATEWAY, **BY_KEY}, {}),
    ({**GATEWAY, "ANTHROPIC_MODEL": "corp/opus", "HTTPS_PROXY": "http://proxy:1"}, {}),
    ({**GATEWAY, "ANTHROPIC_BASE_URL": "http://localhost:4000", "HTTP_PROXY": "http://p:1"}, {}),
    ({}, {"env": GATEWAY}),
    ({}, {"env": BY_KEY, "model": "opus"}),
    ({"ANTHROPIC_BASE_URL": CORP}, {"apiKeyHelper": "corp-key"}),
    ({"ANTHROPIC_AUTH_TOKEN": "sk-ant-oat01-abcdefghijklmnop"}, {"model": "opus[1m]"}),
    ({"CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(GLM.model.max_output)}, {}),
]


@pytest.mark.parametrize(("shell", "user"), OWN_WAYS)
def test_whoever_goes_elsewhere_by_intent_is_healthy(
    desk: Desk, shell: dict[str, str], user: dict[str, Any]
) -> None:
    desk.write(USER, {**claude_code.NEUTRAL_SETTINGS, **user})
    assert desk.report("sessions", shell).is_healthy
    desk.write(BASHRC, "".join(f"export {name}='{value}'\n" for name, value in shell.items()))
    assert desk.report("sessions").is_healthy


def test_a_gateway_that_takes_a_header(desk: Desk) -> None:
    """It is the user's own, and goes to each route as well."""
    shell = {"ANTHROPIC_BASE_URL": CORP, "ANTHROPIC_CUSTOM_HEADERS": "X-Corp-Key: geheim"}
    report = desk.report("sessions", shell)
    assert {(one.check, one.about) for one in report.findings} == {("header-secret", GLM.alias)}


def test_another_cloud_matters_where_it_beats_a_route(desk: Desk) -> None:
    for shell, user in ((BEDROCK, {}), ({}, {"env": BEDROCK})):
        desk.write(USER, user)
        (finding,) = desk.report("sessions", shell).findings
        assert (finding.check, finding.about) == ("other-provider", GLM.alias)
    desk.change(GLM, CLAUDE_CODE_USE_BEDROCK="")
    desk.change(LAPTOP, CLAUDE_CODE_USE_BEDROCK="")
    assert desk.report("sessions", {}).is_healthy


def test_a_real_key_on_its_way_to_a_gateway(desk: Desk) -> None:
    for name in explain.SECRETS:
        (finding,) = desk.report("sessions", {"ANTHROPIC_BASE_URL": CORP, name: KEY}).findings
        assert (finding.check, finding.about) == ("key-astray", "claude")


def test_a_policy_on_models_is_no_matter_of_ours(desk: Desk) -> None:
    desk.write(MANAGED, {"availableModels": ["sonnet"]})
    found = desk.report("sessions", {"ANTHROPIC_MODEL": "opus"}).findings
    assert {one.about for one in found} == {GLM.alias, LAPTOP.alias}


def test_a_key_that_is_the_users_login(desk: Desk) -> None:
    said: dict[str, Any] = {"customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []}}
    desk.write("home/anna/.claude.json", said)
    assert desk.report("sessions", {"ANTHROPIC_API_KEY": KEY}).is_healthy
    other = desk.report("sessions", {"ANTHROPIC_API_KEY": KEY[:-1] + "x"})
    assert names(other) == ["key-left-over"]
    desk.write(BASHRC, "export ANTHROPIC_API_KEY=$(pass show key)\n")
    assert desk.report("sessions").is_healthy
    desk.write("home/anna/.claude.json", {**said, "oauthAccount": {"emailAddress": "a@b"}})
    assert names(desk.report("sessions", {"ANTHROPIC_API_KEY": KEY})) == ["key-left-over"]
    desk.write("home/anna/.claude.json", "{")
    assert names(desk.report("sessions")) == ["key-left-over"]


@pytest.mark.parametrize("name", explain.SECRETS)
def test_a_key_that_only_a_shell_can_tell(desk: Desk, name: str) -> None:
    text = f'export {name}="$(pass show key)"\nexport ANTHROPIC_BASE_URL='
    file = desk.write(BASHRC, f"{text}{CORP}\n")
    assert desk.report("sessions").is_healthy
    desk.write(BASHRC, f"{text}{URL}\n")
    report = desk.report("sessions")
    (unchecked,) = report.unchecked
    assert unchecked.why == f"{file}:1 sets {name} to what only a shell can tell"
    assert "login-astray" not in names(report)


def test_a_base_url_that_only_a_shell_can_tell(desk: Desk) -> None:
    text = 'export ANTHROPIC_BASE_URL="https://$CORP"\nexport ANTHROPIC_AUTH_TOKEN=of-corp\n'
    desk.write(BASHRC, text)
    report = desk.report("sessions")
    assert not report.findings, "the token is not on its way to Anthropic"
    assert "sets ANTHROPIC_BASE_URL to what only a shell can tell" in report.unchecked[0].why


def test_what_a_finding_has_of_its_own_is_said_beside_its_cause(desk: Desk) -> None:
    shell = by_hand(ANTHROPIC_DEFAULT_HAIKU_MODEL="claude-haiku-4-5")
    found = {one.check: one.detail for one in desk.report("sessions", shell).findings}
    assert found["tiers-elsewhere"] == "ANTHROPIC_DEFAULT_HAIKU_MODEL"
    assert found["auto-mode"] == ""


def test_a_key_that_is_given_away_is_the_first_of_all(desk: Desk) -> None:
    desk.write(USER, '{"a": 1,}')
    desk.write(MANAGED, {"env": {"ANTHROPIC_API_KEY": KEY}, "forceLoginMethod": "claudeai"})
    first, *_ = desk.report("sessions", {}).findings
    assert (first.check, first.about) == ("key-astray", GLM.alias)
    assert first.symptom == f"A real Anthropic key goes to {URL}"


def test_what_all_sessions_have_is_said_once(desk: Desk) -> None:
    desk.write(MANAGED, {"forceLoginMethod": "claudeai"})
    assert names(desk.report("sessions", {})) == ["login-forced"]


def test_a_router_that_hands_the_key_to_anthropic(desk: Desk) -> None:
    desk.change(GLM, ANTHROPIC_CUSTOM_HEADERS="X-Homeport-Router: geheim")
    assert "key-left-over" not in names(desk.report("sessions", {"ANTHROPIC_API_KEY": KEY}))


# Start-up files


STARTS: dict[str, tuple[str, str | None]] = {
    BASHRC: (f"# export A=1\nexport ANTHROPIC_API_KEY='{KEY}'\n", KEY),
    "home/anna/.profile": (f'[ -n "$X" ] && export X=1 ANTHROPIC_API_KEY="{KEY}"; true\n', KEY),
    "home/anna/.bash_profile": (f"ANTHROPIC_API_KEY={KEY}\nexport ANTHROPIC_API_KEY\n", KEY),
    "home/anna/.zshrc": (f"typeset -gx ANTHROPIC_API_KEY={KEY} # mine\n", KEY),
    "home/anna/.zlogin": (f"case $- in *i*) export ANTHROPIC_API_KEY={KEY} ;; esac\n", KEY),
    "home/anna/.zshenv": (f"if true; then export ANTHROPIC_API_KEY={KEY}; fi\n", KEY),
    "home/anna/.zprofile": ("export ANTHROPIC_API_KEY=$(pass show key)\n", None),
    "home/anna/.config/fish/config.fish": (f"set -gx ANTHROPIC_API_KEY {KEY}\n", KEY),
    "home/anna/.config/environment.d/a.conf": (f"ANTHROPIC_API_KEY={KEY}\n", KEY),
    "etc/environment": (f'ANTHROPIC_API_KEY="{KEY}"\n', KEY),
}


@pytest.mark.parametrize("path", STARTS)
def test_what_a_start_up_file_exports(desk: Desk, path: str) -> None:
    text, value = STARTS[path]
    file = desk.write(path, f"\n{text}")
    (line,) = lines(desk.home, desk.root)
    assert (line.name, line.value, line.path) == ("ANTHROPIC_API_KEY", value, str(file))
    report = desk.report("sessions")
    assert not report.unchecked
    (finding,) = report.findings
    place = f"{file}:{line.number}"
    assert (finding.check, finding.about) == ("key-left-over", "claude")
    assert finding.symptom == f"An ANTHROPIC_API_KEY is set by {place}"
    assert finding.fix.startswith(f"Remove ANTHROPIC_API_KEY from {place}, and open a new shell; ")


@pytest.mark.parametrize(
    "text",
    [
        "ANTHROPIC_API_KEY=x\n",
        "work() {\n  export ANTHROPIC_API_KEY=x\n}\n",
        "work() { export ANTHROPIC_API_KEY=x; }\n",
        "export ANTHROPIC_API_KEY=x\nunset ANTHROPIC_API_KEY\n",
        "alias a='b'\nexport PATH=/x:$PATH # added by homeport\n",
        "echo export ANTHROPIC_API_KEY=x\n",
    ],
)
def test_what_a_start_up_file_does_not_export(desk: Desk, text: str) -> None:
    desk.write(BASHRC, text)
    assert lines(desk.home, desk.root) == []


def test_a_later_file_says_the_last_word(desk: Desk) -> None:
    desk.write("home/anna/.profile", "export ANTHROPIC_BASE_URL=http://one:1\n")
    desk.write(BASHRC, "export ANTHROPIC_BASE_URL=http://two:2\n")
    assert [one.value for one in lines(desk.home, desk.root)] == ["http://two:2"]


def test_over_ssh_the_files_stand_for_the_shell(desk: Desk) -> None:
    text = f"export ANTHROPIC_BASE_URL={URL}\nexport ANTHROPIC_API_KEY={KEY}\n"
    file = desk.write(BASHRC, text)
    first, *_ = desk.report("sessions").findings
    assert first.check == "key-astray"
    assert first.fix == f"Remove ANTHROPIC_API_KEY from {file}:2, and open a new shell"
    # A shell that has been told otherwise since is asked itself.
    assert desk.report("sessions", {}).is_healthy
    shell = {"ANTHROPIC_BASE_URL": URL, "ANTHROPIC_API_KEY": KEY}
    assert desk.report("sessions", shell).findings[0].fix == first.fix


def test_a_start_up_file_that_cannot_be_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise PermissionError(13, "Permission denied", "/x")

    monkeypatch.setattr(start_up, "lines", refuse)
    (unchecked,) = desk.report("sessions").unchecked
    assert unchecked.checks == ("key-left-over",)
    assert unchecked.why == "/x cannot be read: Permission denied"
