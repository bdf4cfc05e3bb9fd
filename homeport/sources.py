"""Where weights are pulled from: the Hub, or a mirror on the LAN. Touches this machine only."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from . import tokens
from .errors import Kinds, SettingsError, check_keys
from .model import Endpoint, Token
from .weights import HubWeights

PUBLIC_HUB = "https://huggingface.co"

_URL = re.compile(r"https?://[A-Za-z0-9.-]+(:\d+)?(/[A-Za-z0-9._~/-]*[A-Za-z0-9])?")

#: What group data may say of the Hub, and its type.
HUB_KEYS: dict[str, Kinds] = {
    "hub_endpoint": str,
    "hub_token_env": (str, type(None)),
    "hub_token_file": (str, type(None)),
}

#: What may stand in `mirror`, and its type.
MIRROR_KEYS: dict[str, Kinds] = {
    "host": str,
    "port": int,
    "fall_back": bool,
    "token_env": str,
    "token_file": str,
    "open_to_network": bool,
}

#: The name of the mirror's token, where it is generated: secrets/mirror.token.
_MIRROR = "mirror"


@dataclass(frozen=True)
class Server:
    """A server that speaks the Hub's API, and the token that it alone is sent."""

    url: str
    token: Token | None = None

    @property
    def secret(self) -> str | None:
        return self.token.value if self.token else None


@dataclass(frozen=True)
class Source:
    """Where a host pulls from: `mirror` where there is one, and `hub` where there is none, or, with
    `fall_back`, where the mirror is down. `keep_previous`: a revision stays until the next but one.
    """

    hub: Server
    mirror: Endpoint | None = None
    fall_back: bool = False
    keep_previous: bool = True

    @property
    def servers(self) -> list[Server]:
        """Those that are asked, in this order."""
        if self.mirror is None:
            return [self.hub]
        mirror = Server(self.mirror.url, self.mirror.token)
        return [mirror, self.hub] if self.fall_back else [mirror]

    @property
    def tokens(self) -> dict[str, str]:
        """The tokens, each by the URL of its server."""
        return {one.url: one.token.value for one in self.servers if one.token}

    def desired(self, weights: HubWeights, destination: str, tokens: str | None) -> dict[str, Any]:
        """What remote/pull.py is to do for `weights`, which are pinned."""
        first, *others = self.servers
        return {
            "endpoint": first.url,
            "fallback": others[0].url if others else None,
            "repo": weights.repo,
            "revision": weights.pinned.revision,
            "patterns": list(weights.files),
            "files": weights.pinned.specs,
            "destination": destination,
            "tokens": tokens,
            "allow_pickle": weights.pickle,
            "keep_previous": self.keep_previous,
            "mirror": self.mirror is not None,
        }


def source(values: Mapping[str, Any], origin: Callable[[str], str]) -> Source:
    """The source that group data names; raises `SettingsError`, with the file from `origin`."""
    hub = hub_of(values, origin)
    spec, keep = values.get("mirror"), values.get("keep_previous_weights", True)
    if spec is None:
        return Source(hub, keep_previous=keep)
    try:
        return Source(hub, _mirror(spec), spec.get("fall_back", False), keep)
    except SettingsError as error:
        raise error.inside(f"{origin('mirror')}: mirror.") from None


def hub_of(values: Mapping[str, Any], origin: Callable[[str], str]) -> Server:
    """The Hub that group data names; raises `SettingsError` likewise."""
    try:
        check_keys({key: values[key] for key in HUB_KEYS if key in values}, HUB_KEYS, ())
        return _hub(values)
    except SettingsError as error:
        raise error.inside(f"{origin(error.field)}: ") from None


def _hub(values: Mapping[str, Any]) -> Server:
    url = values.get("hub_endpoint", PUBLIC_HUB)
    url = url.rstrip("/")
    if not _URL.fullmatch(url):
        raise SettingsError(
            "hub_endpoint", url, "it is not the address of a Hub", f"Write e.g. {PUBLIC_HUB}"
        )
    token = tokens.given(values, "hub_token_env", "hub_token_file")
    if (
        token
        and url.startswith("http://")
        and not Endpoint(str(urlsplit(url).hostname), 1, open_to_network=True).loopback
    ):
        raise SettingsError(
            "hub_endpoint", url, "the Hub's token would go there in clear", "Use https"
        )
    return Server(url, token)


def _mirror(spec: dict[str, Any]) -> Endpoint:
    check_keys(spec, MIRROR_KEYS, required=("host", "port"))
    open_to_network = spec.get("open_to_network", False)
    unknown = Endpoint(spec["host"], spec["port"], open_to_network=True)  # its token is
    token = tokens.of_route(_MIRROR, spec, unknown)
    return Endpoint(spec["host"], spec["port"], token, open_to_network=open_to_network)
