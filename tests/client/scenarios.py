"""What people do with the client through homeport's scripts, one function each.

Each says what came of it, as it stands in docs/clients.md: "yes", "yes: ..." or "no: ...".
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from homeport.model import Endpoint, Model, Route, Token

from ..conftest import a_free_port
from . import servers, session
from .servers import CODER, TOKEN
from .session import Session

#: What the tiny models say and do.
ANSWER = "The capital of France is Paris."
ASK = '-p "What is the capital of France?" --tools ""'
WRITE = "-p go --tools Bash --allowedTools Bash"

STREAM = "--output-format stream-json --verbose"


@dataclass
class Bench:
    """One version of the client beside one real server."""

    client: Path
    server: Route

    @property
    def source(self) -> str:
        return f"source {self.server.script}"

    @contextmanager
    def real(self, server: Route | None = None, **changed: Any) -> Iterator[Session]:
        """A home with a route to the real server; `changed` is what it has wrong."""
        folder = _folder()
        log = folder / "asked"
        log.touch()
        with servers.relayed(server or self.server, log) as route:
            model = replace(route.model, alias=changed.get("alias", route.alias))
            endpoint = replace(route.endpoint, token=changed.get("token", TOKEN))
            yield self.home(Route(model, endpoint), log=log)

    @contextmanager
    def stubs(self, *models: Model, status: int = 200) -> Iterator[tuple[Session, list[Path]]]:
        """A home with a route to a stand-in for each model, and what each is asked."""
        routes = [Route(model, Endpoint("localhost", a_free_port(), TOKEN)) for model in models]
        with ExitStack() as stack:
            home = self.home(*routes)
            logs = [home.home.parent / f"asked {route.alias}" for route in routes]
            for route, log in zip(routes, logs, strict=True):
                log.touch()
                stack.enter_context(session.stub(home, route, log, status=status))
            yield home, logs

    def home(self, *routes: Route, log: Path | None = None) -> Session:
        home = session.prepared(_folder(), self.client, *routes)
        home.trusts(home.home, home.home / "project")
        if log:
            home.log = log
        return home


def _folder() -> Path:
    return Path(tempfile.mkdtemp())  # in the folder of the run, which goes with it


Scenario = Callable[[Bench], str]


def yes_if(condition: object, otherwise: str) -> str:
    return "yes" if condition else f"no: {_short(otherwise)}"


def _short(text: str) -> str:
    """One line, without what is different in each run."""
    text = re.sub(r"(?<=127\.0\.0\.1:)\d+|\d+(?= tokens\) exceeds)", "N", " ".join(text.split()))
    text = text.replace("|", "/").strip() or "it says nothing"
    return text if len(text) < 100 else f"{text[:100].rpartition(' ')[0]} …"


def events(output: str, kind: str) -> list[dict[str, Any]]:
    """Those of a client that was started with `STREAM`."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return [one for one in lines if kind in (one["type"], one.get("subtype"))]


# The wire, with a real server


def answers(bench: Bench) -> str:
    with bench.real() as home:
        done = home.run(f"{bench.source} {ASK}")
    return yes_if(done.stdout.strip() == ANSWER, done.stdout + done.stderr)


def streams(bench: Bench) -> str:
    with bench.real() as home:
        output = home.ask(f"{bench.source} {ASK} {STREAM} --include-partial-messages")
    found = [one["event"].get("delta", {}).get("text") for one in events(output, "stream_event")]
    texts = [text for text in found if text]
    return yes_if(len(texts) > 2 and "".join(texts) == ANSWER, f"{len(texts)} pieces of text")


def uses_a_tool(bench: Bench) -> str:
    with bench.real() as home:
        done = home.run(f"{bench.source} {WRITE}")
        written = home.home / "proof.txt"
        right = written.exists() and written.read_text() == "homeport"
    return yes_if(right and "Done" in done.stdout, done.stdout + done.stderr)


def system_message(bench: Bench) -> str:
    with bench.real() as home:
        done = home.run(f"{bench.source} {WRITE}")
        roles = [[one["role"] for one in asked["body"]["messages"]] for asked in home.requests()]
    if not any("system" in conversation for conversation in roles):
        return "no: sends none"
    return yes_if("Done" in done.stdout, done.stdout + done.stderr)


def leftover_key(bench: Bench) -> str:
    with bench.real() as home:
        home.ask(f"{bench.source} {ASK}", ANTHROPIC_API_KEY="sk-ant-left-over")
        asked = home.log.read_text()
    return yes_if("Bearer geheim" in asked and "sk-ant" not in asked, "it is sent")


