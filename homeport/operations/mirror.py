"""A mirror of weights: what it serves, that it does, and that others can reach it."""

from __future__ import annotations

import json
from urllib.parse import quote

from pyinfra import host, state
from pyinfra.api import operation

from .. import mirroring, report
from ..facts.host import MirrorAnswerFact
from ..facts.hub import RecordFact
from ..facts.nginx import Nginx, NginxFact
from ..facts.service import LastLogLines
from ..mirroring import Held
from ..model import Endpoint
from ..remote.pull import DEPLOY_MIRROR, gigabytes
from ..render import mirror
from ..service import Service
from ..serving import supervisor_python
from ..target import Target
from ..weights import HubWeights
from . import file, hub, service
from .file import Commands, said_failure

#: Seconds in which nginx has to be up, and for which another host's may be down: while it is
#: started anew.
_UP_WITHIN = 15
_DOWN_FOR = 5


@operation()
def served(weights: list[HubWeights], endpoint: Endpoint, target: Target) -> Commands:
    """Have nginx serve `weights`, which are whole, at `endpoint`; and the revisions before that are
    kept. Looks at what is there when it comes to that, since the pull has just been at work."""
    layout, machine = target.layout, target.machine
    nginx, held = host.get_fact(NginxFact), _held(weights, target)
    content = _configuration(held, endpoint, nginx, target)
    wanted = _service(content, nginx, target)
    own_definition = mirroring.definition(machine.manager, layout)
    documents = {name: text for one in held for name, text in one.documents.items()}
    folder = mirroring.documents(layout)
    yield from file.only._inner(folder=folder, keep=[*documents])
    for name, text in documents.items():
        yield from file.write._inner(path=f"{folder}/{name}", content=text)
    yield from file.write._inner(path=mirroring.configuration(layout), content=content, mode="600")
    yield from service.in_place(wanted, machine.manager, own_definition, supervisor_python(target))


@operation()
def answers(weights: list[HubWeights], endpoint: Endpoint, target: Target) -> Commands:
    """Report that the mirror serves a real file to who has the token, and to nobody else; fail with
    the cause in words. Changes nothing."""
    if not state.is_executing:
        return
    held = _held(weights, target)
    found = _asked(held, endpoint, target)
    if found["state"] == "answered":
        report.say(host, f"the mirror at {endpoint.url} answers, and serves {_described(held)}")
        return
    nginx = host.get_fact(NginxFact)
    wanted = _service(_configuration(held, endpoint, nginx, target), nginx, target)
    for line in host.get_fact(
        LastLogLines, service=wanted, manager=target.machine.manager, count=8
    ):
        host.log(f"  {line}")
    verdict = {
        "down": "does not stay up; its last lines are above",
        "open": "serves without the token",
    }.get(found["state"], f"does not serve what it should: {found['detail']}")
    sentence = f"the mirror at {endpoint.url} {verdict}"
    yield said_failure(sentence)


@operation()
def reachable(weights: list[HubWeights], target: Target) -> Commands:
    """Fail in words where `weights` are still to come from a mirror, and it is down.

    Every host of a run has to come by here: pyinfra starts what follows on any host only when what
    precedes it has ended on all, and so nobody pulls from a mirror that is still being filled.
    """
    source = target.settings.source
    if not state.is_executing or source.mirror is None or source.fall_back:
        return
    if all(hub.status(one, target).complete for one in weights):
        return
    url = source.mirror.url
    ask = {"url": url, "seconds": _DOWN_FOR, "file": None}
    found = host.get_fact(MirrorAnswerFact, python=target.python, ask=json.dumps(ask))
    if found["state"] == "down":
        sentence = (
            f"the mirror at {url} is down, or cannot be reached from here ({found['detail']}). "
            f"{DEPLOY_MIRROR}; or set its fall_back, and the Hub is asked instead"
        )
        yield said_failure(sentence)


def _held(weights: list[HubWeights], target: Target) -> list[Held]:
    """The pinned revisions, and those before them that are still whole."""
    found = []
    for one in weights:
        pin = one.pinned
        found.append(Held(pin.repo, pin.revision, pin.files, main=True))
        for revision in hub.status(one, target).others:
            manifest = host.get_fact(
                RecordFact, destination=target.layout.weights(one.repo), record=revision
            )
            if revision != pin.revision and (before := mirroring.from_manifest(manifest)):
                found.append(before)
    return found


def _configuration(held: list[Held], endpoint: Endpoint, nginx: Nginx, target: Target) -> bytes:
    user = target.machine.user if target.machine.user == "root" else None
    return mirror(endpoint, held, user, nginx.without, nginx.ipv6)


def _service(content: bytes, nginx: Nginx, target: Target) -> Service:
    inputs = mirroring.inputs(content, nginx.version)
    return mirroring.service(nginx.program or "nginx", inputs, target.layout)


def _asked(held: list[Held], endpoint: Endpoint, target: Target) -> dict[str, str]:
    """What the mirror, asked on itself, says to a request for its largest file."""
    layout, wanted = target.layout, mirroring.largest(held)
    asked = None
    if wanted:
        one, file = wanted
        asked = {
            "place": quote(f"/{one.repo}/resolve/{one.revision}/{file.path}"),
            "path": layout.weights(mirroring.path(one, file)),
            "size": file.size,
            "token_path": mirroring.token(layout) if endpoint.token else None,
        }
    # By its name it may have no address of its own.
    url = endpoint.url if endpoint.loopback else f"http://127.0.0.1:{endpoint.port}"
    ask = {"url": url, "seconds": _UP_WITHIN, "file": asked}
    found: dict[str, str] = host.get_fact(
        MirrorAnswerFact, python=target.python, ask=json.dumps(ask)
    )
    return found


def _described(held: list[Held]) -> str:
    """What is served, in words."""
    named = []
    for one in held:
        if one.main:
            size = gigabytes(sum(file.size for file in one.files))
            before = sum(other.repo == one.repo for other in held) - 1
            named.append(f"{one.repo} ({size}{', and the revision before' if before else ''})")
    return ", ".join(named) or "nothing"
