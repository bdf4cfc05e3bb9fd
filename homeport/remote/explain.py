"""Say where a `claude` typed here goes, which source sets that, and what to change.

usage: homeport-explain [--route ALIAS] [--json] [DIRECTORY]

DIRECTORY is where `claude` would be typed; here, if none is given. With --route the session is the
one that the route's use-script starts, else the one of this shell. Changes nothing and asks no
server. The status is 0 without findings, 1 with some, 2 where the arguments cannot be used.

What the client does was measured with Claude Code 2.1.330, unless a comment says otherwise.
"""

from __future__ import annotations

import argparse
import difflib
import ipaddress
import json
import os
import plistlib
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional
from urllib.parse import SplitResult, urlsplit

ROUTES = Path(__file__).resolve().parent.parent / "routes"
ANTHROPIC = "https://api.anthropic.com"

TIERS = {tier: "ANTHROPIC_DEFAULT_%s_MODEL" % tier.upper() for tier in ("opus", "sonnet", "haiku")}
TIERS["fable"] = "ANTHROPIC_DEFAULT_FABLE_MODEL"
#: Words that the client takes for a tier's model.
WORDS = {**{tier: tier for tier in TIERS}, "best": "opus", "opusplan": "sonnet"}
MODELS = ("ANTHROPIC_MODEL", *TIERS.values(), "CLAUDE_CODE_SUBAGENT_MODEL")

#: Each sends the session to another company's cloud, whatever the base URL is.
PROVIDERS = {
    "CLAUDE_CODE_USE_BEDROCK": "Amazon Bedrock",
    "CLAUDE_CODE_USE_MANTLE": "Amazon Bedrock (Mantle)",
    "CLAUDE_CODE_USE_ANTHROPIC_AWS": "Claude Platform on AWS",
    "CLAUDE_CODE_USE_VERTEX": "Google Vertex AI",
    "CLAUDE_CODE_USE_FOUNDRY": "Microsoft Foundry",
}
SECRETS = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY")
#: Makes [1m] at the end of a name count for nothing.
NO_MILLION = "CLAUDE_CODE_DISABLE_1M_CONTEXT"
PROXIES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
NO_PROXIES = ("no_proxy", "NO_PROXY")  # the first that is not empty counts

VARIABLES = (
    "ANTHROPIC_BASE_URL",
    *SECRETS,
    *MODELS,
    "ANTHROPIC_SMALL_FAST_MODEL",
    "ANTHROPIC_CUSTOM_MODEL_OPTION",
    "ANTHROPIC_CUSTOM_HEADERS",
    "CLAUDE_CODE_MAX_CONTEXT_TOKENS",
    "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
    "CLAUDE_CODE_AUTO_COMPACT_WINDOW",
    "CLAUDE_CODE_DISABLE_1M_CONTEXT",
    "CLAUDE_CODE_ATTRIBUTION_HEADER",
    "CLAUDE_CODE_EFFORT_LEVEL",
    "CLAUDE_CODE_MAX_RETRIES",
    "API_TIMEOUT_MS",
    "CLAUDE_STREAM_IDLE_TIMEOUT_MS",
    "NODE_EXTRA_CA_CERTS",
    "CLAUDE_CODE_SIMPLE",
    *PROVIDERS,
    "CLAUDE_CONFIG_DIR",
    *PROXIES,
    *NO_PROXIES,
)
#: What only a route sets, besides ANTHROPIC_MODEL and what leads there.
LEFT_OVER = (
    *TIERS.values(),
    "CLAUDE_CODE_SUBAGENT_MODEL",
    "CLAUDE_CODE_MAX_CONTEXT_TOKENS",
)
#: The settings beside "env" that matter here, and the type that each has to have.
KEYS: dict[str, Any] = {
    "model": str,
    "availableModels": list,
    "enforceAvailableModels": bool,
    "modelOverrides": dict,
    "apiKeyHelper": str,
    "forceLoginMethod": str,
    "forceLoginOrgUUID": (str, list),
    "disableAutoMode": str,
    "modelPicker": dict,
    "permissions.defaultMode": str,
}


#: The apiKeyHelper of a policy of homeport's, which asks for the route's own token.
POLICY = re.compile(r"cat [^|;&]*routes/[^/]+\.token'?$")


@dataclass(frozen=True)
class Places:
    """Where a machine's managed settings are: a folder, and files of macOS's device management."""

    managed: Path
    preferences: tuple[Path, ...] = ()


def places() -> Places:
    if sys.platform != "darwin":
        return Places(Path("/etc/claude-code"))
    support, name = Path("/Library/Application Support"), "com.anthropic.claudecode.plist"
    preferences = Path("/Library/Managed Preferences")
    user = os.environ.get("USER", "")
    return Places(support / "ClaudeCode", (preferences / user / name, preferences / name))


