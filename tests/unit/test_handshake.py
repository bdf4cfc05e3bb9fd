"""Alias, port, context and token, parsed back out of every artefact, are the same in each."""

from __future__ import annotations

import configparser
import json
import plistlib
import re
import shlex
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from homeport import claude_code, doctoring, gpu_serving, gpu_settings, render
from homeport.catalog import MODELS
from homeport.doctor.wanted import MIRROR, Wanted
from homeport.engines.llama_cpp import NEWEST_FLAGS, LlamaServer, flags_in_help
from homeport.facts.host import Lingering, Machine
from homeport.gpu_settings import Peer
from homeport.laptop_settings import LaptopSettings
from homeport.layout import Layout
from homeport.model import NO_TOKEN, WORK_CONTEXT, Endpoint, Route, Token
from homeport.pins import Pin
from homeport.remote import serve_llama
from homeport.remote.pull import File
from homeport.service import IDENTITY_VARIABLE, Manager, Service
from homeport.settings import HostData, of
from homeport.target import Target
from homeport.weights import HubWeights

PINNED = File("config.json", 7, "sha256", "a" * 64)

MACHINE = Machine(
    home="/root",
    kernel="Linux",
    arch="x86_64",
    memory=1,
    user="root",
    manager=Manager.SYSTEM,
    free=1,
    python="/usr/bin/python3",
    python_version=(3, 12, 3),
    venv=True,
    openmp=True,
    lingering=Lingering.OFF,
    at_screen=False,
    brew=None,
    brew_is_ours=False,
    npm=None,
    claude=None,
)

LAYOUT = Layout.under("/home/jörg o'x 100%", "~/.homeport")

TOKENS = st.from_regex(r"[A-Za-z0-9._~+/=:-]{1,40}", fullmatch=True).map(Token)

ROUTES = st.builds(
    lambda alias, context, port, token: Route(
        replace(MODELS["gemma-4-12b-coder"], alias=alias, context=context),
        Endpoint("localhost", port, token),
    ),
    alias=st.from_regex(r"claude-[a-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True).filter(
        lambda alias: alias != "claude-anthropic"
    ),
    context=st.integers(WORK_CONTEXT, 262_144),
    port=st.integers(1, 65_535),
    token=st.none() | TOKENS,
)


def command_of(route: Route) -> list[str]:
    token_path = LAYOUT.server_token(route) if route.endpoint.token else None
    server = LlamaServer(route, "/models/a b.gguf", token_path)
    return ["/opt/my engine/python", *server.command_line(NEWEST_FLAGS)]


def service_of(route: Route) -> Service:
    return Service(
        f"homeport.{route.alias}", "owner", "a model", tuple(command_of(route)), "/l o g"
    )


def check_command(command: list[str], route: Route) -> None:
    """The server's own parser reads the handshake back out of its command line."""
    options = serve_llama.arguments(command[1:])
    assert options.alias == route.alias
    assert options.port == route.endpoint.port
    assert options.ctx_size == route.model.context
    assert options.host == "127.0.0.1"
    assert (options.api_key_file is None) == (route.endpoint.token is None)


@given(ROUTES)
def test_command_line(route: Route) -> None:
    check_command(command_of(route), route)


@given(ROUTES)
def test_systemd_unit(route: Route) -> None:
    unit = render.definition(service_of(route), Manager.SYSTEMD, "/u").decode()
    parser = configparser.RawConfigParser(strict=True)
    parser.read_string(unit)
    line = parser["Service"]["ExecStart"].removeprefix(":").replace("%%", "%")
    check_command(shlex.split(line), route)
    assert parser["Service"]["Environment"] == f"{IDENTITY_VARIABLE}={service_of(route).identity}"


@given(ROUTES)
def test_launchd_agent(route: Route) -> None:
    agent = plistlib.loads(render.definition(service_of(route), Manager.LAUNCHD, "/p"))
    check_command(agent["ProgramArguments"], route)
    assert agent["EnvironmentVariables"] == {IDENTITY_VARIABLE: service_of(route).identity}
    assert agent["Label"] == f"homeport.{route.alias}"


@given(ROUTES)
def test_supervisord_configuration(route: Route) -> None:
    text = render.definition(service_of(route), Manager.SUPERVISORD, "/c").decode()
    parser = configparser.RawConfigParser(strict=True)
    parser.read_string(text)
    program = parser[f"program:homeport.{route.alias}"]
    check_command(shlex.split(program["command"].replace("%%", "%")), route)
    assert program["environment"] == f'{IDENTITY_VARIABLE}="{service_of(route).identity}"'


