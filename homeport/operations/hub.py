"""Weights from the Hub, pulled by a service that outlives the run, and proven at its end."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from shlex import quote
from typing import Any

import gevent
from pyinfra import host, state
from pyinfra.api import QuoteString, StringCommand, operation

from .. import ROOT, gpu_serving, progress, report
from ..facts.engine import TextFact
from ..facts.file import EntriesFact, FileStateFact
from ..facts.hub import RecordFact, Snapshot, SnapshotFact
from ..facts.service import LastLogLines, RunningServiceFact
from ..remote.pull import gigabytes
from ..service import Manager, Service, definition_path, digest
from ..serving import Deployed, deployed
from ..target import Target
from ..weights import HubWeights
from . import account, file, python_env, service
from .file import Commands, said_failure
from .python_env import Environment

#: The program that pulls.
PROGRAM = Path(__file__).resolve().parent.parent / "remote" / "pull.py"

#: Seconds between two looks at a pull, and seconds for which its service may be found dead: more
#: than its manager waits before it starts it again.
_LOOK_EVERY = 1
_GONE_FOR = 90


def environment(target: Target) -> Environment:
    """The packages that the program needs."""
    locks = [ROOT / "requirements-pull.txt"]
    if target.machine.manager is Manager.SUPERVISORD:
        locks.append(ROOT / "requirements-supervisor.txt")  # that supervises the pull
    return Environment(target.layout, target.machine.python_version, tuple(locks))


def program_path(target: Target) -> str:
    return target.layout.path("lib", PROGRAM.name)


def status(weights: HubWeights, target: Target) -> Snapshot:
    """What the host has of `weights` now; asks nobody."""
    return host.get_fact(
        SnapshotFact,
        python=target.python,
        program=program_path(target),
        destination=target.layout.weights(weights.name),
        digest=weights.pinned.digest,
    )


def pull(weights: HubWeights, target: Target) -> Service:
    """The service that pulls `weights`; it is there only until that is done."""
    layout, source = target.layout, target.settings.source
    name = _name(weights)
    of_machine = target.machine.manager is Manager.SYSTEM
    cache = f"{account.name(layout)}/pull"
    desired_path, tokens_path = layout.service_files(name)
    return Service(
        name=f"{layout.services}{name}",
        owner=layout.owner,
        description=f"pulls {weights.repo}",
        command=(
            environment(target).python,
            program_path(target),
            "pull",
            desired_path,
        ),
        log=layout.path("log", f"{name}.log"),
        inputs=(
            digest(_desired(weights, target).decode()),
            digest(json.dumps(source.tokens)),
            digest(PROGRAM.read_text()),
        ),
        once=True,
        credential=tokens_path if source.tokens else None,
        user=account.name(layout) if of_machine else None,
        environment=(("HOME", f"/var/cache/{cache}"),) if of_machine else (),
        writable=(layout.path("weights"),) if of_machine else (),
        cache=cache if of_machine else None,
    )


def _desired(weights: HubWeights, target: Target) -> bytes:
    """What the program is told; its tokens stand in a file of their own."""
    source, layout = target.settings.source, target.layout
    _, tokens_path = layout.service_files(_name(weights))
    tokens = tokens_path if source.tokens else None
    desired = source.desired(weights, layout.weights(weights.name), tokens)
    desired["keep"] = sorted(_in_use(weights.name, target))
    return f"{json.dumps(desired, indent=1)}\n".encode()


def _name(weights: HubWeights) -> str:
    # No "@", by which systemd would take it for a template's.
    return f"pull.{weights.name.replace('/', '--').replace('@', '--')}"


@operation()
def snapshot(weights: HubWeights, target: Target) -> Commands:
    """Have the pinned files of `weights` on the host, every hash verified.

    Where they are, nobody is asked. Else a service pulls them; it outlives this run, which watches
    it and ends when they are proven, and another run finds it at work and watches on.
    """
    layout, machine = target.layout, target.machine
    wanted = pull(weights, target)
    destination = layout.weights(weights.name)
    own_definition = definition_path(wanted.name, machine.manager, layout)
    found = _settled(weights, target)
    if found and host.get_fact(FileStateFact, path=own_definition):
        # A run that did not see its end left it, or it still pulls what is wanted no more.
        yield from _forgotten(wanted, target, own_definition)
        found = _settled(weights, target)
    if found:
        host.noop(f"{weights.repo} is complete: {_described(weights, found)}")
        _remember(weights, found)
        return
    yield from python_env.present._inner(environment=environment(target), python=target.python)
    yield from file.write._inner(path=wanted.command[-1], content=_desired(weights, target))
    if wanted.credential:
        yield from file.write._inner(
            path=wanted.credential,
            content=f"{json.dumps(target.settings.source.tokens)}\n".encode(),
            mode="600",
        )
    running = host.get_fact(
        RunningServiceFact,
        service=wanted.name,
        manager=machine.manager,
        definition=own_definition,
    )
    if not running.is_right(wanted):
        # What an earlier one said last would be taken for this one's.
        yield StringCommand("rm -f", QuoteString(f"{destination}/.homeport/progress.json"))
    elif state.is_executing:
        host.log(f"{weights.repo} is being pulled already, as process {running.pid}")
    yield from service.in_place(wanted, machine.manager, own_definition, environment(target).python)
    if not state.is_executing:
        return
    problem = _watch(wanted, weights, target, own_definition)
    if problem is None or problem.final:
        yield from _forgotten(wanted, target, own_definition)
    if problem:
        yield said_failure(f"{weights.repo}: {problem.words}")
    else:
        _remember(weights, status(weights, target))


def _settled(weights: HubWeights, target: Target) -> Snapshot | None:
    """What the host has, where that is all that is wanted, and nothing else."""
    found = status(weights, target)
    keep = target.settings.source.keep_previous
    unwanted = set(found.abandoned if keep else found.others)
    if unwanted:
        unwanted -= _in_use(weights.name, target)
    return found if found.complete and not unwanted else None


def _in_use(name: str, target: Target) -> set[str]:
    """The revisions that a GPU host's server runs from, or could be taken back to."""
    path = re.escape(target.layout.weights(name))
    return set(re.findall(rf"{path}/([0-9a-f]{{40}})", served_from(target)))


