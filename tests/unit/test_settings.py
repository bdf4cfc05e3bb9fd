"""Group data that cannot work is refused with file, field, value and fix; ours works."""

from __future__ import annotations

import runpy
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from homeport import ROOT, claude_code, tokens
from homeport.claude_code import NEUTRAL_SETTINGS
from homeport.errors import SettingsError
from homeport.laptop_settings import LaptopSettings
from homeport.settings import KEYS, ROUTE_KEYS, HostData, of, unread

GLM = {"model": "glm-5.2-fp8", "host": "glm-host", "port": 8000, "open_to_network": True}
SMALL = {"model": "smollm2-135m", "host": "localhost", "port": 18080}
ROUTES = {"claude-glm": GLM, "claude-fable5": SMALL}


def a_host(*groups: str, **values: Any) -> HostData:
    return HostData("box", groups, values, lambda key: "group_data/all.py")


def routes(**changes: Any) -> dict[str, Any]:
    return {"claude-fable5": {**SMALL, **changes}}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"port": 80_000}, "routes['claude-fable5'].port is 80000: ports are 1 to 65535."),
        ({"port": "18080"}, "routes['claude-fable5'].port is '18080': it has to be a whole number"),
        ({"port": True}, "routes['claude-fable5'].port is True: it has to be a whole number"),
        (
            {"contxt": 1},
            "routes['claude-fable5'].contxt is 1: nothing reads this key. Did you mean",
        ),
        ({"context": 4_096}, "routes['claude-fable5'].context is 4096: one real request"),
        ({"max_output": 9_000}, "routes['claude-fable5'].max_output is 9000: of 8,192 tokens"),
        ({"model": "gemma"}, "routes['claude-fable5'].model is 'gemma': homeport does not know"),
        ({"host": "http://x"}, "routes['claude-fable5'].host is 'http://x': it is not a host"),
        ({"token_env": "NOT_SET_X"}, "token_env is 'NOT_SET_X': this variable is not set"),
        ({"token_file": "no/such"}, "token_file is 'no/such': it cannot be read"),
        ({"token_env": "A", "token_file": "b"}, "token_file is set as well"),
        (
            {"revision": "main"},
            "routes['claude-fable5'].revision is 'main': nothing reads this key",
        ),
        ({"label": "a\nb"}, "label is 'a\\nb': it has a line break"),
        ({"host": "0.0.0.0"}, "host is '0.0.0.0': a server may listen on all addresses"),
        ({"weights": "x.bin"}, "weights is 'x.bin': it is not the path of a GGUF file"),
    ],
)
def test_route_that_cannot_work(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        of(a_host("laptops", routes=routes(**changes)))
    assert str(caught.value).startswith("group_data/all.py: ")
    assert sentence in str(caught.value)


@pytest.mark.parametrize("key", ["model", "host", "port"])
def test_route_that_lacks_something(key: str) -> None:
    data = {"claude-fable5": {k: v for k, v in SMALL.items() if k != key}}
    with pytest.raises(SettingsError, match=rf"\.{key} is None: it cannot be left out"):
        of(a_host("laptops", routes=data))


def test_alias_is_checked() -> None:
    with pytest.raises(SettingsError, match=r"group_data/all\.py: alias is 'a/b'"):
        of(a_host("laptops", routes={"a/b": SMALL}))


@pytest.mark.parametrize("key", ["serve", "use"])
def test_unknown_alias_in_a_hosts_data(key: str) -> None:
    groups = ("laptops", "workstations")
    with pytest.raises(SettingsError) as caught:
        of(a_host(*groups, routes=ROUTES, **{key: ["claude-fabel5"]}))
    assert str(caught.value) == (
        f"group_data/all.py: {key} is 'claude-fabel5': no route has this alias. "
        "Did you mean 'claude-fable5'?"
    )


def test_an_alias_twice() -> None:
    with pytest.raises(SettingsError, match="an alias stands in it twice"):
        of(a_host("laptops", routes=ROUTES, serve=["claude-fable5", "claude-fable5"]))


def test_a_laptop_has_no_tls() -> None:
    with pytest.raises(SettingsError, match=r"\.tls is True: a laptop's server speaks plain http"):
        of(a_host("laptops", routes=routes(tls=True), serve=["claude-fable5"]))


def test_two_models_on_one_port() -> None:
    data = {**ROUTES, "claude-two": SMALL}
    with pytest.raises(SettingsError, match=r"box serves claude-two\.port is 18080"):
        of(a_host("laptops", routes=data, serve=["claude-fable5", "claude-two"]))


def test_two_routes_with_one_script() -> None:
    with pytest.raises(SettingsError, match=r"would share use-fable5\.sh"):
        of(a_host("workstations", routes={**ROUTES, "fable5": {**SMALL, "port": 1}}))


@pytest.mark.parametrize(
    ("group", "sentence"),
    [
        ("laptop", "inventory: group is 'laptop': no role has this name. Did you mean 'laptops'?"),
        ("gpu_host", "Did you mean 'gpu_hosts'?"),
        ("london", "inventory: host is 'box': it is in no group that has a role, only in london"),
    ],
)
def test_unknown_group(group: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        of(a_host(group))
    assert sentence in str(caught.value)


def test_a_group_of_the_users_own_beside_a_role() -> None:
    assert of(a_host("workstations", "london", routes=ROUTES)).uses


def test_a_host_with_two_engines() -> None:
    with pytest.raises(SettingsError, match="in gpu_hosts and in laptops"):
        of(a_host("gpu_hosts", "laptops"))


def test_a_model_that_is_not_safety_aligned_has_guardrails() -> None:
    gemma = {"claude-fable5": {**SMALL, "model": "gemma-4-12b-coder"}}
    values = {"routes": gemma, "serve": ["claude-fable5"]}
    with pytest.raises(SettingsError, match="Gemma 4 12B Coder is not safety-aligned, and nothing"):
        of(a_host("laptops", "workstations", **values))
    rules = {"permissions": {"ask": ["Bash"]}}
    laptop = of(a_host("laptops", "workstations", **values, guardrails=rules))
    (route,) = laptop.uses
    assert laptop.workstation
    guardrails = laptop.workstation.guardrails
    written = claude_code.route_settings(route, guardrails, ["/h/routes"])["permissions"]
    assert written == {
        "ask": ["Bash"],
        "deny": ["Read(//h/routes/**)", "WebSearch"],
        "defaultMode": "default",
    }
    plan = {"permissions": {"defaultMode": "plan"}}
    assert claude_code.route_settings(route, plan)["permissions"]["defaultMode"] == "plan"
    trusted = replace(route, model=replace(route.model, aligned=True))
    assert "ask" not in claude_code.route_settings(trusted, rules)["permissions"]


@pytest.mark.parametrize(
    ("guardrails", "sentence"),
    [
        (
            {"permission": {}},
            "permission is {}: nothing reads this key. Did you mean 'permissions'",
        ),
        ({"permissions": "none"}, "permissions is 'none': it has to be a dictionary"),
        ({"permissions": {"deny": "Bash"}}, "deny is 'Bash': it has to be a list"),
        ({"permissions": {"asks": []}}, "asks is []: nothing reads this key. Did you mean 'ask'"),
        ({"permissions": {"ask": [1]}}, "ask is [1]: a rule is text"),
        ({"env": {}}, "env is {}: nothing reads this key"),
    ],
)
def test_guardrails_that_would_be_none(guardrails: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        of(a_host("workstations", guardrails=guardrails))
    assert str(caught.value).startswith(f"group_data/all.py: guardrails: {sentence}")


@pytest.mark.parametrize("group", ["laptops_eu", "old_laptops", "my_workstations", "canada"])
def test_a_group_of_ones_own_may_sound_like_a_role(group: str) -> None:
    assert of(a_host("workstations", group, routes=ROUTES)).uses


@pytest.mark.parametrize(
    ("group", "meant"), [("canaries", "canary"), ("Canary", "canary"), ("laptop", "laptops")]
)
def test_a_group_that_is_a_typo(group: str, meant: str) -> None:
    with pytest.raises(SettingsError, match=f"Did you mean '{meant}'"):
        of(a_host("workstations", group, routes=ROUTES))


def test_a_local_route_where_nobody_serves_it() -> None:
    with pytest.raises(SettingsError, match="box does not serve it"):
        of(a_host("workstations", routes=ROUTES, use=["claude-fable5"]))


def test_a_workstation_uses_what_it_can_reach() -> None:
    desk = of(a_host("workstations", routes=ROUTES))
    assert [route.alias for route in desk.uses] == ["claude-glm"]
    laptop = of(a_host("laptops", "workstations", routes=ROUTES, serve=["claude-fable5"]))
    assert [route.alias for route in laptop.uses] == ["claude-glm", "claude-fable5"]
    assert of(a_host("laptops", routes=ROUTES, serve=["claude-fable5"])).uses == ()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"engine": "vllm"}, "engine is 'vllm': there is no such engine. Known are homebrew"),
        ({"engine": "homebru"}, "there is no such engine. Did you mean 'homebrew'?"),
        ({"quant": 4}, "quant is 4: it has to be a text or None"),
        ({"chat_template": "a.jinja"}, "chat_template is 'a.jinja': it cannot be read (No such"),
        ({"guardrails": {"a": {1}}}, "guardrails is {'a': {1}}: it cannot be written"),
        ({"serve": "claude-glm"}, "serve is 'claude-glm': it has to be a list"),
        ({"homeport_dir": "homeport"}, "homeport_dir is 'homeport': it has to be a directory"),
        ({"homeport_dir": "~/"}, "homeport_dir is '~/': it has to be a directory"),
        ({"homeport_dir": "~/a$b"}, "homeport_dir is '~/a$b': it has to be a directory"),
        ({"homeport_dir": "~/.."}, "homeport_dir is '~/..': it has to be a directory"),
        ({"homeport_dir": "/home"}, "homeport_dir is '/home': it has to be a directory"),
        ({"homeport_dir": "~/my port"}, "homeport_dir is '~/my port': it has to be a directory"),
        ({"claude_settings": {"a": {1}}}, "claude_settings is {'a': {1}}: it cannot be written"),
        ({"claude_code": "latest"}, "claude_code is 'latest': it is no version. Write one such as"),
        ({"claude_code": "2.1.197"}, "claude_code is '2.1.197': it takes no notice of how many"),
        ({"add_to_path": "yes"}, "add_to_path is 'yes': it has to be a True/False"),
    ],
)
def test_other_settings(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        of(a_host("laptops", "workstations", **values))
    assert sentence in str(caught.value)


def test_a_key_that_nothing_reads() -> None:
    with pytest.raises(SettingsError, match="Did you mean 'engine'"):
        unread(a_host("laptops", engin="xllamacpp"), set())
    assert unread(a_host("laptops", owner="anna", ssh_user="x", _sudo=True), {"ssh_user"}) == [
        "group_data/all.py: nothing in homeport reads 'owner'"
    ]


def test_a_generated_token_is_private_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "ROOT", tmp_path)
    data = {"claude-glm": {key: GLM[key] for key in ("model", "host", "port")}}
    first = of(a_host("workstations", routes=data)).uses[0].endpoint.token
    second = of(a_host("workstations", routes=data)).uses[0].endpoint.token
    file = tmp_path / "secrets" / "claude-glm.token"
    assert first == second
    assert first and first.value == file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_token_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLM_TOKEN", "geheim")
    data = {"claude-glm": {**GLM, "token_env": "GLM_TOKEN"}}
    assert of(a_host("workstations", routes=data)).uses[0].client_token == "geheim"
    monkeypatch.setenv("GLM_TOKEN", "sk-ant-geheim")
    with pytest.raises(SettingsError, match="Anthropic key") as caught:
        of(a_host("workstations", routes=data))
    assert "geheim" not in str(caught.value)


def test_the_shipped_group_data_lists_every_key() -> None:
    text = "".join(path.read_text() for path in (ROOT / "group_data").glob("*.py"))
    for key in KEYS:
        assert f"\n{key} = " in text, f"group_data/ does not say that {key} can be set"
    for key in ROUTE_KEYS:
        assert f"#   {key}" in text or f", {key} " in text, f"all.py does not explain {key}"


def test_the_shipped_claude_settings_are_those_of_every_route() -> None:
    data = runpy.run_path(str(ROOT / "group_data" / "workstations.py"))
    assert data["claude_settings"] == NEUTRAL_SETTINGS


def test_defaults_without_group_data() -> None:
    bare = of(a_host("laptops"))
    assert bare.laptop == LaptopSettings()
    assert bare.directory == "~/.homeport"
