"""What homeport-explain says of sessions, the client's as measured in tests/client."""

from __future__ import annotations

import ast
import difflib
import json
import os
import plistlib
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from homeport import claude_code, policy
from homeport.catalog import MODELS
from homeport.layout import Layout
from homeport.model import Endpoint, Route, Token
from homeport.remote import explain
from homeport.router import Router

GLM = Route(MODELS["glm-5.2-fp8"], Endpoint("glm-host", 8000, Token("a-token-of-glm-0001")))
LAPTOP = Route(MODELS["gemma-4-12b-coder"], Endpoint("localhost", 18080))
KEY = "sk-ant-api03-abcdefghijklmnop"


@dataclass
class Desk:
    """A home with two routes, a project in it, and a folder of managed settings."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def project(self) -> Path:
        return self.home / "project"

    @property
    def routes(self) -> Path:
        return self.home / ".homeport" / "routes"

    def write(self, path: str, content: Any) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))

    def session(self, route: str | None = None, **shell: str) -> explain.Session:
        where = explain.Places(self.root / "managed")
        shell = {"HOME": str(self.home), **shell}
        return explain.session(self.project, shell, where, self.routes, route)

    def symptoms(self, route: str | None = None, **shell: str) -> list[str]:
        return [one.symptom for one in explain.findings(self.session(route, **shell))]

    def run(self, *words: str, **shell: str) -> subprocess.CompletedProcess[str]:
        program = self.home / ".homeport" / "lib" / "explain.py"
        program.parent.mkdir(exist_ok=True)
        program.write_bytes(Path(explain.__file__).read_bytes())
        return subprocess.run(
            [sys.executable, "-I", program, *words],
            cwd=self.project,
            env={"HOME": str(self.home), "PATH": os.environ["PATH"], **shell},
            capture_output=True,
            text=True,
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.project.mkdir(parents=True)
    for route in (GLM, LAPTOP):
        path = f"home/.homeport/routes/{route.alias}.json"
        desk.write(path, claude_code.route_settings(route, {}))
    return desk


def exports(route: Route = GLM, **more: str) -> dict[str, str]:
    """The shell after `source use-glm.sh`."""
    return {**claude_code.environment(route), "HOMEPORT_ROUTE": route.alias, **more}


def by_hand(**more: str) -> dict[str, str]:
    """The same variables, and no route's settings that go along."""
    return {**exports(), "HOMEPORT_ROUTE": "", **more}


def test_a_router_and_a_policy_of_homeports_are_in_order(desk: Desk) -> None:
    token = Token("the-routers")
    router = Router(Endpoint("localhost", 18090, token), (GLM, LAPTOP), ("claude-opus-5-5",))
    desk.write("home/.homeport/routes/router.json", claude_code.router_settings(router, {}))
    assert desk.symptoms("router") == []
    assert desk.symptoms("router", ANTHROPIC_API_KEY=KEY) == [], "it goes to Anthropic alone"
    policed = policy.managed_settings(GLM, {}, Layout.under(str(desk.home), "~/.homeport"))
    desk.write("managed/managed-settings.json", policed)
    assert desk.symptoms() == desk.symptoms("claude-glm") == []
    assert desk.symptoms("router") == ["The base URL is managed on this machine"]


def test_it_knows_every_variable_that_a_route_sets() -> None:
    assert set(claude_code.VARIABLES) <= set(explain.VARIABLES)


def test_it_runs_on_the_oldest_python_that_it_may_meet() -> None:
    ast.parse(Path(explain.__file__).read_text(), feature_version=(3, 9))


def test_without_anything_it_goes_to_anthropic(desk: Desk) -> None:
    assert desk.session().goes_to == "Anthropic (api.anthropic.com), with your own login"
    assert desk.symptoms() == []


@pytest.mark.parametrize("route", [GLM, LAPTOP], ids=lambda route: route.alias)
def test_a_route_goes_where_it_says_without_findings(desk: Desk, route: Route) -> None:
    proxy = {"HTTP_PROXY": "http://proxy:3128"}
    said = f"{route.endpoint.url} as {route.alias}"
    started = desk.session(route.alias, ANTHROPIC_API_KEY=KEY, **proxy)
    assert (started.goes_to, explain.findings(started)) == (said, [])
    assert desk.session(**exports(route)).goes_to == said
    assert desk.symptoms(**exports(route)) == []
    other = desk.session(route.alias, **exports(LAPTOP, CLAUDE_CODE_SIMPLE="1"))
    assert other.goes_to == said


