"""What the doctor is told of a host, and the program that looks there. Never talks to a host."""

from __future__ import annotations

import hashlib
import io
import json
import shlex
import zipfile
from collections.abc import Iterable, Mapping
from functools import cache
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

from . import ROOT, __version__, claude_code, gpu_serving, mirroring, serving
from . import router as routing
from .doctor import wanted as doctor
from .doctor.wanted import Wanted
from .engines import llama_cpp
from .model import Endpoint, Route
from .router import Router
from .service import Manager, digest, start_command
from .settings import KEYS
from .target import Target
from .weights import HubWeights, together

#: The program, as it stands in `lib`, and the command that runs it.
PROGRAM = "doctor.pyz"
COMMAND = "homeport-doctor"

#: The key that says when, and not what.
_PUTS_OFF = "restart"

_MAIN = """
import sys
from pathlib import Path

from homeport.doctor.__main__ import main

own = Path(sys.argv[0]).resolve().parent.parent
sys.exit(main(sys.argv[1:], own / "state" / "doctor.json"))
"""


def state(target: Target) -> str:
    """Where a host has what the doctor there is told."""
    return target.layout.path("state", "doctor.json")


@cache
def program() -> bytes:
    """A zip that a Python runs, the same for the same modules."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in _files():
            entry = zipfile.ZipInfo(name)  # of 1980, by nobody: nothing of it depends on this run
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            file.writestr(entry, content)
    return archive.getvalue()


def modules() -> list[Path]:
    """What the program is made of: the doctor, and what of ours it imports."""
    finder = ModuleFinder([str(ROOT)])
    finder.import_hook("homeport.doctor.__main__")
    found = [getattr(one, "__file__", None) for one in finder.modules.values()]
    files = {Path(file) for file in found if file}
    return sorted(files - {ROOT / "homeport" / "__init__.py"})


def _files() -> list[tuple[str, str]]:
    named = [(str(path.relative_to(ROOT)), path.read_text()) for path in modules()]
    return [("__main__.py", _MAIN), ("homeport/__init__.py", ""), *named]


def wanted(target: Target, values: Mapping[str, Any]) -> Wanted:
    """What the host should be; `values` is all that group data says of it."""
    settings, layout, machine = target.settings, target.layout, target.machine
    own = settings.workstation
    return Wanted(
        homeport=__version__,
        home=layout.home,
        directory=layout.directory,
        manager=machine.manager.value,
        owner=layout.owner,
        deployed=_deployed(values),
        services=tuple(_services(target)),
        routes=tuple(_route(route, target) for route in settings.uses),
        client=claude_code.dotted(own.claude_code) if own and own.claude_code else None,
        mirrored=tuple(_pulled(one, target) for one in together(_hub(settings.mirrors))),
    )


def _services(target: Target) -> Iterable[doctor.Service]:
    settings = target.settings
    if settings.gpu:
        yield _on_gpus(target)
    else:
        yield from (_on_laptop(route, target) for route in settings.serves)
    if settings.router:
        yield _router(settings.router, target)
    if settings.serves_mirror:
        yield _mirror(settings.serves_mirror, target)


def _on_laptop(route: Route, target: Target) -> doctor.Service:
    layout, laptop = target.layout, target.settings.laptop
    recipe, choice = route.model.laptop, target.choices.get(route.alias)
    definition = serving.definition(route, target)
    return doctor.Service(
        name=Path(definition).stem,
        alias=route.alias,
        engine=doctor.LLAMA_CPP,
        definition=definition,
        url=route.endpoint.url,
        bind=llama_cpp.bind(route.endpoint),
        port=route.endpoint.port,
        context=route.model.context,
        max_output=route.model.max_output,
        start=serving.start_by_hand(route, target),
        logs=_logs(Path(definition).stem, layout.log(route), target),
        log=layout.log(route) if _has_log(target) else "",
        token=serving.server_token(route, target),
        program=serving.llama_server(target) or serving.environment(target).python,
        build=recipe.build if recipe else 0,
        tools=recipe is None or recipe.tools,
        simple=route.model.simple,
        on_battery=laptop is None or laptop.on_battery,
        needs=choice.needed if choice else None,
        weights=_weights(route, target),
    )


def _on_gpus(target: Target) -> doctor.Service:
    gpu = gpu_serving.settings_of(target)
    name, route, recipe = gpu_serving.name(target), gpu.route, gpu.recipe
    one = gpu.serving("")
    return doctor.Service(
        name=name,
        alias=route.alias,
        engine=gpu.engine.NAME,
        definition=gpu_serving.files(target).definition,
        url=route.endpoint.url,
        bind=one.bind,
        port=route.endpoint.port,
        context=route.model.context,
        max_output=route.model.max_output,
        start=start_command(name, Manager.SYSTEM, "", ""),
        logs=_logs(name, "", target),
        token=gpu_serving.files(target).token if route.endpoint.token else None,
        program=f"{gpu_serving.files(target).current}/bin/python",
        version=str(gpu.version),
        tool_parser=recipe.tool_call_parser,
        reasoning_parser=recipe.reasoning_parser,
        prefix_caching=recipe.prefix_caching,
        simple=route.model.simple,
        gpus=gpu.gpus if gpu.version.on_gpus else 0,
        replicas=gpu.replicas,
        answers=gpu.head,
        weights=_weights(route, target),
    )


def _router(router: Router, target: Target) -> doctor.Service:
    layout, manager, route = target.layout, target.machine.manager, router.route
    definition = routing.definition(manager, layout)
    log = layout.path("log", f"{routing.NAME}.log")
    return doctor.Service(
        name=Path(definition).stem,
        alias=routing.NAME,
        engine=doctor.ROUTER,
        definition=definition,
        url=router.endpoint.url,
        bind=router.endpoint.address,
        port=router.endpoint.port,
        context=route.model.context,
        max_output=route.model.max_output,
        start=routing.start_by_hand(manager, layout, serving.supervisor_python(target)),
        logs=_logs(Path(definition).stem, log, target),
        log=log if _has_log(target) else "",
        token=layout.token(route),
        names=tuple(one.alias for one in router.routes),
    )


def _mirror(endpoint: Endpoint, target: Target) -> doctor.Service:
    layout, manager = target.layout, target.machine.manager
    definition, log = mirroring.definition(manager, layout), mirroring.log(layout)
    name = Path(definition).stem
    return doctor.Service(
        name=name,
        alias="mirror",
        engine=doctor.MIRROR,
        definition=definition,
        url=endpoint.url,
        bind=llama_cpp.bind(endpoint),
        port=endpoint.port,
        context=0,
        max_output=0,
        start=start_command(name, manager, definition, serving.supervisor_python(target)),
        logs=_logs(name, log, target),
        log=log if _has_log(target) else "",
        token=mirroring.token(layout) if endpoint.token else None,
        tools=False,
        prefix_caching=False,
    )


def _has_log(target: Target) -> bool:
    return target.machine.manager in (Manager.LAUNCHD, Manager.SUPERVISORD)


def _logs(name: str, log: str, target: Target) -> str:
    """What a person types to read what the service says."""
    if _has_log(target):
        return f"tail -n 50 {shlex.quote(log)}"
    by_hand = "sudo journalctl" if target.machine.manager is Manager.SYSTEM else "journalctl --user"
    return f"{by_hand} -u {name} -n 50"


def _weights(route: Route, target: Target) -> doctor.Weights | None:
    """What is pulled for `route`: one repository has one set of files, for whom it is served and
    for whom it is mirrored."""
    settings = target.settings
    pulled = {one.name: one for one in together(_hub((route, *settings.serves, *settings.mirrors)))}
    weights = route.model.weights
    return _pulled(pulled[weights.name], target) if isinstance(weights, HubWeights) else None


def _hub(routes: Iterable[Route]) -> Iterable[HubWeights]:
    return (one.model.weights for one in routes if isinstance(one.model.weights, HubWeights))


def _pulled(weights: HubWeights, target: Target) -> doctor.Weights:
    pinned = weights.pinned
    return doctor.Weights(
        directory=target.layout.weights(weights.name),
        repo=weights.repo,
        revision=pinned.revision,
        digest=pinned.digest,
        size=pinned.size,
    )


def _route(route: Route, target: Target) -> doctor.Route:
    layout = target.layout
    served = route in target.settings.serves
    return doctor.Route(
        alias=route.alias,
        name=route.name,
        url=route.endpoint.url,
        context=route.model.context,
        max_output=route.model.max_output,
        file=layout.route_settings(route),
        token=layout.token(route),
        command=route.script,
        served=served,
        engine=doctor.LLAMA_CPP if route.model.laptop else "",
        ca=layout.ca(route),
        effort=route.model.effort,
        simple=route.model.simple,
    )


def _deployed(values: Mapping[str, Any]) -> str:
    """What is another one when `deploy.py` would make something else of the host, for whatever
    reason: its group data, or homeport itself."""
    own = {key: values[key] for key in sorted(KEYS) if key in values and key != _PUTS_OFF}
    return digest(json.dumps([_code(), own], default=str))


@cache
def _code() -> str:
    """A digest of all that makes what a host gets."""
    found = hashlib.sha256()
    for pattern in ("homeport/**/*.py", "homeport/**/*.sh", "templates/*", "requirements*.txt"):
        for path in sorted(ROOT.glob(pattern)):
            found.update(path.read_bytes())
    return found.hexdigest()
