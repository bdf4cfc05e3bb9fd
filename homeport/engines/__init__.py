"""Serving engines: settings -> command line, environment, readiness, metric names. Pure.

`vllm` and `sglang` are two modules of one shape, `Engine`; `llama_cpp` is the laptops' and knows no
recipes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Protocol

from ..errors import SettingsError
from ..model import Route
from ..recipe import Recipe

#: The port on which the hosts of one model find each other, vLLM's own default, and the one on
#: which they notice that one of them is gone (remote/together.py).
MASTER_PORT = 29_501
LIFELINE_PORT = 29_502

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)", re.MULTILINE)
_RELEASE = re.compile(r"\d+(\.\d+)*")


@dataclass(frozen=True)
class Version:
    """An engine's version: `text` as its package has it, compared by the numbers at its start.

    A local part tells a build: "0.32.0+cpu" needs no GPU.
    """

    text: str

    @property
    def numbers(self) -> tuple[int, ...]:
        release = _RELEASE.match(self.text)
        return tuple(int(part) for part in release[0].split(".")) if release else ()

    @property
    def on_gpus(self) -> bool:
        return not self.text.endswith("+cpu")

    def before(self, *numbers: int) -> bool:
        return self.numbers < numbers

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Place:
    """Where in a replica a host stands: its `rank` among the `members`, which are the IP addresses
    of all its hosts, the head's first."""

    rank: int = 0
    members: tuple[str, ...] = ("127.0.0.1",)

    @property
    def nodes(self) -> int:
        return len(self.members)

    @property
    def head(self) -> str:
        """The address of the one that answers."""
        return self.members[0]

    @property
    def own(self) -> str:
        return self.members[self.rank]


@dataclass(frozen=True)
class Serving:
    """One server process: what the engine of `version` serves on one host, from `model_path`.

    `names` are served beside the alias; `arguments` are the user's own, passed through.
    """

    route: Route
    model_path: str
    version: Version
    recipe: Recipe
    place: Place = Place()
    names: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    @property
    def bind(self) -> str:
        """What the server listens on."""
        endpoint = self.route.endpoint
        return endpoint.address if endpoint.loopback else "0.0.0.0"  # noqa: S104 - with a token


@dataclass(frozen=True)
class Metrics:
    """What an engine calls what it counts on /metrics."""

    cache_use: str
    cache_hits: str
    running: str
    waiting: str
    first_token: str


@dataclass(frozen=True)
class Secret:
    """The file that tells a server its token: a `kind` of "env" is for systemd, which makes it the
    server's environment; any other is the ending of a file that the server itself reads."""

    kind: str
    text: str = field(repr=False)


class Engine(Protocol):
    """What each engine's module has."""

    NAME: str
    METRICS: Metrics
    #: Paths that answer without the token.
    UNGUARDED: tuple[str, ...]

    def check(self, serving: Serving) -> list[str]:
        """Warnings in words; raises `SettingsError` for what cannot work."""

    def module(self) -> list[str]:
        """What follows the Python of the engine's environment."""

    def secret(self, token: str) -> Secret:
        """The file by which the server is told its token."""

    def command_line(self, serving: Serving, secrets: str | None) -> list[str]:
        """The arguments of the server, which finds the file of its `secret` at that path."""

    def environment(self, serving: Serving) -> dict[str, str]:
        """The variables of the server, but for secrets."""

    def loading(self, line: str) -> str | None:
        """How far a line of its log says that loading is."""

    def cause(self, lines: Iterable[str]) -> str | None:
        """The likely cause, and what to do, where `lines` are the last of a server that died."""


def pinned_version(lock: str, package: str) -> Version | None:
    """The version of `package` that the requirements file `lock`, its text, pins."""
    for found in _PIN.finditer(lock):
        if found["name"].lower().replace("_", "-") == package:
            return Version(found["version"])
    return None


def check_arguments(
    arguments: Iterable[str], ours: Mapping[str, str], renamed: Mapping[str, str]
) -> None:
    """Raise `SettingsError` for one of `arguments` that is set by something else (`ours`: option ->
    what sets it) or that the engine has no more (`renamed`: option -> why and what instead)."""
    for argument in arguments:
        if not isinstance(argument, str):
            raise SettingsError(
                "engine_arguments", argument, "it is not text", f"Write {str(argument)!r}"
            )
        option = re.split("[=.]", argument)[0]  # "--port" of "--port=8000"
        if option in ours:
            raise SettingsError(
                "engine_arguments", argument, "homeport writes this option itself", ours[option]
            )
        if option in renamed:
            raise SettingsError(
                "engine_arguments", argument, "the engine refuses it", renamed[option]
            )
        if "\n" in argument or "\0" in argument:
            raise SettingsError(
                "engine_arguments", argument, "it has a line break", "Write one word each"
            )


def check_name(
    field: str, name: str | None, known: tuple[str, ...], read: Version, version: Version
) -> None:
    """Raise `SettingsError` where `name` is not among those `known` of the version `read`. A newer
    `version` may know more: that is asked on the host, before anything changes."""
    if name is None or name in known or version.numbers > read.numbers:
        return
    close = get_close_matches(name, known, n=1)
    fix = f"Did you mean {close[0]!r}?" if close else f"Known are {', '.join(known)}"
    raise SettingsError(f"serving.{field}", name, f"version {version} has none of this name", fix)
