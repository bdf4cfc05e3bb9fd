"""One word on why a server of this machine does not answer."""

from __future__ import annotations

from typing import Optional

from . import engine_log, managers, processes
from .asking import LOADING, REFUSED, SILENT, Reply
from .managers import FAILED, RESTARTING, RUNNING
from .servers import Seen
from .table import CannotTell, Unknown, known
from .wanted import LLAMA_CPP

#: What `verdict` says, besides the words of `managers` and `asking`.
TAKEN, OUT_OF_MEMORY, TOO_OLD, CRASHED, WAITS, ELSEWHERE, HANGS = (
    *("taken", "out of memory", "too old", "crashed"),
    *("waits", "elsewhere", "hangs"),
)

#: How often a server has to be started again lately to be in a loop of crashes.
OFTEN = 2

_LLAMA_CPP_TOO_OLD = "this llama.cpp is too old"


def verdict(seen: Seen) -> str:
    """One word on why it does not answer, "" where it does. Raises `CannotTell`."""
    if seen.others and not seen.on_port:
        if known(seen.state).phase == RUNNING and not seen.tree:
            raise CannotTell("it ended, or began, while it was looked at")
        return TAKEN
    if seen.is_up:
        return ""
    if seen.reply is None:
        return _of_manager(seen)
    return _of_manager(seen) or _of_process(seen, known(seen.reply))


def _of_manager(seen: Seen) -> str:
    state = known(seen.state)
    loops = state.phase == RUNNING and seen.restarts >= OFTEN
    if state.phase in (FAILED, RESTARTING) or loops:
        if state.failure == "oom-kill" or killed(seen):
            return OUT_OF_MEMORY
        return TOO_OLD if (cause(seen) or "").startswith(_LLAMA_CPP_TOO_OLD) else CRASHED
    return "" if state.phase == RUNNING else state.phase


def _of_process(seen: Seen, reply: Reply) -> str:
    if any("waits for mains power" in line for line in seen.lines[-3:]):
        return WAITS
    if reply.state == REFUSED and elsewhere(seen):
        return ELSEWHERE
    if reply.state in (REFUSED, LOADING):
        return LOADING
    return HANGS if reply.state == SILENT else reply.state


def killed(seen: Seen) -> Optional[str]:
    said = None if isinstance(seen.log, Unknown) else managers.out_of_memory(seen.log)
    return said and engine_log.without_secrets(said)


def elsewhere(seen: Seen) -> str:
    """Where it listens in place of where it should, "" where that is not seen. An engine of GPU
    hosts listens on ports of all numbers, for itself."""
    given = "" if isinstance(seen.process, Unknown) else _given(seen, "--port")
    if given.isdigit() and int(given) != seen.service.port:
        return "port %s" % given
    found = seen.on_port or (seen.listens if seen.service.engine == LLAMA_CPP else ())
    return ", ".join("%s port %d" % (one.address, one.port) for one in found)


def _given(seen: Seen, option: str) -> str:
    words = seen.tree[0].words if seen.tree else ()
    return processes.options(words).get(option, "")


def cause(seen: Seen) -> Optional[str]:
    """What its log says that it died of, and what to do, where that is known."""
    found = engine_log.cause(seen.service.engine, seen.lines)
    return found and engine_log.without_secrets(found)