@dataclass(frozen=True)
class Source:
    """Settings from one place; `kind` is managed, --settings, local, project, user, shell or
    start-up (a line of a file that shells read, where the shell itself cannot be asked)."""

    kind: str
    path: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    def get(self, name: str) -> Any:
        """A variable, or one of KEYS; None where this source does not set it."""
        if name not in KEYS:
            value = self.settings.get("env", {}).get(name, self)
            return None if value is self else as_text(value)
        folder, _, key = name.rpartition(".")
        return (self.settings.get(folder, {}) if folder else self.settings).get(key)


@dataclass(frozen=True)
class Value:
    name: str
    value: Any
    source: Source
    beaten: tuple[tuple[Source, Any], ...] = ()

    @property
    def remove(self) -> str:
        """How to take it away from where it is set."""
        if self.source.kind == "shell":
            return "Type: unset %s" % self.name
        if self.source.kind == "start-up":
            return "Remove %s from %s, and open a new shell" % (self.name, self.source.path)
        key = self.name if self.name in KEYS else "env.%s" % self.name
        if self.source.kind == "managed":
            return "Ask who manages this machine to remove %s from %s" % (key, self.source.path)
        if self.source.kind == "--settings":
            return "%s is the route's own: run the deploy again" % self.source.path
        return "Remove %s from %s" % (key, self.source.path)


@dataclass(frozen=True)
class Finding:
    """`name` is what a program knows its kind by; `severity` is error (the session fails, goes
    astray or gives a secret away) or warning. `cause` is the same for all of a kind, `detail` is
    what this one has of its own."""

    name: str
    severity: str
    symptom: str
    cause: str
    fix: str
    detail: str = ""


@dataclass(frozen=True)
class Session:
    """What one `claude` would be: its `sources`, the strongest first, and the routes there are."""

    sources: list[Source]
    routes: dict[str, Source]
    route: Optional[str] = None

    def find(self, name: str) -> Optional[Value]:
        """The value that wins. An empty one does, too: it removes what weaker sources say."""
        found = [(one, one.get(name)) for one in self.sources]
        found = [(source, value) for source, value in found if value is not None]
        if not found:
            return None
        (source, value), *beaten = found
        if name == "availableModels":
            # Lists add up, but for managed ones, beside which the others do not count.
            same = [v for s, v in found if (s.kind == "managed") == (source.kind == "managed")]
            value = list(dict.fromkeys(str(entry) for entries in same for entry in entries))
        return Value(name, value, source, tuple(beaten))

    def get(self, name: str) -> Any:
        found = self.find(name)
        return found.value if found else ""

    @property
    def provider(self) -> Optional[Value]:
        values = [found for found in map(self.find, PROVIDERS) if found]
        return next((one for one in values if is_true(one.value)), None)

    @property
    def url(self) -> str:
        """Where it goes, as scheme://host:port and a path if there is one."""
        return str(self.get("ANTHROPIC_BASE_URL")).strip().rstrip("/") or ANTHROPIC

    @property
    def self_hosted(self) -> bool:
        host = host_of(self.url)
        return not self.provider and not (host + "/").endswith("anthropic.com/")

    @property
    def there(self) -> list[Source]:
        """The routes to this base URL's server."""
        return [one for one in self.routes.values() if origin(url_of(one)) == origin(self.url)]

    @property
    def own_way(self) -> bool:
        """Whether the user goes somewhere by intent that has nothing to do with a route: to
        Anthropic, to another company's cloud or gateway."""
        if self.route or self.there:
            return False
        names = ("ANTHROPIC_AUTH_TOKEN", *MODELS)
        ours = {str(one.get(name)) for one in self.routes.values() for name in names}
        mine = {self.wanted, *(bare(str(self.get(name))) for name in names)}
        return not (mine - {""}) & ours

    @property
    def served(self) -> list[str]:
        """The models of the routes there; a router's session can pick from several."""
        found = [str(one.get("ANTHROPIC_MODEL")) for one in self.there]
        for one in self.there:
            found += rows_of(one.get("modelPicker"))
        return list(dict.fromkeys(found))

    @property
    def passes_login_on(self) -> bool:
        """Whether a router is there that hands the user's own login to Anthropic alone."""
        sent = str(self.get("ANTHROPIC_CUSTOM_HEADERS"))
        return bool(self.there) and sent.lower().startswith("x-homeport-router:")

    @property
    def restricted(self) -> bool:
        """Whether availableModels keeps the client from the model that it is told to run."""
        allowed, wanted = self.find("availableModels"), self.wanted
        if not allowed or not wanted:
            return False
        names = [name.lower() for name in (wanted, self._meant(wanted) or wanted)]
        entries = [str(entry).lower() for entry in allowed.value]
        return not any((name + "-").startswith(e + "-") for e in entries for name in names)

    @property
    def wanted(self) -> str:
        # ANTHROPIC_MODEL, even of the shell, beats a managed "model".
        return bare(str(self.get("ANTHROPIC_MODEL") or self.get("model")).strip())

    @property
    def model(self) -> Optional[str]:
        """The model of the main conversation; None: one of Anthropic's, which the client knows."""
        if self.restricted or not self.wanted:
            allowed = self.get("availableModels")
            if allowed and self.get("enforceAvailableModels"):
                return self._meant(str(allowed[0]))
            return self.get(TIERS["opus"]) or None
        name = self._meant(self.wanted)
        overrides = (self.get("modelOverrides") or {}) if name and is_anthropics(name) else {}
        return overrides.get(name, name)

    def _meant(self, name: str) -> Optional[str]:
        tier = WORDS.get(name.lower())
        return (self.get(TIERS[tier]) or None) if tier else name

    @property
    def goes_to(self) -> str:
        if self.provider:
            return PROVIDERS[self.provider.name]
        if not self.self_hosted:
            own = not any(map(self.get, (*SECRETS, "apiKeyHelper")))
            how = "with your own login" if own else "with the key or token below"
            return "Anthropic (%s), %s" % (host_of(self.url), how)
        return "%s as %s" % (hidden(self.url), self.model or "a model of Anthropic's")


