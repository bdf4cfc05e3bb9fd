"""What a server of this machine says when it is asked."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from . import metrics, trials
from .asking import ANSWERS, FAILS, Reply, Server
from .limits import FIRST_REQUEST_SIMPLE
from .metrics import Load
from .table import Unknown
from .trials import Trials
from .wanted import LLAMA_CPP, MIRROR, ROUTER, SGLANG, VLLM, Service

#: Seconds between two looks at what a server counts where some wait, and how many there are.
BETWEEN, _LOOKS = 1, 3

#: The share of a cache that is too much where it stays: requests then wait for each other.
FULL = 0.9

#: Why a server was not tried, as is said of a healthy one.
AT_WORK = "not tried: it is at work"
IN_USE = (
    "not tried: that could push a conversation out of its cache (to try it all the same: --deep, "
    "over a fleet --data deep=yes)"
)


@dataclass(frozen=True)
class Answers:
    """What a server says of itself: `names` are those that it serves, `context` the tokens that it
    holds for one conversation; `loads` are looks at what it counts, `tries` requests to it, and
    `untried` why there were none."""

    names: tuple[str, ...]
    context: Optional[int] = None
    version: str = ""
    loads: tuple[Load, ...] = ()
    tries: Optional[Trials] = None
    untried: str = ""

    @property
    def load(self) -> Load:
        return self.loads[-1] if self.loads else Load()


def asked(service: Service, deep: bool) -> tuple[Union[Reply, Unknown, None], Optional[Answers]]:
    """What it says to the first question, and all else where it answers."""
    if not service.answers:
        return None, None
    token = None
    if service.token:
        try:
            token = Path(service.token).read_bytes().decode("latin-1").strip()
        except OSError as error:
            return Unknown("its token cannot be read: %s" % error), None
        if not (token.isascii() and token.isprintable()):
            return Unknown("its token has what no request can have: %s" % service.token), None
    server = Server(local_url(service), token)
    if service.engine == MIRROR:
        return _mirrors(server.ask("/"))
    reply = server.ask("/v1/models")
    if reply.state != ANSWERS:
        return reply, None
    try:
        models = list(reply.document["data"])
        names = tuple(str(one["id"]) for one in models)
    except (KeyError, TypeError):
        return Reply(FAILS, "/v1/models answers no list of models", 200), None
    if service.engine == ROUTER:
        return reply, Answers(names)
    return reply, _answers(service, server, models, names, deep)


def _mirrors(reply: Reply) -> tuple[Reply, Optional[Answers]]:
    """Who has its token is told that there is nothing at its root (templates/mirror.nginx.j2)."""
    return reply, Answers(()) if reply.status == 404 else None


def _answers(
    service: Service, server: Server, models: list[Any], names: tuple[str, ...], deep: bool
) -> Answers:
    path = {VLLM: "/version", SGLANG: "/server_info", LLAMA_CPP: "/props"}[service.engine]
    with ThreadPoolExecutor(2) as pool:
        about = pool.submit(server.ask, path)
        loads = _loads(service, server)
    said = about.result().document
    own = next(
        (one for one in models if one.get("id") == service.alias), models[0] if models else {}
    )
    held = own.get("max_model_len") or (own.get("meta") or {}).get("n_ctx")
    if service.engine == LLAMA_CPP:  # what one of its slots holds
        held = said.get("default_generation_settings", {}).get("n_ctx") or held
    model = service.alias if service.alias in names or not names else names[0]
    tries, untried = _tries(service, server, model, loads[-1] if loads else None, deep)
    return Answers(
        names=names,
        context=held,
        version=str(said.get("version") or said.get("build_info") or ""),
        loads=loads,
        tries=tries,
        untried=untried,
    )


def _loads(service: Service, server: Server) -> tuple[Load, ...]:
    """Once where nobody waits, else several times, so that a moment does not count."""
    first = _load(service, server)
    if first is None:
        return ()
    waits = first.waiting and service.engine != LLAMA_CPP  # which has one place
    if not waits and not _is_full(first):
        return (first,)
    found = [first]
    for _ in range(_LOOKS - 1):
        time.sleep(BETWEEN)
        one = _load(service, server)
        found += [one] if one else []
    return tuple(found)


def _load(service: Service, server: Server) -> Optional[Load]:
    reply = server.ask("/metrics")
    return metrics.load(service.engine, reply.text) if reply.state == ANSWERS else None


def _tries(
    service: Service, server: Server, model: str, load: Optional[Load], deep: bool
) -> tuple[Optional[Trials], str]:
    """Or why none are made: where somebody would have to wait for them. llama.cpp has one place,
    and a cache for few conversations; the others compute many requests together."""
    slots = _slots(server) if service.engine == LLAMA_CPP else []
    if load is None and slots:  # a llama-server of one's own, without --metrics
        load = Load(running=sum(bool(one.get("is_processing")) for one in slots))
    if load is None:
        why = "it does not say whether it is busy, so nothing was asked of it"
        return trials.none(why, deep), ""
    at_work = load.running if service.engine == LLAMA_CPP else 0
    if at_work or load.waiting or _is_full(load):
        return None, AT_WORK
    if service.engine == LLAMA_CPP and not deep and not _is_untouched(load, slots):
        return None, IN_USE
    made = trials.made(service, server, model, lambda: _load(service, server), deep)
    return made, "" if made else AT_WORK


def _slots(server: Server) -> list[Any]:
    found = server.ask("/slots").document
    return found if isinstance(found, list) else []


def _is_untouched(load: Load, slots: list[Any]) -> bool:
    """Whether a llama.cpp holds nobody's conversation: a second one may push the first out of what
    it keeps, and its next turn is computed anew for minutes. A client's are longer than ours."""
    held = load.asked if load.longest is None else load.longest
    if held is not None:
        return held < FIRST_REQUEST_SIMPLE
    return bool(slots) and all(one.get("id_task") == -1 for one in slots)


def _is_full(load: Load) -> bool:
    return (load.cache_use or 0) > FULL


def local_url(service: Service) -> str:
    """Where this machine itself asks it: past any proxy in front of it."""
    host = "127.0.0.1" if service.bind in ("0.0.0.0", "::", "") else service.bind  # noqa: S104
    return "http://%s:%d" % ("[%s]" % host if ":" in host else host, service.port)
