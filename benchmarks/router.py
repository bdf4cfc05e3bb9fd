"""What the router adds to the time to the first token, on loopback: python -m benchmarks.router"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from homeport import render
from homeport import router as routing
from homeport.catalog import MODELS
from homeport.layout import Layout
from homeport.model import Endpoint, Route, Token
from homeport.router import Router

TOKEN = "token-of-router"
ALIAS = MODELS["glm-5.2-fp8"].alias

EVENTS = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message",'
    b'"role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,'
    b'"usage":{"input_tokens":1,"output_tokens":1}}}\n\n',
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n',
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"hi"}}\n\n',
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn",'
    b'"stop_sequence":null},"usage":{"output_tokens":1}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FIRST, LAST = b"content_block_delta", b"message_stop"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.router", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20 requests: does it work?")
    parser.add_argument("--litellm", help="this program of LiteLLM's as well")
    said = parser.parse_args()
    rounds = 20 if said.quick else 300
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        server = free_port()
        stack.enter_context(stub(server))
        ways = [Way("direct", server)]
        ways.append(Way("HAProxy", stack.enter_context(haproxy(server, folder))))
        if said.litellm:
            ways.append(Way("LiteLLM", stack.enter_context(litellm(said.litellm, server, folder))))
        for one in ways:
            for _ in range(5):
                one.measure()
        for _ in range(rounds):
            for one in ways:
                one.milliseconds.append(one.measure())
    report(ways, rounds)


def report(ways: list[Way], rounds: int) -> None:
    print(f"{len(body()) / 1000:.0f} kB, {rounds} requests each, ms to the first token")
    print(f"{'':10}{'median':>8}{'p95':>8}{'added':>8}{'ratio':>8}")
    base = statistics.median(ways[0].milliseconds)
    for way in ways:
        middle = statistics.median(way.milliseconds)
        p95 = statistics.quantiles(way.milliseconds, n=20)[-1]
        print(f"{way.name:10}{middle:8.2f}{p95:8.2f}{middle - base:8.2f}{middle / base:8.1f}")


def body() -> bytes:
    """A request of the size of the client's fifth, some files read (161 kB, measured, 2.1.330)."""
    text = "All work and no play makes Jack a dull boy. " * 100
    content = [{"type": "text", "text": text} for _ in range(36)]
    messages = [{"role": "user", "content": content}]
    said = {"model": ALIAS, "messages": messages, "max_tokens": 20_000, "stream": True}
    return json.dumps(said).encode()


class Way:
    """A way to the stub, over a connection that is kept, and made anew where it was closed."""

    def __init__(self, name: str, port: int) -> None:
        self.name, self.milliseconds = name, list[float]()
        self._port = port
        self._socket: socket.socket | None = None
        lines = [
            "POST /v1/messages?beta=true HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            f"Authorization: Bearer {TOKEN}",
            "Content-Type: application/json",
            "anthropic-version: 2023-06-01",
            f"Content-Length: {len(body())}",
        ]
        self._request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body()

    def measure(self) -> float:
        """One request, read to its end; the milliseconds from its first byte to its first token."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=60)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start = time.perf_counter()
        self._socket.sendall(self._request)
        received, first = b"", 0.0
        while not (LAST in received and received.endswith(b"0\r\n\r\n")):
            more = self._socket.recv(65_536)
            received += more
            if not first and FIRST in received:
                first = (time.perf_counter() - start) * 1000
            if not more or (b"\r\n\r\n" in received and not received.startswith(b"HTTP/1.1 200")):
                raise SystemExit(f"{self.name}: not the stub's stream: {received[:500]!r}")
        if b"connection: close" in received.lower():
            self._socket.close()
            self._socket = None
        return first


@contextlib.contextmanager
def stub(port: int) -> Iterator[None]:
    """A server that answers every request at once with the same short stream."""
    process = multiprocessing.Process(target=_serve, args=(port,), daemon=True)
    process.start()
    try:
        wait(f"http://127.0.0.1:{port}/")
        yield
    finally:
        process.terminate()
        process.join()


def _serve(port: int) -> None:
    async def serve() -> None:
        server = await asyncio.start_server(_answer, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(serve())


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\ncontent-length: *(\d+)", head.lower())
            await reader.readexactly(int(length[1]) if length else 0)
            chunks = [b"%x\r\n%s\r\n" % (len(event), event) for event in EVENTS]
            writer.write(b"".join([HEAD, *chunks, b"0\r\n\r\n"]))
            await writer.drain()
    writer.close()


@contextlib.contextmanager
def haproxy(server: int, folder: Path) -> Iterator[int]:
    """HAProxy with the configuration that a workstation has; its port."""
    places = f"{os.environ['PATH']}:/usr/sbin:/opt/homebrew/bin:/usr/local/bin"
    program = shutil.which("haproxy", path=places)
    if program is None:
        raise SystemExit("haproxy is not installed")
    layout = Layout.under(str(folder), "~/.homeport")
    route = Route(MODELS["glm-5.2-fp8"], Endpoint("localhost", server, Token("token-of-glm")))
    router = Router(Endpoint("localhost", free_port(), Token(TOKEN)), (route,))
    Path(layout.path("service")).mkdir(parents=True)
    for path, content in (
        (routing.secret(layout), f"{TOKEN}\n".encode()),
        (routing.tokens(layout), router.tokens),
        (routing.configuration(layout), render.router(router, layout, os.uname().sysname, "")),
    ):
        Path(path).write_bytes(content)
    command = list(routing.service(program, (), layout).command)
    with running(command, folder, f"{router.endpoint.url}/health"):
        yield router.endpoint.port


@contextlib.contextmanager
def litellm(program: str, server: int, folder: Path) -> Iterator[int]:
    """LiteLLM with the same route; its port."""
    port, parameters = free_port(), {"model": f"anthropic/{ALIAS}", "api_key": "token-of-glm"}
    parameters["api_base"] = f"http://127.0.0.1:{server}"
    configuration = {
        "model_list": [{"model_name": ALIAS, "litellm_params": parameters}],
        "general_settings": {"master_key": TOKEN},
        "litellm_settings": {"num_retries": 0, "telemetry": False},
    }
    (folder / "litellm.yaml").write_text(json.dumps(configuration))
    words = [program, "--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1"]
    with running([*words, "--port", str(port)], folder, f"http://127.0.0.1:{port}/health/liveness"):
        yield port


@contextlib.contextmanager
def running(command: list[str], folder: Path, url: str) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait(url)
            yield
        finally:
            process.terminate()
            process.wait()


def wait(url: str) -> None:
    """Go on once something answers there."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 120
    while True:
        try:
            opener.open(url, timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"{url} does not answer: {error}") from None
            time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