def is_true(value: Any) -> bool:
    return str(value).strip().lower() in ("1", "true", "yes", "on")


def is_anthropics(model: str) -> bool:
    """Whether it is an id of Anthropic's; our own claude-fable5 is not."""
    return bool(re.match(r"claude-(\d|instant|(opus|sonnet|haiku|fable|mythos)-\d)", model))


def bare(model: str) -> str:
    return model[: -len("[1m]")] if model.endswith("[1m]") else model


def as_text(value: Any) -> str:
    """A value of an "env" block as the client exports it: JavaScript's String()."""
    return value if isinstance(value, str) else json.dumps(value)


def url_of(route: Source) -> str:
    return str(route.get("ANTHROPIC_BASE_URL"))


def parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # such as http://[
        return urlsplit("")


def host_of(url: str) -> str:
    return parts(url).hostname or ""


def origin(url: str) -> tuple[str, str]:
    return parts(url).scheme.lower(), parts(url).netloc.rpartition("@")[2].lower()


def is_loopback(url: str) -> bool:
    host = host_of(url)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# Reading the sources


def read(kind: str, path: Path) -> Optional[Source]:
    """The settings in a file; None where there is none."""
    name = str(path)
    try:
        if path.suffix == ".plist":
            document = plistlib.loads(path.read_bytes())
        else:
            text = path.read_text("utf-8-sig")  # the client takes a byte order mark as well
            document = json.loads(text) if text.strip() else {}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return Source(kind, name, problem="cannot be read: %s" % error.strerror)
    except json.JSONDecodeError as error:
        where = "line %d, column %d" % (error.lineno, error.colno)
        return Source(kind, name, problem="is not valid JSON: %s at %s" % (error.msg, where))
    except (ValueError, RecursionError, plistlib.InvalidFileException) as error:
        return Source(kind, name, problem="is not valid: %s" % error)
    if not isinstance(document, dict):
        return Source(kind, name, problem="is not a JSON object")
    return checked(Source(kind, name, document))


def checked(source: Source) -> Source:
    """Of a managed file the client leaves out the keys of a wrong type, of others everything."""
    folders = [key for key in ("env", "permissions") if key in source.settings]
    wrong = [key for key in folders if not isinstance(source.settings[key], dict)]
    for name, kind in KEYS.items():
        folder = name.rpartition(".")[0]
        value = None if folder in wrong else source.get(name)
        if value is not None and not isinstance(value, kind):
            wrong.append(folder or name)
    if not wrong:
        return source
    good = {key: value for key, value in source.settings.items() if key not in wrong}
    settings = good if source.kind == "managed" else {}
    return Source(source.kind, source.path, settings, "has a wrong type at %s" % ", ".join(wrong))


def managed(where: Places) -> list[Source]:
    """The strongest first: of files, the last drop-in (names with a dot in front do not count).

    How preferences and files go together is not measured.
    """
    folder = where.managed / "managed-settings.d"
    files: list[Path] = []
    closed: list[Source] = []
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".json")]
        files = [folder / name for name in sorted(names, reverse=True) if name[0] != "."]
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        closed = [Source("managed", str(folder), problem="cannot be read: %s" % error.strerror)]
    paths = [*where.preferences, *files, where.managed / "managed-settings.json"]
    return [*closed, *(source for source in (read("managed", path) for path in paths) if source)]