def compacts(bench: Bench) -> str:
    """With a small context, so that it takes seconds; the client is told of it all the same."""
    small = replace(CODER, context=16_384, smallest_context=16_384, max_output=512)
    words = " ".join(f"word {number}" for number in range(300))  # 2,000 tokens
    with servers.llama_cpp(folder := _folder(), small) as server, bench.real(server) as home:
        options = f'-p --tools "" --input-format stream-json {STREAM}'
        output = home.converse(f"{bench.source} {options}", [words] * 9)
    overflow = "exceeds the available context" in (folder / "server.log").read_text("latin-1")
    if not overflow:
        return yes_if(events(output, "compact_boundary"), "it went not far enough to tell")
    results = events(output, "result")
    used = [one["modelUsage"].get(server.alias, {}) for one in results]
    window = max(one.get("contextWindow", 0) for one in used)
    return f'no: assumes {window:,} tokens, then "{_short(results[-1]["result"])}"'


# What is wrong is said: by the script, and by a client that was started without it


def _script(home: Session, expected: str) -> str:
    """What the script says, which starts no client."""
    done = home.run(f"source {home.route.script} -p hello", CLAUDE_CODE_MAX_RETRIES="0")
    said = done.stderr.splitlines()
    right = done.returncode == 1 and len(said) == 1 and expected in said[0] and not home.requests()
    return yes_if(right, done.stdout + done.stderr)


def _alone(home: Session) -> str:
    """Whether a client without the script gives up in half a minute, and what it says; without the
    route's CLAUDE_CODE_MAX_RETRIES it takes more than three."""
    started = time.monotonic()
    done = home.run(f"claude --settings {home.layout.route_settings(home.route)!r} {ASK}")
    if done.returncode == 0:
        return "no: it works"
    late = time.monotonic() - started > 30
    return "no: it is too late" if late else f'yes: "{_short(done.stdout)}"'


def wrong_token(bench: Bench) -> str:
    with bench.real(token=Token("falsch")) as home:
        return _script(home, "takes another token")


def wrong_token_alone(bench: Bench) -> str:
    with bench.real(token=Token("falsch")) as home:
        return _alone(home)


def wrong_alias(bench: Bench) -> str:
    with bench.real(alias="claude-other") as home:
        return _script(home, f"does not serve this name, but {bench.server.alias}")


def wrong_alias_alone(bench: Bench) -> str:
    with bench.real(alias="claude-other") as home:
        return _alone(home)


def dead_server(bench: Bench) -> str:
    home = bench.home(Route(CODER, Endpoint("localhost", a_free_port(), TOKEN)))
    return _script(home, "nothing listens at")


def dead_server_alone(bench: Bench) -> str:
    return _alone(bench.home(Route(CODER, Endpoint("localhost", a_free_port(), TOKEN))))


def loading_server(bench: Bench) -> str:
    with bench.stubs(CODER, status=503) as (home, _):
        return _script(home, "is still loading")


def loading_server_alone(bench: Bench) -> str:
    with bench.stubs(CODER, status=503) as (home, _):
        return _alone(home)


# Settings that point elsewhere


ELSEWHERE = replace(CODER, alias="claude-elsewhere")


def _env(route: Route) -> str:
    """A settings file that sends a client to `route`."""
    return json.dumps(
        {
            "env": {
                "ANTHROPIC_BASE_URL": route.endpoint.url,
                "ANTHROPIC_API_KEY": "sk-ant-in-settings",
                "ANTHROPIC_MODEL": "claude-opus-4-8",
            }
        }
    )


def _asked(log: Path) -> bool:
    return "/v1/messages" in log.read_text()


def _settings_in(bench: Bench, *parts: str) -> str:
    with bench.stubs(CODER, ELSEWHERE) as (home, (ours, elsewhere)):
        file = home.home.joinpath(*parts)
        file.parent.mkdir(parents=True)
        file.write_text(_env(home.routes[1]))
        (home.home / "project").mkdir(exist_ok=True)
        home.ask("cd project; source use-fable5.sh -p hello")
        right = _asked(ours) and not _asked(elsewhere) and "sk-ant" not in ours.read_text()
    return yes_if(right, "the settings win")


def user_settings(bench: Bench) -> str:
    return _settings_in(bench, ".claude", "settings.json")


def project_settings(bench: Bench) -> str:
    return _settings_in(bench, "project", ".claude", "settings.json")


def local_settings(bench: Bench) -> str:
    return _settings_in(bench, "project", ".claude", "settings.local.json")


#: Lets a command see a /etc of its own, with a file of managed settings on its standard input.
MANAGED = """unshare --mount sh -ec '
mount -t tmpfs tmpfs /mnt && mkdir -p /mnt/upper/claude-code /mnt/work
cat > /mnt/upper/claude-code/managed-settings.json
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work overlay /etc
exec bash -c "$0" < /dev/null' 'source use-fable5.sh -p hello' < managed.json
"""


