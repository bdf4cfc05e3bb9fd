"""The handshake: what is served, where, and under which name. Pure.

A `Model` is what is served, an `Endpoint` is where, a `Route` is both: all that a client needs.
Alias, port, context and token are stated here and nowhere else; servers, units, scripts and
settings files are derived from a route. Everything is checked at construction.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address

from .doctor.limits import (
    COMPACTION_MARGIN,
    FIRST_REQUEST,
    FIRST_REQUEST_SIMPLE,
    LARGEST_OUTPUT,
    WORK_CONTEXT,
)
from .errors import SettingsError
from .recipe import LaptopRecipe, Recipe
from .weights import Weights

#: What `/effort` of Claude Code takes (2.1.330).
EFFORTS = ("low", "medium", "high", "xhigh", "max")

#: What a client sends where a server asks for no token: without any, it would ask for a login.
NO_TOKEN = "none-needed"  # noqa: S105 - the opposite of a secret

_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=:-]+")


@dataclass(frozen=True)
class Token:
    """A bearer token. Its value never appears in a repr, so neither in a log nor in a diff."""

    value: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.value:
            raise SettingsError("token", "", "it is empty", "Write one, or leave the token out")
        if self.value.startswith("sk-ant-"):
            raise SettingsError(
                "token",
                "sk-ant-…",
                "this is an Anthropic key, and it would be sent to your own server",
                "Use a token of the server's own, e.g. from `openssl rand -hex 32`",
            )
        if not _TOKEN.fullmatch(self.value):
            raise SettingsError(
                "token",
                "(hidden)",
                "it has characters that do not pass through HTTP headers and shells unharmed",
                "Use letters, digits and . _ ~ + / = : - only, e.g. from `openssl rand -hex 32`",
            )


@dataclass(frozen=True)
class Sampling:
    """Defaults for requests that ask for none; Claude Code sends none (measured, 2.1.330)."""

    temperature: float
    top_p: float
    top_k: int


@dataclass(frozen=True)
class Model:
    """What is served.

    `context` is the number of tokens the server is told to hold, and so what the client is told;
    `max_output` the most tokens of one answer. Contexts below `smallest_context` are refused.
    `recipe` is how a GPU host serves it, and `laptop` how a laptop does, None where none does. One
    that is not `aligned` was not trained to refuse what does harm. `effort` is how much it is to
    think, one of `EFFORTS`; None leaves that to the client.
    """

    alias: str
    label: str
    description: str
    weights: Weights
    context: int
    trained_context: int
    max_output: int
    smallest_context: int = WORK_CONTEXT
    sampling: Sampling | None = None
    recipe: Recipe | None = None
    laptop: LaptopRecipe | None = None
    aligned: bool = True
    effort: str | None = None

    def __post_init__(self) -> None:
        self._check_alias()
        for name, text in (("label", self.label), ("description", self.description)):
            if not text.isprintable():
                raise SettingsError(
                    name, text, "it has a line break or another control character", "Use one line"
                )
        self._check_context()
        self._check_output()
        if self.effort is not None and self.effort not in EFFORTS:
            raise SettingsError(
                "effort", self.effort, "there is no such effort", f"Known are {', '.join(EFFORTS)}"
            )

    @property
    def simple(self) -> bool:
        """Whether the context is too small for the full client, so that it runs in simple mode."""
        return self.context < WORK_CONTEXT

    def _check_alias(self) -> None:
        if self.alias.endswith("[1m]"):
            raise SettingsError(
                "alias",
                self.alias,
                "[1m] makes the client assume 1,000,000 tokens, whatever the server holds",
                f"Write {self.alias.removesuffix('[1m]')!r}; the context is a setting of its own",
            )
        if not _ALIAS.fullmatch(self.alias):
            raise SettingsError(
                "alias",
                self.alias,
                "servers and the client take letters, digits, '.', '_' and '-' only",
                "Write a name such as 'claude-glm'",
            )
        script = self.alias.removeprefix("claude-")
        if self.alias == "mirror" or script in ("", "anthropic", "router"):
            raise SettingsError(
                "alias",
                self.alias,
                "its script would be called like the way back, use-anthropic.sh, or not at all, or "
                "it would be taken for a router, or a mirror of weights",
                "Write a name such as 'claude-glm'",
            )

    def _check_context(self) -> None:
        if self.context < self.smallest_context:
            raise SettingsError(
                "context",
                self.context,
                f"one real request of the client needs {self.smallest_context:,} tokens",
                f"Write {self.smallest_context} or more",
            )
        if self.context > self.trained_context:
            raise SettingsError(
                "context",
                self.context,
                f"the model was trained for {self.trained_context:,} tokens",
                f"Write {self.trained_context} or less",
            )

    def _check_output(self) -> None:
        need = FIRST_REQUEST_SIMPLE if self.simple else FIRST_REQUEST + COMPACTION_MARGIN
        largest = min(LARGEST_OUTPUT, self.context - need)
        if not 0 < self.max_output <= largest:
            raise SettingsError(
                "max_output",
                self.max_output,
                f"of {self.context:,} tokens of context the client's own prompt takes {need:,}",
                f"Write 1 to {largest}",
            )


@dataclass(frozen=True)
class Endpoint:
    """Where a model is served, as its clients reach it.

    `open_to_network` allows a network address without a token, the way the guide does it. `ca` is
    what its certificate is signed by, in PEM, where that is none that every machine trusts.
    """

    host: str
    port: int
    token: Token | None = None
    tls: bool = False
    open_to_network: bool = False
    ca: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.host in ("0.0.0.0", "::"):  # noqa: S104 - refused, not bound
            raise SettingsError(
                "host",
                self.host,
                "a server may listen on all addresses, but a client needs one",
                "Write the host's name",
            )
        if not _is_host(self.host):
            raise SettingsError(
                "host",
                self.host,
                "it is not a host name or an IP address",
                "Write a name such as 'glm-host', without http:// and without a port or path",
            )
        if isinstance(self.port, bool) or not isinstance(self.port, int):
            raise SettingsError(
                "port", self.port, "a port is a whole number", "Write e.g. 8000, without quotes"
            )
        if not 1 <= self.port <= 65_535:
            raise SettingsError(
                "port", self.port, "ports are 1 to 65535", "Use 8000 for vLLM, 18080 for a laptop"
            )
        if self.ca is not None and not self.tls:
            raise SettingsError(
                "ca_file", "a certificate", "without TLS there is none to check", "Set tls = True"
            )
        if not (self.loopback or self.token or self.open_to_network):
            raise SettingsError(
                "token",
                None,
                f"anybody on the network could use the model at {self.host}",
                "Set token_file or token_env, or say open_to_network = True",
            )

    @property
    def loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def address(self) -> str:
        """The host, as a server binds it and a client calls it.

        127.0.0.1 for localhost: that may also mean ::1, where another user's server may listen.
        """
        return "127.0.0.1" if self.host == "localhost" else self.host

    @property
    def url(self) -> str:
        """The base URL, without the /v1 that the client adds itself."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