@given(ROUTES)
def test_client_settings(route: Route) -> None:
    settings = json.loads(json.dumps(claude_code.route_settings(route, {})))
    env = settings["env"]
    assert env["ANTHROPIC_BASE_URL"] == f"http://127.0.0.1:{route.endpoint.port}"
    assert env["ANTHROPIC_API_KEY"] == ""
    assert env["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == str(route.model.context)
    models = [value for name, value in env.items() if name.endswith("_MODEL")]
    assert models == [route.alias] * 6
    assert env["ANTHROPIC_AUTH_TOKEN"] == (
        route.endpoint.token.value if route.endpoint.token else NO_TOKEN
    )
    assert [option["model"] for option in settings["modelPicker"]["options"]] == [route.alias]


@given(ROUTES)
def test_use_script(route: Route) -> None:
    script = render.use_route(route, LAYOUT, "start it: x", "FIX").decode()
    exports = dict(re.findall(r"^  export ([A-Z0-9_]+)=(.*)$", script, re.MULTILINE))
    exported = {name: "".join(shlex.split(value)) for name, value in exports.items()}
    expected = claude_code.environment(route)
    assert exported.pop("ANTHROPIC_AUTH_TOKEN") == "$token"
    assert exported.pop("HOMEPORT_ROUTE") == route.alias
    expected.pop("ANTHROPIC_AUTH_TOKEN")
    assert exported == expected
    if route.endpoint.token and len(route.endpoint.token.value) > 20:
        assert route.endpoint.token.value not in script


@given(ROUTES)
def test_the_way_back_knows_every_variable(route: Route) -> None:
    assert set(claude_code.environment(route)) <= set(claude_code.VARIABLES)
    script = render.use_anthropic(LAYOUT, (route,)).decode()
    for name in (*claude_code.VARIABLES, "HOMEPORT_ROUTE"):
        assert re.search(rf"\b{name}\b", script)


GPU_ROUTES = st.builds(
    lambda alias, context, port, token: Route(
        replace(
            MODELS["glm-5.2-fp8"],
            alias=alias,
            context=context,
            weights=HubWeights("a/b", ("*",), 1, Pin("a/b", "0" * 40, (PINNED,))),
        ),
        Endpoint("glm-host", port, token, open_to_network=token is None),
    ),
    alias=st.from_regex(r"claude-[a-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True).filter(
        lambda alias: alias != "claude-anthropic"
    ),
    context=st.integers(WORK_CONTEXT, 1_000_000),
    port=st.integers(1024, 65_535),
    token=st.none() | TOKENS.filter(lambda token: len(token.value) > 20),
)


def gpu_host(route: Route, engine: str) -> Target:
    """A GPU host that serves `route`, as a deploy has it."""
    data = {"serve": [route.alias], "engine": engine, "homeport_dir": "/srv/homeport"}
    own = Peer("glm-host", data, lambda key: key)
    found = gpu_settings.of(own, (own,), (route,))
    settings = of(HostData("x", ("workstations",), {"routes": {}}))
    return Target(
        replace(settings, gpu=found, serves=(route,)),
        replace(MACHINE, manager=Manager.SYSTEM),
        Layout.under("/root", "/srv/homeport"),
    )


@given(GPU_ROUTES, st.sampled_from(["vllm", "sglang"]))
def test_gpu_host_unit(route: Route, engine: str) -> None:
    target = gpu_host(route, engine)
    service, place = gpu_serving.service(target), gpu_serving.files(target)
    unit = render.definition(service, Manager.SYSTEM, place.definition).decode()
    line = re.findall(r"^ExecStart=:(.*)$", unit, re.MULTILINE)[0].replace("%%", "%")
    options = shlex.split(line)
    assert options[options.index("--port") + 1] == str(route.endpoint.port)
    assert options[options.index("--served-model-name") + 1] == route.alias
    context = {"vllm": "--max-model-len", "sglang": "--context-length"}[engine]
    assert options[options.index(context) + 1] == str(route.model.context)
    assert f"/weights/a/b/{'0' * 40}" in options[options.index("--served-model-name") - 1]
    secret, token = gpu_serving.secret_of(target.settings.gpu), route.endpoint.token  # type: ignore[arg-type]
    if token:
        assert secret
        assert token.value in secret.text
        assert token.value not in unit
        assert place.secrets in unit
    else:
        assert secret is None
        assert place.secrets not in unit


@given(ROUTES)
def test_what_the_doctor_on_a_laptop_is_told(route: Route) -> None:
    model = replace(route.model, weights=MODELS["smollm2-135m"].weights)  # which nobody pins
    route = replace(route, model=model)
    settings = of(HostData("x", ("workstations",), {"routes": {}}))
    settings = replace(settings, laptop=LaptopSettings(), serves=(route,), uses=(route,))
    check_told(doctoring.wanted(Target(settings, MACHINE, LAYOUT), {}), route, "127.0.0.1")


@given(GPU_ROUTES, st.sampled_from(["vllm", "sglang"]))
def test_what_the_doctor_on_a_gpu_host_is_told(route: Route, engine: str) -> None:
    target = gpu_host(route, engine)
    target = replace(target, settings=replace(target.settings, uses=(route,)))
    check_told(doctoring.wanted(target, {}), route, "0.0.0.0")


def check_told(told: Wanted, route: Route, bind: str) -> None:
    (service,), (used,) = told.services, told.routes
    assert service.alias == used.alias == route.alias
    assert service.context == used.context == route.model.context
    assert (service.url, service.port) == (route.endpoint.url, route.endpoint.port)
    assert (used.url, service.bind) == (route.endpoint.url, bind)
    assert (service.token is None) == (route.endpoint.token is None)
    if route.endpoint.token and len(route.endpoint.token.value) > 20:
        assert route.endpoint.token.value not in json.dumps(told.document())


@given(st.integers(1024, 65_535), st.none() | TOKENS.filter(lambda token: len(token.value) > 20))
def test_what_the_doctor_on_a_mirror_is_told(port: int, token: Token | None) -> None:
    endpoint = Endpoint("mirror-01", port, token, open_to_network=token is None)
    pin = Pin("a/b", "0" * 40, (PINNED, replace(PINNED, path="model.gguf")))
    held = [
        Route(
            replace(MODELS["gemma-4-12b-coder"], weights=HubWeights("a/b", (one,), 1, pin)),
            Endpoint("localhost", 18_080),
        )
        for one in ("*.gguf", "*.json")
    ]
    settings = of(HostData("x", ("workstations",), {"routes": {}}))
    settings = replace(settings, serves_mirror=endpoint, mirrors=tuple(held))
    told = doctoring.wanted(Target(settings, MACHINE, LAYOUT), {})
    (service,), (weights,) = told.services, told.mirrored
    assert (service.engine, service.url, service.port) == (MIRROR, endpoint.url, port)
    assert (service.token is None) == (token is None)
    assert not token or token.value not in json.dumps(told.document())
    # One repository has one set of files.
    assert (weights.directory, weights.digest) == (LAYOUT.weights("a/b"), pin.digest)
    both = replace(settings, laptop=LaptopSettings(), serves=(held[0],))
    own = doctoring.wanted(Target(both, MACHINE, LAYOUT), {}).services[0]
    assert own.weights == weights
    assert Wanted.of(json.loads(json.dumps(told.document()))) == told


@given(st.integers(1024, 65_535), st.none() | TOKENS)
def test_mirror_configuration(port: int, token: Token | None) -> None:
    endpoint = Endpoint("mirror-01", port, token, open_to_network=token is None)
    text = render.mirror(endpoint, [], user=None, without=(), ipv6=True).decode()
    assert re.findall(r"listen (.*);", text) == [str(port), f"[::]:{port}"]
    asked = re.findall(r'"~\^Bearer \\Q(.*)\\E\$" 0;', text)
    assert asked == ([token.value] if token else [])
    assert ("return 401;" in text) == (token is not None)


def test_a_small_model_makes_the_client_simple() -> None:
    small = Route(MODELS["smollm2-135m"], Endpoint("localhost", 1))
    assert claude_code.environment(small)["CLAUDE_CODE_SIMPLE"] == "1"
    assert "CLAUDE_CODE_SIMPLE" in claude_code.VARIABLES


def test_any_change_of_what_is_served_is_a_change_of_the_service() -> None:
    route = Route(MODELS["gemma-4-12b-coder"], Endpoint("localhost", 1))
    base = service_of(route)
    others = [
        service_of(replace(route, model=replace(route.model, context=70_000))),
        service_of(replace(route, endpoint=Endpoint("localhost", 2))),
        replace(base, inputs=("other weights",)),
    ]
    assert len({one.digest for one in (base, *others)}) == 4
    assert replace(base, description="other words").digest == base.digest


def test_flags_follow_the_server() -> None:
    route = Route(MODELS["gemma-4-12b-coder"], Endpoint("localhost", 1))
    server = LlamaServer(route, "/m.gguf")
    old = flags_in_help("  -m, --model FNAME  model\n  --no-mmap   do not map\n --ctx-size N")
    assert old == {"--model", "--no-mmap", "--ctx-size"}
    assert "--no-mmap" in server.command_line(old)
    assert "--load-mode" not in server.command_line(old)
    assert "--cors-origins" not in server.command_line(old)
    assert "--no-mmap" not in server.command_line(NEWEST_FLAGS)
    assert server.command_line(frozenset()) == server.command_line(NEWEST_FLAGS), "not asked"


def test_the_guides_flags_are_served() -> None:
    line = " ".join(command_of(Route(MODELS["gemma-4-12b-coder"], Endpoint("localhost", 18080))))
    for part in (
        "--alias claude-fable5",
        "--ctx-size 65536",
        "--n-gpu-layers 99",
        "--cache-type-k q8_0 --cache-type-v q8_0",
        "--flash-attn on",
        "--temp 1 --top-p 0.95 --top-k 64",
        "--host 127.0.0.1 --port 18080",
    ):
        assert part in line
