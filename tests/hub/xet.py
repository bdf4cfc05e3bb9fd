"""Xet, with a store in a local folder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from .access import Refused
from .messages import Response
from .repos import Commit, File

_PUT = Path(__file__).with_name("put_in_xet.py")


class Xet:
    """What is offered, and how that is broken: "token", "endpoint", "content" or None."""

    def __init__(self, folder: Path, address: str) -> None:
        self.broken: str | None = None
        self._folder = folder
        self._address = address
        self._repos: set[str] = set()
        self._hashes: dict[Path, str] = {}
        self._dead: socket.socket | None = None
        self._resources = ExitStack()

    def close(self) -> None:
        self._resources.close()

    def offers(self, repo: str) -> bool:
        return repo in self._repos

    def offer(self, repo: str, files: list[File]) -> None:
        self._repos.add(repo)
        if paths := [file.path for file in files if file.lfs]:
            self._hashes |= zip(paths, self._store(paths), strict=True)

    def break_(self, how: str | None) -> None:
        if how not in ("token", "endpoint", "content", None):
            raise ValueError(f"Xet does not break by {how!r}")
        self.broken = how
        if how == "endpoint" and self._dead is None:
            # Bound and not listened to: nobody else gets this port, and connections are refused.
            self._dead = self._resources.enter_context(socket.socket())
            self._dead.bind((self._address, 0))

    def hashes(self, repo: str, commit: Commit) -> dict[str, str]:
        """By path."""
        if repo not in self._repos:
            return {}
        return {path: self._hash(file) for path, file in commit.files.items() if file.lfs}

    def headers(self, repo: str, commit: str, file: File, url: str) -> dict[str, str]:
        """What a file's answer says of Xet."""
        if repo not in self._repos:
            return {}
        link = f'<{url}/api/models/{repo}/xet-read-token/{commit}>; rel="xet-auth"'
        return {"X-Xet-Hash": self._hash(file), "Link": link}

    def token(self) -> Response:
        if self.broken == "token":
            raise Refused(500, None, "Internal Server Error")
        store = f"local://{self._folder}"
        if self.broken == "endpoint" and self._dead:
            host, port = self._dead.getsockname()
            store = f"http://{host}:{port}"
        expires = int(time.time()) + 3600
        response = Response.json({"casUrl": store, "exp": expires, "accessToken": "xet_token"})
        response.headers |= {
            "X-Xet-Cas-Url": store,
            "X-Xet-Access-Token": "xet_token",
            "X-Xet-Token-Expiration": str(expires),
        }
        return response

    def _hash(self, file: File) -> str:
        return "0" * 63 + "1" if self.broken == "content" else self._hashes[file.path]

    def _store(self, paths: list[Path]) -> list[str]:
        # A process of its own: hf_xet's threads do not end with a session.
        self._folder.mkdir(exist_ok=True)
        command = [sys.executable, "-P", str(_PUT), str(self._folder), *map(str, paths)]
        environment = {**os.environ, "HF_HOME": str(self._folder.parent / "xet-home")}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        done.check_returncode()
        return done.stdout.split()
