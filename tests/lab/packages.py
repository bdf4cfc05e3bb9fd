"""How lab hosts, which reach nothing but the bridge, install packages all the same.

A proxy stands with one foot on the bridge and one outside. It connects to the package registries
that this machine itself is set up for, and to nothing else; the hosts are told of it, and of the
rest of this machine's package configuration, in their own configuration files.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from . import base
from .network import CONTROLLER, Network

PORT = 3128

_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True)
class Registries:
    """Where this machine gets packages from: pip's options, and every registry's host."""

    pip: dict[str, str]
    hosts: frozenset[str]

    @property
    def folders(self) -> list[Path]:
        """Directories of this machine that pip is told of."""
        words = " ".join(self.pip.values()).replace("file://", "").split()
        found = [Path(word) for word in words if word.startswith("/")]
        # An index's files lie beside its pages.
        return [path.parent if path.name == "simple" else path for path in found if path.is_dir()]


def of_this_machine() -> Registries:
    pip = _pip_options()
    urls = [_default_index(), *pip.values(), *_apt_urls(), _npm_registry()]
    hosts = {urlsplit(word).hostname for url in urls for word in url.split()}
    hosts.add(_file_host())
    return Registries(pip, frozenset(host for host in hosts if host))


def configure(root: Path, registries: Registries) -> None:
    """Tell the host in `root` where packages come from."""
    proxy = f"http://{CONTROLLER}:{PORT}"
    options = {**registries.pip, "proxy": proxy, "cert": _CERTIFICATES}
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    (root / "etc/pip.conf").write_text(f"[global]\n{lines}")
    (root / "etc/apt/apt.conf.d/90lab").write_text(
        f'Acquire::http::Proxy "{proxy}";\n'
        f'Acquire::https::Proxy "{proxy}";\n'
        'Acquire::Check-Valid-Until "false";\n'
        'Acquire::Check-Date "false";\n'
    )
    npm = f"proxy={proxy}\nhttps-proxy={proxy}\ncafile={_CERTIFICATES}\n"
    (root / "etc/npmrc").write_text(f"{npm}registry={_npm_registry()}\n" if _npm() else npm)


class Proxy:
    """An HTTP proxy on the bridge that connects to `hosts` only."""

    def __init__(self, network: Network, hosts: frozenset[str]) -> None:
        self.hosts = hosts
        with network.entered():
            self._listener = socket.create_server((CONTROLLER, PORT))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._connection, sock=self._listener)
        )
        self._loop.run_forever()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split(" ", 2)
            url = urlsplit(f"//{target}" if method == "CONNECT" else target)
            if url.hostname not in self.hosts:
                writer.write(b"HTTP/1.1 403 Not a package registry\r\nContent-Length: 0\r\n\r\n")
            else:
                there, out = await asyncio.open_connection(url.hostname, url.port or 80)
                if method == "CONNECT":
                    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    path = f"{url.path or '/'}{f'?{url.query}' if url.query else ''}"
                    head = head.replace(target, path, 1)
                    head = re.sub(r"\r\n(Proxy-)?Connection:[^\r]*", "", head, flags=re.I)
                    out.write(head[:-2].encode("latin-1") + b"Connection: close\r\n\r\n")
                await asyncio.gather(_pump(reader, out), _pump(there, writer))
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


def _pip_options() -> dict[str, str]:
    """Those of this machine's pip options that say where packages are."""
    listed = _output(sys.executable, "-m", "pip", "config", "list")
    found: dict[str, str] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2].lower().replace("_", "-")
        if option in ("index-url", "extra-index-url", "find-links", "trusted-host"):
            found[option] = " ".join(value.strip("'").replace("\\n", " ").split())
    return found


def _default_index() -> str:
    """pip's own default; it stands in no file of ours."""
    return _output(
        sys.executable, "-c", "from pip._internal.models.index import PyPI; print(PyPI.url)"
    )


def _file_host() -> str:
    script = "from pip._internal.models.index import PyPI; print(PyPI.file_storage_domain)"
    return _output(sys.executable, "-c", script)


def _apt_urls() -> list[str]:
    text = "\n".join(file.read_text() for file in base.sources())
    return re.findall(r"https?://\S+", re.sub(r"^#.*$", "", text, flags=re.M))


def _npm() -> str | None:
    return shutil.which("npm")


def _npm_registry() -> str:
    return _output("npm", "config", "get", "registry") if _npm() else ""


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()
