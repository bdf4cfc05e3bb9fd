"""A home with routes, the scripts and settings that homeport makes of them, and a real client."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeport import ROOT, claude_code, render
from homeport.layout import Layout
from homeport.model import Route

from ..running import Running, wait_until

STUB = Path(__file__).parent / "stub_server.py"

GUARDRAILS: dict[str, Any] = runpy.run_path(str(ROOT / "group_data" / "workstations.py"))[
    "guardrails"
]


@dataclass
class Session:
    """A home with routes; what their server is asked is in `log`, and nobody else can be."""

    home: Path
    layout: Layout
    routes: tuple[Route, ...]
    enter: tuple[str, ...]
    log: Path
    claude: Path

    @property
    def route(self) -> Route:
        return self.routes[0]

    def variables(self, **more: str) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "PATH": f"{self.layout.bin}:{self.claude.parent}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            **more,
        }

    def run(
        self, script: str, shell: str = "bash", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.enter, shell, "-c", script],
            env=self.variables(**environment),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def ask(self, script: str, **environment: str) -> str:
        """What `script` prints."""
        return self.run(script, **environment).stdout

    @contextmanager
    def started(self, script: str, terminal: bool = False) -> Iterator[Running]:
        """`script` while it runs; in the end it is ended."""
        command = [*self.enter, "bash", "-c", script]
        log = self.home.parent / "shown"
        running = Running(command, self.home, self.variables(), log, terminal)
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.kill()

    def converse(self, script: str, prompts: list[str]) -> str:
        """What a client prints that takes each prompt as JSON, when it has answered the last."""
        client = subprocess.Popen(
            [*self.enter, "bash", "-c", script],
            env=self.variables(),
            cwd=self.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        output = ""
        with client:
            assert client.stdin and client.stdout
            for prompt in prompts:
                said = {"type": "user", "message": {"role": "user", "content": prompt}}
                print(json.dumps(said), file=client.stdin, flush=True)
                for line in client.stdout:
                    output += line
                    if '"type":"result"' in line:
                        break
            client.stdin.close()
        return output

    def requests(self) -> list[dict[str, Any]]:
        """Every request for an answer, with path, headers and body."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [one for one in lines if one["path"].startswith("/v1/messages")]

    def trusts(self, *folders: Path) -> None:
        """The client has been started before in these folders, and asks nothing any more."""
        trusted = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
        (self.home / ".claude.json").write_text(
            json.dumps(
                {
                    "hasCompletedOnboarding": True,
                    "theme": "dark",
                    "projects": dict.fromkeys(map(str, folders), trusted),
                }
            )
        )


def prepared(folder: Path, client: Path, *routes: Route, enter: tuple[str, ...] = ()) -> Session:
    """A home in `folder` with these routes; `enter` are the words that run a command beside it."""
    home = folder / "jörg x"
    layout = Layout.under(str(home), "~/.homeport")
    for part in ("bin", "routes"):
        Path(layout.path(part)).mkdir(parents=True)
    tokens = (layout.path("routes"), layout.path("service"))
    for route in routes:
        settings = json.dumps(claude_code.route_settings(route, GUARDRAILS, tokens))
        write(layout.script(route), render.use_route(route, layout, "start it", "FIX"))
        write(layout.token(route), f"{route.client_token}\n".encode())
        write(layout.route_settings(route), settings.encode())
    write(f"{layout.bin}/use-anthropic.sh", render.use_anthropic(layout, routes))
    log = folder / "asked"
    log.touch()
    return Session(home, layout, routes, enter, log, client)


def write(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)
    Path(path).chmod(0o755 if path.endswith(".sh") else 0o600)


@contextmanager
def stub(
    session: Session,
    route: Route | None = None,
    log: Path | None = None,
    calls: list[Any] | None = None,
    status: int = 200,
    certificate: Path | None = None,
) -> Iterator[None]:
    """A stand-in for the server of a route (of the first one, unless said), ready to answer."""
    route, log = route or session.route, log or session.log
    script = session.home.parent / f"{route.alias} calls"
    script.write_text(json.dumps(calls or []).replace("@HOME", str(session.home)))
    options = (status, certificate) if certificate else (status,)
    words = map(str, (STUB, route.endpoint.port, route.alias, log, script, *options))
    server = subprocess.Popen([*session.enter, sys.executable, *words], stdout=subprocess.PIPE)
    try:
        assert server.stdout and server.stdout.readline(), "the stub does not start"
        yield
    finally:
        server.terminate()
        server.wait()


class Screen:
    """A terminal in which a client runs, as somebody sees it who overlooks colours and blanks."""

    def __init__(self, client: Running) -> None:
        self._client = client

    @property
    def text(self) -> str:
        text = self._client.log.read_text(errors="replace")
        text = re.sub(r"\x1b\[[0-9;?<>=]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b.", "", text)
        return re.sub(r"\s+", "", text)

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.text or self._client.process.poll() is not None)
        assert text in self.text, self.text[-3000:]

    def enter(self, text: str = "") -> None:
        """Type `text`, and Enter once it is shown."""
        self._client.type(text)
        self.wait_for(text)
        self._client.type("\r")


@contextmanager
def screen(session: Session, script: str) -> Iterator[Screen]:
    """A terminal in which `script` runs, until it asks for a prompt."""
    with session.started(script, terminal=True) as client:
        shown = Screen(client)
        shown.wait_for("❯")  # noqa: RUF001 - the client's prompt
        yield shown
