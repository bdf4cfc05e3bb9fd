"""Group data -> typed settings. Never talks to a host.

What a user writes in group_data/ and inventory/ is plain Python values; here they become a
`HostSettings` for each host, or a `SettingsError` that names file, field, value and fix.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from . import ROOT, gpu_settings, laptop_settings, pins, tokens, workstation_settings
from .catalog import MODELS
from .errors import Kinds, SettingsError, check_keys, did_you_mean, is_kind, kind_name
from .gpu_settings import GPU_KEYS, GpuSettings, Peer
from .laptop_settings import LAPTOP_KEYS, LaptopSettings
from .model import Endpoint, Model, Route, check_served_together
from .pins import Pin
from .recipe import LaptopRecipe
from .router import Router
from .sources import HUB_KEYS, Source, source
from .weights import FileWeights, HubWeights, together
from .workstation_settings import FIRST_FREE_PORT, WORKSTATION_KEYS, WorkstationSettings

#: A path whose last part can be the name of a service.
_DIRECTORY = re.compile(r"(~/|/[^\n]+/)([^\n/]+/)*\.?[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")

#: The name of a system user (useradd(8)).
_ACCOUNT = re.compile(r"[a-z][a-z0-9_-]{0,30}")

#: Where services of the machine are kept from.
_HOMES = ("~/", "/home/", "/root/", "/run/", "/tmp/", "/var/tmp/")  # noqa: S108 - refused

ROLE_GROUPS = ("gpu_hosts", "laptops", "workstations", "mirror")

#: The group of the hosts that try a change before the others have it, with --serial.
CANARY = "canary"

#: What may stand in group data or in a host's data, and its type.
KEYS: dict[str, Kinds] = {
    "routes": dict,
    "homeport_dir": str,
    **HUB_KEYS,
    "mirror": (dict, type(None)),
    "mirrored": (list, type(None)),
    "keep_previous_weights": bool,
    "serve": list,
    **LAPTOP_KEYS,
    **GPU_KEYS,
    "use": (list, type(None)),
    **WORKSTATION_KEYS,
}

#: What may stand in one route, and its type.
ROUTE_KEYS: dict[str, Kinds] = {
    "model": str,
    "host": str,
    "port": int,
    "context": int,
    "max_output": int,
    "label": str,
    "description": str,
    "effort": (str, type(None)),
    "quants": list,
    "weights": str,
    "token_env": str,
    "token_file": str,
    "tls": bool,
    "ca_file": str,
    "open_to_network": bool,
}


@dataclass(frozen=True)
class HostData:
    """A host as the inventory has it; `origin` names the file that a key comes from, `fleet` are
    all GPU hosts, in the inventory's order, where it is one. `removing`: homeport is to be taken
    off it, whatever it was to serve."""

    name: str
    groups: tuple[str, ...]
    values: Mapping[str, Any]
    origin: Callable[[str], str] = lambda key: "host data"
    fleet: tuple[Peer, ...] = ()
    removing: bool = False


@dataclass(frozen=True)
class HostSettings:
    """All that homeport wants of one host: the routes it `serves`, those it `uses`, and those whose
    weights it holds for others (`mirrors`), who find them at `serves_mirror`; None where it is no
    mirror. `source` is where it pulls weights from; `laptop` is for one, None elsewhere, and `gpu`
    what a GPU host serves, None where it is to be taken away; `workstation` likewise. `of_machine`:
    all is root's, and its services are the machine's."""

    directory: str
    serves: tuple[Route, ...]
    uses: tuple[Route, ...]
    mirrors: tuple[Route, ...]
    serves_mirror: Endpoint | None
    source: Source
    laptop: LaptopSettings | None
    gpu: GpuSettings | None
    of_machine: bool
    workstation: WorkstationSettings | None

    @property
    def router(self) -> Router | None:
        """The router of a workstation that is to have one."""
        return self.workstation.router if self.workstation else None


def of(host: HostData) -> HostSettings:
    """The settings of one host; raises `SettingsError`, naming the file the value stands in."""
    _check_groups(host)
    for key, kind in KEYS.items():
        if host.removing and key in GPU_KEYS:
            continue
        if key in host.values and not is_kind(host.values[key], kind):
            raise _error(host, key, f"it has to be a {kind_name(kind)}", "See the comments there")
    routes = _routes(host, pins.read())
    serves = _served(host, routes)
    found = source(host.values, host.origin)
    mirror = _serves_mirror(host, found.mirror, serves)
    gpu = _gpu(host, serves)
    uses = _used(host, routes, serves)
    workstation = _workstation(host, uses, serves)
    router = workstation.router if workstation else None
    if router and mirror and router.endpoint.port == mirror.port:
        raise SettingsError(
            f"{host.origin('router')}: router.port",
            mirror.port,
            f"{host.name} is the mirror, and serves on the same port",
            f"Write e.g. {mirror.port + 1}",
        )
    return HostSettings(
        directory=_directory(host),
        serves=serves,
        uses=uses,
        mirrors=_mirrored(host, routes),
        serves_mirror=mirror,
        source=replace(found, mirror=None) if mirror else found,  # itself it asks the Hub
        laptop=_laptop(host, serves),
        gpu=gpu,
        of_machine="gpu_hosts" in host.groups,
        workstation=workstation,
    )


def check_pins(host: HostData, settings: HostSettings) -> None:
    """Raise `SettingsError` where weights that the host is to pull are not pinned."""
    for route in (*settings.serves, *settings.mirrors):
        weights = route.model.weights
        if isinstance(weights, HubWeights):
            by_llama_cpp = settings.laptop and route in settings.serves
            try:
                for one in _of_quants(route, weights) if by_llama_cpp else [weights]:
                    _ = one.gguf if by_llama_cpp else one.pinned
                weights.check_shards()
            except SettingsError as error:
                raise error.inside(f"{host.origin('routes')}: routes[{route.alias!r}].") from None


def _of_quants(route: Route, weights: HubWeights) -> list[HubWeights]:
    """The weights that a laptop may have to pull, one for each quant."""
    quants = route.model.laptop.quants if route.model.laptop else ()
    return [replace(weights, files=(quant.file,)) for quant in quants] or [weights]


def check_mirror(hosts: Mapping[str, HostSettings]) -> None:
    """Raise `SettingsError` where the mirror among `hosts`, by name, cannot serve the others."""
    mirrors = [name for name, one in hosts.items() if one.serves_mirror]
    if len(mirrors) > 1:
        raise SettingsError(
            "inventory: mirror",
            mirrors,
            "all hosts pull from one mirror",
            "Leave one host in this group",
        )
    for mirror in mirrors:
        held = {one.repo: set(one.files) for one in together(_pulled(hosts[mirror].mirrors))}
        for name, one in hosts.items():
            for weights in _pulled(one.serves):
                asks = one.source.mirror and not one.source.fall_back
                if asks and not set(weights.files) <= held.get(weights.repo, set()):
                    raise SettingsError(
                        "mirrored",
                        [route.alias for route in hosts[mirror].mirrors],
                        f"{name} pulls {weights.repo} from {mirror}, which does not hold it",
                        "Add its route there, write None for all, or set the mirror's fall_back",
                    )


def _pulled(routes: tuple[Route, ...]) -> list[HubWeights]:
    return [r.model.weights for r in routes if isinstance(r.model.weights, HubWeights)]


def unread(host: HostData, known: set[str]) -> list[str]:
    """A sentence for each key that nothing reads; raises `SettingsError` where one is a typo.

    `known` are the keys that others than homeport read.
    """
    sentences = []
    for key in host.values:
        if key in KEYS or key in known or key.startswith("_"):
            continue
        if close := get_close_matches(key, KEYS, n=1, cutoff=0.75):
            raise _error(host, key, "nothing reads this key", f"Did you mean {close[0]!r}?")
        sentences.append(f"{host.origin(key)}: nothing in homeport reads {key!r}")
    return sentences


def _check_groups(host: HostData) -> None:
    roles = [group for group in host.groups if group in ROLE_GROUPS]
    for group in host.groups:
        # A group of the user's own may well be called laptops_eu.
        close = get_close_matches(group.lower(), ROLE_GROUPS, n=1, cutoff=0.9 if roles else 0.75)
        close = close or [CANARY] * (group.lower() in ("canaries", "canarys", CANARY))
        if group not in (*ROLE_GROUPS, CANARY) and close:
            raise SettingsError(
                "inventory: group", group, "no role has this name", f"Did you mean {close[0]!r}?"
            )
    if not roles:
        raise SettingsError(
            "inventory: host",
            host.name,
            f"it is in no group that has a role, only in {', '.join(host.groups) or 'none'}",
            f"Put it in {', '.join(ROLE_GROUPS[:-1])} or {ROLE_GROUPS[-1]}",
        )
    if "gpu_hosts" in roles and "laptops" in roles:
        raise SettingsError(
            "inventory: host",
            host.name,
            "it is in gpu_hosts and in laptops",
            "Choose the one whose engine it is to run",
        )
    if "gpu_hosts" in roles and len(roles) > 1:
        raise SettingsError(
            "inventory: host",
            host.name,
            f"it is in {' and '.join(roles)}: a GPU host is set up as root, for all its users, and "
            "the others as the user who logs in",
            f'Name it twice: ("{host.name}-user", {{"ssh_hostname": "{host.name}"}})',
        )


def _routes(host: HostData, pinned: dict[str, Pin]) -> dict[str, Route]:
    specs = host.values.get("routes", {})
    routes: dict[str, Route] = {}
    scripts: dict[str, str] = {}
    for alias, spec in specs.items():
        try:
            route = _route(alias, spec, pinned)
        except SettingsError as error:
            place = "" if error.field == "alias" else f"routes[{alias!r}]."
            raise error.inside(f"{host.origin('routes')}: {place}") from None
        routes[alias] = route
        if (other := scripts.setdefault(route.script, alias)) != alias:
            raise _error(
                host, "routes", f"{other} and {alias} would share {route.script}", "Rename one"
            )
    return routes


def _route(alias: Any, spec: Any, pinned: dict[str, Pin]) -> Route:
    if not isinstance(alias, str) or not isinstance(spec, dict):
        raise SettingsError(
            "alias", alias, "a route is 'alias': {...}", "Write it as those beside it"
        )
    check_keys(spec, ROUTE_KEYS, required=("model", "host", "port"))
    return Route(_model(alias, spec, pinned), _endpoint(alias, spec))


def _model(alias: str, spec: dict[str, Any], pinned: dict[str, Pin]) -> Model:
    if spec["model"] not in MODELS:
        known = ", ".join(MODELS)
        raise SettingsError(
            "model", spec["model"], "homeport does not know this model", f"Known are {known}"
        )
    model = MODELS[spec["model"]]
    changes: dict[str, Any] = {
        key: spec[key]
        for key in ("context", "max_output", "label", "description", "effort")
        if key in spec
    }
    laptop = model.laptop
    if laptop and "context" in spec:
        laptop = replace(laptop, contexts=(spec["context"],))
    if "quants" in spec:
        laptop = _some_quants(laptop, spec["quants"])
    if "weights" in spec:
        changes["weights"] = FileWeights(spec["weights"])
    elif isinstance(model.weights, HubWeights):
        weights = replace(model.weights, pin=pinned.get(model.weights.repo))
        if laptop and laptop.quants:
            weights = replace(weights, files=tuple(quant.file for quant in laptop.quants))
        changes["weights"] = weights
    return replace(model, alias=alias, laptop=laptop, **changes)


def _some_quants(laptop: LaptopRecipe | None, names: list[Any]) -> LaptopRecipe:
    if not laptop or not laptop.quants or not names:
        raise SettingsError(
            "quants",
            names,
            "there is nothing to choose from",
            "Leave it out",
        )
    try:
        return replace(laptop, quants=tuple(laptop.quant(str(name)) for name in names))
    except SettingsError as error:
        raise SettingsError("quants", error.value, error.problem, error.fix) from None


def _endpoint(alias: str, spec: dict[str, Any]) -> Endpoint:
    endpoint = Endpoint(
        host=spec["host"],
        port=spec["port"],
        tls=spec.get("tls", False),
        open_to_network=True,  # until the token is known
        ca=_certificates(spec["ca_file"]) if "ca_file" in spec else None,
    )
    wanted = spec.get("open_to_network", False)
    return replace(endpoint, token=tokens.of_route(alias, spec, endpoint), open_to_network=wanted)


def _certificates(name: str) -> bytes:
    """The certificates in a PEM file of this project's."""
    try:
        text = (ROOT / Path(name).expanduser()).read_text()
        ssl.create_default_context(cadata=text)
    except (OSError, ValueError, ssl.SSLError) as error:
        why = getattr(error, "strerror", None) or "it holds no certificate in PEM"
        raise SettingsError(
            "ca_file",
            name,
            f"it cannot be used ({why})",
            "Write the path of the CA's certificate, relative to this project",
        ) from None
    if "PRIVATE KEY" in text:
        raise SettingsError(
            "ca_file",
            name,
            "it holds a private key, and every client would get it",
            "Keep only what stands between BEGIN CERTIFICATE and END CERTIFICATE",
        )
    return text.encode()


