"""What can be wrong with where a session goes. All but what is left over is explain.py's to find;
here it has the words that are the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable, Union

from ..remote import explain
from .start_up import Line
from .table import (
    ANTHROPIC,
    CONTEXT,
    NAMES,
    REFUSED,
    TOOLS,
    CannotTell,
    Check,
    Unknown,
    Values,
    known,
)

#: What a route's own checks find as well, of the server that answers.
OF_ROUTES = ("tiers-elsewhere", "context-other")

_MEASURED = "measured, Claude Code 2.1.330"

#: Where a key is no more than left over: it beats the login there, and a route's script puts it
#: aside.
_WEAK = ("local", "project", "user", "shell", "start-up")

_KEY = "ANTHROPIC_API_KEY"
_OWN = "; if it is your only login, type claude, and say Yes to it"


@dataclass(frozen=True)
class Typed:
    """A session and what explain.py finds there. Of the shell's own: what start-up files export,
    the lines of them whose values only a shell can tell, whether this machine has routes, and the
    ends of the API keys that are the user's login."""

    session: explain.Session
    findings: tuple[explain.Finding, ...]
    start_up: Union[tuple[Line, ...], Unknown] = ()
    hidden: tuple[Line, ...] = ()
    routes: bool = False
    approved: tuple[str, ...] = ()


def left_key(seen: Typed) -> Iterator[Values]:
    """A key that is set where routes are in use; one that goes astray is a finding of its own."""
    if not seen.routes or any(_passes_login_on(one) for one in seen.session.routes.values()):
        return
    hidden = {line.name: line for line in seen.hidden}
    unsure = [line for line in seen.hidden if line.name != _KEY or seen.session.there]
    own_gateway = seen.session.own_way and seen.session.self_hosted
    if own_gateway:  # a key that is not Anthropic's is the gateway's
        unsure = [line for line in unsure if line.name not in explain.SECRETS]
    told = own_gateway or {"key-astray", "key-beside-token"} & {one.name for one in seen.findings}
    for source in () if told else seen.session.sources:
        value = source.get(_KEY)
        if value and source.kind in _WEAK and not value.endswith(seen.approved):
            fix = explain.Value(_KEY, value, source).remove + _OWN
            yield {"place": source.path, "fix": fix, "detail": "%s" % explain.secret(value)}
    if _KEY in hidden and not told and not unsure and not seen.approved:
        yield {"place": hidden[_KEY].place}
    for line in unsure:
        raise CannotTell(line.untold)
    known(seen.start_up)


def _passes_login_on(route: explain.Source) -> bool:
    sent = str(route.get("ANTHROPIC_CUSTOM_HEADERS") or "")
    return sent.lower().startswith("x-homeport-router:")


def _found(name: str) -> Callable[[Typed], Iterator[Values]]:
    def find(seen: Typed) -> Iterator[Values]:
        for one in seen.findings:
            if one.name == name:
                yield {"symptom": one.symptom, "fix": one.fix, "detail": one.detail}

    return find


def _row(
    name: str,
    heading: str,
    symptom: str,
    cause: str,
    fix: str,
    source: str = _MEASURED,
    warning: bool = False,
) -> Check[Typed]:
    """A kind of finding of explain.py's, which has the symptom and the fix of each case."""
    return Check(name, heading, symptom, cause, fix, source, _found(name), warning)