#: A source of each kind, the strongest first.
FILES = (
    "managed/managed-settings.d/20.json",
    "managed/managed-settings.d/10.json",
    "managed/managed-settings.json",
    "home/.homeport/routes/claude-glm.json",
    "home/project/.claude/settings.local.json",
    "home/project/.claude/settings.json",
    "home/.claude/settings.json",
)


@pytest.mark.parametrize("strongest", range(len(FILES)))
def test_the_strongest_source_wins(desk: Desk, strongest: int) -> None:
    for file in FILES[strongest:]:
        desk.write(file, {"env": {"ANTHROPIC_BASE_URL": f"http://{Path(file).stem}"}})
    active = "claude-glm" if strongest <= 3 else ""
    found = desk.session(ANTHROPIC_BASE_URL="http://own", HOMEPORT_ROUTE=active).find(
        "ANTHROPIC_BASE_URL"
    )
    assert found
    assert found.source.path == str(desk.root / FILES[strongest])
    paths = [str(desk.root / file) for file in FILES[strongest + 1 :]]
    assert [source.path for source, _ in found.beaten] == [*paths, "shell"]


def test_a_gateway_of_the_users_own(desk: Desk) -> None:
    corp = {"ANTHROPIC_BASE_URL": "https://corp/anthropic", "ANTHROPIC_AUTH_TOKEN": "of-corp"}
    assert desk.session(**corp).own_way and desk.symptoms(**corp) == []
    assert desk.symptoms(CLAUDE_CODE_USE_VERTEX="1") == []
    # With a route's variables it is where one was, or should be.
    moved = desk.session(**corp, ANTHROPIC_MODEL="claude-glm")
    assert not moved.own_way
    assert "no-route" in [one.name for one in explain.findings(moved)]
    again = {**corp, "ANTHROPIC_BASE_URL": "https://corp/anthropic/v1"}
    path, _ = explain.base_url(desk.session(**again))
    assert path.fix == "Type: export ANTHROPIC_BASE_URL=https://corp/anthropic"


def test_an_empty_value_removes_a_weaker_one(desk: Desk) -> None:
    desk.write("home/.claude/settings.json", {"env": {"ANTHROPIC_BASE_URL": ""}})
    assert not desk.session(ANTHROPIC_BASE_URL="http://own").self_hosted


def test_the_config_directory_moves_the_users_settings(desk: Desk) -> None:
    desk.write("home/.claude/settings.json", {"model": "opus"})
    desk.write("home/elsewhere/settings.json", {"model": "haiku"})
    moved = desk.session(CLAUDE_CONFIG_DIR=str(desk.home / "elsewhere"))
    assert (desk.session().wanted, moved.wanted) == ("opus", "haiku")


def test_local_settings_of_the_repositorys_root_count_and_its_others_do_not(desk: Desk) -> None:
    (desk.project / ".git").mkdir()
    desk.write("home/project/.claude/settings.local.json", {"model": "of-root"})
    desk.write("home/project/.claude/settings.json", {"model": "of-roots-project"})
    desk.write("home/project/sub/.claude/settings.local.json", {"model": "of-folder"})
    shell = {"HOME": str(desk.home)}
    found = [one.settings["model"] for one in explain.of_user(desk.project / "sub", shell)]
    assert found == ["of-root", "of-folder"]


def test_a_repository_that_is_the_home_is_none(desk: Desk) -> None:
    (desk.home / ".git").mkdir()
    desk.write("home/.claude/settings.local.json", {"model": "of-home"})
    assert desk.session().wanted == ""


def test_preferences_of_a_managed_mac(desk: Desk) -> None:
    plist = desk.root / "com.anthropic.claudecode.plist"
    plist.write_bytes(plistlib.dumps({"env": {"ANTHROPIC_BASE_URL": "http://corp"}}))
    where = explain.Places(desk.root / "managed", (plist,))
    found = explain.session(desk.project, {"HOME": str(desk.home)}, where, desk.routes)
    assert found.url == "http://corp"