def managed_settings(bench: Bench) -> str:
    with bench.stubs(CODER, ELSEWHERE) as (home, (ours, elsewhere)):
        (home.home / "managed.json").write_text(_env(home.routes[1]))
        done = home.run(MANAGED)
        right = _asked(elsewhere) and not _asked(ours)
    return yes_if(right, "the route wins" if _asked(ours) else done.stdout + done.stderr)


# Routes in a shell


def to_and_fro(bench: Bench) -> str:
    with bench.stubs(CODER, ELSEWHERE) as (home, logs):
        one, other = (f"source {route.script}" for route in home.routes)
        home.ask(f"{one} -p prompt-1; {other} -p prompt-2; claude -p prompt-3; {one} -p prompt-4")
        found = [_prompts(log) for log in logs]
    right = found == [[("claude-fable5", "1"), ("claude-fable5", "4")],
                      [("claude-elsewhere", "2"), ("claude-elsewhere", "3")]]  # fmt: skip
    return yes_if(right, str(found))


def _prompts(log: Path) -> list[tuple[str, str]]:
    """The name that a server was asked for, and the number of the prompt, of all it was asked."""
    asked = [json.loads(line)["body"] for line in log.read_text().splitlines()]
    found = [(body["model"], re.search(r"prompt-(\d)", json.dumps(body))) for body in asked if body]
    return list(dict.fromkeys((model, match[1]) for model, match in found if match))


#: All that a shell hands on, and what it keeps to itself, but for $_.
SHELL = {name: f"env | grep -v ^_= | sort; alias; {functions}" for name, functions in
         (("bash", "declare -f"), ("zsh", "functions"))}  # fmt: skip
MINE = """
export ANTHROPIC_BASE_URL=@URL ANTHROPIC_AUTH_TOKEN=mine ANTHROPIC_API_KEY=sk-ant-mine
export ANTHROPIC_MODEL='a  "b" $c' NO_PROXY=example.com
CLAUDE_CODE_SIMPLE=not-exported
alias ll='ls -l'
mine() { echo "$1"; }
"""


def and_back(shell: str) -> Scenario:
    """The shell is as it was, and its next client asks whom it would have asked before."""

    def scenario(bench: Bench) -> str:
        with bench.stubs(CODER, ELSEWHERE) as (home, logs):
            mine = MINE.replace("@URL", home.routes[1].endpoint.url)
            there = f"show() {{ {SHELL[shell]}; }}; show > before; source use-fable5.sh -p prompt-1"
            back = "source use-anthropic.sh; show > after; claude -p prompt-2"
            home.run(f"{mine}\n{there}; {back}", shell)
            before, after = ((home.home / name).read_bytes() for name in ("before", "after"))
            asked = [[number for _, number in _prompts(log)] for log in logs]
        if asked != [["1"], ["2"]]:
            return f"no: {asked}"
        return yes_if(before == after and b"sk-ant-mine" in after, "the shell is not as it was")

    return scenario


def picker(bench: Bench) -> str:
    """What /model lists besides its default."""
    with bench.stubs(CODER) as (home, _), session.screen(home, "source use-fable5.sh") as client:
        client.enter("/model")
        client.wait_for("Esctocancel")
        listed = client.text.partition("Selectmodel")[2]
    rows = dict(re.findall(r"(\d)\.(Default|[a-z-]+\d?)", listed))
    names = list(rows.values())
    if names == ["Default", CODER.alias]:
        return "yes"
    if set(names) == {"Default", CODER.alias}:
        return f"no: lists it {len(names) - 1} times"
    return f"no: lists {', '.join(dict.fromkeys(names))}"


#: Those of which an answer of the server's is a part, and so its engine.
ON_THE_WIRE: dict[str, Scenario] = {
    "plain prompt": answers,
    "streaming": streams,
    "a tool writes a file": uses_a_tool,
    "system message inside a conversation": system_message,
    "leftover key is not sent": leftover_key,
    "wrong token: the script says so": wrong_token,
    "wrong token: the client alone gives up": wrong_token_alone,
    "wrong alias: the script says so": wrong_alias,
    "wrong alias: the client alone gives up": wrong_alias_alone,
}

SCENARIOS: dict[str, Scenario] = {
    **ON_THE_WIRE,
    "compacts before the server overflows": compacts,
    "dead server: the script says so": dead_server,
    "dead server: the client alone gives up": dead_server_alone,
    "loading server: the script says so": loading_server,
    "loading server: the client alone gives up": loading_server_alone,
    "the route beats the user's settings": user_settings,
    "the route beats the project's settings": project_settings,
    "the route beats the project's local settings": local_settings,
    "managed settings beat the route": managed_settings,
    "to and fro between two routes": to_and_fro,
    "back to Anthropic, in bash": and_back("bash"),
    "back to Anthropic, in zsh": and_back("zsh"),
    "/model lists the served alias only": picker,
}
