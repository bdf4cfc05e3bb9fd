"""A home with rendered scripts, a stand-in server that can be in every state, and real shells."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from homeport import claude_code, render, shell_line
from homeport.catalog import MODELS
from homeport.layout import Layout
from homeport.model import Endpoint, Route, Token

#: Prints its arguments, one a line, and its environment, then ends with status 7.
CLAUDE = """#!/bin/sh
for word in "$@"; do printf 'arg:%s\\n' "$word"; done
env | sed 's/^/env:/'
exit 7
"""


class Server(ThreadingHTTPServer):
    """Answers /v1/models; strict: any other path is a 404. Keeps the last token it was given."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.served = ["claude-fable5"]
        self.token: str | None = None
        self.delay = threading.Event()
        self.delay.set()

    @property
    def port(self) -> int:
        return self.server_address[1]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.delay.wait(60)
        self.server.token = self.headers["Authorization"]
        status = self.server.status if self.path == "/v1/models" else 404
        models = [{"id": alias, "object": "model"} for alias in self.server.served]
        body = json.dumps({"object": "list", "data": models}, indent=1).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.delay.set()
    server.shutdown()
    server.server_close()


@dataclass
class Home:
    """A home with homeport's scripts for one route, or more."""

    path: Path
    layout: Layout
    programs: Path

    def install(self, route: Route) -> None:
        for name in ("bin", "fish", "routes"):
            Path(self.layout.path(name)).mkdir(parents=True, exist_ok=True)
        self._write(
            self.layout.script(route), render.use_route(route, self.layout, "start it: GO", "FIX")
        )
        self._write(
            f"{self.layout.bin}/use-anthropic.sh", render.use_anthropic(self.layout, (route,))
        )
        self._write(self.layout.function(route), render.use_route_fish(route, self.layout))
        self._write(
            f"{self.layout.fish}/use-anthropic.fish",
            render.use_anthropic(self.layout, (route,), "fish"),
        )
        line = shell_line.fish_line(self.layout.bin, self.layout.fish, "homeport")
        (self.path / ".config/fish").mkdir(parents=True, exist_ok=True)
        self._write(str(self.path / ".config/fish/config.fish"), line.encode())
        self._write(self.layout.token(route), route.client_token.encode())
        settings = json.dumps(claude_code.route_settings(route, {}))
        self._write(self.layout.route_settings(route), settings.encode())

    def _write(self, path: str, content: bytes) -> None:
        Path(path).write_bytes(content)
        Path(path).chmod(0o755)

    def run(
        self, shell: str, script: str, path: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `script` in a real shell that has nothing but this environment."""
        options = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": []}[shell]
        usual = os.environ["PATH"]
        return subprocess.run(
            [str(shutil.which(shell)), *options, "-c", script],
            env={
                "PATH": f"{self.layout.bin}:{self.programs}:{path or usual}",
                "HOME": str(self.path),
                # Without it fish 3.6 spells a home like this one in another way.
                **({"LANG": "C.UTF-8"} if shell == "fish" else {}),
                **environment,
            },
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=180,
        )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    path = tmp_path / "jörg o'x"
    programs = tmp_path / "programs"
    programs.mkdir()
    path.mkdir()
    claude = programs / "claude"
    claude.write_text(CLAUDE)
    claude.chmod(0o755)
    return Home(path, Layout.under(str(path), "~/.homeport"), programs)


@pytest.fixture
def route(server: Server) -> Route:
    token = Token("geheimes-token-123")
    return Route(MODELS["smollm2-135m"], Endpoint("localhost", server.port, token))


@pytest.fixture
def other(route: Route) -> Route:
    return replace(route, model=replace(MODELS["gemma-4-12b-coder"], alias="claude-other"))


@pytest.fixture(params=["bash", "zsh"])
def shell(request: pytest.FixtureRequest, needs: Callable[..., None]) -> str:
    needs(request.param)
    return str(request.param)
