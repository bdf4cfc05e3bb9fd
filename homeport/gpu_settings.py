"""Group data -> what a GPU host serves, with which engine, and which part of it. Never talks to a
host.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from . import ROOT
from .claude_code import BACKGROUND_IDS
from .engines import Engine, Place, Serving, Version, pinned_version, sglang, vllm
from .errors import Kinds, SettingsError
from .model import Route
from .recipe import Recipe
from .weights import HubWeights

ENGINES: dict[str, Engine] = {engine.NAME: engine for engine in (vllm, sglang)}

#: What may stand in group data for a GPU host only, and its type.
GPU_KEYS: dict[str, Kinds] = {
    "engine_lock": (str, type(None)),
    "engine_arguments": list,
    "serving": dict,
    "nodes": int,
    "replicas": int,
    "address": (str, type(None)),
    "restart": str,
}

#: What has to be the same on all hosts of one route.
_SHARED = ("engine", "engine_lock", "engine_arguments", "serving", "nodes", "replicas")

#: When a server that runs may be restarted.
RESTARTS = ("when-needed", "never")


@dataclass(frozen=True)
class GpuSettings:
    """What a GPU host serves: `route`, by the engine that `lock` pins, at its `place` in the
    replica, one of `replicas`, whose hosts are `members` (their names, the head first). `cuda` is
    the major version of it that the engine is built for, None where that is unknown."""

    route: Route
    engine: Engine
    lock: Path
    version: Version
    cuda: int | None
    recipe: Recipe
    place: Place
    members: tuple[str, ...]
    arguments: tuple[str, ...]
    may_restart: bool
    replicas: int = 1
    warnings: tuple[str, ...] = ()

    @property
    def gpus(self) -> int:
        """Those of this host that the model is split over."""
        return self.recipe.gpus // self.place.nodes

    @property
    def head(self) -> bool:
        """Whether this host answers requests."""
        return self.place.rank == 0

    @property
    def weights(self) -> HubWeights:
        weights = self.route.model.weights
        assert isinstance(weights, HubWeights)  # noqa: S101 - `of` sees to it
        return weights

    def serving(self, model_path: str) -> Serving:
        return Serving(
            route=self.route,
            model_path=model_path,
            version=self.version,
            recipe=self.recipe,
            place=self.place,
            names=tuple(name for name in BACKGROUND_IDS if name != self.route.alias),
            arguments=self.arguments,
        )


@dataclass(frozen=True)
class Peer:
    """A GPU host of the inventory: its name, its values of group data, and the file of each."""

    name: str
    values: Mapping[str, Any]
    origin: Callable[[str], str]

    @property
    def address(self) -> str:
        """Where the other hosts of its model reach it."""
        values = self.values
        return str(values.get("address") or values.get("ssh_hostname") or self.name)


def of(own: Peer, fleet: tuple[Peer, ...], serves: tuple[Route, ...]) -> GpuSettings:
    """The settings of the GPU host `own`, one of `fleet`, in the order of the inventory; raises
    `SettingsError`, naming the file the value stands in."""
    route = _route(own, serves)
    for key in ("nodes", "replicas"):
        if own.values.get(key, 1) < 1:
            raise _error(own, key, "it is a number of hosts", "Write 1 or more")
    engine = _engine(own)
    lock, version, cuda = _lock(own, engine)
    recipe = _recipe(own, route)
    place, members = _place(own, fleet, route, recipe)
    settings = GpuSettings(
        route=route,
        engine=engine,
        lock=lock,
        version=version,
        cuda=cuda,
        recipe=recipe,
        place=place,
        members=members,
        arguments=tuple(own.values.get("engine_arguments", ())),
        may_restart=_may_restart(own),
        replicas=own.values.get("replicas", 1),
    )
    try:
        warnings = engine.check(settings.serving("/weights"))
    except SettingsError as error:
        raise error.inside(f"{own.origin(error.field.partition('.')[0])}: ") from None
    return replace(settings, warnings=tuple(warnings))


def _route(own: Peer, serves: tuple[Route, ...]) -> Route:
    if len(serves) != 1:
        raise _error(
            own, "serve", "a model gets all GPUs of a host", "Name the one route that it serves"
        )
    route = serves[0]
    place = f"{own.origin('routes')}: routes[{route.alias!r}]."
    if route.model.recipe is None or not isinstance(route.model.weights, HubWeights):
        raise SettingsError(
            f"{place}model",
            route.model.label,
            "it is served by llama.cpp, on laptops; a GPU host's models come from the Hub and have "
            "a recipe",
            "Choose another model of homeport/catalog.py, or leave the route's weights out",
        )
    if route.endpoint.tls:
        raise SettingsError(
            f"{place}tls", True, "a GPU host's server speaks plain http", "Leave it out"
        )
    return route


def _engine(own: Peer) -> Engine:
    name = own.values.get("engine", vllm.NAME)
    if name not in ENGINES:
        known = ", ".join(ENGINES)
        raise _error(own, "engine", "no such engine serves on GPUs", f"Known are {known}")
    return ENGINES[name]


def _lock(own: Peer, engine: Engine) -> tuple[Path, Version, int | None]:
    """The lock file, and what it says of the engine: its version, and that of CUDA."""
    name = own.values.get("engine_lock") or f"requirements-{engine.NAME}.txt"
    path = (ROOT / name).expanduser()
    field = f"{own.origin('engine_lock')}: engine_lock"
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            field,
            name,
            f"it cannot be read ({getattr(error, 'strerror', None) or 'it is no text'})",
            "Name a file of requirements with hashes, or leave it out",
        ) from None
    version = pinned_version(text, engine.NAME)
    if version is None or not version.numbers:
        raise SettingsError(
            field, name, f"it pins no version of {engine.NAME}", f"Add e.g. {engine.NAME}==..."
        )
    if "--hash=" not in text:
        raise SettingsError(
            field,
            name,
            "it has no hashes, and only what is hashed is installed",
            "Write it with: uv pip compile --generate-hashes",
        )
    runtime = re.search(r"^nvidia-cuda-runtime(?:-cu\d+)?==(\d+)\.", text, re.MULTILINE)
    return path, version, int(runtime[1]) if runtime else None


def _recipe(own: Peer, route: Route) -> Recipe:
    assert route.model.recipe  # noqa: S101 - _route sees to it
    values = dict(own.values.get("serving", {}))
    nodes = own.values.get("nodes", 1)
    if nodes > 1:
        values.setdefault("pipeline_parallel_size", nodes)
    try:
        recipe = route.model.recipe.changed(values)
    except SettingsError as error:
        raise error.inside(f"{own.origin('serving')}: serving.") from None
    if recipe.gpus % nodes:
        raise _error(
            own,
            "nodes",
            f"tensor_parallel_size {recipe.tensor_parallel_size} times pipeline_parallel_size "
            f"{recipe.pipeline_parallel_size} is {recipe.gpus} GPUs, which so many hosts cannot "
            "share evenly",
            f"Set pipeline_parallel_size to {nodes}",
        )
    return recipe


def _place(
    own: Peer, fleet: tuple[Peer, ...], route: Route, recipe: Recipe
) -> tuple[Place, tuple[str, ...]]:
    """Where `own` stands among those that serve `route`: replica after replica, in the order of the
    inventory."""
    nodes, replicas = own.values.get("nodes", 1), own.values.get("replicas", 1)
    together = [peer for peer in fleet if route.alias in peer.values.get("serve", ())]
    for key in _SHARED:
        for peer in together:
            if peer.values.get(key) != own.values.get(key):
                raise _error(
                    own,
                    key,
                    f"{peer.name} serves {route.alias} as well, with {peer.values.get(key)!r}",
                    "Set it in group_data/gpu_hosts.py, for all of them",
                )
    if len(together) != nodes * replicas:
        names = ", ".join(peer.name for peer in together)
        raise _error(
            own,
            "nodes" if nodes > 1 else "replicas",
            f"{nodes * replicas} hosts are to serve {route.alias} ({replicas} x {nodes}), and the "
            f"inventory has {len(together)}: {names}",
            "Say how many there are, or correct gpu_hosts in the inventory",
        )
    index = [peer.name for peer in together].index(own.name)
    members = together[index - index % nodes :][:nodes]
    if nodes > 1:
        _check_addresses(own, members)
    place = Place(index % nodes, tuple(peer.address for peer in members)) if nodes > 1 else Place()
    return place, tuple(peer.name for peer in members)


def _check_addresses(own: Peer, members: list[Peer]) -> None:
    owners: dict[str, str] = {}
    for peer in members:
        try:
            usable = not ip_address(peer.address).is_loopback
        except ValueError:
            usable = False
        if not usable or owners.setdefault(peer.address, peer.name) != peer.name:
            raise SettingsError(
                f"inventory: {peer.name}: address",
                peer.address,
                "the hosts of one model reach each other by it, each by its own",
                "Give each host the IP address that it has in the network between them",
            )


def _may_restart(own: Peer) -> bool:
    value = own.values.get("restart", RESTARTS[0])
    if value not in RESTARTS:
        raise _error(own, "restart", "there is no such way", f"Write {' or '.join(RESTARTS)}")
    return bool(value == RESTARTS[0])


def _error(own: Peer, key: str, problem: str, fix: str) -> SettingsError:
    return SettingsError(f"{own.origin(key)}: {key}", own.values.get(key), problem, fix)
