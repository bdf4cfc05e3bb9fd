"""What a machine should be, as a deploy writes it to state/doctor.json and the fleet's doctor sends
it. It holds no secret: tokens are where these paths lead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Optional

#: Engines, as `Service.engine` has them.
LLAMA_CPP, VLLM, SGLANG = "llama_cpp", "vllm", "sglang"
ROUTER, MIRROR = "router", "mirror"

#: Managers, as `Wanted.manager` has them (homeport/service.py).
LAUNCHD, SYSTEMD, SUPERVISORD, SYSTEM = "launchd", "systemd", "supervisord", "systemd (system)"


@dataclass(frozen=True)
class Weights:
    """`directory` is what pull.py keeps, `revision` the pinned one of `digest`; `size` in bytes."""

    directory: str
    repo: str
    revision: str
    digest: str
    size: int


@dataclass(frozen=True)
class Service:
    """A server that runs here. `start` and `logs` are what a person types; `log` is its file, ""
    where the journal has it. `bind` is the address that it should listen on; `context` and
    `max_output` are tokens; `needs` the bytes of memory that model and context take, None where
    that is not known. `program` is the llama-server, or the Python of the engine, `build` the
    oldest llama.cpp that loads the model. `tools`: whether it is to call tools. `names`: what it
    serves besides; `simple`: whether its clients run in simple mode. One that does not
    `answers` only helps the one that does."""

    name: str
    alias: str
    engine: str
    definition: str
    url: str
    bind: str
    port: int
    context: int
    max_output: int
    start: str
    logs: str
    log: str = ""
    token: Optional[str] = None
    program: Optional[str] = None
    build: int = 0
    version: str = ""
    tools: bool = True
    tool_parser: Optional[str] = None
    reasoning_parser: Optional[str] = None
    prefix_caching: bool = True
    on_battery: bool = True
    needs: Optional[int] = None
    gpus: int = 0
    replicas: int = 1
    names: tuple[str, ...] = ()
    simple: bool = False
    answers: bool = True
    weights: Optional[Weights] = None


@dataclass(frozen=True)
class Route:
    """What a client here uses, as its settings file should say it. `served` is whether this machine
    serves it itself; `file` are its settings, `command` its use-script, `engine` what serves it."""

    alias: str
    name: str
    url: str
    context: int
    max_output: int
    file: str
    token: str
    command: str
    served: bool
    engine: str
    ca: Optional[str] = None
    effort: Optional[str] = None
    simple: bool = False


@dataclass(frozen=True)
class Wanted:
    """`home` and `directory` are paths, `manager` starts the services; `client` is the version of
    Claude Code that there should be at least, None where that is left alone. `mirrored` are
    weights that it holds for others, beside those of its services. `deployed` is the digest of
    what `deploy.py` makes here, and `owner` tells this deployment from others."""

    homeport: str
    home: str
    directory: str
    manager: str
    owner: str
    deployed: str
    services: tuple[Service, ...] = ()
    routes: tuple[Route, ...] = ()
    client: Optional[str] = None
    mirrored: tuple[Weights, ...] = ()

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Wanted:
        """Takes what a newer homeport added for nothing."""
        own = _known(cls, document)
        own["services"] = tuple(_service(one) for one in document["services"])
        own["routes"] = tuple(Route(**_known(Route, one)) for one in document["routes"])
        mirrored = document.get("mirrored", ())
        own["mirrored"] = tuple(Weights(**_known(Weights, one)) for one in mirrored)
        return cls(**own)


def _service(document: Mapping[str, Any]) -> Service:
    own = _known(Service, document)
    own["names"] = tuple(own.get("names", ()))
    if own.get("weights"):
        own["weights"] = Weights(**_known(Weights, own["weights"]))
    return Service(**own)


def _known(kind: Any, document: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in document.items() if name in names}
