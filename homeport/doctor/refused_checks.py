"""Why a server of this machine does not answer, or will not for long: the table."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Callable

from . import asking, engine_log, processes
from .asking import LOADING, TOKEN
from .managers import MASKED, MISSING, RUNNING, STOPPED, UNLOADED
from .servers import Seen
from .table import REFUSED as CONNECTION_REFUSED
from .table import Check, Unknown, Values, known
from .verdicts import (
    CRASHED,
    ELSEWHERE,
    HANGS,
    OFTEN,
    OUT_OF_MEMORY,
    TAKEN,
    TOO_OLD,
    WAITS,
    cause,
    elsewhere,
    killed,
    verdict,
)
from .wanted import LAUNCHD, SUPERVISORD, SYSTEM, SYSTEMD

#: The lines of a log that a finding shows.
_SHOWN = 3

_DEPLOY = "run the deploy again, it writes the definition anew and starts it"


def _when(word: str) -> Callable[[Seen], Iterator[Values]]:
    def find(seen: Seen) -> Iterator[Values]:
        if verdict(seen) == word:
            yield {}

    return find


def _missing(seen: Seen) -> Iterator[Values]:
    if verdict(seen) == MISSING:
        yield {"definition": seen.service.definition}


def _stopped(seen: Seen) -> Iterator[Values]:
    found = verdict(seen)
    if found == UNLOADED:
        yield {
            "cause": "somebody unloaded it from launchd",
            "fix": "launchctl bootstrap gui/$(id -u) %s" % seen.service.definition,
        }
    elif found == STOPPED and not known(seen.state).at_boot:
        yield {
            "cause": "somebody stopped and disabled it, so that no boot starts it either",
            "fix": _enable(seen),
        }
    elif found == STOPPED:
        yield {}


def _enable(seen: Seen) -> str:
    service = seen.service
    if seen.manager == LAUNCHD:
        return "launchctl enable gui/$(id -u)/%s && %s" % (service.name, service.start)
    return "%s enable --now %s" % (_systemctl(seen), service.name)


def _systemctl(seen: Seen) -> str:
    return "sudo systemctl" if seen.manager == SYSTEM else "systemctl --user"


def _masked(seen: Seen) -> Iterator[Values]:
    if verdict(seen) == MASKED:
        service = seen.service
        fix = "%s unmask %s && %s" % (_systemctl(seen), service.name, service.start)
        yield {"fix": fix}


def _not_at_boot(seen: Seen) -> Iterator[Values]:
    state = known(seen.state)
    if state.phase == RUNNING and not state.at_boot:
        yield {"fix": _enable(seen)}


def _ends_with_login(seen: Seen) -> Iterator[Values]:
    if seen.manager == SYSTEMD and not known(seen.state).lingers:
        yield {}


def _out_of_memory(seen: Seen) -> Iterator[Values]:
    if verdict(seen) == OUT_OF_MEMORY:
        yield {"detail": killed(seen) or "", "start": _again(seen)}


def _too_old(seen: Seen) -> Iterator[Values]:
    if verdict(seen) == TOO_OLD:
        found = {"cause": cause(seen) or "", "detail": _shown(seen)}
        if not (seen.service.program or "").endswith("brew/bin/llama-server"):
            found["fix"] = "run the deploy again, or upgrade the llama-server of your own"
        yield found


def _crashed(seen: Seen) -> Iterator[Values]:
    if verdict(seen) != CRASHED:
        return
    why, _, fix = (cause(seen) or "").partition(": ")
    found = {"detail": _shown(seen), "failure": known(seen.state).failure or "it ended"}
    if seen.restarts >= OFTEN:
        found["failure"] = "it ended and was started again %d times in 10 minutes" % seen.restarts
    if why:
        found["cause"] = _without_numbers(why)
    if fix:
        found["fix"] = "%s; then: %s" % (fix, _again(seen))
    yield {**found, "start": _again(seen)}


def _without_numbers(text: str) -> str:
    """A cause as it is the same everywhere: "the GPUs are not free (3.2/79 GiB)" is not."""
    start, mark, rest = text.partition(" (")
    return start if mark and any(one.isdigit() for one in rest) else text


def _again(seen: Seen) -> str:
    """How it is started; a manager that gave up has to be told to forget, or goes on waiting."""
    state = known(seen.state)
    if state.limited and seen.manager == SUPERVISORD:
        return "kill $(cat %s.pid); %s" % (seen.service.definition, seen.service.start)
    if state.limited and seen.manager in (SYSTEM, SYSTEMD):
        return "%s reset-failed %s; %s" % (_systemctl(seen), seen.service.name, seen.service.start)
    return seen.service.start


def _shown(seen: Seen) -> str:
    if isinstance(seen.log, Unknown):
        return seen.log.why
    said = " | ".join(engine_log.meaningful(seen.lines, _SHOWN))
    return processes.shortened(said, 400)


def _taken(seen: Seen) -> Iterator[Values]:
    if verdict(seen) == TAKEN:
        yield {"detail": ", ".join(seen.others)}


def _loading(seen: Seen) -> Iterator[Values]:
    if verdict(seen) != LOADING:
        return
    said = [engine_log.loading(seen.service.engine, line) for line in seen.of_this_start]
    steps = [one for one in said if one and one != "ready"]
    since = seen.tree[0].age if seen.tree else None
    yield {
        "step": steps[-1] if steps else "starting",
        "since": str(timedelta(seconds=int(since))) if since is not None else "some time",
    }


def _listens_elsewhere(seen: Seen) -> Iterator[Values]:
    if verdict(seen) == ELSEWHERE:
        yield {"where": elsewhere(seen)}


def _hangs(seen: Seen) -> Iterator[Values]:
    if verdict(seen) != HANGS:
        return
    process = seen.process
    if not isinstance(process, Unknown) and process.halted:
        pid = str(process.pid)
        yield {"cause": "somebody halted its process (SIGSTOP)", "fix": "kill -CONT %s" % pid}
    else:
        yield {}


def _fails(seen: Seen) -> Iterator[Values]:
    if verdict(seen) == asking.FAILS and seen.reply and not isinstance(seen.reply, Unknown):
        yield {"said": seen.reply.error, "detail": _shown(seen)}


def _restarts(seen: Seen) -> Iterator[Values]:
    known(seen.log)
    if seen.is_up and seen.restarts >= OFTEN:
        why = _without_numbers((cause(seen) or "").partition(": ")[0])
        found = {"times": str(seen.restarts), "detail": _shown(seen)}
        yield {**found, "cause": why} if why else found


def _only_loopback(seen: Seen) -> Iterator[Values]:
    if not seen.is_up or _for_this_machine(seen):
        return
    found = seen.on_port
    if found and all(one.is_loopback for one in found):
        yield {"where": ", ".join(sorted({one.address for one in found}))}


def _for_this_machine(seen: Seen) -> bool:
    return seen.service.bind in ("127.0.0.1", "::1", "localhost")


def _open(seen: Seen) -> Iterator[Values]:
    if not seen.is_up or not _for_this_machine(seen):
        return
    found = sorted({one.address for one in seen.on_port if not one.is_loopback})
    if found:
        yield {"where": ", ".join(found)}


CHECKS: tuple[Check[Seen], ...] = (
    Check(
        "service-missing",
        CONNECTION_REFUSED,
        symptom="{alias} is not there: nothing starts it",
        cause="somebody deleted the definition of its service",
        fix="run the deploy again, it writes {definition} anew",
        source="systemd.unit(5), launchctl(1)",
        find=_missing,
    ),
    Check(
        "service-masked",
        CONNECTION_REFUSED,
        symptom="{alias} is not started, and cannot be",
        cause="somebody masked its service",
        fix="systemctl --user unmask {name} && {start}",
        source="systemctl(1), mask",
        find=_masked,
    ),
    Check(
        "service-stopped",
        CONNECTION_REFUSED,
        symptom="{alias} does not run",
        cause="somebody stopped it",
        fix="{start}",
        source="systemctl(1), launchctl(1), supervisord.org",
        find=_stopped,
    ),
    Check(
        "service-not-at-boot",
        CONNECTION_REFUSED,
        symptom="{alias} runs, and will not after the next boot",
        cause="somebody disabled its service",
        fix="systemctl --user enable --now {name}",
        source="systemctl(1), launchctl(1)",
        find=_not_at_boot,
        warning=True,
    ),
    Check(
        "service-ends-with-login",
        CONNECTION_REFUSED,
        symptom="{alias} ends when its user logs out",
        cause="the user's services do not linger",
        fix="loginctl enable-linger",
        source="loginctl(1)",
        find=_ends_with_login,
        warning=True,
    ),
    Check(
        "port-taken",
        CONNECTION_REFUSED,
        symptom="port {port} is not {alias}'s",
        cause="another program listens on its port",
        fix="end that program, or give the route another port; then: {start}",
        source="/proc/net/tcp, lsof(8)",
        find=_taken,
    ),
    Check(
        "server-out-of-memory",
        CONNECTION_REFUSED,
        symptom="{alias} does not stay up",
        cause="the machine ran out of memory, and the kernel ended it",
        fix="set a smaller quant or context and deploy, or end what else needs memory; then: "
        "{start}",
        source="systemd.service(5), oom-kill; the kernel's log",
        find=_out_of_memory,
    ),
    Check(
        "llama-cpp-too-old",
        CONNECTION_REFUSED,
        symptom="{alias} does not stay up",
        cause="this llama.cpp is too old for the model's architecture",
        fix="brew upgrade llama.cpp && {start}",
        source="llama.cpp, its own words",
        find=_too_old,
    ),
    Check(
        "server-crashed",
        CONNECTION_REFUSED,
        symptom="{alias} does not stay up: {failure}",
        cause="what its last lines say",
        fix="read {logs}, then: {start}",
        source="the service manager, and the server's log",
        find=_crashed,
    ),
    Check(
        "waits-for-mains",
        CONNECTION_REFUSED,
        symptom="{alias} does not run on battery",
        cause="it waits for mains power, as on_battery = False says",
        fix="plug in the power, or set on_battery = True in group_data/laptops.py and deploy",
        source="homeport's serve.sh",
        find=_when(WAITS),
    ),
    Check(
        "server-loading",
        CONNECTION_REFUSED,
        symptom="{alias} is still loading: {step}, for {since}",
        cause="its model is not in memory yet",
        fix="wait; {logs} shows how far it is",
        source="the server's log",
        find=_loading,
    ),
    Check(
        "listens-elsewhere",
        CONNECTION_REFUSED,
        symptom="{alias} listens on {where}, and not on port {port}",
        cause="it was started with another address or port than was deployed",
        fix=_DEPLOY,
        source="its command line, /proc/net/tcp, lsof(8)",
        find=_listens_elsewhere,
    ),
    Check(
        "loopback-only",
        CONNECTION_REFUSED,
        symptom="{alias} listens on {where} only: other machines are refused",
        cause="it was started for this machine alone, and its clients are on others",
        fix=_DEPLOY,
        source="/proc/net/tcp, lsof(8)",
        find=_only_loopback,
    ),
    Check(
        "open-to-network",
        CONNECTION_REFUSED,
        symptom="{alias} listens on {where}: other machines can use it",
        cause="it was started for the network, and is meant for this machine alone",
        fix=_DEPLOY,
        source="/proc/net/tcp, lsof(8)",
        find=_open,
        warning=True,
    ),
    Check(
        "other-token",
        CONNECTION_REFUSED,
        symptom="{alias} refuses its own token",
        cause="it was started with another token than was deployed",
        fix="{start}; where that does not help, run the deploy again",
        source="its answer to /v1/models: 401",
        find=_when(TOKEN),
    ),
    Check(
        "server-hangs",
        CONNECTION_REFUSED,
        symptom="{alias} takes connections, and says nothing",
        cause="its process hangs",
        fix="{start}",
        source="no answer to /v1/models within 5 s; proc(5)",
        find=_hangs,
    ),
    Check(
        "server-fails",
        CONNECTION_REFUSED,
        symptom="{alias} answers with an error: {said}",
        cause="its engine is broken, or another program answers",
        fix="read {logs}, then: {start}",
        source="its answer to /v1/models",
        find=_fails,
    ),
    Check(
        "server-restarts",
        CONNECTION_REFUSED,
        symptom="{alias} ended {times} times in 10 minutes, and was started again",
        cause="what its last lines say",
        fix="read {logs}",
        source="the service manager, and the server's log",
        find=_restarts,
        warning=True,
    ),
)
