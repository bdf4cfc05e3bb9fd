"""The real servers that the client is measured with, and a relay that keeps what is asked."""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from homeport import ROOT
from homeport.catalog import MODELS
from homeport.engines import Serving, Version, pinned_version, vllm
from homeport.engines.llama_cpp import LlamaServer
from homeport.model import Endpoint, Model, Route, Token
from homeport.recipe import Recipe

from ..conftest import a_free_port
from ..running import wait_until
from ..serving import llama, stack, tiny_gguf, tiny_model

TOKEN = Token("geheim")

CODER = replace(MODELS["gemma-4-12b-coder"], description="A model of ours")
GLM = replace(
    MODELS["glm-5.2-fp8"],
    context=65_536,
    recipe=Recipe(
        tensor_parallel_size=1,
        gpu_memory=0,
        context=65_536,
        tool_call_parser="glm47",
        reasoning_parser="glm45",
    ),
)


def xllamacpp_version() -> str:
    version = pinned_version((ROOT / "requirements-engine.txt").read_text(), "xllamacpp")
    assert version
    return str(version)


#: Guardrails would ask before the tool that the tiny model calls.
ALIGNED = replace(CODER, aligned=True)


@contextmanager
def llama_cpp(folder: Path, model: Model = ALIGNED) -> Iterator[Route]:
    """The real llama.cpp with the tiny model, as on a laptop."""
    route = Route(model, Endpoint("localhost", a_free_port(), TOKEN))
    weights, token = folder / "tiny.gguf", folder / "server.token"
    tiny_gguf.write(weights)
    token.write_text(f"{TOKEN.value}\n")
    with llama.serving(LlamaServer(route, str(weights), str(token)), folder / "server.log"):
        yield route


@contextmanager
def vllm_on_cpu(folder: Path) -> Iterator[Route]:
    """The real vLLM in its CPU build with the tiny model, as on a GPU host."""
    route = Route(GLM, Endpoint("localhost", a_free_port(), TOKEN))
    tiny_model.make(folder / "weights")
    assert GLM.recipe
    serving = Serving(
        route,
        str(folder / "weights"),
        Version(stack.VERSION),
        GLM.recipe,
        arguments=("--enforce-eager", "--dtype", "float32"),
    )
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "VLLM_API_KEY": TOKEN.value,
        **vllm.environment(serving),
    }
    command = [str(stack.python()), *vllm.module(), *vllm.command_line(serving, None)]
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: server.poll() is not None or llama.is_ready(route.endpoint.url), 600)
        assert server.poll() is None, log.read_text(errors="replace")[-3000:]
        yield route
    finally:
        server.terminate()
        server.wait(180)


@contextmanager
def relayed(server: Route, log: Path) -> Iterator[Route]:
    """`server` at another port: what it is asked there stands in `log`, a line of JSON each."""
    listener = socket.create_server(("127.0.0.1", 0))
    to = ("127.0.0.1", server.endpoint.port)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=_pass_on, args=(client, to, log), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        endpoint = replace(server.endpoint, port=listener.getsockname()[1])
        yield replace(server, endpoint=endpoint)
    finally:
        listener.close()


def _pass_on(client: socket.socket, to: tuple[str, int], log: Path) -> None:
    """Requests of one connection, one after the other, and the bytes of their answers."""
    server = socket.create_connection(to)
    back = threading.Thread(target=_copy, args=(server, client), daemon=True)
    back.start()
    with client.makefile("rb") as asked, suppress(OSError):
        while line := asked.readline():
            fields = b"".join(iter(asked.readline, b"\r\n"))
            headers = http.client.parse_headers(io.BytesIO(fields + b"\r\n"))
            body = asked.read(int(headers["Content-Length"] or 0))
            entry = {
                "path": line.split()[1].decode(),
                "headers": {name.lower(): value for name, value in headers.items()},
                "body": json.loads(body) if body else None,
            }
            with log.open("ab", buffering=0) as file:  # a line at once: others write and read, too
                file.write(json.dumps(entry).encode() + b"\n")
            server.sendall(line + fields + b"\r\n" + body)
    with suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)


def _copy(server: socket.socket, client: socket.socket) -> None:
    with suppress(OSError):
        while answer := server.recv(65_536):
            client.sendall(answer)
        client.shutdown(socket.SHUT_RDWR)
