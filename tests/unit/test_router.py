"""The router: settings that cannot work are refused, and HAProxy takes what is rendered."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from homeport import ROOT, claude_code, render, tokens
from homeport import router as routing
from homeport.catalog import MODELS
from homeport.errors import SettingsError
from homeport.facts.haproxy import HaproxyFact
from homeport.layout import Layout
from homeport.model import Endpoint, Route, Token
from homeport.router import LARGE_MODEL, Router
from homeport.settings import HostData, HostSettings, of

from ..conftest import missing

LAYOUT = Layout.under("/home/jörg o'x 100%", "~/.homeport")
ROUTES = {
    "claude-glm": {"model": "glm-5.2-fp8", "host": "glm-host", "port": 8000, "token_env": "GLM"},
    "claude-fable5": {"model": "gemma-4-12b-coder", "host": "localhost", "port": 18080},
}
TOKEN = Token("token-of-router")


@pytest.fixture(autouse=True)
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "ROOT", tmp_path)
    monkeypatch.setenv("GLM", "token-of-glm")


def settings(name: str = "box", **values: Any) -> HostSettings:
    given = {"routes": ROUTES, "serve": ["claude-fable5"], "guardrails": {}, **values}
    groups = ("laptops", "workstations")
    return of(HostData(name, groups, given, lambda key: f"file of {key}"))


def a_route(alias: str, **endpoint: Any) -> Route:
    given = {"host": "localhost", "port": 8000, "token": Token(f"token-of-{alias}"), **endpoint}
    return Route(replace(MODELS["glm-5.2-fp8"], alias=alias), Endpoint(**given))


def a_router(*routes: Route, anthropic: tuple[str, ...] = ()) -> Router:
    return Router(Endpoint("localhost", 18090, TOKEN), routes, anthropic)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"router": {}}, "router: port is None: it cannot be left out"),
        ({"router": {"port": "18090"}}, "router: port is '18090': it has to be a whole number"),
        ({"router": {"port": 80}}, "router: port is 80: a server that does not run as"),
        ({"router": {"port": 18090, "routes": [["x"]]}}, "box uses no route with this alias"),
        (
            {"managed_settings": "claude-glm", "router": {"port": 18090}},
            "every session goes there, and none to the router",
        ),
        ({"extras": [["vscode"]]}, "there is no such"),
        ({"router": {"port": 80_000}}, "router: port is 80000: ports are 1 to 65535"),
        ({"router": {"prot": 1}}, "router: prot is 1: nothing reads this key. Did you mean 'port'"),
        (
            {"router": {"port": 18080}},
            "router: port is 18080: box serves claude-fable5 on the same port. Write e.g. 18081",
        ),
        (
            {"router": {"port": 18090, "routes": ["claude-gml"]}},
            "router: routes is 'claude-gml': box uses no route with this alias. Did you mean "
            "'claude-glm'?",
        ),
        ({"router": {"port": 18090, "routes": []}}, "routes is []: there is nothing to route"),
        (
            {"router": {"port": 18090, "anthropic": ["opus"]}},
            "router: anthropic is 'opus': it is no id of a model of Anthropic's. See /model",
        ),
        ({"router": {"port": 18090, "anthropic": ["claude-glm"]}}, "anthropic is 'claude-glm'"),
        ({"router": {"port": 18090, "anthropic": "claude-opus-5-5"}}, "it has to be a list"),
        (
            {
                "router": {"port": 18090},
                "routes": {**ROUTES, "claude-glm": {**ROUTES["claude-glm"], "host": "10.0.0.1"}
                           | {"tls": True}},
            },
            "router: routes is 'claude-glm': the router checks a certificate by its name, and this "
            "route has an IP address. Give the route a host name",
        ),
        (
            {"model_overrides": {"claude-opus-4-8": "claude-fable5"}},
            "model_overrides['claude-opus-4-8'] is 'claude-fable5': it is no alias in use that "
            "holds 200,000 tokens, as the client assumes. Known are claude-glm.",
        ),
        (
            {
                "router": {"port": 18090, "anthropic": ["claude-opus-5-5"]},
                "model_overrides": {"claude-opus-5-5": "claude-glm"},
            },
            "model_overrides['claude-opus-5-5'] is 'claude-glm': whoever picks this model of "
            "Anthropic's would get that one",
        ),
        (
            {"model_overrides": {"opus": "claude-glm"}},
            "model_overrides is 'opus': it is no id of a model of Anthropic's",
        ),
    ],
)  # fmt: skip
def test_a_router_that_cannot_work(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(**values)
    assert [key for key in values if str(caught.value).startswith(f"file of {key}: {key}")]
    assert sentence in str(caught.value)


def test_a_router_has_all_routes_in_use_or_those_that_are_named() -> None:
    def aliases(**spec: Any) -> list[str]:
        own = settings(router={"port": 18090, **spec}).workstation
        assert own and own.router
        return [route.alias for route in own.router.routes]

    assert aliases() == ["claude-glm", "claude-fable5"]
    assert aliases(routes=None) == aliases()
    assert aliases(routes=["claude-fable5", "claude-glm"]) == ["claude-fable5", "claude-glm"]
    assert aliases(routes=["claude-glm", "claude-glm"]) == ["claude-glm"]


def test_each_host_has_a_token_of_its_own_that_stays() -> None:
    def token(name: str) -> Token | None:
        own = settings(name, router={"port": 18090}).workstation
        return own.router.endpoint.token if own and own.router else None

    assert token("one") == token("one") != token("two")


def test_the_smallest_context_is_for_names_that_the_client_does_not_know() -> None:
    own = settings(router={"port": 18090}).workstation
    assert own and own.router
    found = claude_code.router_settings(own.router, {})
    assert found["env"]["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "65536"
    options = {one["model"]: one.get("behavesAs") for one in found["modelPicker"]["options"]}
    assert options == {"claude-glm": LARGE_MODEL, "claude-fable5": None}
    alone = a_router(a_route("claude-glm"), a_route("claude-two"))
    assert alone.large == ()


def test_the_users_own_login_is_asked_for_with_a_model_of_anthropics_only() -> None:
    route = a_route("claude-glm")
    without = claude_code.router_environment(a_router(route))
    assert without["ANTHROPIC_AUTH_TOKEN"] == TOKEN.value and not without["ANTHROPIC_API_KEY"]
    mixed = claude_code.router_environment(a_router(route, anthropic=("claude-opus-5-5",)))
    assert mixed["ANTHROPIC_AUTH_TOKEN"] == "" and "ANTHROPIC_API_KEY" not in mixed
    assert mixed["ANTHROPIC_CUSTOM_HEADERS"] == f"X-Homeport-Router: {TOKEN.value}"
    assert without["CLAUDE_CODE_EFFORT_LEVEL"] == "max" and "CLAUDE_CODE_EFFORT_LEVEL" not in mixed


def test_no_secret_is_in_the_configuration() -> None:
    routes = (a_route("claude-glm"), a_route("claude-two", host="two", port=1, tls=True))
    router = a_router(*routes, a_route("claude-open", token=None), anthropic=("claude-opus-5-5",))
    text = render.router(router, LAYOUT, "Linux", "RESTART").decode()
    assert "token-of" not in text
    assert "token-of" not in repr(router)
    assert router.tokens == b"claude-glm token-of-claude-glm\nclaude-two token-of-claude-two\n"
    assert re.findall(r"str\((.*)\),map_str\((.*)\)\]", text) == [
        ("claude-glm", "router.tokens"), ("claude-two", "router.tokens")
    ]  # fmt: skip
    open_route = text.partition("\nbackend claude-open")[2].partition("\nbackend")[0]
    assert "del-header authorization" in open_route and "del-header x-api-key" in open_route


def test_a_service_is_started_without_a_secret_in_its_words() -> None:
    service = routing.service("/usr/sbin/haproxy", ("a",), LAYOUT)
    folder = "/home/jörg o'x 100%/.homeport/service"
    assert service.command == ("/usr/sbin/haproxy", "-db", "-C", folder, "-f", "router.cfg")
    assert set(LAYOUT.left_by(routing.NAME)) >= {
        path(LAYOUT) for path in (routing.configuration, routing.secret, routing.tokens)
    }


def certificate(folder: Path) -> bytes:
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"]
    words += ["-keyout", str(folder / "key"), "-out", str(folder / "pem")]
    if shutil.which("openssl") is None:
        missing("openssl is not installed")
    subprocess.run(words, check=True, capture_output=True)
    return (folder / "pem").read_bytes()


@pytest.mark.parametrize("anthropic", [(), ("claude-opus-5-5", "claude-haiku-4-5")])
@pytest.mark.parametrize("kind", ["plain", "odd", "tls", "own ca", "many"])
def test_haproxy_takes_the_configuration(
    tmp_path: Path, kind: str, anthropic: tuple[str, ...]
) -> None:
    haproxy = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if haproxy is None:
        missing("haproxy is not installed")
    layout = Layout.under(str(tmp_path / "jörg o'x 100%"), "~/.homeport")
    for name in ("routes", "service"):
        Path(layout.path(name)).mkdir(parents=True)
    routes = {
        "plain": [a_route("claude-glm"), a_route("claude-two", token=None)],
        "odd": [
            *(a_route(alias, port=1) for alias in ("nobody", "to-anthropic", "a", "if", "0-9_.")),
            a_route("claude-v6", host="::1"),
        ],
        "tls": [a_route("claude-glm", host="glm-host", tls=True)],
        "own ca": [a_route("claude-glm", host="glm-host", tls=True, ca=certificate(tmp_path))],
        "many": [a_route(f"claude-{number}") for number in range(80)],
    }[kind]
    label = 'it\'s 100% "é" \\ $x #1'
    first = Route(replace(routes[0].model, label=label), routes[0].endpoint)
    router = a_router(first, *routes[1:], anthropic=anthropic)
    for path, content in (
        (routing.secret(layout), f"{TOKEN.value}\n".encode()),
        (routing.tokens(layout), router.tokens),
        (routing.configuration(layout), render.router(router, layout, "Linux", "RESTART")),
        *((path, route.endpoint.ca or b"") for route in routes if (path := layout.ca(route))),
    ):
        Path(path).write_bytes(content)
    command = routing.service(haproxy, (), layout).command
    done = subprocess.run([*command, "-c"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if line.startswith("[WARNING]")]
    assert [one for one in warnings if "could not resolve address" not in one] == []
    text = render.router(router, layout, "Linux", "RESTART").decode()
    (models,) = re.findall(r"string '(\{\"data.*)' if ", text)
    assert json.loads(models)["data"][0]["display_name"] == label


def test_a_name_of_the_clients_own_goes_to_the_first_unless_it_is_somebodys() -> None:
    def names(*routes: Route, anthropic: tuple[str, ...] = ()) -> list[list[str]]:
        text = render.router(
            a_router(*routes, anthropic=anthropic), LAYOUT, "Linux", "RESTART"
        ).decode()
        return [line.split() for line in re.findall(r"use_backend .* -m str (.*) \}", text)]

    glm, haiku = a_route("claude-glm"), a_route("claude-haiku-4-5")
    all_of_them = ["claude-glm", *claude_code.BACKGROUND_IDS]
    assert names(glm) == [all_of_them]
    without = [one for one in all_of_them if one != "claude-haiku-4-5"]
    assert names(glm, haiku) == [without, ["claude-haiku-4-5"]]
    assert names(glm, anthropic=("claude-haiku-4-5",)) == [without, ["claude-haiku-4-5"]]


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/", (2, 6)),
        ("HA-Proxy version 2.2.9-2+deb11u6 2023/12/31 - https://haproxy.org/", (2, 2)),
        ("HAProxy version 3.3-dev5-1 2025/08/13 - https://haproxy.org/", (3, 3)),
    ],
)
def test_the_version_of_a_program(said: str, version: tuple[int, ...]) -> None:
    found = HaproxyFact().process(["program=/usr/sbin/haproxy", "made=1 2", said])
    assert (found.program, found.version, found.made) == ("/usr/sbin/haproxy", version, "1 2")


def test_the_quick_benchmark() -> None:
    if shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        missing("haproxy is not installed")
    command = [sys.executable, "-m", "benchmarks.router", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^160 kB, 20 requests each", done.stdout)
    assert re.search(r"^HAProxy( +[0-9.]+){4}$", done.stdout, re.MULTILINE)
