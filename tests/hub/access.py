"""Who may see what, and how the Hub says no."""

from __future__ import annotations

import json
from collections.abc import Mapping

from .messages import Request, Response
from .repos import Repo


class Refused(Exception):
    """An answer as the real Hub gives it: huggingface_hub tells errors apart by these headers."""

    def __init__(
        self, status: int, code: str | None, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        named = {"X-Error-Code": code} if code else {}
        all_headers = {"Content-Type": "application/json; charset=utf-8", **named}
        all_headers |= {"X-Error-Message": message, **(headers or {})}
        self.response = Response(status, all_headers, json.dumps({"error": message}).encode())


def revision_missing(revision: str) -> Refused:
    return Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")


def entry_missing(commit: str) -> Refused:
    return Refused(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})


class Tokens:
    """The valid tokens, and the gated repositories that each may see."""

    def __init__(self) -> None:
        self._may_see: dict[str, frozenset[str]] = {}

    def add(self, token: str, may_see: tuple[str, ...]) -> None:
        self._may_see[f"Bearer {token}"] = frozenset(may_see)

    def check(self, request: Request, repo: Repo | None) -> Repo:
        """The repository, unless it is to look as if there were none."""
        given = request.authorization
        if given is not None and given not in self._may_see:
            raise Refused(401, None, "Invalid credentials in Authorization header")
        if repo is None or (repo.private and given is None):
            if given is None:
                raise Refused(401, "RepoNotFound", "Invalid username or password.")
            raise Refused(404, "RepoNotFound", "Repository not found")
        return repo

    def check_gate(self, request: Request, repo: Repo) -> None:
        """The contents of a gated repository are for those who were let in."""
        given = request.authorization
        if not repo.gated or repo.name in self._may_see.get(given or "", ()):
            return
        restricted = f"Access to model {repo.name} is restricted"
        if given is None:
            message = f"{restricted}. You must have access to it and be authenticated to access it."
            raise Refused(401, "GatedRepo", f"{message} Please log in.")
        raise Refused(403, "GatedRepo", f"{restricted} and you are not in the authorized list.")
