"""The routes of this machine as its client reaches them: each server is asked for its models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Optional, Union
from urllib.parse import urlsplit

from ..remote import explain, probe
from . import reach, reach_checks, route_checks
from .engine_log import without_secrets
from .reached import Model, Problem, Reached
from .start_up import Line, Shell, shell_of
from .table import Area, CannotTell, Context, Subject, Unknown, known
from .wanted import LLAMA_CPP, SGLANG, VLLM, Route

#: What the client says besides its token.
HEADERS = {"anthropic-version": "2023-06-01"}

#: Engines by what they say of themselves in /v1/models: vLLM 0.32 and SGLang 0.5 (ModelCard), and
#: llama.cpp's server.
OWNERS = {"vllm": VLLM, "sglang": SGLANG, "llamacpp": LLAMA_CPP}


def look(context: Context) -> Iterable[Subject[Reached]]:
    routes = context.wanted.routes
    if not routes:
        return []
    shell = shell_of(context)
    with ThreadPoolExecutor(len(routes)) as pool:
        return list(pool.map(lambda route: _subject(route, context, shell), routes))


def session_of(
    context: Context,
    route: Optional[Route] = None,
    shell: Optional[Shell] = None,
) -> explain.Session:
    """The session that the shell starts, or the use-script of `route`."""
    shell = shell or shell_of(context)
    variables = {"HOME": context.wanted.home, **shell.variables}
    folder = Path(context.wanted.directory, "routes")
    name = Path(route.file).stem if route else None
    return explain.session(
        context.directory, variables, places(context.root), folder, name, shell.told
    )


def places(root: Path) -> explain.Places:
    """Where this machine's managed settings are, below `root`."""
    found = explain.places()

    def below(path: Path) -> Path:
        return root.joinpath(*path.parts[1:])

    return explain.Places(below(found.managed), tuple(map(below, found.preferences)))


