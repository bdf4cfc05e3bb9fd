"""What may go wrong with an answer, and to which requests it is due."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Status:
    """Another answer instead of the right one."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Html:
    """200 with the page of a captive portal."""


@dataclass(frozen=True)
class WrongEtag:
    """The ETag (in a redirect: X-Linked-Etag) names other content."""

    etag: str


@dataclass(frozen=True)
class Reset:
    """RST once the client has `after` bytes of the body; to HEAD: instead of an answer."""

    after: int


@dataclass(frozen=True)
class Truncate:
    """An orderly end after too few bytes of the body; to HEAD: instead of an answer. With
    `from_the_start` a Range is ignored, too."""

    after: int
    from_the_start: bool = False


@dataclass(frozen=True)
class Stall:
    """A pause after so many bytes of the body; to HEAD: before the answer."""

    after: int
    seconds: float


@dataclass(frozen=True)
class Trickle:
    """The body goes on slowly after so many bytes."""

    after: int
    bytes_per_second: int


@dataclass(frozen=True)
class Flip:
    """One bit is wrong at this offset of the file; due to an answer that has that byte."""

    offset: int


@dataclass(frozen=True)
class IgnoreRange:
    """200 with the whole file; due to a request for a range."""


@dataclass(frozen=True)
class WrongRange:
    """206 with other bytes, as its Content-Range says; due to a request for a range."""


BodyFault = Reset | Truncate | Stall | Trickle | Flip
Fault = Status | Html | WrongEtag | IgnoreRange | WrongRange | BodyFault


@dataclass
class _Due:
    pattern: str
    fault: Fault
    method: str
    host: str
    times: int | None


class Faults:
    """Faults that are due, in the order in which they were asked for; `cleared` ends those that are
    at work."""

    def __init__(self) -> None:
        self._due: list[_Due] = []
        self.cleared = threading.Event()
        self._lock = threading.Lock()

    def add(self, pattern: str, fault: Fault, method: str, host: str, times: int | None) -> None:
        with self._lock:
            self._due.append(_Due(pattern, fault, method, host, times))

    def clear(self) -> None:
        """None is due any more, and what stalls or trickles comes at once."""
        with self._lock:
            self._due.clear()
            self.cleared.set()
            self.cleared = threading.Event()

    def take(
        self, method: str, host: str, subject: str, fits: Callable[[Fault], bool]
    ) -> Fault | None:
        """The first fault for such a request, which then counts as done.

        `subject` is a file's path in its repository, or the path of a URL, with its slash in front.
        """
        with self._lock:
            for due in self._due:
                if (
                    due.times != 0
                    and due.method in ("*", method)
                    and due.host in ("*", host)
                    and due.pattern.startswith("/") == subject.startswith("/")
                    and fnmatchcase(subject, due.pattern)
                    and fits(due.fault)
                ):
                    if due.times is not None:
                        due.times -= 1
                    return due.fault
        return None