@dataclass(frozen=True)
class Route:
    """A model at an endpoint: all that a client needs. `known_as` is what its script and its files
    are called by, where that is not the alias."""

    model: Model
    endpoint: Endpoint
    known_as: str | None = None

    @property
    def alias(self) -> str:
        return self.model.alias

    @property
    def name(self) -> str:
        return self.known_as or self.alias

    @property
    def short_name(self) -> str:
        """Its name without the "claude-", as it stands in that of the use-script."""
        return self.name.removeprefix("claude-")

    @property
    def command(self) -> str:
        """The use-script's name in fish, where it is a function."""
        return f"use-{self.short_name}"

    @property
    def script(self) -> str:
        return f"{self.command}.sh"

    @property
    def client_token(self) -> str:
        return self.endpoint.token.value if self.endpoint.token else NO_TOKEN


def check_served_together(routes: tuple[Route, ...]) -> None:
    """Raise `SettingsError` where two models on one host want the same port."""
    owners: dict[int, str] = {}
    for route in routes:
        other = owners.setdefault(route.endpoint.port, route.alias)
        if other != route.alias:
            raise SettingsError(
                f"{route.alias}.port",
                route.endpoint.port,
                f"{other} is served on the same port of the same host",
                f"Give {route.alias} another port, e.g. {route.endpoint.port + 1}",
            )


def _is_host(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return bool(_HOST.fullmatch(host)) and ".." not in host
    return True
