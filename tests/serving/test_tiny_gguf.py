"""The tiny GGUF model, served by the real llama.cpp as on a laptop."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from homeport import ROOT
from homeport.catalog import MODELS
from homeport.engines.llama_cpp import LlamaServer
from homeport.model import Endpoint, Route

from . import llama, tiny_gguf

MODEL = MODELS["gemma-4-12b-coder"]  # for its 65,536 tokens
PROOFS = ["context", "answer", "count", "tool", "system", "cache"]


def found(folder: Path, port: int, template: str) -> dict[str, Any]:
    """What homeport's probe finds at a server of the model with this template."""
    route = Route(MODEL, Endpoint("localhost", port))
    tiny_gguf.write(folder / "tiny.gguf", template)
    question = {
        "url": route.endpoint.url,
        "alias": MODEL.alias,
        "context": MODEL.context,
        "question": "What is the capital of France?",
        "max_tokens": 64,
        "timeout": 120,
        "token_path": None,
        "proofs": PROOFS,
    }
    probe = [sys.executable, str(ROOT / "homeport" / "remote" / "probe.py"), json.dumps(question)]
    with llama.serving(LlamaServer(route, str(folder / "tiny.gguf")), folder / "server.log"):
        done = subprocess.run(probe, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def failed(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(what, detail) for works, what, detail in answer["proofs"] if not works]


def test_it_is_what_claude_code_needs(tmp_path: Path, free_port: int) -> None:
    answer = found(tmp_path, free_port, tiny_gguf.TEMPLATE)
    assert answer["answer"] == "The capital of France is Paris."
    assert failed(answer) == []


def test_roles_that_must_alternate(tmp_path: Path, free_port: int) -> None:
    answer = found(tmp_path, free_port, tiny_gguf.ALTERNATING)
    assert answer["answer"] == "The capital of France is Paris."
    ((what, detail),) = failed(answer)
    assert what == "takes a system message"
    assert detail.startswith("/v1/messages answers 400: ")
    assert "Jinja Exception: Conversation roles" in detail


def test_a_template_without_tools(tmp_path: Path, free_port: int) -> None:
    answer = found(tmp_path, free_port, tiny_gguf.NO_TOOLS)
    ((what, detail),) = failed(answer)
    assert (what, detail.partition(":")[0]) == ("calls a tool", "it answers in words")


def test_it_is_small_and_always_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.serving.tiny_gguf", str(tmp_path / "other")]
    subprocess.run(command, cwd=ROOT, check=True)
    tiny_gguf.write(tmp_path / "one")
    one, other = ((tmp_path / name).read_bytes() for name in ("one", "other"))
    assert hashlib.sha256(one).digest() == hashlib.sha256(other).digest()
    assert len(one) < 3_000_000


def test_it_ends_while_it_answers(tmp_path: Path, free_port: int) -> None:
    route = Route(MODEL, Endpoint("localhost", free_port))
    tiny_gguf.write(tmp_path / "tiny.gguf", tiny_gguf.NO_TOOLS)
    endless = {
        "model": MODEL.alias,
        "max_tokens": 30_000,
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"name": "any", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any"},
    }
    with llama.serving(LlamaServer(route, str(tmp_path / "tiny.gguf")), tmp_path / "log"):
        words = ["curl", "-s", f"{route.endpoint.url}/v1/messages", "-d", json.dumps(endless)]
        client = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        time.sleep(1)
        assert client.poll() is None, "it still answers"
    assert client.wait(120) != 0
