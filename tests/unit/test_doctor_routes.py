"""What the doctor says of routes whose server is on this machine, and what of one that is not."""

from __future__ import annotations

import ast
import base64
import json
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from homeport import model as models
from homeport.catalog import MODELS
from homeport.doctor import reach, reach_checks, route_checks, routes, start_up
from homeport.doctor.names import closest, difference
from homeport.doctor.reached import Model, Problem, Reached
from homeport.doctor.table import CannotTell, Report, Subject, Unknown, examine, findings_of
from homeport.doctor.wanted import Route as Told
from homeport.model import Endpoint, Route, Token

from .. import certificates
from .desk import Desk, names

GLM = MODELS["glm-5.2-fp8"]
TOKEN = Token("geheim-0123456789")


@dataclass
class Says:
    """What a stand-in for a server answers."""

    status: int = 200
    body: Any = None
    engine: str = "vllm"
    context: int = GLM.context
    serves: tuple[str, ...] = (GLM.alias,)
    ahead: float = 0
    pause: float = 0
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def answer(self) -> bytes:
        listed = [
            {"id": one, "owned_by": self.engine, "max_model_len": self.context}
            for one in self.serves
        ]
        body = {"data": listed} if self.body is None else self.body
        return body if isinstance(body, bytes) else json.dumps(body).encode()


class Handler(BaseHTTPRequestHandler):
    said: Says

    def do_GET(self) -> None:
        said = self.said
        said.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        time.sleep(said.pause)
        self.send_response_only(said.status)
        self.send_header("Date", formatdate(time.time() + said.ahead, usegmt=True))
        self.end_headers()
        self.wfile.write(said.answer)

    def log_message(self, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: object) -> None:
        pass  # whoever speaks TLS to it, or the other way round