def of_user(directory: Path, shell: Mapping[str, str]) -> list[Source]:
    """The files that are read for a session in `directory`, the strongest first.

    The local ones are those of the git repository's root, if it is not the home, and of
    `directory`; the project's is that of `directory` alone. An interactive session takes their
    variables once the folder is trusted, `claude -p` at once.
    """
    home = Path(shell.get("HOME") or Path.home())
    above = (directory, *directory.parents)
    root = next((folder for folder in above if (folder / ".git").exists()), directory)
    if root == home.resolve():
        root = directory
    # Relative to the directory, also where it is empty or starts with "~".
    config = directory / shell.get("CLAUDE_CONFIG_DIR", home / ".claude")
    named = {
        root / ".claude" / "settings.local.json": "local",
        directory / ".claude" / "settings.local.json": "local",
        directory / ".claude" / "settings.json": "project",
        config / "settings.json": "user",
    }
    return [source for source in (read(kind, path) for path, kind in named.items()) if source]


def session(
    directory: Path,
    shell: Mapping[str, str],
    where: Places,
    routes: Path = ROUTES,
    route: Optional[str] = None,
    start_up: Sequence[Source] = (),
) -> Session:
    """The session in `directory` that `shell` starts, or the use-script of `route`; `start_up` are
    lines that set what `shell` does not say, the strongest first."""
    known = {path.stem: read("--settings", path) for path in sorted(routes.glob("*.json"))}
    there = {alias: source for alias, source in known.items() if source}
    active = shell.get("HOMEPORT_ROUTE")
    chosen = route or active
    if route:
        shell = entered(shell, there[route], there.get(active or ""))
        shell["HOMEPORT_ROUTE"] = route
    passed = [there[chosen]] if chosen in there else []
    variables = Source("shell", "shell", {"env": dict(shell)})
    sources = [*managed(where), *passed, *of_user(directory, shell), variables, *start_up]
    return Session(sources, there, chosen)


def entered(shell: Mapping[str, str], new: Source, old: Optional[Source]) -> dict[str, str]:
    """The variables as the use-script of `new` exports them, in a shell that is on `old`."""
    left = set(old.settings.get("env", {})) if old else set()
    result = {name: value for name, value in shell.items() if name not in left}
    result.update({name: as_text(value) for name, value in new.settings.get("env", {}).items()})
    if is_loopback(url_of(new)):
        host = host_of(url_of(new))
        for name in NO_PROXIES:
            result[name] = ",".join(filter(None, [result.get(name), host]))
    return result


# What is wrong


def files_that_count_not(s: Session) -> Iterator[Finding]:
    for source in {one.path: one for one in (*s.sources, *s.routes.values())}.values():
        if not source.problem:
            continue
        cause = "What the client cannot read of a settings file does not count"
        fix = "Mend it; python3 -m json.tool %s shows the place" % shlex.quote(source.path)
        if source.kind == "--settings":
            fix = "It is a file of homeport's: run the deploy again"
        elif source.problem.startswith("cannot be read"):
            fix = "See who may read it: ls -l %s" % shlex.quote(source.path)
        yield Finding(
            "settings-unread", "error", "%s %s" % (source.path, source.problem), cause, fix
        )


def unknown_route(s: Session) -> Iterator[Finding]:
    if s.route and s.route not in s.routes:
        symptom = "HOMEPORT_ROUTE is %s, which is no route of this machine" % s.route
        cause = "The route was removed after this shell was sent there"
        yield Finding("unknown-route", "error", symptom, cause, "Type: source use-anthropic.sh")


def other_provider(s: Session) -> Iterator[Finding]:
    if s.provider:
        symptom = "%s sends the session to %s" % (s.provider.name, s.goes_to)
        yield Finding(
            "other-provider", "error", symptom, "It beats any base URL", s.provider.remove
        )


def secret_gets_away(s: Session) -> Iterator[Finding]:
    if not s.self_hosted or s.passes_login_on:
        return
    for found in filter(None, map(s.find, SECRETS)):
        if str(found.value).startswith("sk-ant-"):
            symptom = "A real Anthropic key goes to %s" % hidden(s.url)
            cause = "It is set beside a base URL, and goes along with each request"
            yield Finding("key-astray", "error", symptom, cause, found.remove)
    shown = any(str(s.get(name)).strip() for name in (*SECRETS, "apiKeyHelper"))
    # A gateway of the user's own may take its key from a header.
    if not shown and not (s.own_way and secret_headers(s)):
        symptom = "Nothing to log in with at %s" % hidden(s.url)
        cause = "The client sends the token of your claude.ai login there, if you have one"
        fix = "Set ANTHROPIC_AUTH_TOKEN, or start by a use-script"
        yield Finding("login-astray", "error", symptom, cause, fix)


