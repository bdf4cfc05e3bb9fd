"""The real Claude Code 2.1.330 through the real HAProxy, with the files as they are rendered."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from homeport import claude_code, render
from homeport import router as routing
from homeport.catalog import MODELS
from homeport.layout import Layout
from homeport.model import Endpoint, Route, Token
from homeport.router import HEADER, Router

from .. import conftest

STUB = Path(__file__).parent / "stub_server.py"

GLM = Route(MODELS["glm-5.2-fp8"], Endpoint("localhost", 8001, Token("token-of-glm")))
FABLE5 = Route(MODELS["gemma-4-12b-coder"], Endpoint("localhost", 8002))
OPUS = "claude-opus-5-5"

#: One whose server is not there, and one whose host nobody knows.
DOWN = Route(replace(FABLE5.model, alias="claude-down"), Endpoint("localhost", 8003))
AWAY = Route(replace(FABLE5.model, alias="claude-away"), Endpoint("away", 8004, Token("of-away")))

#: The routers: one with all of these, and one with a model of Anthropic's besides the first two.
OWN = Router(Endpoint("localhost", 18090, Token("token-of-router")), (GLM, FABLE5, DOWN, AWAY))
MIXED = Router(Endpoint("localhost", 18091, Token("token-of-mixed")), (GLM, FABLE5), (OPUS,))

#: Who answers: each with its port.
STUBS = {"claude-glm": 8001, "claude-fable5": 8002, "anthropic": 443}

SECRETS = ("token-of-glm", "token-of-router", "token-of-mixed", "of-away", "sk-ant-mine")

#: What a user proves itself to Anthropic with, and the header that has it on the wire.
LOGINS = {
    "/login": ("authorization", "Bearer sk-ant-mine"),
    "CLAUDE_CODE_OAUTH_TOKEN": ("authorization", "Bearer sk-ant-mine"),
    "ANTHROPIC_API_KEY": ("x-api-key", "sk-ant-mine"),
}

#: Everything that a router might be tempted to write anew: a late system message, calls, numbers
#: and escapes in more than one spelling, keys it knows nothing of, and a name twice.
ODD = (
    '{"model": "claude-glm", "max_tokens": 5, "stream": true, "zzz": {"a": 1.50, "b": [1e3]},'
    '"system": [{"type": "text", "text": "h\\u00e9 é", "cache_control": {"type": "ephemeral"}}],'
    '"messages": [{"role": "user", "content": "look"}, {"role": "assistant", "content": ['
    '{"type": "thinking", "thinking": "hm", "signature": "abc=="},'
    '{"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"model": "claude-fable5"}}]},'
    '{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1",'
    ' "content": "ok \\/ <\\ud83d\\ude00>"}]},  {"role": "system", "content": "late"}]}\n'
)


@dataclass
class Stage:
    """A network with the stubs, both routers, and nothing else."""

    folder: Path
    enter: tuple[str, ...]
    claude: Path

    def layout(self, router: Router) -> Layout:
        return Layout.under(str(self.folder / str(router.endpoint.port)), "~/.homeport")

    def log(self, stub: str) -> Path:
        return self.folder / f"{stub}.log"

    def requests(self, stub: str) -> list[dict[str, Any]]:
        """The model calls that it got."""
        lines = [json.loads(line) for line in self.log(stub).read_text().splitlines()]
        return [one for one in lines if one["body"] is not None]

    def models(self) -> dict[str, set[str]]:
        """What each was asked for; who was asked nothing is left out."""
        found = {stub: {one["body"]["model"] for one in self.requests(stub)} for stub in STUBS}
        return {stub: models for stub, models in found.items() if models}

    def words(self, router: Router) -> dict[str, str]:
        layout = self.layout(router)
        return {
            "HOME": layout.home,
            "PATH": f"{layout.bin}:{self.claude.parent}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }

    def sh(self, script: str, router: Router = OWN, **environment: str) -> str:
        """What a person sees who types `script`."""
        done = subprocess.run(
            [*self.enter, "bash", "-c", script],
            env={**self.words(router), **environment},
            cwd=self.layout(router).home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        return done.stdout

    def post(self, body: str, port: int, *options: str, path: str = "/v1/messages") -> str:
        """The answer to a request with that `body`."""
        file = self.folder / "body"
        file.write_text(body)
        words = ["curl", "-sS", "--max-time", "60", "--data-binary", f"@{file}", *options]
        words += ["-H", "Content-Type: application/json", f"http://127.0.0.1:{port}{path}"]
        return subprocess.run([*self.enter, *words], capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    for tool in ("curl", "openssl", "unshare"):
        if shutil.which(tool) is None:
            conftest.missing(f"{tool} is not installed")
    if program is None:
        conftest.missing("haproxy is not installed")
    folder = tmp_path_factory.mktemp("jörg x")
    certificate, calls = certify(folder), folder / "calls"
    calls.write_text("[]")
    started = []
    with conftest.loopback_namespace() as enter:
        stage = Stage(folder, enter, conftest.installed_client())
        try:
            for stub, port in STUBS.items():
                stage.log(stub).touch()
                words = [*enter, sys.executable, *map(str, (STUB, port, stub, stage.log(stub)))]
                tls = [str(calls), "200", str(certificate)] if stub == "anthropic" else []
                started.append(subprocess.Popen([*words, *tls]))
            for router in (OWN, MIXED):
                write_files(router, stage.layout(router))
                started.append(start(program, router, stage))
            wait = "for port; do until (: < /dev/tcp/127.0.0.1/$port) 2>/dev/null"
            wait += "; do sleep .1; done; done"
            ports = [str(port) for port in (*STUBS.values(), 18090, 18091)]
            subprocess.run([*enter, "bash", "-c", wait, "wait", *ports], timeout=180, check=True)
            yield stage
        finally:
            for process in started:
                process.terminate()
                process.wait()


CERTIFICATES = ("ca/ca.pem", "ca.key", "leaf.pem", "leaf.key")


def certify(folder: Path) -> Path:
    """Make a CA, alone in a folder as OpenSSL wants it, and what it signed for api.anthropic.com:
    certificate and key in one file."""
    (folder / "ca").mkdir()
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    new += ["-nodes", "-days", "2"]
    ca, key, leaf, leaf_key = map(str, map(folder.joinpath, CERTIFICATES))
    names = ["-subj", "/CN=fake", "-addext", "subjectAltName=DNS:api.anthropic.com"]
    names += ["-addext", "basicConstraints=critical,CA:FALSE"]
    for words in (
        [*new, "-subj", "/CN=test CA", "-keyout", key, "-out", ca],
        [*new, *names, "-CA", ca, "-CAkey", key, "-keyout", leaf_key, "-out", leaf],
        ["openssl", "rehash", str(folder / "ca")],
    ):
        subprocess.run(words, check=True, capture_output=True)
    with Path(leaf).open("ab") as file:
        file.write(Path(leaf_key).read_bytes())
    return Path(leaf)


def write_files(router: Router, layout: Layout) -> None:
    """What roles/router.py and roles/workstation.py put on a workstation."""
    route = router.route
    for name in ("bin", "routes", "service"):
        Path(layout.path(name)).mkdir(parents=True)
    settings = claude_code.router_settings(router, {})
    variables = claude_code.router_environment(router)
    script = render.use_route(route, layout, "start it", "FIX", variables)
    assert router.endpoint.token
    for path, content in (
        (layout.script(route), script),
        (layout.token(route), f"{router.endpoint.token.value}\n".encode()),
        (layout.route_settings(route), json.dumps(settings).encode()),
        (routing.secret(layout), f"{router.endpoint.token.value}\n".encode()),
        (routing.tokens(layout), router.tokens),
        (routing.configuration(layout), render.router(router, layout, "Linux", "RESTART")),
    ):
        Path(path).write_bytes(content)
        Path(path).chmod(0o755 if path.endswith(".sh") else 0o600)


def start(program: str, router: Router, stage: Stage) -> subprocess.Popen[bytes]:
    """HAProxy as the service has it, on a machine that knows api.anthropic.com as itself, and
    trusts the CA of the tests alone."""
    command = routing.service(program, (), stage.layout(router)).command
    hosts = stage.folder / "hosts"
    hosts.write_text("127.0.0.1 localhost api.anthropic.com\n")
    script = 'mount --bind "$1" /etc/hosts; mount --bind "$2" /etc/ssl/certs; shift 2; exec "$@"'
    words = ["unshare", "--mount", "sh", "-ec", script, "sh", str(hosts), str(stage.folder / "ca")]
    with (stage.folder / f"{router.endpoint.port}.log").open("wb") as log:
        return subprocess.Popen([*stage.enter, *words, *command], stdout=log, stderr=log)


@pytest.fixture
def stage(running: Stage) -> Stage:
    """The same, with nothing left of what other tests did."""
    for stub in STUBS:
        running.log(stub).write_text("")
    for router in (OWN, MIXED):
        home = Path(running.layout(router).home)
        shutil.rmtree(home / ".claude", ignore_errors=True)
        (home / ".claude.json").unlink(missing_ok=True)
        folders = {str(home): {"hasTrustDialogAccepted": True}}
        known = {"hasCompletedOnboarding": True, "theme": "dark", "projects": folders}
        (home / ".claude.json").write_text(json.dumps(known))
    return running


def bearer(router: Router) -> tuple[str, ...]:
    assert router.endpoint.token
    return ("-H", f"Authorization: Bearer {router.endpoint.token.value}")


def headers_and_bodies(requests: list[dict[str, Any]]) -> str:
    return json.dumps([(one["headers"], one["raw"]) for one in requests])


def test_each_model_is_asked_where_it_is_served_with_its_own_token(stage: Stage) -> None:
    assert "stub says hello" in stage.sh("source use-router.sh -p hello")
    assert stage.models() == {"claude-glm": {"claude-glm"}}
    assert "stub says hello" in stage.sh("use-router.sh -p hello --model claude-fable5")
    assert stage.models() == {"claude-glm": {"claude-glm"}, "claude-fable5": {"claude-fable5"}}
    for request in stage.requests("claude-glm"):
        assert request["headers"]["authorization"] == "Bearer token-of-glm"
        assert request["headers"]["host"] == "127.0.0.1:8001"
        assert "x-api-key" not in request["headers"]
        assert request["headers"]["x-claude-code-session-id"]
    for request in stage.requests("claude-fable5"):
        assert "authorization" not in request["headers"] and "x-api-key" not in request["headers"]
    assert "token-of-router" not in headers_and_bodies(stage.requests("claude-glm"))
    assert not any(one in headers_and_bodies(stage.requests("claude-fable5")) for one in SECRETS)


def test_a_session_is_the_same_as_without_a_router(stage: Stage) -> None:
    """But for who is asked, and what differs from one session to the next."""
    settings = json.loads(Path(stage.layout(OWN).route_settings(OWN.route)).read_text())
    settings["env"] |= {"ANTHROPIC_BASE_URL": GLM.endpoint.url, "ANTHROPIC_AUTH_TOKEN": "mine"}
    direct = stage.folder / "direct.json"
    direct.write_text(json.dumps(settings))
    stage.sh("use-router.sh -p hello")
    routed = stage.requests("claude-glm")
    stage.log("claude-glm").write_text("")
    stage.sh(f"claude --settings '{direct}' -p hello")
    straight = stage.requests("claude-glm")
    assert len(routed) == len(straight) > 0
    for one, other in zip(routed, straight, strict=True):
        assert one["path"] == other["path"]
        assert same(one) == same(other)


def same(request: dict[str, Any]) -> tuple[dict[str, str], str]:
    """Headers and body without what belongs to one session, or to the way to the server."""
    headers = dict(request["headers"])
    for name in ("authorization", "connection", "x-claude-code-session-id", "content-length"):
        headers.pop(name, None)
    return headers, re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{64}", "ID", request["raw"])


@pytest.mark.parametrize("path", ["/v1/messages?beta=true", "/v1/messages/count_tokens?beta=true"])
def test_no_byte_of_a_request_or_an_answer_is_changed(stage: Stage, path: str) -> None:
    own = ("-H", "X-Claude-Code-Session-Id: e3ed", "-H", "anthropic-beta: a-1,b-2")
    straight = stage.post(ODD, 8001, *own, path=path)
    routed = stage.post(ODD, 18090, *own, *bearer(OWN), path=path)
    assert routed == straight != ""
    one, other = stage.requests("claude-glm")
    assert other["raw"] == one["raw"] == ODD
    assert other["path"] == one["path"] == path
    assert one["headers"].pop("host") == other["headers"].pop("host")
    assert other["headers"].pop("authorization") == "Bearer token-of-glm"
    assert other["headers"].pop("connection") == "close"
    assert other["headers"] == one["headers"]


def test_events_come_one_by_one(stage: Stage) -> None:
    """The first is there long before the last is sent."""
    (stage.folder / "odd").write_text(ODD)
    stamp = 'while read -r kind name; do [ "$kind" != event: ] || echo "$name $(date +%s%N)"; done'
    script = f'curl -sN "$@" http://127.0.0.1:18090/v1/messages | {stamp}'
    options = ["-H", "X-Stub-Pause: .4", *bearer(OWN), "--data-binary", f"@{stage.folder}/odd"]
    words = [*stage.enter, "bash", "-c", script, "sh", *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    times = {name: int(at) for name, at in map(str.split, done.stdout.splitlines())}
    assert list(times) == [
        *("message_start", "content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    # Five pauses, of which a busy machine may take some for the first.
    assert times["message_stop"] - times["message_start"] > 800_000_000


def test_a_server_hears_that_the_user_has_stopped_it(stage: Stage) -> None:
    """Within a moment, though it has not said anything yet."""
    connected = [*stage.enter, "ss", "-Htn", "state", "established", "( dport = :8001 )"]
    words = ("-H", "X-Stub-Pause: 60", "-H", "Expect:", *bearer(OWN))
    stage.post(ODD, 18090, *words, "--max-time", "2")
    assert len(stage.requests("claude-glm")) == 1
    until = time.monotonic() + 20
    while subprocess.run(connected, capture_output=True, check=True).stdout:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_more_than_is_looked_at_streams_through(stage: Stage) -> None:
    large = {"model": "claude-fable5", "messages": [{"role": "user", "content": "é" * 3_000_000}]}
    body = json.dumps(large, ensure_ascii=False)
    assert "message_stop" in stage.post(body, 18090, *bearer(OWN), "-H", "Expect:")
    assert [one["raw"] for one in stage.requests("claude-fable5")] == [body]


def test_who_does_not_prove_itself_is_refused(stage: Stage) -> None:
    tries: list[tuple[str, ...]] = [
        (),
        bearer(MIXED),
        ("-H", "Authorization: Bearer token-of-route"),
        ("-H", "Authorization: Bearer token-of-router2"),
        ("-H", "x-api-key: token-of-router"),
        ("-H", f"{HEADER}: wrong"),
    ]
    for words in tries:
        answer = json.loads(stage.post(ODD, 18090, *words))
        assert answer["error"]["type"] == "authentication_error", words
    assert stage.models() == {}


@pytest.mark.parametrize("name", ["claude-opus-5-5", "claude-glm2", "Claude-GLM", 'a"b\\\n'])
def test_a_model_that_is_nobodys_is_said_to_be(stage: Stage, name: str) -> None:
    body = json.dumps({"model": name, "messages": []})
    answer = stage.post(body, 18090, *bearer(OWN), "--write-out", "\n%{http_code}")
    text, _, status = answer.rpartition("\n")
    error = json.loads(text)["error"]
    assert (status, error["type"]) == ("404", "not_found_error")
    assert error["message"] == (
        f"homeport: the router has no route to {name}; it has claude-glm, claude-fable5, "
        "claude-down, claude-away"
    )
    assert stage.models() == {}


@pytest.mark.parametrize("body", ["", "{}", "[]", "model", '{"model": 5}', '{"x": {"model": "a"}}'])
def test_a_request_without_a_model_is_refused(stage: Stage, body: str) -> None:
    answer = json.loads(stage.post(body, 18090, *bearer(OWN)))
    assert answer["error"]["type"] in ("invalid_request_error", "not_found_error")
    assert stage.models() == {}


@pytest.mark.parametrize(
    ("alias", "where"),
    [("claude-down", "http://127.0.0.1:8003"), ("claude-away", "http://away:8004")],
)
def test_a_route_that_is_dead_says_so_within_seconds(stage: Stage, alias: str, where: str) -> None:
    started = time.monotonic()
    answer = json.loads(stage.post(ODD.replace("claude-glm", alias), 18090, *bearer(OWN)))
    assert time.monotonic() - started < 10
    said = f"homeport: {alias} cannot be reached ({where}). Where the network has changed, type: "
    error = {"type": "overloaded_error", "message": f"{said}RESTART"}
    assert answer == {"type": "error", "error": error}
    shown = stage.sh(f"use-router.sh -p hello --model {alias}", CLAUDE_CODE_MAX_RETRIES="0")
    assert said in shown


def test_the_log_has_failures_and_no_secret_and_no_prompt(stage: Stage) -> None:
    stage.post(ODD.replace("claude-glm", "claude-down"), 18090, *bearer(OWN))
    log = (stage.folder / "18090.log").read_text()
    assert "POST /v1/messages model=claude-down route=claude-down status=503" in log
    assert not any(one in log for one in (*SECRETS, "look", "hello"))


@pytest.mark.parametrize(("alias", "window"), [("claude-glm", "200k"), ("claude-fable5", "65.5k")])
def test_each_model_has_its_own_window(stage: Stage, alias: str, window: str) -> None:
    shown = stage.sh(f"use-router.sh -p /context --model {alias}")
    assert f"**Model:** {alias}" in shown
    assert re.search(rf"\*\*Tokens:\*\* [0-9.]+k / {re.escape(window)} ", shown), shown


def log_in(stage: Stage, kind: str) -> dict[str, str]:
    """What /login leaves in the home of the user; or the variable that does the same."""
    if kind != "/login":
        return {kind: "sk-ant-mine"}
    folder = Path(stage.layout(MIXED).home) / ".claude"
    folder.mkdir()
    scopes = ["user:inference", "user:profile"]
    oauth = {"accessToken": "sk-ant-mine", "refreshToken": "x", "expiresAt": 4_000_000_000_000}
    oauth |= {"scopes": scopes, "subscriptionType": "max"}
    (folder / ".credentials.json").write_text(json.dumps({"claudeAiOauth": oauth}))
    return {}


def test_an_id_that_is_pinned_elsewhere_is_served_by_an_alias(stage: Stage) -> None:
    settings = claude_code.router_settings(OWN, {}, overrides={"claude-opus-4-8": "claude-glm"})
    path = Path(stage.layout(OWN).route_settings(OWN.route))
    before = path.read_text()
    path.write_text(json.dumps(settings))
    said = stage.sh("use-router.sh -p hello --model claude-opus-4-8")
    path.write_text(before)
    assert "stub says hello" in said
    assert stage.models() == {"claude-glm": {"claude-glm"}}


@pytest.mark.parametrize("kind", LOGINS)
def test_the_users_own_login_goes_to_anthropic_alone(stage: Stage, kind: str) -> None:
    name, value = LOGINS[kind]
    login = log_in(stage, kind)
    for model in (OPUS, "claude-glm", "claude-fable5"):
        assert "stub says hello" in stage.sh(f"use-router.sh -p hi --model {model}", MIXED, **login)
    assert stage.models() == {
        "claude-glm": {"claude-glm"}, "claude-fable5": {"claude-fable5"}, "anthropic": {OPUS}
    }  # fmt: skip
    for request in stage.requests("anthropic"):
        assert request["headers"][name] == value
        assert request["headers"]["host"] == "api.anthropic.com"
        assert HEADER.lower() not in request["headers"]
        assert request["body"]["output_config"]["effort"] == "medium", "the client's own"
    to_anthropic = headers_and_bodies(stage.requests("anthropic"))
    to_routes = [headers_and_bodies(stage.requests(one)) for one in ("claude-glm", "claude-fable5")]
    assert not any(one in to_anthropic for one in ("of-glm", "of-mixed", "of-away"))
    assert not any(one in text for one in ("sk-ant-mine", "token-of-mixed") for text in to_routes)
    assert "token-of-glm" in to_routes[0] and "token-of-glm" not in to_routes[1]


def test_no_byte_is_changed_on_the_way_to_anthropic(stage: Stage) -> None:
    """Nor is the router's own token, where that came as a login, passed on."""
    body = ODD.replace('"claude-glm"', f'"{OPUS}"')
    assert MIXED.endpoint.token
    proof = ("-H", f"{HEADER}: {MIXED.endpoint.token.value}")
    login = ("-H", "Authorization: Bearer sk-ant-mine", "-H", "anthropic-beta: oauth-2025-04-20")
    assert "message_stop" in stage.post(body, 18091, *proof, *login, path="/v1/messages?beta=true")
    (request,) = stage.requests("anthropic")
    assert (request["raw"], request["path"]) == (body, "/v1/messages?beta=true")
    assert request["headers"]["anthropic-beta"] == "oauth-2025-04-20"
    refused = json.loads(stage.post(body, 18091, *bearer(MIXED)))
    assert refused["error"]["message"] == (
        "homeport: Anthropic's models take your own login: type /login"
    )
    assert len(stage.requests("anthropic")) == 1


