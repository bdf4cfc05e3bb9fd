"""What the client shows of a server with a wrong chat template, and what the doctor says of it.

Of one that is dead, loads, or takes another token or name docs/clients.md has the client's words.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from homeport import ROOT
from homeport.doctor import answers
from homeport.doctor.wanted import Service
from homeport.engines.llama_cpp import NEWEST_FLAGS, LlamaServer
from homeport.model import Endpoint, Route
from homeport.serving import PROGRAM

from .. import conftest
from ..running import wait_until
from ..serving import llama, tiny_gguf
from .servers import ALIGNED, TOKEN
from .session import Session, prepared

_LOOK = """
import json, sys
from homeport.doctor import answers
from homeport.doctor.wanted import Service
_, found = answers.asked(Service(**json.loads(sys.argv[1])), sys.argv[2] == "deep")
tries = found.tries
print(json.dumps([found.untried, tries and tries.refused, tries and tries.tool], default=str))
"""


@contextmanager
def served(folder: Path, port: int, template: str) -> Iterator[tuple[Session, Any]]:
    """A home with a route to the real llama.cpp with that template, and a look at it."""
    route = Route(ALIGNED, Endpoint("localhost", port, TOKEN))
    weights, token = folder / "tiny.gguf", folder / "server.token"
    tiny_gguf.write(weights, template)
    token.write_text(f"{TOKEN.value}\n")
    service = Service(
        name="homeport.x", alias=route.alias, engine="llama_cpp", definition="", bind="127.0.0.1",
        url=route.endpoint.url, port=port, context=route.model.context, start="", logs="",
        max_output=512, token=str(token),
    )  # fmt: skip
    server = LlamaServer(route, str(weights), str(token))
    with conftest.loopback_namespace() as enter:
        look = [*enter, sys.executable, "-c", _LOOK, json.dumps(asdict(service))]

        def looked(depth: str = "deep") -> Any:
            words = [*look, depth]
            done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=400)
            return json.loads(done.stdout)

        process = subprocess.Popen(
            [*enter, llama.python(), PROGRAM, *server.command_line(NEWEST_FLAGS)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            ready = [*enter, "curl", "--silent", "--fail", f"{route.endpoint.url}/health"]
            wait_until(lambda: subprocess.run(ready, stdout=subprocess.DEVNULL).returncode == 0)
            yield prepared(folder, conftest.installed_client(), route, enter=enter), looked
        finally:
            process.terminate()
            process.wait(60)


ASK = "-p go --tools Bash --allowedTools Bash"


def test_a_template_that_refuses_late_system_messages(tmp_path: Path, free_port: int) -> None:
    with served(tmp_path, free_port, tiny_gguf.ALTERNATING) as (session, look):
        shown = session.ask(f"source {session.route.script} {ASK}")
        _, refused, _ = look()
    assert "400" in shown
    assert "Conversation roles must alternate" in shown
    assert "Conversation roles must alternate" in refused


def test_a_template_without_tools(tmp_path: Path, free_port: int) -> None:
    with served(tmp_path, free_port, tiny_gguf.NO_TOOLS) as (session, look):
        shown = session.ask(f"source {session.route.script} {ASK}")
        _, refused, tool = look()
    assert not (session.home / "proof.txt").exists(), "it did not call the tool"
    assert "Done" not in shown
    assert refused == ""
    assert tool == "it answers in words: the tool parser does not fit the model"


def test_a_conversation_is_left_in_the_cache(tmp_path: Path, free_port: int) -> None:
    """A question of the doctor's own could push it out; before there is one, it asks."""
    with served(tmp_path, free_port, tiny_gguf.ALTERNATING) as (session, look):
        for _ in range(2):  # its own questions do not count
            untried, refused, _ = look("ordinary")
            assert untried == ""
            assert "Conversation roles must alternate" in refused
        session.ask(f"source {session.route.script} {ASK}")
        assert look("ordinary") == [answers.IN_USE, None, None]
        assert "Conversation roles must alternate" in look("deep")[1]