def two_credentials(s: Session) -> Iterator[Finding]:
    token, key, helper = map(s.find, (*SECRETS, "apiKeyHelper"))
    if token and not token.value:
        token = None
    if key and token and key.value and not (s.self_hosted and key.value.startswith("sk-ant-")):
        cause = "The client sends both, and asks about the key first, with No as the default"
        symptom = "ANTHROPIC_API_KEY beside a token"
        yield Finding("key-beside-token", "warning", symptom, cause, key.remove)
    policy = helper and POLICY.match(str(helper.value))
    if helper and helper.value and (token or s.self_hosted) and not policy:
        cause = "What the helper prints goes to the server as x-api-key as well"
        symptom = "apiKeyHelper beside a token"
        yield Finding("helper-beside-token", "warning", symptom, cause, helper.remove)
    if token and not s.self_hosted and not s.provider and not token.value.startswith("sk-ant-"):
        symptom = "A token that is not Anthropic's goes to Anthropic"
        cause = "It takes the place of your own login"
        yield Finding("token-to-anthropic", "error", symptom, cause, token.remove)


def managed_login(s: Session) -> Iterator[Finding]:
    # In other files these keys change nothing.
    for name in ("forceLoginMethod", "forceLoginOrgUUID"):
        found = s.find(name)
        if found and found.source.kind == "managed" and (s.self_hosted or s.routes):
            symptom = "%s is managed on this machine" % name
            cause = "The client refuses to start with any token, key or helper for a server of ours"
            yield Finding("login-forced", "error", symptom, cause, found.remove)


def managed_url(s: Session) -> Iterator[Finding]:
    found = s.find("ANTHROPIC_BASE_URL")
    chosen = s.routes.get(s.route or "")
    fits = s.there and (chosen is None or chosen in s.there)
    if s.routes and found and found.source.kind == "managed" and not fits:
        symptom = "The base URL is managed on this machine"
        cause = "It beats every route, and the way back"
        yield Finding("url-managed", "error", symptom, cause, found.remove)


def beaten_exports(s: Session) -> Iterator[Finding]:
    if s.route in s.routes:
        return
    for name in ("ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", *MODELS):
        found = s.find(name)
        if found and found.source.kind in ("local", "project", "user"):
            shell = ("shell", "start-up")
            own = [v for one, v in found.beaten if one.kind in shell and v != found.value]
            if own:
                symptom = "%s of this shell does not count" % name
                cause = 'The "env" block of a settings file beats what a shell exports'
                yield Finding("export-beaten", "error", symptom, cause, found.remove)


def mixed_routes(s: Session) -> Iterator[Finding]:
    route = str(s.get("HOMEPORT_ROUTE"))
    chosen = s.routes.get(route)
    shells = [one for one in s.sources if one.kind in ("shell", "start-up")]
    for name in ("ANTHROPIC_BASE_URL", *MODELS) if chosen else ():
        found = next((one for one in shells if one.get(name)), None)
        right = chosen and chosen.get(name)
        if found and right and found.get(name) != right:
            symptom = "This shell is on %s, and has another %s" % (route, name)
            cause = (
                "A claude that is typed takes the route's settings; what a child shell or an editor"
                " starts takes the variable"
            )
            fix = "Type: source use-anthropic.sh, and the use-script of the route that you want"
            yield Finding("routes-mixed", "warning", symptom, cause, fix)
            return


def left_over(s: Session) -> Iterator[Finding]:
    """What a route set, in a session that goes to Anthropic."""
    if s.self_hosted or s.provider or s.get("HOMEPORT_ROUTE") in s.routes:
        return
    for found in filter(None, map(s.find, LEFT_OVER)):
        ours = {one.get(found.name) for one in s.routes.values()}
        if found.value and found.value in ours and found.source.kind != "managed":
            symptom = "%s of a route is set, and the session goes to Anthropic" % found.name
            cause = "A route's variable was not taken away on the way back"
            shell = "Type: source use-anthropic.sh"
            fix = shell if found.source.kind == "shell" else found.remove
            yield Finding("left-over", "warning", symptom, cause, fix)


def base_url(s: Session) -> Iterator[Finding]:
    found = s.find("ANTHROPIC_BASE_URL")
    if not found or not found.value or s.provider:
        return
    scheme, _ = origin(s.url)
    path = parts(s.url).path
    if scheme not in ("http", "https") or not host_of(s.url):
        cause = "It lacks http:// or https:// and a host"
        symptom = "%s is not a URL" % hidden(s.url)
        yield Finding("no-url", "error", symptom, cause, change(found, "http://…"))
    # A server that is not ours may have its API below a path.
    elif path and (s.there or path.endswith("/v1")):
        cause = "The client adds /v1/messages itself, and so asks for /v1/v1/messages"
        good = "%s://%s" % origin(s.url) + ("" if s.there else path[: -len("/v1")])
        symptom = "The base URL has a path"
        yield Finding("url-path", "error", symptom, cause, change(found, good))
    if s.self_hosted and not s.there:
        symptom = "%s is no route of homeport's" % hidden(s.url)
        cause = "Nothing is known of the models and contexts there"
        known = ", ".join("%s (%s)" % (alias, url_of(one)) for alias, one in s.routes.items())
        detail = "routes: %s" % (known or "none")
        yield Finding("no-route", "warning", symptom, cause, found.remove, detail)