def _served(host: HostData, routes: dict[str, Route]) -> tuple[Route, ...]:
    serves = _named(host, "serve", host.values.get("serve", []), routes)
    try:
        check_served_together(serves)
    except SettingsError as error:
        raise error.inside(f"{host.origin('serve')}: {host.name} serves ") from None
    for route in serves:
        if "laptops" in host.groups and route.endpoint.tls:
            raise SettingsError(
                f"{host.origin('routes')}: routes[{route.alias!r}].tls",
                True,
                "a laptop's server speaks plain http",
                "Leave it out",
            )
    return serves


def _mirrored(host: HostData, routes: dict[str, Route]) -> tuple[Route, ...]:
    """The routes whose weights a mirror holds: those named, else all whose weights are pulled."""
    if "mirror" not in host.groups:
        return ()
    named = host.values.get("mirrored")
    pulled = {
        name: one for name, one in routes.items() if isinstance(one.model.weights, HubWeights)
    }
    return _named(host, "mirrored", list(pulled) if named is None else named, pulled)


def _serves_mirror(
    host: HostData, mirror: Endpoint | None, serves: tuple[Route, ...]
) -> Endpoint | None:
    """Where a host of the group `mirror` serves; None for any other."""
    if "mirror" not in host.groups:
        return None
    if mirror is None:
        raise _error(host, "mirror", "no host would pull from it", "Write its host and port")
    field = f"{host.origin('mirror')}: mirror.port"
    if mirror.port < FIRST_FREE_PORT:
        raise SettingsError(
            field,
            mirror.port,
            f"a server that does not run as root gets no port below {FIRST_FREE_PORT}",
            "Write e.g. 8880",
        )
    for route in serves:
        if route.endpoint.port == mirror.port:
            raise SettingsError(
                field,
                mirror.port,
                f"{host.name} serves {route.alias} on the same port",
                f"Write e.g. {mirror.port + 1}",
            )
    return mirror