CHECKS: tuple[Check[Typed], ...] = (
    _row(
        "key-astray",
        ANTHROPIC,
        symptom="A real Anthropic key goes to {url}",
        cause="It is set beside a base URL, and goes along with each request",
        fix="Remove {name} from {place}; it was shown to that server: make a new one at "
        "console.anthropic.com",
    ),
    _row(
        "login-astray",
        ANTHROPIC,
        symptom="Nothing to log in with at {url}",
        cause="The client sends the token of your claude.ai login there, if you have one",
        fix="Set ANTHROPIC_AUTH_TOKEN, or start by a use-script",
    ),
    _row(
        "login-forced",
        ANTHROPIC,
        symptom="{name} is managed on this machine",
        cause="The client refuses to start with any token, key or helper for a server of ours",
        fix="Ask who manages this machine to remove {name} from {place}",
    ),
    _row(
        "url-managed",
        ANTHROPIC,
        symptom="The base URL is managed on this machine",
        cause="It beats every route, and the way back",
        fix="Ask who manages this machine to remove env.ANTHROPIC_BASE_URL from {place}",
    ),
    _row(
        "other-provider",
        ANTHROPIC,
        symptom="{name} sends the session to another company's cloud",
        cause="It beats any base URL",
        fix="Type: unset {name}; or remove it from {place}",
    ),
    _row(
        "export-beaten",
        ANTHROPIC,
        symptom="{name} of this shell does not count",
        cause='The "env" block of a settings file beats what a shell exports',
        fix="Remove env.{name} from {place}",
    ),
    _row(
        "settings-unread",
        ANTHROPIC,
        symptom="{place} is not valid JSON, or cannot be read",
        cause="What the client cannot read of a settings file does not count",
        fix="Mend it; python3 -m json.tool {place} shows the place",
    ),
    _row(
        "token-to-anthropic",
        ANTHROPIC,
        symptom="A token that is not Anthropic's goes to Anthropic",
        cause="It takes the place of your own login",
        fix="Type: unset ANTHROPIC_AUTH_TOKEN; or remove it from {place}",
    ),
    _row(
        "model-at-anthropic",
        ANTHROPIC,
        symptom="{alias}, a self-hosted model, is asked of Anthropic",
        cause="It is the default that /model kept, or is set, and no base URL is",
        fix="Remove model from {place}, or pick another model: claude --model opus",
    ),
    _row(
        "model-restricted",
        ANTHROPIC,
        symptom="availableModels lacks {alias}",
        cause="The client runs its default in place of a model that it may not have",
        fix="Add {alias} to availableModels in {place}",
    ),
    _row(
        "header-secret",
        ANTHROPIC,
        symptom="ANTHROPIC_CUSTOM_HEADERS carries {name}",
        cause="Headers of the user's go to a self-hosted server with each request",
        fix="Remove ANTHROPIC_CUSTOM_HEADERS from {place}",
    ),
    _row(
        "unknown-route",
        ANTHROPIC,
        symptom="HOMEPORT_ROUTE is {alias}, which is no route of this machine",
        cause="The route was removed after this shell was sent there",
        fix="Type: source use-anthropic.sh",
    ),
    _row(
        "url-path",
        NAMES,
        symptom="The base URL has a path",
        cause="The client adds /v1/messages itself, and so asks for /v1/v1/messages",
        fix="Type: export ANTHROPIC_BASE_URL={url}",
    ),
    _row(
        "no-url",
        REFUSED,
        symptom="{url} is not a URL",
        cause="It lacks http:// or https:// and a host",
        fix="Type: export ANTHROPIC_BASE_URL=http://…",
    ),
    _row(
        "proxy-to-loopback",
        REFUSED,
        symptom="Requests to {url} go through the proxy of {name}",
        cause="A proxy cannot reach this machine's own loopback",
        fix='Type: export NO_PROXY="${{NO_PROXY:+$NO_PROXY,}}127.0.0.1" '
        'no_proxy="${{no_proxy:+$no_proxy,}}127.0.0.1"',
    ),
    _row(
        "model-elsewhere",
        NAMES,
        symptom="{url} does not serve {alias}",
        cause="The session asks for a model that none of the routes there has",
        fix="Set ANTHROPIC_MODEL to {served}",
        source="the routes' settings files",
    ),
    _row(
        "context-unset",
        CONTEXT,
        symptom="CLAUDE_CODE_MAX_CONTEXT_TOKENS is not set",
        cause="The client assumes 1,000,000 tokens, and the server refuses long conversations",
        fix="Set it to what the server holds",
    ),
    _row(
        "context-other",
        CONTEXT,
        symptom="CLAUDE_CODE_MAX_CONTEXT_TOKENS is {window}",
        cause="The server of this model holds another number of tokens",
        fix="Type: export CLAUDE_CODE_MAX_CONTEXT_TOKENS={held}",
        source="the routes' settings files",
    ),
    _row(
        "context-1m",
        CONTEXT,
        symptom="{name} is {alias}[1m]",
        cause="[1m] makes the client assume 1,000,000 tokens, whatever "
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS says",
        fix="Type: export {name}={alias}",
    ),
    # Warnings
    Check(
        "key-left-over",
        ANTHROPIC,
        symptom="An ANTHROPIC_API_KEY is set by {place}",
        cause="A leftover ANTHROPIC_API_KEY: it takes the place of your own login, and goes to any "
        "server that is not entered by a use-script. It matters unless the key is your login",
        fix="Remove ANTHROPIC_API_KEY from {place}, and open a new shell" + _OWN,
        source=_MEASURED,
        find=left_key,
        warning=True,
    ),
    _row(
        "key-beside-token",
        ANTHROPIC,
        symptom="ANTHROPIC_API_KEY beside a token",
        cause="The client sends both, and asks about the key first, with No as the default",
        fix="Type: unset ANTHROPIC_API_KEY",
        warning=True,
    ),
    _row(
        "helper-beside-token",
        ANTHROPIC,
        symptom="apiKeyHelper beside a token",
        cause="What the helper prints goes to the server as x-api-key as well",
        fix="Remove apiKeyHelper from {place}",
        warning=True,
    ),
    _row(
        "header-to-anthropic",
        ANTHROPIC,
        symptom="ANTHROPIC_CUSTOM_HEADERS carries {name}",
        cause="Headers of the user's go to Anthropic with each request",
        fix="Remove ANTHROPIC_CUSTOM_HEADERS from {place}",
        warning=True,
    ),
    _row(
        "model-unlisted",
        ANTHROPIC,
        symptom="availableModels lacks {alias}",
        cause="The client runs its default, which is the same model here",
        fix="Add {alias} to availableModels in {place}",
        warning=True,
    ),
    _row(
        "routes-mixed",
        ANTHROPIC,
        symptom="This shell is on {alias}, and has another {name}",
        cause="A claude that is typed takes the route's settings; what a child shell or an editor"
        " starts takes the variable",
        fix="Type: source use-anthropic.sh, and the use-script of the route that you want",
        warning=True,
    ),
    _row(
        "left-over",
        ANTHROPIC,
        symptom="{name} of a route is set, and the session goes to Anthropic",
        cause="A route's variable was not taken away on the way back",
        fix="Type: source use-anthropic.sh",
        warning=True,
    ),
    _row(
        "no-route",
        ANTHROPIC,
        symptom="{url} is no route of homeport's",
        cause="Nothing is known of the models and contexts there",
        fix="Type: unset ANTHROPIC_BASE_URL, and start by a use-script",
        source="the routes' settings files",
        warning=True,
    ),
    _row(
        "tiers-elsewhere",
        NAMES,
        symptom="Background calls ask {url} for models that it does not serve",
        cause="A tier is unset, or has another server's model",
        fix="Set each to {served}, or start by a use-script",
        warning=True,
    ),
    _row(
        "auto-mode",
        TOOLS,
        symptom="An interactive session starts in auto mode",
        cause="It asks a classifier about each call, and a self-hosted model's answer is unusable",
        fix='Set "disableAutoMode": "disable" in ~/.claude/settings.json, or start by a use-script',
        warning=True,
    ),
    _row(
        "compaction-window",
        CONTEXT,
        symptom="CLAUDE_CODE_AUTO_COMPACT_WINDOW is {window}",
        cause="It is larger than the context",
        fix="Type: unset CLAUDE_CODE_AUTO_COMPACT_WINDOW",
        warning=True,
    ),
    _row(
        "small-fast-model",
        NAMES,
        symptom="ANTHROPIC_SMALL_FAST_MODEL is set",
        cause="The client takes ANTHROPIC_DEFAULT_HAIKU_MODEL for its haiku, not this one",
        fix="Type: unset ANTHROPIC_SMALL_FAST_MODEL",
        warning=True,
    ),
    _row(
        "typo",
        ANTHROPIC,
        symptom="{name} looks like a slip of the pen",
        cause="The client knows no such variable",
        fix="Call it by the name that is meant",
        source="names of the client's settings schema, August 2026",
        warning=True,
    ),
)