def model(s: Session) -> Iterator[Finding]:
    allowed = s.find("availableModels")
    if s.restricted and allowed:
        symptom = "availableModels lacks %s" % s.wanted
        fix = "Add %s to availableModels in %s" % (s.wanted, allowed.source.path)
        if s.model == s.wanted:
            cause = "The client runs its default, which is the same model here"
            yield Finding("model-unlisted", "warning", symptom, cause, fix)
        else:
            cause = "The client runs its default in place of a model that it may not have"
            detail = "here %s" % (s.model or "a model of Anthropic's")
            yield Finding("model-restricted", "error", symptom, cause, fix, detail)
    found = s.find("ANTHROPIC_MODEL") if s.get("ANTHROPIC_MODEL") else s.find("model")
    ours = [str(one.get("ANTHROPIC_MODEL")) for one in s.routes.values()]
    if not s.self_hosted:
        if found and not s.provider and s.wanted in ours:
            symptom = "%s, a self-hosted model, is asked of Anthropic" % s.wanted
            fix = found.remove + ", or pick another model: claude --model opus"
            cause = "It is the default that /model kept, or is set, and no base URL is"
            yield Finding("model-at-anthropic", "error", symptom, cause, fix)
    elif s.there and s.model not in s.served:
        symptom = "%s does not serve %s" % (hidden(s.url), s.model or "Anthropic's models")
        cause = "The session asks for a model that none of the routes there has"
        fix = "It serves %s" % ", ".join(s.served)
        fix = change(found, s.served[0]) if found else fix
        yield Finding("model-elsewhere", "error", symptom, cause, fix)


def tiers(s: Session) -> Iterator[Finding]:
    if not s.self_hosted:
        return
    bad = [
        name
        for name in MODELS[1:]
        if s.get(name) != "inherit"  # the model of the conversation
        and (
            not s.get(name)
            or is_anthropics(s.get(name))
            or (s.there and bare(s.get(name)) not in s.served)
        )
    ]
    if bad:
        symptom = "Background calls ask %s for models that it does not serve" % hidden(s.url)
        cause = "A tier is unset, or has another server's model"
        name = s.served[0] if s.served else s.model or "the server's model"
        fix = "Set each to %s, or start by a use-script" % name
        yield Finding("tiers-elsewhere", "warning", symptom, cause, fix, ", ".join(bad))


def context(s: Session) -> Iterator[Finding]:
    if not s.self_hosted:
        return
    name = "CLAUDE_CODE_MAX_CONTEXT_TOKENS"
    told = s.find(name)
    right = {str(one.get("ANTHROPIC_MODEL")): one.get(name) for one in s.there}.get(s.model or "")
    if not told or not told.value:
        fix = "Set it to what the server holds" if right is None else "Set it to %s" % right
        cause = "The client assumes 1,000,000 tokens, and the server refuses long conversations"
        yield Finding("context-unset", "error", "%s is not set" % name, cause, fix)
    elif right is not None and told.value != right:
        cause = "The server of this model holds another number of tokens"
        symptom = "%s is %s" % (name, told.value)
        yield Finding("context-other", "error", symptom, cause, change(told, right))
    others = MODELS if s.get("ANTHROPIC_MODEL") else (*MODELS, "model")
    for found in filter(None, map(s.find, others)):
        if str(found.value).endswith("[1m]") and not is_true(s.get(NO_MILLION)):
            symptom = "%s is %s" % (found.name, found.value)
            cause = "[1m] makes the client assume 1,000,000 tokens, whatever %s says" % name
            fix = change(found, bare(found.value))
            yield Finding("context-1m", "error", symptom, cause, fix)
    window, limit = s.find("CLAUDE_CODE_AUTO_COMPACT_WINDOW"), right or (told and told.value) or ""
    if window and window.value.isdecimal() and limit.isdecimal() and int(window.value) > int(limit):
        symptom = "%s is %s" % (window.name, window.value)
        cause, detail = "It is larger than the context", "that is %s tokens" % limit
        yield Finding("compaction-window", "warning", symptom, cause, window.remove, detail)


