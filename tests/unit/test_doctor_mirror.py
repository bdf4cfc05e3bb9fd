"""What the doctor finds wrong with a mirror's nginx, by one that answers as it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from homeport.doctor import answers, engine_log
from homeport.doctor.asking import TOKEN
from homeport.doctor.managers import RUNNING, STOPPED, State
from homeport.doctor.server_checks import AREA
from homeport.doctor.servers import Seen
from homeport.doctor.table import Context, Subject, Unknown, examine
from homeport.doctor.wanted import MIRROR, SYSTEMD, Service

from .doctoring import SERVICE, WANTED, names


class Nginx(BaseHTTPRequestHandler):
    """As templates/mirror.nginx.j2 has it, with nothing at the root."""

    def do_GET(self) -> None:
        right = self.headers.get("Authorization") == "Bearer right"
        self.send_response(404 if right else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Service]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Nginx)
    Thread(target=server.serve_forever, daemon=True).start()
    token = tmp_path / "mirror.token"
    token.write_text("right\n")
    yield replace(
        SERVICE,
        name="homeport.mirror",
        alias="mirror",
        engine=MIRROR,
        url="http://mirror:8880",
        port=server.server_port,
        context=0,
        max_output=0,
        token=str(token),
        tools=False,
        prefix_caching=False,
    )
    server.shutdown()


def found(service: Service, phase: str = RUNNING) -> tuple[list[str], tuple[str, ...]]:
    """What is found, and what is said of a healthy one."""
    reply, said = answers.asked(service, deep=False)
    seen = Seen(service, SYSTEMD, State(phase), (), reply, said)
    area = replace(AREA, look=lambda _: [Subject("mirror", seen, VALUES)])
    report = examine([area], Context(WANTED, {}, Path("/")))
    assert not report.unchecked, report.unchecked
    return names(report), report.healthy


VALUES = {"alias": "mirror", "name": "homeport.mirror", "port": "1", "start": "x", "logs": "y"}


def test_a_healthy_mirror(mirror: Service) -> None:
    assert found(mirror) == ([], ("mirror runs",))


def test_another_token(mirror: Service) -> None:
    assert mirror.token
    Path(mirror.token).write_text("wrong\n")
    reply, said = answers.asked(mirror, deep=False)
    assert said is None
    assert not isinstance(reply, Unknown)
    assert reply and reply.state == TOKEN
    assert found(mirror)[0] == ["other-token"]


def test_one_that_is_stopped(mirror: Service) -> None:
    assert found(replace(mirror, port=1), STOPPED)[0] == ["service-stopped"]


def test_what_its_log_says() -> None:
    line = "nginx: [emerg] bind() to 0.0.0.0:8880 failed (98: Address already in use)"
    assert engine_log.cause(MIRROR, [line]) == "another program has its port"
    assert engine_log.loading(MIRROR, line) is None