def _used(host: HostData, routes: dict[str, Route], serves: tuple[Route, ...]) -> tuple[Route, ...]:
    """The routes of a workstation: those named, else all that lead somewhere from this host."""
    if "workstations" not in host.groups:
        return ()
    named = host.values.get("use")
    if named is None:
        return tuple(r for r in routes.values() if not r.endpoint.loopback or r in serves)
    uses = _named(host, "use", named, routes)
    for route in uses:
        if route.endpoint.loopback and route not in serves:
            raise _error(
                host,
                "use",
                f"{route.alias} is at {route.endpoint.host}, and {host.name} does not serve it",
                "Leave it out here, or put the host into laptops",
            )
    return uses


def _named(
    host: HostData, key: str, aliases: list[object], routes: dict[str, Route]
) -> tuple[Route, ...]:
    if len(set(map(str, aliases))) < len(aliases):
        raise _error(host, key, "an alias stands in it twice", "Leave one of them out")
    return tuple(_lookup(host, key, alias, routes) for alias in aliases)


def _lookup(host: HostData, key: str, alias: object, routes: dict[str, Route]) -> Route:
    if isinstance(alias, str) and alias in routes:
        return routes[alias]
    fix = did_you_mean(alias, routes)
    raise SettingsError(f"{host.origin(key)}: {key}", alias, "no route has this alias", fix)