@contextmanager
def serving(said: Says, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port at which it answers."""
    server = Server(("127.0.0.1", 0), type("Its", (Handler,), {"said": said}))
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Place:
    desk: Desk
    said: Says
    stack: ExitStack

    def route(self, port: int | None = None, host: str = "localhost", **changed: Any) -> Route:
        """A route to the server, noted on the desk; `changed` is of its endpoint, or of what the
        doctor is told."""
        tls = changed.pop("server_tls", None)
        port = port or self.stack.enter_context(serving(self.said, tls))
        mine = {key: changed.pop(key) for key in ("tls", "ca") if key in changed}
        route = Route(GLM, Endpoint(host, port, TOKEN, **mine))
        self.desk.add(route, **changed)
        return route

    def report(self, shell: dict[str, str] | None = None) -> Report:
        return self.desk.report("routes", shell)

    def names(self) -> list[str]:
        return names(self.report())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(Desk(tmp_path), Says(), stack)


def test_a_healthy_route(place: Place) -> None:
    place.route()
    report = place.report()
    assert report.is_healthy, report
    (said,) = report.healthy
    assert said.startswith("claude-glm is reachable in 0.")
    assert report.facts == {"claude-glm": {"context": str(GLM.context)}}
    ((path, headers),) = place.said.asked
    assert (path, headers["authorization"]) == ("/v1/models", f"Bearer {TOKEN.value}")
    assert TOKEN.value not in str(report)


def test_without_routes_there_is_nothing_to_look_at(place: Place) -> None:
    report = place.report()
    assert report.is_healthy and not report.healthy


def test_every_kind_of_problem_has_its_row() -> None:
    kinds = {*reach.CERTIFICATES.values(), "cert-unknown", "cert-other"}
    for module in (reach, routes):
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text())):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                first = node.args[0]
                if name in ("Failed", "Problem") and isinstance(first, ast.Constant):
                    kinds.add(str(first.value))
    for kind in kinds - {"withheld", "proxy-unknown"}:
        assert len(found(Reached(ROUTE, Unknown("x"), Unknown("x"), Problem(kind)))) == 2, kind
    for kind in reach_checks.OF_SERVERS:
        assert kind in kinds
        served = replace(ROUTE, served=True)
        assert len(found(Reached(served, Unknown("x"), Unknown("x"), Problem(kind)))) == 1, kind


ROUTE = Told(
    *("claude-glm", "claude-glm", "http://h:1", 1, 1, "/f.json", "/f.token", "use-glm.sh"),
    *(False, ""),
)


def found(seen: Reached) -> list[str]:
    """The checks that find something, though others cannot be made."""
    values = {name: name for name in ("alias", "url", "host", "port", "address", "file", "status")}
    result = []
    for check in routes.AREA.checks:
        try:
            result += [one.check for one in findings_of(check, Subject("x", seen, values))]
        except CannotTell:
            continue
    return result


# The way there


def silent(stack: ExitStack) -> int:
    """A port that lets nobody in, and says nothing: its queue is full."""
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port: int = listener.getsockname()[1]
    for _ in range(2):
        queued = stack.enter_context(socket.socket())
        queued.setblocking(False)
        queued.connect_ex(("127.0.0.1", port))
    return port


def test_nothing_listens(place: Place, free_port: int) -> None:
    place.route(free_port)
    report = place.report()
    (finding,) = report.findings
    assert finding.check == "refused"
    assert finding.symptom == f"nothing listens at http://127.0.0.1:{free_port}"
    assert f"ss -ltn 'sport = :{free_port}'" in finding.fix
    (unchecked,) = report.unchecked
    assert "alias-unknown" in unchecked.checks and "clock" in unchecked.checks
    assert unchecked.why == f"http://127.0.0.1:{free_port} does not list its models"


def test_what_runs_here_is_the_servers_own_to_explain(place: Place, free_port: int) -> None:
    place.route(free_port, served=True)
    report = place.report()
    assert not report.findings and report.unchecked and not report.is_healthy
    place.desk.routes.clear()
    place.route(served=True)
    assert place.report().healthy == ()


def test_a_port_that_says_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "CONNECT", 0.3)
    place.route(silent(place.stack))
    assert place.names() == ["port-silent"]
    monkeypatch.setattr(reach, "_answers_elsewhere", lambda *_: None)
    assert place.names() == ["host-silent"]


def test_a_server_that_takes_the_call_only(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "ANSWER", 0.3)
    place.said.pause = 1
    place.route()
    assert place.names() == ["no-answer"]


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_server_that_says_a_little_now_and_then(
    place: Place, monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.setattr(reach, "ANSWER", 0.4)
    listener = place.stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    def drip() -> None:
        caller, _ = listener.accept()
        with caller, suppress(OSError):
            caller.sendall(start)
            for _ in range(100):
                caller.sendall(b"H")
                time.sleep(0.05)

    threading.Thread(target=drip, daemon=True).start()
    place.route(listener.getsockname()[1])
    started = time.monotonic()
    assert place.names() == ["no-answer"]
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("error", "check"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name-unknown"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "dns-silent"),
        (None, "dns-silent"),
    ],
)
def test_a_name_without_an_address(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: OSError | None, check: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        if error:
            raise error
        time.sleep(1)

    monkeypatch.setattr(reach, "NAME", 30 if error else 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    place.route(8000, "glm-host")
    (finding,) = place.report().findings
    assert finding.check == check and "/etc/hosts" in finding.cause + finding.fix


def test_no_network(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", fail)
    place.route(8000, "192.0.2.1")
    assert place.names() == ["no-network"]


# TLS


def tls(place: Place, *hosts: str, **options: Any) -> tuple[str, ssl.SSLContext]:
    folder = place.desk.root / "tls"
    folder.mkdir()
    ca, context = certificates.authority(folder, *hosts, **options)
    return ca.decode(), context


@pytest.mark.parametrize(
    ("hosts", "valid", "trusted", "expected"),
    [
        (["127.0.0.1"], (-1, 90), True, []),
        (["127.0.0.1"], (-1, 20), True, ["cert-expiring"]),
        (["127.0.0.1"], (-9, -2), True, ["cert-expired"]),
        (["127.0.0.1"], (2, 90), True, ["cert-early"]),
        (["glm-host"], (-1, 90), True, ["cert-name"]),
        (["127.0.0.1"], (-1, 90), False, ["cert-unknown"]),
    ],
)
def test_certificates(
    place: Place, hosts: list[str], valid: tuple[float, float], trusted: bool, expected: list[str]
) -> None:
    ca, context = tls(place, *hosts, valid=valid)
    place.route(server_tls=context, tls=True, ca=ca.encode() if trusted else None)
    report = place.report()
    assert names(report) == expected
    if expected == ["cert-expiring"]:
        assert report.findings[0].symptom.endswith("expires in 19 days")


def test_no_more_is_asked_of_a_signer_than_the_client_does() -> None:
    """Its test authority has no keyUsage, which Python minds by itself since 3.13."""
    assert not reach.trusting(None).verify_flags & ssl.VERIFY_X509_STRICT


def test_an_address_of_ipv6_stands_in_brackets(place: Place) -> None:
    assert reach.address("h", 1) == "h:1"
    place.route(8000, "::1")
    (subject,) = routes.look(place.desk.context())
    assert subject.values["address"] == "[::1]:8000"


def test_the_file_of_trusted_certificates_is_gone(place: Place) -> None:
    ca, context = tls(place, "127.0.0.1", valid=(-1, 90))
    route = place.route(server_tls=context, tls=True, ca=ca.encode())
    Path(str(place.desk.layout.ca(route))).unlink()
    assert place.names() == ["ca-unread"]
    Path(str(place.desk.layout.ca(route))).write_text("nothing")
    assert place.names() == ["ca-unread"]


def test_http_where_https_is_spoken(place: Place) -> None:
    _, context = tls(place, "127.0.0.1")
    place.route(server_tls=context)
    assert place.names() == ["http-to-https"]


def test_nginx_says_that_it_wants_https(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.said.status = 400
    place.route()
    assert place.names() == ["no-models"]
    monkeypatch.setattr(reach, "_speaks_tls", lambda *_: True)
    assert place.names() == ["http-to-https"]


def test_https_where_http_is_spoken(place: Place) -> None:
    place.route(tls=True)
    assert place.names() == ["https-to-http"]


def test_a_tls_that_is_too_old(place: Place) -> None:
    _, context = tls(place, "127.0.0.1")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    place.route(server_tls=context, tls=True)
    assert place.names() == ["tls-old"]


def test_a_port_of_something_else(place: Place) -> None:
    listener = place.stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    def greet() -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            with caller:
                caller.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                caller.recv(1000)

    threading.Thread(target=greet, daemon=True).start()
    port = listener.getsockname()[1]
    place.route(port)
    assert place.names() == ["no-http"]
    place.desk.routes.clear()
    place.route(port, tls=True)
    assert place.names() == ["tls-other"]


# The answer


@pytest.mark.parametrize(
    ("status", "check"),
    [
        (401, "token-refused"),
        (403, "token-refused"),
        (503, "loading"),
        (502, "gateway"),
        (504, "gateway"),
        (404, "no-models"),
        (301, "no-models"),
        (500, "no-models"),
    ],
)
def test_answers(place: Place, status: int, check: str) -> None:
    place.said.status = status
    place.said.body = {"error": {"message": "it is sk-secret-0123456789"}}
    place.route()
    report = place.report()
    (finding,) = report.findings
    assert finding.check == check
    assert "sk-secret-0123456789" not in str(report)
    assert all("clock" not in one.checks for one in report.unchecked), "its answer has a date"


@pytest.mark.parametrize("body", [b"<html>", {"data": 5}, {}, [1]])
def test_a_page_of_something_else(place: Place, body: Any) -> None:
    place.said.body = body
    place.route()
    assert place.names() == ["no-models"]


def test_clocks(place: Place) -> None:
    place.route()
    place.said.ahead = 100
    assert place.names() == []
    place.said.ahead = 200
    (finding,) = place.report().findings
    assert finding.check == "clock" and "s behind that of 127.0.0.1" in finding.symptom


# Proxies


def test_a_proxy_that_passes_on(place: Place) -> None:
    with serving(place.said) as proxy:
        place.route(8000, "glm-host")
        report = place.report({"http_proxy": f"http://anna:geheim@127.0.0.1:{proxy}"})
    assert report.is_healthy, report
    assert place.said.asked[0][0] == "http://glm-host:8000/v1/models"


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy"])
def test_a_proxy_that_does_not(place: Place, free_port: int, name: str, secure: bool) -> None:
    place.route(8000, "glm-host", tls=secure)
    shell = {name: f"http://anna:geheim@127.0.0.1:{free_port}"}
    (finding,) = place.report(shell).findings
    assert finding.check == "proxy" and f"through the proxy of {name}" in finding.symptom
    assert 'NO_PROXY="${NO_PROXY:+$NO_PROXY,}glm-host"' in finding.fix
    assert "geheim" not in str(finding)


@pytest.mark.parametrize(
    ("secure", "detail"), [(True, "it answers 501"), (False, "it answers 502")]
)
def test_a_proxy_that_reaches_nothing(place: Place, secure: bool, detail: str) -> None:
    place.said.status = 502
    with serving(place.said) as proxy:
        place.route(8000, "glm-host", tls=secure)
        (finding,) = place.report({"HTTPS_PROXY": f"http://127.0.0.1:{proxy}"}).findings
    assert (finding.check, finding.detail) == ("proxy", detail)


def test_a_proxy_gets_its_login_and_nobody_is_shown_it(place: Place) -> None:
    with serving(place.said) as proxy:
        place.route(8000, "glm-host")
        place.report({"HTTP_PROXY": f"http://bob:geheim@127.0.0.1:{proxy}"})
    proof = base64.b64encode(b"bob:geheim").decode()
    assert place.said.asked[0][1]["proxy-authorization"] == f"Basic {proof}"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('export NO_PROXY="${NO_PROXY:+$NO_PROXY,}glm-host"', "glm-host"),
        ("export no_proxy=$no_proxy,a,b", ",a,b"),
        ("export NO_PROXY=${no_proxy}", ""),
        ("export NO_PROXY=$HOSTS", None),
    ],
)
def test_a_list_of_spared_hosts_that_is_added_to(
    place: Place, line: str, value: str | None
) -> None:
    place.desk.write("home/anna/.bashrc", f"{line}\n")
    (found,) = start_up.lines(place.desk.home, place.desk.root)
    assert found.value == value


def test_what_a_server_says_of_a_token_is_not_said_on(place: Place) -> None:
    sent = {"Authorization": "Bearer tok-0123456789"}
    for said in ("Bearer tok-0123456789 is wrong", "tok-0123456789", "Bearer tok-9876543210"):
        body = json.dumps({"error": {"message": said}}).encode()
        problem, _ = routes.answered(reach.Reply(401, body, 0.1), sent)
        assert problem and "tok-" not in problem.said


def test_a_proxy_that_cannot_be_asked_through(place: Place) -> None:
    place.route(8000, "glm-host")
    report = place.report({"ALL_PROXY": "socks5://127.0.0.1:1"})
    assert not report.findings
    assert report.unchecked[0].why == "its proxy, of socks5, cannot be asked through"


def test_the_fleet_sees_the_proxy_of_a_start_up_file(place: Place, free_port: int) -> None:
    place.route(8000, "glm-host")
    bashrc = "home/anna/.bashrc"
    place.desk.write(bashrc, f"export HTTPS_PROXY=http://127.0.0.1:{free_port}\n")
    (finding,) = place.report().findings
    assert finding.check == "proxy" and "the proxy of HTTPS_PROXY" in finding.symptom
    # What only a shell can tell may be a proxy that is in the way, or one that is not.
    place.desk.write(bashrc, "export HTTPS_PROXY=$(which-proxy)\n")
    report = place.report()
    (unchecked,) = report.unchecked
    assert not report.findings
    assert unchecked.why.endswith(".bashrc:1 sets HTTPS_PROXY to what only a shell can tell")
    proxies = "export HTTP_PROXY=http://p:1\nexport NO_PROXY=$HOSTS\n"
    place.desk.write(bashrc, proxies)
    assert "sets NO_PROXY to what" in place.report().unchecked[0].why
    place.desk.routes.clear()
    place.route()
    assert place.report().is_healthy, "it is on this machine"


SECRET = "http://user:hunter2/x@proxy:3128"


def test_no_password_of_a_proxy_is_shown(place: Place) -> None:
    place.route(8000, "glm-host")
    report = place.report({"HTTP_PROXY": SECRET})
    (finding,) = report.findings
    assert (finding.check, finding.detail) == ("proxy", "what is set is no URL")
    assert "hunter2" not in str(report)


# What the client shows


@pytest.mark.parametrize("token", ["geheim\nrest", "geheim\N{SNOWMAN}"])
def test_a_token_that_cannot_be_sent(place: Place, token: str) -> None:
    route = place.route()
    place.desk.change(route, ANTHROPIC_AUTH_TOKEN=token)
    report = place.report()
    assert names(report) == ["token-broken"]
    assert "geheim" not in str(report)


def test_what_goes_wrong_with_one_route_is_that_routes_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.route()
    before = reach.ask

    def ask(url: str, *arguments: Any) -> reach.Reply:
        if "other" in url:
            raise ValueError("hunter2")
        return before(url, *arguments)

    monkeypatch.setattr(reach, "ask", ask)
    (own,) = place.desk.routes
    place.desk.routes.append(replace(own, name="other", url="http://other:1"))
    report = examine([routes.AREA], place.desk.context())
    assert "claude-glm is reachable" in report.healthy[0]
    whys = {(one.about, one.why) for one in report.unchecked}
    assert whys == {("other", "asking it ends by a ValueError")}
    assert "hunter2" not in str(report)


def test_no_key_of_anthropics_is_shown(place: Place) -> None:
    route = place.route()
    place.desk.change(route, ANTHROPIC_AUTH_TOKEN="sk-ant-api03-abcdefghijklmnop")
    report = place.report()
    assert not place.said.asked and "abcdefgh" not in str(report)
    assert "a key of Anthropic's would have to be shown" in report.unchecked[0].why


def test_what_the_session_shows_is_shown(place: Place) -> None:
    route = place.route()
    place.desk.change(
        route, ANTHROPIC_AUTH_TOKEN="", ANTHROPIC_CUSTOM_HEADERS="X-Homeport-Router: r"
    )
    assert place.report().is_healthy
    headers = place.said.asked[0][1]
    assert headers["x-homeport-router"] == "r" and "authorization" not in headers


def test_settings_that_lead_elsewhere_get_no_token_from_there(place: Place) -> None:
    route = place.route()
    place.desk.change(route, ANTHROPIC_BASE_URL="http://x:1", ANTHROPIC_AUTH_TOKEN="of-x")
    assert place.names() == ["route-elsewhere"]
    assert place.said.asked[0][1]["authorization"] == f"Bearer {TOKEN.value}"


@pytest.mark.parametrize("text", [None, "{"])
def test_settings_that_cannot_be_used(place: Place, text: str | None) -> None:
    route = place.route()
    file = Path(place.desk.layout.route_settings(route))
    file.unlink()
    if text:
        file.write_text(text)
    report = place.report()
    assert names(report) == ["route-files"]
    assert {"attribution", "tier-unset"} <= set(report.unchecked[0].checks)
    Path(place.desk.layout.token(route)).unlink()
    place.said.asked.clear()
    assert any("its token cannot be read" in one.why for one in place.report().unchecked)


# Names


@pytest.mark.parametrize(
    ("served", "where"),
    [
        (
            "claude\N{NON-BREAKING HYPHEN}glm",
            'character 7 is "-", U+002D HYPHEN-MINUS where it is asked for, and U+2011 '
            "NON-BREAKING HYPHEN where it is served",
        ),
        (
            "Claude-glm",
            'character 1 is "c", U+0063 LATIN SMALL LETTER C where it is asked for, and "C", '
            "U+0043 LATIN CAPITAL LETTER C where it is served",
        ),
        (
            "claude-glm ",
            'character 11 is none where it is asked for, and " ", U+0020 SPACE where it is served',
        ),
        (
            "claude-g1m",
            'character 9 is "l", U+006C LATIN SMALL LETTER L where it is asked for, and "1", '
            "U+0031 DIGIT ONE where it is served",
        ),
    ],
)
def test_a_name_that_is_almost_the_same(place: Place, served: str, where: str) -> None:
    place.said.serves = ("other", served)
    place.route()
    (finding,) = place.report().findings
    assert (finding.check, finding.detail) == ("alias-similar", where)


def test_a_name_that_is_not_served(place: Place) -> None:
    place.said.serves = ("gpt-oss", "qwen")
    place.route()
    (finding,) = place.report().findings
    assert finding.check == "alias-unknown" and finding.symptom.endswith("served: gpt-oss, qwen")


def test_similar_names() -> None:
    served = {"claude-glm": Model(), "claude-fable5": Model()}
    assert closest("claude-fable\u200b5", served) == "claude-fable5"
    assert closest("opus", served) == ""
    assert difference("a", "ab") == (
        'character 2 is none where it is asked for, and "b", U+0062 LATIN SMALL LETTER B where it '
        "is served"
    )


@pytest.mark.parametrize("value", [None, ""])
def test_tiers_that_are_unset(place: Place, value: str | None) -> None:
    route = place.route()
    place.desk.change(route, ANTHROPIC_DEFAULT_FABLE_MODEL=value, CLAUDE_CODE_SUBAGENT_MODEL=value)
    (finding,) = place.report().findings
    assert finding.check == "tier-unset"
    assert "ANTHROPIC_DEFAULT_FABLE_MODEL, CLAUDE_CODE_SUBAGENT_MODEL" in finding.symptom


def test_tiers_that_are_not_served(place: Place) -> None:
    route = place.route()
    place.desk.change(
        route,
        ANTHROPIC_DEFAULT_HAIKU_MODEL="claude-haiku-4-5",
        ANTHROPIC_DEFAULT_OPUS_MODEL="claude-GLM",
        CLAUDE_CODE_SUBAGENT_MODEL="inherit",
    )
    opus, haiku = place.report().findings
    assert {opus.check, haiku.check} == {"tier-not-served"}
    assert haiku.symptom.startswith('ANTHROPIC_DEFAULT_HAIKU_MODEL is "claude-haiku-4-5"')
    assert opus.detail.startswith("character 8 is ") and haiku.detail == ""
    place.said.serves = (GLM.alias, "claude-haiku-4-5", "claude-GLM")
    assert place.report().is_healthy


def test_one_wrong_name_is_one_finding(place: Place) -> None:
    """That the tiers have it as well is the same cause."""
    place.said.serves = ("qwen",)
    place.route()
    assert place.names() == ["alias-unknown"]


# How it works


@pytest.mark.parametrize(
    ("said", "told", "expected"),
    [
        ("vllm", "", []),
        ("llamacpp", "", ["attribution"]),
        ("sglang", "vllm", ["attribution"]),
        ("", "llama_cpp", ["attribution"]),
        ("", "vllm", []),
    ],
)
def test_the_attribution_header(place: Place, said: str, told: str, expected: list[str]) -> None:
    place.said.engine = said
    route = place.route(engine=told)
    assert place.report().is_healthy
    place.desk.change(route, CLAUDE_CODE_ATTRIBUTION_HEADER="1")
    assert place.names() == expected


def test_an_engine_that_nobody_knows(place: Place) -> None:
    place.said.engine = ""
    place.desk.change(place.route(), CLAUDE_CODE_ATTRIBUTION_HEADER=None)
    (unchecked,) = place.report().unchecked
    assert unchecked.checks == ("attribution",)


@pytest.mark.parametrize(
    ("check", "variables"),
    [
        ("thinking", {"CLAUDE_CODE_MAX_OUTPUT_TOKENS": "4096"}),
        ("effort-unset", {"CLAUDE_CODE_EFFORT_LEVEL": None}),
        ("model-too-small", {"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "32768"}),
        ("impatient", {"API_TIMEOUT_MS": None}),
        ("impatient", {"CLAUDE_STREAM_IDLE_TIMEOUT_MS": ""}),
        ("window-too-large", {"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "1000000"}),
        ("output-too-large", {"CLAUDE_CODE_MAX_OUTPUT_TOKENS": None}),
        ("output-too-large", {"CLAUDE_CODE_MAX_OUTPUT_TOKENS": "64000"}),
    ],
)
def test_variables(place: Place, check: str, variables: dict[str, str | None]) -> None:
    place.desk.change(place.route(), **variables)
    (finding,) = place.report().findings
    assert finding.check == check


def test_a_window_without_room_for_an_answer(place: Place) -> None:
    route = place.route()
    small = {"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "8192", "CLAUDE_CODE_SIMPLE": "1"}
    place.desk.change(route, CLAUDE_CODE_EFFORT_LEVEL="high", **small)
    (finding,) = place.report().findings
    assert (finding.check, "to 6822 or less" in finding.fix) == ("overflow", True)
    place.desk.change(route, CLAUDE_CODE_MAX_OUTPUT_TOKENS="512")
    assert place.report().is_healthy


def test_a_server_that_holds_less(place: Place) -> None:
    place.said.context = 65_536
    place.route()
    (finding,) = place.report().findings
    assert finding.check == "window-too-large"
    assert '"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "65536"' in finding.fix


def test_web_search(place: Place) -> None:
    route = place.route()
    settings = place.desk.settings(route)
    settings["permissions"]["deny"].remove("WebSearch")
    Path(place.desk.layout.route_settings(route)).write_text(json.dumps(settings))
    assert place.names() == ["web-search"]
    place.desk.write("home/anna/.claude/settings.json", {"permissions": {"deny": ["WebSearch"]}})
    assert place.names() == []


def test_the_numbers_are_those_of_the_handshake() -> None:
    for name in ("WORK_CONTEXT", "FIRST_REQUEST", "FIRST_REQUEST_SIMPLE", "COMPACTION_MARGIN"):
        assert getattr(route_checks, name) == getattr(models, name)
    assert route_checks.LARGEST_OUTPUT == models.LARGEST_OUTPUT
    assert set(route_checks.THOUGHTFUL) < set(models.EFFORTS)
