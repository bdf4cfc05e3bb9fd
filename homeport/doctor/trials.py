"""What a server makes of a few requests for one token each: how fast it answers, whether it reuses
its prefix cache, and whether its chat template takes what Claude Code sends.
"""

from __future__ import annotations

import socket
import time
import urllib.parse
from dataclasses import dataclass, replace
from typing import Callable, Optional, Union

from ..remote import probe
from .asking import ANSWER_TIMEOUT, ANSWERS, FAILS, LONG_TIMEOUT, SILENT, Reply, Server, user
from .engine_log import without_secrets
from .metrics import Load
from .table import Unknown
from .wanted import LLAMA_CPP, Service

#: About as many tokens as it takes for each engine to keep some of them: llama.cpp keeps all, the
#: others whole blocks, of 16 to several hundred by the model. A laptop without a GPU computes 30 a
#: second.
_SENTENCES = {LLAMA_CPP: 8}
_SENTENCES_OF_BLOCKS = 130

#: Requests of one session that have to go to the same replica.
_SAME = 3


@dataclass(frozen=True)
class Trials:
    """`took` is the seconds of the first, `hits` the tokens of the shared beginning that the second
    found in the cache; `refused` is what the server says to a system message inside a conversation,
    "" where it takes it; `failed` what it says to the simplest question. `scattered`: a session's
    requests go to several replicas. `tool` is why a tool is not called, "" where it is."""

    took: Union[float, Unknown]
    hits: Union[int, Unknown]
    refused: Union[str, Unknown]
    scattered: Union[bool, Unknown] = False
    tool: Union[str, Unknown] = ""
    failed: str = ""


def made(
    service: Service, server: Server, model: str, loaded: Callable[[], Optional[Load]], deep: bool
) -> Optional[Trials]:
    """Ask `server`, as `model`; `loaded` looks at what it counts. None where it is at work and does
    not answer in time: that says nothing of it."""
    timeout = LONG_TIMEOUT if deep else ANSWER_TIMEOUT
    beginning = _beginning(service)
    before = loaded()
    first = server.message(model, [user(beginning + "One?")], timeout)
    at_work = bool(before and before.is_at_work)
    if first.state == SILENT and at_work:
        return None
    if first.state != ANSWERS:
        said = first.error if _is_refusal(first) else ""
        return replace(none(_why(first, timeout), deep), failed=said)
    second = server.message(model, [user(beginning + "Two?")], timeout)
    hits = _hits(service, second, before, loaded)
    late = server.message(model, probe.with_late_system("Which word?"), timeout)
    if at_work and SILENT in (second.state, late.state):
        return None
    refused: Union[str, Unknown] = "" if late.state == ANSWERS else Unknown(_why(late, timeout))
    if _is_refusal(late):
        refused = late.error
    return Trials(
        took=first.seconds,
        hits=hits,
        refused=refused,
        scattered=_scattered(service, server, model) if _reuses(hits) else False,
        tool=_tool(service, server, model) if deep and service.tools else "",
    )


def _is_refusal(reply: Reply) -> bool:
    """Whether the server does not take what it was asked, and is not just away or about to load."""
    return reply.state == FAILS and reply.status >= 400


def none(why: str, deep: bool) -> Trials:
    """Trials that were not made."""
    unmade = Unknown(why)
    return Trials(unmade, unmade, unmade, unmade, unmade if deep else "")


def _reuses(hits: Union[int, Unknown]) -> bool:
    return not isinstance(hits, Unknown) and hits > 0


def _beginning(service: Service) -> str:
    """A new one each time, so that the first request finds none of it."""
    count = _SENTENCES.get(service.engine, _SENTENCES_OF_BLOCKS)
    return "Session %s. " % time.time() + probe.SENTENCE * count


def _why(reply: Reply, timeout: float) -> str:
    if reply.state == SILENT:
        return "it does not answer one token within %d s" % timeout
    return "it answers %s" % reply.error


def _hits(
    service: Service, reply: Reply, before: Optional[Load], loaded: Callable[[], Optional[Load]]
) -> Union[int, Unknown]:
    """By the answer's own count; some leave it out where nothing was found, or do not tell it
    unless an option says so. Then by what the server counts, a moment later, where it has nobody
    else to count for."""
    if reply.state != ANSWERS:
        return Unknown(_why(reply, ANSWER_TIMEOUT))
    told, reused = _reused(reply)
    if reused:
        return reused
    if before and before.hits is not None and not before.is_at_work:
        time.sleep(0.3)
        after = loaded()
        if after and after.hits is not None and not after.is_at_work:
            return int(after.hits - before.hits)
    return 0 if told else Unknown("it does not say what its prefix cache had")


def _reused(reply: Reply) -> tuple[bool, int]:
    """Whether an answer tells it, and how much of the request was in the cache; what is only the
    start of the chat template's does not count."""
    usage = reply.document.get("usage", {})
    found = usage.get("cache_read_input_tokens")
    asked = (found or 0) + (usage.get("input_tokens") or 0)
    return found is not None, found if found and 2 * found > asked else 0


def _scattered(service: Service, server: Server, model: str) -> Union[bool, Unknown]:
    """Whether requests of one session go to several replicas; a new beginning is in none of
    them."""
    if service.replicas < 2 or len(addresses(service.url)) > 1:
        return False
    front = Server(service.url, server.token)
    beginning = _beginning(service)
    replies = [
        front.message(model, [user("%s%d?" % (beginning, number))], session="homeport-doctor")
        for number in range(_SAME)
    ]
    for reply in replies:
        if reply.state != ANSWERS:
            return Unknown("%s is not reached from here: %s" % (service.url, reply.error))
    return not all(_reused(reply)[1] for reply in replies[1:])


def _tool(service: Service, server: Server, model: str) -> Union[str, Unknown]:
    """Why a tool is not called, "" where it is."""
    ask = {
        "url": server.url,
        "alias": model,
        "max_tokens": min(4096, service.max_output),
        "timeout": LONG_TIMEOUT,
        "token_path": service.token,
    }
    try:
        probe.tool_called(ask)
    except probe.Found as found:
        return without_secrets(str(found.args[1]))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        return Unknown("the tool could not be tried: %s" % without_secrets(str(error)))
    return ""


def addresses(url: str) -> list[str]:
    """What the host of `url` resolves to, in IPv4 or else in IPv6, as one host may have both."""
    parts = urllib.parse.urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    kinds = [one for one in found if one[0] == socket.AF_INET] or found
    return sorted({str(one[4][0]) for one in kinds})