def secret_headers(s: Session) -> list[str]:
    """The names of the user's headers that prove something."""
    names = re.findall(r"(?m)^\s*([\w-]+)\s*:", str(s.get("ANTHROPIC_CUSTOM_HEADERS")))
    return [n for n in names if re.search("auth|key|token|cookie|secret|password", n, re.I)]


def headers(s: Session) -> Iterator[Finding]:
    found, secret = s.find("ANTHROPIC_CUSTOM_HEADERS"), secret_headers(s)
    if found and secret:
        symptom = "ANTHROPIC_CUSTOM_HEADERS carries %s" % ", ".join(secret)
        if s.self_hosted:
            cause = "Headers of the user's go to a self-hosted server with each request"
            yield Finding("header-secret", "error", symptom, cause, found.remove)
        else:
            cause = "Headers of the user's go to Anthropic with each request"
            yield Finding("header-to-anthropic", "warning", symptom, cause, found.remove)


def proxy(s: Session) -> Iterator[Finding]:
    found = next((found for found in map(s.find, PROXIES) if found and found.value), None)
    spared = next(filter(None, map(s.get, NO_PROXIES)), "")
    if found and s.self_hosted and is_loopback(s.url) and not goes_past(s.url, spared):
        host = host_of(s.url)
        symptom = "Requests to %s go through the proxy of %s" % (hidden(s.url), found.name)
        cause = "A proxy cannot reach this machine's own loopback"
        fix = (
            'Type: export NO_PROXY="${NO_PROXY:+$NO_PROXY,}%s" no_proxy="${no_proxy:+$no_proxy,}%s"'
        )
        yield Finding("proxy-to-loopback", "error", symptom, cause, fix % (host, host))


def goes_past(url: str, spared: str) -> bool:
    """Whether NO_PROXY names the host: itself, with the port, by a network, by its end, or all."""
    host = host_of(url)
    for entry in re.split(r"[,\s]+", spared.strip()):
        if entry in ("*", host, parts(url).netloc):
            return True
        if entry and host.endswith("." + entry.lstrip(".")):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False


def auto_mode(s: Session) -> Iterator[Finding]:
    mode = s.get("permissions.defaultMode")
    if s.self_hosted and s.get("disableAutoMode") != "disable" and mode in ("", "auto"):
        symptom = "An interactive session starts in auto mode"
        cause = "It asks a classifier about each call, and a self-hosted model's answer is unusable"
        fix = (
            'Set "disableAutoMode": "disable" in ~/.claude/settings.json, or start by a use-script'
        )
        yield Finding("auto-mode", "warning", symptom, cause, fix)


def small_model(s: Session) -> Iterator[Finding]:
    found = s.find("ANTHROPIC_SMALL_FAST_MODEL")
    if found and found.value:
        cause = "The client takes ANTHROPIC_DEFAULT_HAIKU_MODEL for its haiku, not this one"
        symptom = "ANTHROPIC_SMALL_FAST_MODEL is set"
        yield Finding("small-fast-model", "warning", symptom, cause, found.remove)


def typos(s: Session) -> Iterator[Finding]:
    for source in s.sources:
        for name in source.settings.get("env", {}):
            if name in VARIABLES or not re.match("AN|CLAU", name):
                continue
            # 0.93 keeps apart all names that the client knows (schema of August 2026).
            for meant in difflib.get_close_matches(name, VARIABLES, 1, 0.93):
                cause = "The client knows no such variable"
                symptom = "%s looks like a slip of the pen" % name
                detail = "set by %s" % source.path
                yield Finding("typo", "warning", symptom, cause, "Call it %s" % meant, detail)


def change(found: Value, value: str) -> str:
    if found.source.kind == "shell":
        return "Type: export %s=%s" % (found.name, shlex.quote(value))
    if found.source.kind == "start-up":
        return "Set %s to %s in %s, and open a new shell" % (found.name, value, found.source.path)
    if found.source.kind in ("managed", "--settings"):
        return found.remove
    key = found.name if found.name in KEYS else "env.%s" % found.name
    return "Set %s to %s in %s" % (key, value, found.source.path)


#: Every check of a session, what matters most first.
CHECKS = (
    files_that_count_not,
    unknown_route,
    secret_gets_away,
    managed_login,
    managed_url,
    other_provider,
    base_url,
    beaten_exports,
    mixed_routes,
    left_over,
    model,
    context,
    headers,
    proxy,
    two_credentials,
    tiers,
    auto_mode,
    small_model,
    typos,
)


#: What matters also where the user goes their own way: what beats or disturbs the routes, gives a
#: login or a key of Anthropic's away, or cannot work. All else there is theirs.
ANYWHERE = (
    *("settings-unread", "login-forced", "url-managed", "export-beaten", "no-url", "typo"),
    *("key-astray", "login-astray", "token-to-anthropic", "left-over"),
)