#: The shell, and the model of the main conversation; all to one base URL.
@pytest.mark.parametrize(
    ("variables", "settings", "model"),
    [
        ({}, {}, None),
        ({}, {"model": "opus"}, None),
        ({"ANTHROPIC_DEFAULT_OPUS_MODEL": "t"}, {}, "t"),
        ({"ANTHROPIC_DEFAULT_SONNET_MODEL": "t"}, {"model": "Sonnet[1m]"}, "t"),
        ({"ANTHROPIC_MODEL": "a"}, {"model": "b"}, "a"),
        ({"ANTHROPIC_MODEL": "a"}, {"availableModels": ["sonnet"]}, None),
        ({"ANTHROPIC_MODEL": "claude-glm"}, {"availableModels": ["Claude"]}, "claude-glm"),
        ({"ANTHROPIC_MODEL": "claude-glm"}, {"availableModels": ["claude-g"]}, None),
        ({}, {"availableModels": ["a"], "enforceAvailableModels": True}, "a"),
        ({"ANTHROPIC_MODEL": "claude-opus-4-6"}, {"modelOverrides": {"claude-opus-4-6": "m"}}, "m"),
        ({"ANTHROPIC_MODEL": "claude-glm"}, {"modelOverrides": {"claude-glm": "m"}}, "claude-glm"),
    ],
)
def test_the_model(
    desk: Desk, variables: dict[str, str], settings: dict[str, Any], model: str | None
) -> None:
    desk.write("managed/managed-settings.json", settings)
    assert desk.session(ANTHROPIC_BASE_URL="http://own", **variables).model == model


def test_lists_of_models_add_up_but_for_managed_ones(desk: Desk) -> None:
    desk.write("home/.claude/settings.json", {"availableModels": ["claude-glm"]})
    desk.write("home/project/.claude/settings.json", {"availableModels": ["sonnet"]})
    shell = exports()
    assert not desk.session(**shell).restricted
    desk.write("managed/managed-settings.json", {"availableModels": ["opus"]})
    assert desk.session(**shell).restricted


URL = "http://glm-host:8000"
USER = "home/.claude/settings.json"
MANAGED = "managed/managed-settings.json"
MANY = "CLAUDE_CODE_MAX_CONTEXT_TOKENS"


