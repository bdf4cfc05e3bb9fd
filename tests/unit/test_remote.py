"""The programs that run on a host."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from homeport.facts.host import AnswerFact, PortOwnerFact
from homeport.remote import serve_llama

from .. import certificates

EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"usage": {"output_tokens": 0}}},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "The capital "}},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "is Paris."}},
    {"type": "message_delta", "usage": {"output_tokens": 6}},
    {"type": "message_stop"},
]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.models: list[dict[str, Any]] = [{"id": "claude-a", "meta": {"n_ctx": 8_192}}]
        self.events = EVENTS
        self.seen: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append(self.headers["Authorization"])
        self.answer({"data": self.server.models} if self.path == "/v1/models" else {})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        text = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in self.server.events)
        self.answer(text)

    def answer(self, body: Any) -> None:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def probe(port: int, **changes: Any) -> dict[str, Any]:
    """What the probe says, run as on a host: by the command of its fact."""
    ask = {
        "url": f"http://127.0.0.1:{port}",
        "alias": "claude-a",
        "context": 8_192,
        "question": "?",
        "max_tokens": 10,
        "timeout": 60,
        "token_path": None,
        **changes,
    }
    return AnswerFact().process(run(AnswerFact().command(sys.executable, json.dumps(ask))))


def run(command: Any) -> list[str]:
    # A proxy in the environment must not come between a host and its own server.
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:9"}
    line = command.get_raw_value()
    done = subprocess.run(["sh", "-c", line], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_answered(server: Server, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("geheim\n")
    found = probe(server.server_port, token_path=str(token))
    assert found["state"] == "answered"
    assert found["answer"] == "The capital is Paris."
    assert found["tokens"] == 6
    assert server.seen[-1] == "Bearer geheim"


def test_a_private_ca(server: Server, tmp_path: Path) -> None:
    ca, context = certificates.authority(tmp_path, "127.0.0.1")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    (tmp_path / "ca.pem").write_bytes(ca)
    url = f"https://127.0.0.1:{server.server_port}"
    found = probe(server.server_port, url=url, ca_path=str(tmp_path / "ca.pem"))
    assert found["state"] == "answered"
    found = probe(server.server_port, url=url)
    assert found["state"] == "certificate" and "issuer certificate" in found["detail"]


def test_not_asked(server: Server) -> None:
    assert probe(server.server_port, question=None) == {"state": "answered"}


@pytest.mark.parametrize(("status", "state"), [(503, "loading"), (401, "token"), (500, "failed")])
def test_status(server: Server, status: int, state: str) -> None:
    server.status = status
    assert probe(server.server_port)["state"] == state


def test_alias(server: Server) -> None:
    assert probe(server.server_port, alias="claude-b") == {"state": "alias", "detail": "claude-a"}


@pytest.mark.parametrize("model", [{"meta": {"n_ctx": 4_096}}, {"max_model_len": 4_096}])
def test_context(server: Server, model: dict[str, Any]) -> None:
    server.models = [{"id": "claude-a", **model}]
    assert probe(server.server_port) == {"state": "context", "detail": 4_096}


def test_refused(free_port: int) -> None:
    assert probe(free_port)["state"] == "refused"


@pytest.mark.parametrize(
    "events", [[], [{"type": "error", "error": {"message": "no"}}], EVENTS[:1], EVENTS[:3]]
)
def test_no_answer(server: Server, events: list[dict[str, Any]]) -> None:
    server.events = events
    assert probe(server.server_port)["state"] == "failed"


def test_port_owner(free_port: int) -> None:
    fact = PortOwnerFact()
    assert fact.process(run(fact.command(sys.executable, free_port))) is None
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port))
        listener.listen()
        owner = fact.process(run(fact.command(sys.executable, free_port)))
    assert owner is not None
    assert owner["pid"] == os.getpid()
    assert owner["value"] is None
    assert owner["command"].split()[0] in Path("/proc/self/cmdline").read_text()


def test_the_server_program_refuses_flags_it_does_not_know(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        serve_llama.arguments(["--model", "m", "--no-mmap"])
    assert "required" in capsys.readouterr().err