def served_from(target: Target) -> str:
    """All that a GPU host's server runs from, or could be taken back to, as one text."""
    if target.settings.gpu is None:
        return ""
    place = gpu_serving.files(target)
    running = host.get_fact(
        RunningServiceFact,
        service=gpu_serving.name(target),
        manager=Manager.SYSTEM,
        definition=place.definition,
    )
    # Those of another route's server as well, which this one is about to replace.
    definitions = [one.definition for one in deployed(target) if ".pull." not in one.name]
    texts = [host.get_fact(TextFact, path=path) for path in (*definitions, place.previous)]
    return "\n".join([*running.command, *texts]).replace("%%", "%")


class _Problem:
    """Why a pull does not end well; unless it is `final`, it goes on without us."""

    def __init__(self, words: str, final: bool = True) -> None:
        self.words, self.final = words, final


def _watch(
    wanted: Service, weights: HubWeights, target: Target, own_definition: str
) -> _Problem | None:
    """Show how far the pull is until it ends; None where all is proven."""
    destination = target.layout.weights(weights.name)
    told: list[str] = []
    seen = time.monotonic()
    try:
        while True:
            running = host.get_fact(
                RunningServiceFact,
                service=wanted.name,
                manager=target.machine.manager,
                definition=own_definition,
            )
            now = host.get_fact(RecordFact, destination=destination, record="progress")
            for note in now.get("notes", []):
                if note not in told:
                    told.append(note)
                    report.say(host, f"{weights.repo}: {note}")
                    host.log(f"{weights.repo}: {note}")
            if now.get("state") == "failed":
                again = "" if now["final"] else ". It goes on trying; run this again to watch it"
                return _Problem(f"{now['message']}{again}", now["final"])
            if running.pid is None:
                if status(weights, target).complete:
                    return None
                if time.monotonic() - seen > _GONE_FOR:
                    return _crashed(wanted, target)
            else:
                seen = time.monotonic()
                progress.show(host, _line(weights, now))
            gevent.sleep(_LOOK_EVERY)
    finally:
        progress.end(host)


def _crashed(wanted: Service, target: Target) -> _Problem:
    for line in host.get_fact(
        LastLogLines, service=wanted, manager=target.machine.manager, count=8
    ):
        host.log(f"  {line}")
    return _Problem("the pull does not stay up; its last lines are above")


def _forgotten(wanted: Service, target: Target, own_definition: str) -> Commands:
    """Take the service away, and what only it needed."""
    gone = Deployed(wanted.name, target.machine.manager, own_definition)
    yield service.absent(gone, target.layout)


def _line(weights: HubWeights, now: dict[str, Any]) -> str:
    """How far a pull is, in a line."""
    name = weights.repo.rpartition("/")[2]
    if not now.get("bytes_total"):
        return f"{name}: {now.get('state', 'starting')}"
    share = 100 * now["bytes_done"] / now["bytes_total"]
    text = f"{name}: {share:.1f} % of {gigabytes(now['bytes_total'])}, {now['rate'] / 1e6:.1f} MB/s"
    if now["eta_seconds"] is not None:
        minutes, seconds = divmod(now["eta_seconds"], 60)
        hours, minutes = divmod(minutes, 60)
        text += f", {hours}:{minutes:02}:{seconds:02} left"
    if not now["rate"] and now["message"]:
        text += f" ({now['message']})"
    return text


def _described(weights: HubWeights, found: Snapshot) -> str:
    revision = weights.pinned.revision[:12]
    return f"{found.files} files, {gigabytes(found.size)}, revision {revision}"


def _remember(weights: HubWeights, found: Snapshot) -> None:
    if state.is_executing:
        report.say(host, f"{weights.repo} is complete and verified: {_described(weights, found)}")


@operation()
def only_pulls(weights: list[HubWeights], target: Target) -> Commands:
    """End the pulls that go on here, but those of `weights`; what has come of them stays."""
    wanted = {f"{target.layout.services}{_name(one)}" for one in weights}
    start = f"{target.layout.services}pull."
    old = [one for one in deployed(target) if one.name.startswith(start) and one.name not in wanted]
    if not old:
        host.noop("no other pull is at work")
    for one in old:
        yield service.absent(one, target.layout)


@operation()
def unneeded(weights: list[HubWeights], target: Target) -> Commands:
    """Report what is there of repositories, or parts of them, that nothing here needs any more;
    removes nothing, since it may have taken days to come."""
    if not state.is_executing:
        return
    wanted = {one.name for one in weights}
    served = served_from(target)
    for owner in host.get_fact(EntriesFact, path=target.layout.weights("")):
        for name in host.get_fact(EntriesFact, path=target.layout.weights(owner)):
            path = target.layout.weights(f"{owner}/{name}")
            if f"{owner}/{name}" not in wanted and f"{path}/" not in served:
                report.say(host, f"{owner}/{name} is not needed here any more: rm -r {quote(path)}")
    yield from ()
