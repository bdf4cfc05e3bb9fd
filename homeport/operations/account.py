"""The system user that a service of the machine runs as."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from ..facts.file import FileStateFact
from ..facts.packages import AccountFact, OwnerFact
from ..layout import Layout
from .file import Commands


def name(layout: Layout) -> str:
    return layout.name


def made(layout: Layout) -> bool:
    """Whether homeport made it."""
    return host.get_fact(FileStateFact, path=_mark(layout)) is not None


@operation()
def present(layout: Layout) -> Commands:
    """Have the system user, who can neither log in nor has a home; noted if we made it."""
    user = name(layout)
    if host.get_fact(AccountFact, account=user):
        host.noop(f"{user} is there")
        return
    yield StringCommand(
        "touch", QuoteString(_mark(layout)), "&& useradd --system --user-group --no-create-home "
        "--home-dir /nonexistent --shell /usr/sbin/nologin", QuoteString(user),
    )  # fmt: skip


@operation()
def owns(layout: Layout, path: str) -> Commands:
    """Have the directory `path` belong to the system user."""
    user = name(layout)
    if host.get_fact(OwnerFact, path=path) == user:
        host.noop(f"{path} is theirs")
        return
    # Its content as well: it may be from a deployment that ran as root.
    yield StringCommand("chown -R", QuoteString(f"{user}:{user}"), QuoteString(path))


@operation()
def absent(layout: Layout) -> Commands:
    """Undo `present`, where homeport did it, with the caches that are the user's."""
    if not made(layout):
        host.noop("homeport made no user")
        return
    user, cache = name(layout), f"/var/cache/{name(layout)}"
    yield StringCommand(
        "rm -rf", QuoteString(cache), "; ! getent passwd", QuoteString(user),
        ">/dev/null || userdel", QuoteString(user),
    )  # fmt: skip


def _mark(layout: Layout) -> str:
    return layout.path("state", "created-user")
