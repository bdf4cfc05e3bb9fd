"""llama.cpp's server from the wheel that hosts get, installed once on this machine.

The environment takes 120 MB and some seconds, and hosts of the lab may share it, bound read-only.
"""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from homeport import ROOT
from homeport.engines.llama_cpp import NEWEST_FLAGS, LlamaServer
from homeport.serving import PROGRAM

from ..running import wait_until
from . import stack


def installation() -> Path:
    return stack.shared("llama", [ROOT / "requirements-engine.txt"])


def python() -> Path:
    """The interpreter of an environment with xllamacpp, for homeport/remote/serve_llama.py."""
    return installation() / "bin" / "python"


@contextmanager
def serving(server: LlamaServer, log: Path) -> Iterator[None]:
    """The server, started as a host does and ready to answer; what it prints is in `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python(), PROGRAM, *server.command_line(NEWEST_FLAGS)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = server.route.endpoint.url
        wait_until(lambda: process.poll() is not None or is_ready(url))
        assert process.poll() is None, log.read_text(errors="replace")
        yield
    finally:
        process.terminate()
        process.wait(120)


def is_ready(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/health", timeout=10):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