def findings(s: Session) -> list[Finding]:
    found = [finding for check in CHECKS for finding in check(s)]
    if s.own_way:
        found = [finding for finding in found if finding.name in ANYWHERE]
    return sorted(found, key=lambda finding: finding.severity != "error")


# What is shown


def masked(name: str, value: Any) -> str:
    """A value without its secrets."""
    if value == "":
        return "(empty)"
    if name in SECRETS:
        return secret(value)
    if name == "ANTHROPIC_CUSTOM_HEADERS":
        names = [line.partition(":") for line in value.splitlines()]
        return ", ".join(name.strip() + ": …" if colon else "…" for name, colon, _ in names)
    if name == "apiKeyHelper" and not POLICY.match(value):
        return "%s …" % value.split()[0]
    if name == "modelPicker":
        return ", ".join(rows_of(value))
    return hidden(value if isinstance(value, str) else json.dumps(value))


def rows_of(picker: Any) -> list[str]:
    """The models that a modelPicker lists."""
    rows = (picker or {}).get("options")
    found = rows if isinstance(rows, list) else []
    return [str(row.get("model")) for row in found if isinstance(row, dict)]


def secret(value: str) -> str:
    """Its kind and its last characters; of a short one nothing."""
    kind = re.match(r"(sk-ant-|sk-)?", value)
    end = value[-4:] if len(value) >= 16 else ""
    return (kind.group() if kind else "") + "…" + end


def hidden(text: str) -> str:
    """A text without the keys and the passwords of URLs in it."""
    text = re.sub(r"(//|^)[^/\s]*@", r"\1…@", text)
    names = r"(?i)((?:key|token|secret|password|passwd|auth)[\w-]*[=:\s]\s*)[^\s&]+"
    text = re.sub(names, r"\1…", text)
    return re.sub(r"sk-[\w-]{8,}", lambda found: secret(found.group()), text)


def report(s: Session) -> dict[str, Any]:
    """What --json prints."""
    url = s.goes_to if s.provider else hidden(s.url)
    return {
        "route": s.route,
        "goes_to": {"url": url, "model": s.model, "in_words": s.goes_to},
        "variables": [
            {
                "name": found.name,
                "value": masked(found.name, found.value),
                "source": found.source.kind,
                "path": found.source.path,
                "beaten": [
                    {"source": one.kind, "path": one.path, "value": masked(found.name, value)}
                    for one, value in found.beaten
                ],
            }
            for found in filter(None, map(s.find, (*VARIABLES, *KEYS)))
        ],
        "findings": [dict(vars(finding)) for finding in findings(s)],
    }


def in_words(said: dict[str, Any], start: str) -> Iterator[str]:
    yield "%s goes to %s\n" % (start, said["goes_to"]["in_words"])
    rows = [("variable", "value", "set by", "beaten")]
    for one in said["variables"]:
        others = [other for other in one["beaten"] if other["value"] != one["value"]]
        beaten = ", ".join("%(value)s (%(path)s)" % other for other in others)
        rows.append((one["name"], one["value"], one["path"], beaten))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows if said["variables"] else ():
        yield "  ".join(text.ljust(widths[i]) for i, text in enumerate(row)).rstrip()
    for one in said["findings"]:
        more = " (%(detail)s)" % one if one["detail"] else ""
        yield "\n%(severity)s: %(symptom)s\n  %(cause)s" % one + more + "\n  %(fix)s" % one


def main(arguments: list[str], where: Places, routes: Path = ROUTES) -> int:
    parser = argparse.ArgumentParser(
        prog="homeport-explain", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--route", metavar="ALIAS", help="the session that its use-script starts")
    parser.add_argument("--json", action="store_true", help="the same, for programs")
    parser.add_argument("directory", nargs="?", default="", help="where claude would be typed")
    asked = parser.parse_args(arguments)
    try:
        directory = Path(asked.directory).expanduser().resolve()
        there = directory.is_dir()
    except (OSError, RuntimeError):  # links in a circle; nobody of that name
        there = False
    if not there:
        parser.error("there is no directory %s" % asked.directory)
    known = sorted(path.stem for path in routes.glob("*.json"))
    if asked.route and asked.route not in known:
        parser.error("there is no route %s, but: %s" % (asked.route, ", ".join(known) or "none"))
    found = report(session(directory, os.environ, where, routes, asked.route))
    place = "in %s" % directory if asked.directory else "here"
    start = "claude typed %s" % place
    if asked.route:
        start = "use-%s.sh typed %s" % (asked.route.replace("claude-", "", 1), place)
    print(json.dumps(found, indent=2) if asked.json else "\n".join(in_words(found, start)))
    return 1 if found["findings"] else 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(main(sys.argv[1:], places()))