@pytest.mark.parametrize(
    ("shell", "files", "symptom"),
    [
        (by_hand(ANTHROPIC_API_KEY=KEY), {}, f"A real Anthropic key goes to {URL}"),
        (by_hand(ANTHROPIC_AUTH_TOKEN=KEY), {}, f"A real Anthropic key goes to {URL}"),
        (by_hand(ANTHROPIC_AUTH_TOKEN=""), {}, f"Nothing to log in with at {URL}"),
        (by_hand(ANTHROPIC_API_KEY="dummy"), {}, "ANTHROPIC_API_KEY beside a token"),
        (by_hand(), {USER: {"apiKeyHelper": "cat key"}}, "apiKeyHelper beside a token"),
        (
            {"ANTHROPIC_AUTH_TOKEN": "left-over"},
            {},
            "A token that is not Anthropic's goes to Anthropic",
        ),
        (
            by_hand(),
            {USER: {"env": {"ANTHROPIC_BASE_URL": "http://old:1"}}},
            "ANTHROPIC_BASE_URL of this shell does not count",
        ),
        (
            exports(),
            {MANAGED: {"env": {"ANTHROPIC_BASE_URL": "http://corp:1"}}},
            "The base URL is managed on this machine",
        ),
        (
            exports(),
            {MANAGED: {"forceLoginMethod": "claudeai"}},
            "forceLoginMethod is managed on this machine",
        ),
        (
            {},
            {MANAGED: {"forceLoginOrgUUID": ["x"]}},
            "forceLoginOrgUUID is managed on this machine",
        ),
        (exports(), {MANAGED: {"availableModels": ["opus"]}}, "availableModels lacks claude-glm"),
        (by_hand(ANTHROPIC_BASE_URL=f"{URL}/v1"), {}, "The base URL has a path"),
        (by_hand(ANTHROPIC_BASE_URL="glm-host:8000"), {}, "glm-host:8000 is not a URL"),
        (by_hand(ANTHROPIC_BASE_URL="http://["), {}, "http://[ is not a URL"),
        (
            by_hand(ANTHROPIC_BASE_URL="http://a:b@other:1"),
            {},
            "http://…@other:1 is no route of homeport's",
        ),
        (by_hand(ANTHROPIC_MODEL="claude-fable5"), {}, f"{URL} does not serve claude-fable5"),
        (
            by_hand(ANTHROPIC_MODEL="", ANTHROPIC_DEFAULT_OPUS_MODEL=""),
            {},
            f"{URL} does not serve Anthropic's models",
        ),
        (
            by_hand(ANTHROPIC_DEFAULT_HAIKU_MODEL="claude-haiku-4-5"),
            {},
            f"Background calls ask {URL} for models that it does not serve",
        ),
        ({}, {USER: {"model": "claude-glm"}}, "claude-glm, a self-hosted model, is asked"),
        (by_hand(CLAUDE_CODE_MAX_CONTEXT_TOKENS="1000000"), {}, f"{MANY} is 1000000"),
        (by_hand(CLAUDE_CODE_MAX_CONTEXT_TOKENS=""), {}, f"{MANY} is not set"),
        (
            by_hand(ANTHROPIC_MODEL="claude-glm[1m]", CLAUDE_CODE_DISABLE_1M_CONTEXT=""),
            {},
            "ANTHROPIC_MODEL is claude-glm[1m]",
        ),
        (
            by_hand(CLAUDE_CODE_AUTO_COMPACT_WINDOW="1000000"),
            {},
            "CLAUDE_CODE_AUTO_COMPACT_WINDOW is 1000000",
        ),
        (exports(CLAUDE_CODE_USE_BEDROCK="1"), {}, "CLAUDE_CODE_USE_BEDROCK sends the session to"),
        (
            exports(ANTHROPIC_CUSTOM_HEADERS="x-a: 1\nX-Api-Key: geheim"),
            {},
            "ANTHROPIC_CUSTOM_HEADERS carries X-Api-Key",
        ),
        (
            exports(LAPTOP, HTTP_PROXY="http://proxy:3128", NO_PROXY="localhost"),
            {},
            "Requests to http://127.0.0.1:18080 go through the proxy of HTTP_PROXY",
        ),
        (by_hand(), {}, "An interactive session starts in auto mode"),
        (exports(ANTHROPIC_SMALL_FAST_MODEL="x"), {}, "ANTHROPIC_SMALL_FAST_MODEL is set"),
        (exports(), {USER: '{"a": 1,}'}, "settings.json is not valid JSON: "),
        (exports(), {USER: {"model": 5}}, "settings.json has a wrong type at model"),
        (exports(), {USER: {"env": {MANY[:-1]: "1"}}}, f"{MANY[:-1]} looks like a slip"),
        ({"ANTROPIC_BASE_URL": URL}, {}, "ANTROPIC_BASE_URL looks like a slip"),
        (exports(HOMEPORT_ROUTE="claude-old"), {}, "HOMEPORT_ROUTE is claude-old"),
        (
            exports(ANTHROPIC_BASE_URL=LAPTOP.endpoint.url),
            {},
            "This shell is on claude-glm, and has another ANTHROPIC_BASE_URL",
        ),
        (
            {"ANTHROPIC_DEFAULT_OPUS_MODEL": "claude-glm"},
            {},
            "ANTHROPIC_DEFAULT_OPUS_MODEL of a route is set, and the session goes to Anthropic",
        ),
    ],
)
def test_findings(desk: Desk, shell: dict[str, str], files: dict[str, Any], symptom: str) -> None:
    for path, content in files.items():
        desk.write(path, content)
    found = desk.symptoms(**shell)
    assert any(symptom in one for one in found), found


@pytest.mark.parametrize(
    "spared", ["127.0.0.1", "x, 127.0.0.1:18080", "x 127.0.0.0/8", "*", " 127.0.0.1 ,x"]
)
def test_what_goes_past_a_proxy(desk: Desk, spared: str) -> None:
    shell = exports(LAPTOP, HTTP_PROXY="http://proxy:3128", NO_PROXY=spared)
    assert desk.symptoms(**shell) == []
    assert desk.symptoms(**shell, no_proxy="x") != [], "the lower case one counts before the other"


def test_what_a_file_of_a_wrong_type_still_says(desk: Desk) -> None:
    """The client takes nothing of it, but of a managed one what is right."""
    content = {"model": 5, "env": {"ANTHROPIC_BASE_URL": "http://corp"}}
    desk.write(USER, content)
    assert not desk.session().self_hosted
    desk.write(MANAGED, content)
    assert desk.session().url == "http://corp"


