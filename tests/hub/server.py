"""The Hub as a test has it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import Self

from .faults import Fault, Faults
from .listener import Listener
from .messages import Request
from .repos import Content, PinnedFile, Repos
from .routes import Signatures, Site
from .xet import Xet


class Hub:
    """A Hub that serves from its construction to its `close`, on sockets of the network namespace
    that its caller is in then. What it cannot answer is 404 and in `unexpected`."""

    def __init__(self, listen: str = "127.0.0.1", page_size: int = 1000, cdn: bool = False) -> None:
        """`listen` is an address, with a port if it matters. `cdn`: files in LFS come from another
        port, on 127.0.0.2 where this is 127.0.0.1, by signed URLs."""
        address, _, port = listen.partition(":")
        self._resources = ExitStack()
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hub-"))
            (files := Path(folder, "files")).mkdir()
            self._xet = Xet(Path(folder, "cas"), address)
            stack.callback(self._xet.close)
            self._site = Site(Repos(files), self._xet, page_size)
            hub = Listener("hub", (address, int(port or 0)), self._site.hub)
            stack.callback(hub.close)
            self._listeners = [hub]
            self._site.url = hub.url
            if cdn:
                other = "127.0.0.2" if address == "127.0.0.1" else address
                second = Listener("cdn", (other, 0), self._site.cdn)
                stack.callback(second.close)
                self._listeners.append(second)
                self._site.cdn_url = second.url
            self._resources = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Reset all connections, end all threads, remove all files."""
        self._resources.close()

    @property
    def url(self) -> str:
        return self._site.url

    @property
    def cdn_url(self) -> str | None:
        return self._site.cdn_url

    @property
    def requests(self) -> list[Request]:
        """In the order in which they came."""
        return self._site.requests

    @property
    def unexpected(self) -> list[Request]:
        """Those that no client has a reason for."""
        return self._site.unexpected

    @property
    def leaks(self) -> list[Request]:
        """Those that showed a token to the CDN."""
        return self._site.leaks

    @property
    def faults(self) -> Faults:
        return self._site.faults

    def commit(self, repo: str, files: Mapping[str, Content], gated: bool = False) -> str:
        """Make `main` a commit of these files alone; returns its id.

        A file on disk is served from its place, and must not change any more.
        """
        commit = self._site.repos.commit(repo, files, gated)
        if self._xet.offers(repo):
            self.offer_xet(repo)
        return commit.id

    def files(self, repo: str, commit: str = "main") -> dict[str, PinnedFile]:
        found = self._site.repos.get(repo)
        at = found.at(commit) if found else None
        if at is None:
            raise KeyError(f"{repo} at {commit}")
        return {path: file.pinned for path, file in at.files.items()}

    def add_token(self, token: str, may_see: tuple[str, ...] = ()) -> None:
        """`may_see`: the gated repositories that let it in."""
        self._site.tokens.add(token, may_see)

    def require_token(self, repo: str) -> None:
        """Make it private: any valid token will do, and without one it is not found."""
        found = self._site.repos.get(repo)
        if found is None:
            raise KeyError(repo)
        found.private = True

    def fault(
        self,
        path: str,
        fault: Fault,
        method: str = "GET",
        times: int | None = 1,
        host: str = "*",
    ) -> None:
        """Let `fault` happen to the next `times` requests that it can happen to.

        `path` is a glob on a file's path or, with a slash in front, on the path of an API's URL;
        `method` and `host` ("hub", "cdn") may be "*". A redirect has no body to spoil.
        """
        self.faults.add(path, fault, method, host, times)

    def bytes_sent(self, path: str = "*") -> int:
        """The bytes of such files, a glob, that were written to sockets."""
        return sum(
            request.bytes_sent
            for request in list(self.requests)
            if request.status in (200, 206) and fnmatchcase(request.file or "/", path)
        )

    def expire_signatures(self) -> None:
        """All URLs of the CDN that were handed out give 403."""
        self._site.signatures = Signatures()

    def offer_xet(self, repo: str) -> None:
        """Offer the files in LFS by Xet too, from a store that is a local folder."""
        found = self._site.repos.get(repo)
        commits = found.commits.values() if found else ()
        self._xet.offer(repo, [file for commit in commits for file in commit.files.values()])

    def break_xet(self, how: str | None = "token") -> None:
        """ "token": its route gives 500; "endpoint": the store's port is dead; "content": the store
        lacks the files; None: whole again."""
        self._xet.break_(how)

    def stop_listening(self) -> None:
        """Reset all connections; the ports refuse others until `listen_again`."""
        for listener in self._listeners:
            listener.stop()

    def listen_again(self) -> None:
        for listener in self._listeners:
            listener.go()
