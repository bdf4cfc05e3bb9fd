"""What the Hub and its CDN answer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode

from .access import Refused, Tokens, entry_missing, revision_missing
from .faults import Faults
from .files import answer_file, spoiled
from .messages import Request, Response
from .repos import Commit, Repo, Repos
from .xet import Xet

_API = re.compile(
    "/api/models/((?:[^/]+/)?[^/]+)(?:/(revision|tree|xet-read-token)/([^/]+))?", re.ASCII
)
_RESOLVE = re.compile("/((?:[^/]+/)?[^/]+)/resolve/([^/]+)/(.+)", re.ASCII)


@dataclass
class Signatures:
    """Those of the CDN's URLs; `key` is another one once the old ones are to be expired."""

    key: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def query(self, path: str) -> str:
        expires = str(int(time.time()) + 3600)
        return urlencode({"Expires": expires, "Signature": self._of(path, expires)})

    def good(self, path: str, query: str) -> bool:
        given = dict(parse_qsl(query))
        right = self._of(path, given.get("Expires", ""))
        return hmac.compare_digest(given.get("Signature", ""), right)

    def _of(self, path: str, expires: str) -> str:
        return hmac.new(self.key, f"{path} {expires}".encode(), hashlib.sha256).hexdigest()


@dataclass
class Site:
    """The state that answers depend on. `cdn_url` is None where there is no CDN."""

    repos: Repos
    xet: Xet
    page_size: int
    url: str = ""
    cdn_url: str | None = None
    tokens: Tokens = field(default_factory=Tokens)
    faults: Faults = field(default_factory=Faults)
    signatures: Signatures = field(default_factory=Signatures)
    requests: list[Request] = field(default_factory=list)
    unexpected: list[Request] = field(default_factory=list)
    leaks: list[Request] = field(default_factory=list)

    def hub(self, request: Request) -> Response:
        return self._answer(request, self._hub)

    def cdn(self, request: Request) -> Response:
        return self._answer(request, self._cdn)

    def _answer(self, request: Request, route: Callable[[Request], Response]) -> Response:
        self.requests.append(request)
        conditions = {"if-match", "if-none-match", "if-modified-since", "if-range"}
        if conditions & request.headers.keys() or request.headers.keys() & {"content-length"}:
            return self._unknown(request)
        try:
            return route(request)
        except Refused as refused:
            return refused.response

    def _unknown(self, request: Request) -> Response:
        self.unexpected.append(request)
        return Response(404, {"Content-Type": "text/plain"}, b"the test's hub has no such route")

    def _hub(self, request: Request) -> Response:
        path = request.target.partition("?")[0]
        if request.method == "GET" and (found := _API.fullmatch(path)):
            return self._api(request, *found.groups())
        if request.method in ("GET", "HEAD") and (found := _RESOLVE.fullmatch(path)):
            return self._resolve(request, *map(unquote, found.groups()))
        return self._unknown(request)

    def _api(self, request: Request, name: str, kind: str | None, revision: str | None) -> Response:
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        known = {"recursive", "expand", "cursor", "limit"} if kind == "tree" else set()
        if query.keys() - known or query.get("expand", "false") != "false":
            return self._unknown(request)
        cleared = self.faults.cleared
        fault = self.faults.take(request.method, "hub", request.path, lambda _: True)
        if (other := spoiled(fault)) is not None:
            return other
        repo, commit = self._at(request, unquote(name), unquote(revision or "main"))
        response: Response | None
        match kind:
            case "tree":
                response = self._tree(repo, commit, path=request.path, query=query)
            case "xet-read-token":
                self.tokens.check_gate(request, repo)
                response = self.xet.token() if self.xet.offers(repo.name) else None
            case _:
                response = Response.json(_info(repo, commit))
        if response is None:
            return self._unknown(request)
        response.spoil(fault, cleared)
        return response

    def _at(self, request: Request, name: str, revision: str) -> tuple[Repo, Commit]:
        """The commit, if whoever asks may know of it."""
        repo = self.tokens.check(request, self.repos.get(name))
        commit = repo.at(revision)
        if commit is None:
            raise revision_missing(revision)
        return repo, commit

    def _tree(self, repo: Repo, commit: Commit, path: str, query: dict[str, str]) -> Response:
        recursive = query.get("recursive") == "true"
        entries = commit.entries(recursive, self.xet.hashes(repo.name, commit))
        try:
            size = min(int(query.get("limit", self.page_size)), self.page_size)
            start = int(base64.urlsafe_b64decode(query.get("cursor", "MA==")))
        except ValueError:
            raise Refused(400, None, "Invalid cursor or limit") from None
        response = Response.json(entries[start : start + size])
        if start + size < len(entries):
            cursor = base64.urlsafe_b64encode(str(start + size).encode()).decode()
            following = f"{self.url}{quote(path)}?{urlencode({**query, 'cursor': cursor})}"
            response.headers["Link"] = f'<{following}>; rel="next"'
        return response

    def _resolve(self, request: Request, name: str, revision: str, path: str) -> Response:
        if request.query:
            return self._unknown(request)
        request.file = path
        repo = self.tokens.check(request, self.repos.get(name))
        self.tokens.check_gate(request, repo)
        _, commit = self._at(request, name, revision)
        file = commit.files.get(path)
        if file is None:
            raise entry_missing(commit.id)
        headers = {"X-Repo-Commit": commit.id}
        if file.lfs:
            headers |= self.xet.headers(repo.name, commit.id, file, self.url)
        location = None
        if file.lfs and self.cdn_url:
            place = f"/{repo.name}/{commit.id}/{path}"
            location = f"{self.cdn_url}{quote(place)}?{self.signatures.query(place)}"
        return answer_file(request, file, headers, self.faults, location) or self._unknown(request)

    def _cdn(self, request: Request) -> Response:
        if request.authorization is not None:
            self.leaks.append(request)
            raise Refused(400, None, "Only one auth mechanism allowed")
        if not self.signatures.good(request.path, request.query):
            raise Refused(403, None, "Request has expired")
        found = re.fullmatch("/(.+?)/([0-9a-f]{40})/(.+)", request.path)
        repo = self.repos.get(found[1]) if found else None
        commit = repo.at(found[2]) if repo and found else None
        if request.method not in ("GET", "HEAD") or commit is None or found is None:
            return self._unknown(request)
        request.file = found[3]
        answer = answer_file(request, commit.files[found[3]], {}, self.faults, None)
        return answer or self._unknown(request)


def _info(repo: Repo, commit: Commit) -> dict[str, object]:
    return {
        "_id": hashlib.sha1(repo.name.encode()).hexdigest()[:24],
        "id": repo.name,
        "modelId": repo.name,
        "author": repo.name.partition("/")[0],
        "sha": commit.id,
        "lastModified": "2025-01-01T00:00:00.000Z",
        "createdAt": "2025-01-01T00:00:00.000Z",
        "private": repo.private,
        "gated": "manual" if repo.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": [{"rfilename": path} for path in sorted(commit.files)],
    }