def test_what_does_not_count_is_not_found(desk: Desk) -> None:
    """A model of the user's that the route's beats, login keys outside of managed settings."""
    desk.write(USER, {"model": "opus[1m]", "forceLoginMethod": "claudeai"})
    assert desk.symptoms(**exports()) == []


def test_errors_stand_before_warnings(desk: Desk) -> None:
    shell = by_hand(ANTHROPIC_API_KEY=KEY, CLAUDE_CODE_AUTO_COMPACT_WINDOW="1000000")
    found = [one.severity for one in explain.findings(desk.session(**shell))]
    assert found == sorted(found) and set(found) == {"error", "warning"}


def test_no_variable_of_the_clients_looks_like_a_slip() -> None:
    """Names that the client knows and that are close to ours (settings schema, August 2026)."""
    for name in (
        "ANTHROPIC_DEFAULT_SONNET_MODEL_NAME",
        "ANTHROPIC_CUSTOM_MODEL_OPTION_NAME",
        "ANTHROPIC_AWS_BASE_URL",
    ):
        assert not difflib.get_close_matches(name, explain.VARIABLES, 1, 0.93)


def test_as_a_program(desk: Desk) -> None:
    done = desk.run("--json", "--route", "claude-glm", ANTHROPIC_API_KEY=KEY)
    said = json.loads(done.stdout)
    assert (done.returncode, said["findings"]) == (0, [])
    assert said["route"] == "claude-glm"
    assert (said["goes_to"]["url"], said["goes_to"]["model"]) == (URL, "claude-glm")
    token = next(one for one in said["variables"] if one["name"] == "ANTHROPIC_AUTH_TOKEN")
    assert (token["value"], token["source"]) == ("…0001", "--settings")
    assert token["beaten"] == [{"source": "shell", "path": "shell", "value": "…0001"}]


def test_no_secret_is_shown(desk: Desk) -> None:
    desk.write(USER, {"apiKeyHelper": f"echo {KEY}"})
    more = {"ANTHROPIC_CUSTOM_HEADERS": "Authorization: Bearer geheim"}
    shell = by_hand(ANTHROPIC_API_KEY=KEY, HTTPS_PROXY="http://anna:geheim@proxy:1", **more)
    for words in ([], ["--json"]):
        done = desk.run(*words, **shell)
        assert done.returncode == 1, done.stderr
        assert "mnop" in done.stdout
        for secret in (KEY, "geheim", GLM.client_token):
            assert secret not in done.stdout
    assert "\x1b" not in done.stdout


def test_what_a_person_reads(desk: Desk) -> None:
    done = desk.run(**exports(ANTHROPIC_API_KEY=KEY))
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[0] == f"claude typed here goes to {URL} as claude-glm"
    key = next(line for line in lines if line.startswith("ANTHROPIC_API_KEY"))
    assert key.split()[1:] == [
        "(empty)",
        str(desk.routes / "claude-glm.json"),
        "sk-ant-…mnop",
        "(shell)",
    ]


@pytest.mark.parametrize("words", [["--route", "claude-none"], ["nowhere"], ["--bogus"]])
def test_wrong_usage(desk: Desk, words: list[str]) -> None:
    done = desk.run(*words)
    assert done.returncode == 2
    assert "homeport-explain: error: " in done.stderr and "Traceback" not in done.stderr


def test_a_route_at_another_port_is_another(desk: Desk) -> None:
    moved = replace(GLM, endpoint=replace(GLM.endpoint, port=8001))
    assert f"{moved.endpoint.url} is no route of homeport's" in desk.symptoms(
        **exports(moved, HOMEPORT_ROUTE="")
    )


@pytest.mark.parametrize(
    ("helper", "shown"),
    [
        ('curl -sH "Authorization: Bearer abcdef12345" http://x', "curl …"),
        ("echo supersecretvalue123", "echo …"),
        ("cat ~/.homeport/routes/claude-glm.token", "cat ~/.homeport/routes/claude-glm.token"),
        ("cat ~/x; echo k-routes/a.token", "cat …"),
    ],
)
def test_a_helpers_command_may_have_a_secret_in_it(helper: str, shown: str) -> None:
    assert explain.masked("apiKeyHelper", helper) == shown


def test_a_password_with_an_at_sign_is_hidden() -> None:
    assert explain.masked("HTTP_PROXY", "http://user:p@ss@proxy:1") == "http://…@proxy:1"
    assert explain.masked("HTTP_PROXY", "user:pass@proxy:1") == "…@proxy:1"