def _subject(route: Route, context: Context, shell: Shell) -> Subject[Reached]:
    parts = urlsplit(route.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.hostname or ""
    values = {
        "alias": route.name,
        "url": route.url,
        "host": host,
        "port": str(port),
        "address": reach.address(host, port),
        "file": route.file,
    }
    return Subject(route.name, _reached(route, context, shell), values)


def _reached(route: Route, context: Context, shell: Shell) -> Reached:
    session: Union[explain.Session, Unknown]
    try:
        session = session_of(context, route, shell)
    except KeyError:
        session = Unknown("%s is not there" % route.file)
    else:
        unread = session.routes[Path(route.file).stem].problem
        session = Unknown("%s %s" % (route.file, unread)) if unread else session
    proxy, headers = "", _headers(route, session)
    try:
        proxy = known(proxy_of(session, route.url, shell.hidden))
        address = (
            str(session.get(proxy)) if proxy and isinstance(session, explain.Session) else None
        )
        reply = reach.ask(route.url, "/v1/models", known(headers), route.ca, address)
    except (reach.Failed, CannotTell, OSError, ValueError) as error:
        problem = _problem(error)
        why = Unknown(_why(route, problem))
        return Reached(route, session, why, problem, ahead=why, days=why, proxy=proxy)
    wrong, models = answered(reply, known(headers))
    if proxy and route.url.startswith("http:") and reply.status in (407, 502, 504):
        wrong = Problem("proxy", "it answers %d" % reply.status)
    return Reached(
        route=route,
        session=session,
        models=Unknown(_why(route, wrong)) if wrong else models,
        problem=wrong,
        seconds=reply.seconds,
        ahead=reply.ahead,
        days=reply.days,
        proxy=proxy,
    )


def _problem(error: Exception) -> Problem:
    if isinstance(error, reach.Failed):
        return Problem(error.kind, explain.hidden(error.said), error.values)
    if isinstance(error, CannotTell):
        return Problem("withheld", str(error))
    # The text of one that nobody expects may have a secret in it.
    return Problem("withheld", "asking it ends by a %s" % type(error).__name__)


def _why(route: Route, problem: Problem) -> str:
    if problem.kind == "withheld":
        return problem.said
    if problem.kind == "proxy-unknown":
        return "its proxy, of %s, cannot be asked through" % (problem.said or "no address")
    return "%s does not list its models" % route.url


def proxy_of(
    session: Union[explain.Session, Unknown], url: str, hidden: Iterable[Line] = ()
) -> Union[str, Unknown]:
    """The variable with the proxy that requests go through, whatever their scheme (measured,
    2.1.330); "" where none is in between. Of the `hidden` lines only a shell knows the values."""
    # One on the way to a loopback address is a finding of the session's own.
    if isinstance(session, Unknown) or explain.is_loopback(url):
        return ""
    spared = next(filter(None, map(session.get, explain.NO_PROXIES)), "")
    untold = {line.name: Unknown(line.untold) for line in hidden}
    found = next((one for one in explain.PROXIES if session.get(one) or one in untold), "")
    if not found or explain.goes_past(url, spared):
        return ""
    spares = next((untold[one] for one in explain.NO_PROXIES if one in untold), None)
    return untold.get(found) or spares or found


def _headers(
    route: Route, session: Union[explain.Session, Unknown]
) -> Union[Mapping[str, str], Unknown]:
    """What the client shows to prove itself; never a key of Anthropic's."""
    more = ""
    if isinstance(session, explain.Session) and _leads_to(session, route):
        token = str(session.get("ANTHROPIC_AUTH_TOKEN"))
        more = str(session.get("ANTHROPIC_CUSTOM_HEADERS"))
    else:
        try:
            token = Path(route.token).read_text("utf-8").strip()
        except (OSError, ValueError):
            return Unknown("its token cannot be read: %s" % route.token)
    if "sk-ant-" in token + more:
        return Unknown("a key of Anthropic's would have to be shown to %s" % route.url)
    proof = {"Authorization": "Bearer %s" % token} if token else {}
    named = [line.partition(":") for line in more.splitlines() if ":" in line]
    return {**HEADERS, **proof, **{name.strip(): value.strip() for name, _, value in named}}


def _leads_to(session: explain.Session, route: Route) -> bool:
    return explain.origin(session.url) == explain.origin(route.url)


def answered(
    reply: reach.Reply, sent: Mapping[str, str]
) -> "tuple[Optional[Problem], Mapping[str, Model]]":
    """What is wrong with an answer to "which models?", if anything, and the models; nothing of what
    was `sent` to prove oneself is said."""
    values = {"status": str(reply.status)}
    said = _message(reply.body)
    for value in sent.values():
        for secret in (value, value.rpartition(" ")[2]):
            said = said.replace(secret, "…") if len(secret) > 7 else said
    said = explain.hidden(without_secrets(said))
    if reply.status in (401, 403):
        return Problem("token", said, values), {}
    if reply.status == 503:
        return Problem("loading", said, values), {}
    if reply.status in (502, 504):
        return Problem("gateway", said, values), {}
    try:
        if reply.status == 200:
            found = json.loads(reply.body)["data"]
            return None, {str(one["id"]): _model(one) for one in found}
    except (ValueError, KeyError, TypeError):
        pass
    return Problem("no-models", said, values), {}


def _model(said: "dict[str, Any]") -> Model:
    held = probe.held(said)
    return Model(held if isinstance(held, int) else None, OWNERS.get(str(said.get("owned_by")), ""))


def _message(body: bytes) -> str:
    """The server's own words, if it has some that can be shown."""
    try:
        error = json.loads(body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)[:200]
    except (ValueError, KeyError, TypeError):
        return ""


def healthy(seen: Reached) -> str:
    if seen.route.served:
        return ""
    return "%s is reachable in %.2f s" % (seen.route.name, seen.seconds)


def facts(seen: Reached) -> Mapping[str, str]:
    served = None if isinstance(seen.models, Unknown) else seen.models.get(seen.route.alias)
    return {"context": str(served.context)} if served and served.context else {}


AREA = Area("routes", look, (*reach_checks.CHECKS, *route_checks.CHECKS), healthy, facts=facts)