class Terminal:
    """A session at a terminal, and what it shows, without colours and blanks."""

    def __init__(self, stage: Stage, router: Router, script: str, **environment: str) -> None:
        self.pid, self._file = pty.fork()
        if self.pid == 0:
            os.chdir(stage.layout(router).home)
            words = [*stage.enter, "bash", "-c", script]
            more = {"COLUMNS": "160", "LINES": "50", **environment}
            os.execvpe(words[0], words, {**stage.words(router), **more})
        self._shown = b""

    def wait_for(self, text: str, seconds: float = 180) -> None:
        """Go on once `text` was shown since the last time; the same shown again counts anew."""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown[-3000:]
            self.read(0.2)
        self.read(0.5)
        self._shown = b""

    def type(self, *keys: str) -> None:
        """Each by itself, as a person does."""
        for one in keys:
            self.read(0.3)
            os.write(self._file, one.encode())

    @property
    def shown(self) -> str:
        text = self._shown.decode(errors="replace")
        plain = re.sub(r"\x1b\[[0-9;?<>=]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b.", "", text)
        return re.sub(r"\s+", "", plain)

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.close(self._file)
        os.waitpid(self.pid, 0)

    def read(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([self._file], [], [], left)[0]:
                try:
                    self._shown += os.read(self._file, 65_536)
                except OSError:
                    return


UP, DOWN_KEY, ENTER = "\x1b[A", "\x1b[B", "\r"


def pick(terminal: Terminal, *keys: str, amid: bool = True) -> None:
    """Pick in /model what `keys` lead to; `amid` a conversation it asks once more."""
    terminal.type("/model")
    terminal.wait_for("Switchmodel")
    terminal.type(ENTER)
    terminal.wait_for("Selectmodel")
    terminal.type(*keys, ENTER)
    if amid:
        terminal.wait_for("goback")
        terminal.type(ENTER)
    terminal.wait_for("savedasyourdefa")


def asked(stage: Stage, terminal: Terminal) -> dict[str, set[str]]:
    """Who is asked for what when something is said."""
    for stub in STUBS:
        stage.log(stub).write_text("")
    terminal.type("hello", ENTER)
    deadline = time.monotonic() + 120
    while not stage.models() and time.monotonic() < deadline:
        terminal.read(0.5)
    terminal.read(1)
    return stage.models()


def test_what_is_picked_is_what_is_asked(stage: Stage) -> None:
    terminal = Terminal(stage, OWN, "source use-router.sh")
    try:
        terminal.wait_for("forshortcuts")
        pick(terminal, DOWN_KEY, amid=False)
        assert asked(stage, terminal) == {"claude-fable5": {"claude-fable5"}}
        pick(terminal, UP)
        assert asked(stage, terminal) == {"claude-glm": {"claude-glm"}}
    finally:
        terminal.close()


def test_anthropics_models_are_picked_and_left_again(stage: Stage) -> None:
    """What the client calls its default stays with the first route."""
    terminal = Terminal(stage, MIXED, "source use-router.sh", CLAUDE_CODE_OAUTH_TOKEN="sk-ant-mine")
    try:
        terminal.wait_for("forshortcuts")
        pick(terminal, DOWN_KEY, DOWN_KEY, amid=False)
        assert asked(stage, terminal) == {"anthropic": {OPUS}}
        pick(terminal, UP)
        assert asked(stage, terminal) == {"claude-fable5": {"claude-fable5"}}
        pick(terminal, UP, UP)
        assert asked(stage, terminal) == {"claude-glm": {"claude-glm"}}
    finally:
        terminal.close()