def _directory(host: HostData) -> str:
    directory = str(host.values.get("homeport_dir", "~/.homeport"))
    if not _DIRECTORY.fullmatch(directory) or ".." in directory.split("/"):
        raise _error(
            host,
            "homeport_dir",
            "it has to be a directory of its own, in the home or by its whole path, and end in a "
            "name of letters, digits, '.', '_' and '-'",
            "Write ~/.homeport",
        )
    if "gpu_hosts" in host.groups and directory.startswith(_HOMES):
        raise _error(
            host,
            "homeport_dir",
            "a GPU host's server has a user of its own, who reaches no home",
            "Write /var/lib/homeport, or a directory on a larger disk",
        )
    if "gpu_hosts" in host.groups and not _ACCOUNT.fullmatch(directory.rpartition("/")[2]):
        raise _error(
            host,
            "homeport_dir",
            "the server's own user is called as its last part, and cannot be called so",
            "Let it end in small letters, such as /data/homeport",
        )
    return directory


def _gpu(host: HostData, serves: tuple[Route, ...]) -> GpuSettings | None:
    if "gpu_hosts" not in host.groups or host.removing:
        return None
    own = Peer(host.name, host.values, host.origin)
    return gpu_settings.of(own, host.fleet or (own,), serves)


def _laptop(host: HostData, serves: tuple[Route, ...]) -> LaptopSettings | None:
    if "laptops" not in host.groups or host.removing:
        return None
    return laptop_settings.of(host.values, host.origin, serves)


def _workstation(
    host: HostData, uses: tuple[Route, ...], serves: tuple[Route, ...]
) -> WorkstationSettings | None:
    if "workstations" not in host.groups or host.removing:
        return None
    return workstation_settings.of(host.name, host.values, host.origin, uses, serves)


def _error(host: HostData, key: str, problem: str, fix: str) -> SettingsError:
    return SettingsError(f"{host.origin(key)}: {key}", host.values.get(key), problem, fix)
