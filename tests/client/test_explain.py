"""What homeport-explain foretells is what the real Claude Code 2.1.330 does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from homeport.remote import explain

from .. import conftest

STUB = Path(__file__).parent / "stub_server.py"

#: Where each source sends the session, the strongest first.
SERVERS = {
    "dropin": 9001,
    "managed": 9002,
    "--settings": 9003,
    "root": 9004,
    "local": 9005,
    "project": 9006,
    "user": 9007,
    "shell": 9008,
}

#: The file of each source, in the folder of a test; one of a route goes along as --settings.
FILES = {
    "dropin": "etc/claude-code/managed-settings.d/10.json",
    "managed": "etc/claude-code/managed-settings.json",
    "--settings": "home/.homeport/routes/claude-glm.json",
    "root": "home/code/.claude/settings.local.json",
    "local": "home/code/project/.claude/settings.local.json",
    "project": "home/code/project/.claude/settings.json",
    "user": "home/.claude/settings.json",
}


@dataclass
class Loopback:
    """A network with one server for each source, each with a log of its own."""

    enter: tuple[str, ...]
    logs: dict[str, Path]

    def heard(self) -> list[tuple[str, str]]:
        """Where requests arrived, and for which model, each once."""
        found = []
        for source, log in self.logs.items():
            for line in log.read_text().splitlines():
                request = json.loads(line)
                if request["path"].startswith("/v1/messages"):
                    found.append((address(source), str(request["body"]["model"])))
        return list(dict.fromkeys(found))


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    if shutil.which("unshare") is None:
        conftest.missing("unshare is not installed")
    folder = tmp_path_factory.mktemp("servers")
    logs = {source: folder / source for source in SERVERS}
    with conftest.loopback_namespace() as enter:
        servers = []
        try:
            for source, port in SERVERS.items():
                logs[source].touch()
                words = [sys.executable, *map(str, (STUB, port, "any", logs[source]))]
                servers.append(subprocess.Popen([*enter, *words]))
            ask = "for port; do until curl -s localhost:$port/v1/models; do sleep .1; done; done"
            ports = map(str, SERVERS.values())
            subprocess.run(
                [*enter, "bash", "-c", ask, "ask", *ports], timeout=180, check=True
            )  # fmt: skip
            yield Loopback(enter, logs)
        finally:
            for server in servers:
                server.terminate()
                server.wait()


def address(source: str) -> str:
    return f"http://127.0.0.1:{SERVERS[source]}"


def sends(source: str, **more: str) -> dict[str, Any]:
    """Settings that send the session to the source's own server, as a model of its name."""
    variables = {
        "ANTHROPIC_BASE_URL": address(source),
        "ANTHROPIC_AUTH_TOKEN": f"token-of-{source}",
        "ANTHROPIC_MODEL": f"model-{source}",
    }
    return {"env": {**variables, **more}}


def alone(source: str) -> dict[str, Any]:
    """The same without a model."""
    settings = sends(source)
    del settings["env"]["ANTHROPIC_MODEL"]
    return settings


def upto(strongest: str) -> dict[str, Any]:
    """All sources speak, from `strongest` on."""
    return {source: sends(source) for source in list(SERVERS)[list(SERVERS).index(strongest) :]}


FORBIDS = {"availableModels": ["sonnet"]}
TIERS = {f"ANTHROPIC_DEFAULT_{one}_MODEL": f"model-{one}" for one in ("OPUS", "SONNET", "HAIKU")}

CASES: dict[str, tuple[dict[str, Any], str | None]] = {
    **{f"{source} is the strongest": (upto(source), source) for source in SERVERS},
    "a mixture": (
        {"user": {"env": {"ANTHROPIC_MODEL": "mine"}}, "shell": sends("shell")},
        "shell",
    ),
    "an empty value": (
        {"project": {"env": {"ANTHROPIC_BASE_URL": ""}}, "shell": sends("shell")},
        None,
    ),
    "a managed empty value": (
        {"managed": {"env": {"ANTHROPIC_BASE_URL": ""}}, "--settings": sends("--settings")},
        None,
    ),
    "a number": ({"user": {"env": {"ANTHROPIC_MODEL": 5}}, "shell": sends("shell")}, "shell"),
    "a byte order mark": ({"user": "\ufeff" + json.dumps(sends("user"))}, "user"),
    "not JSON": ({"user": '{"env": {},}', "shell": sends("shell")}, "shell"),
    "a wrong type": ({"user": {**sends("user"), "model": 5}, "shell": sends("shell")}, "shell"),
    "a wrong type, managed": (
        {"managed": {**sends("managed"), "model": 5}, "shell": sends("shell")},
        "managed",
    ),
    "the key model": ({"user": {"model": "mine"}, "shell": alone("shell")}, "shell"),
    "the key model, beaten": ({"managed": {"model": "mine"}, "shell": sends("shell")}, "shell"),
    "no model": ({"shell": alone("shell")}, "shell"),
    "no model but tiers": ({"user": {"env": TIERS}, "shell": alone("shell")}, "shell"),
    "the word sonnet": (
        {"user": {"env": TIERS, "model": "sonnet"}, "shell": alone("shell")},
        "shell",
    ),
    "[1m]": ({"shell": sends("shell", ANTHROPIC_MODEL="mine[1m]")}, "shell"),
    "forbidden": ({"managed": FORBIDS, "shell": sends("shell")}, "shell"),
    "forbidden, with tiers": (
        {"managed": {**FORBIDS, "env": TIERS}, "shell": sends("shell")},
        "shell",
    ),
    "lists add up": (
        {"user": FORBIDS, "project": {"availableModels": ["model"]}, "shell": sends("shell")},
        "shell",
    ),
    "another cloud": ({"shell": sends("shell", CLAUDE_CODE_USE_BEDROCK="1")}, None),
}


@pytest.mark.parametrize(("sources", "winner"), CASES.values(), ids=CASES.keys())
def test_it_goes_where_it_is_said_to_go(
    loopback: Loopback, tmp_path: Path, sources: dict[str, Any], winner: str | None
) -> None:
    said = json.loads(typed(loopback, tmp_path, sources, program(tmp_path)))
    for log in loopback.logs.values():
        log.write_text("")
    claude = [str(conftest.installed_client())]
    if "--settings" in sources:
        claude += ["--settings", str(tmp_path / FILES["--settings"])]
    output = typed(loopback, tmp_path, sources, [*claude, "-p", "hello"])
    goes_to = said["goes_to"]
    if winner is None:
        assert (loopback.heard(), goes_to["url"] in map(address, SERVERS)) == ([], False), output
        return
    assert goes_to["url"] == address(winner)
    ((url, model),) = loopback.heard()
    assert url == goes_to["url"], output
    assert model == goes_to["model"] or (goes_to["model"] is None and explain.is_anthropics(model))


def test_without_a_token_the_login_goes_to_any_server(loopback: Loopback, tmp_path: Path) -> None:
    """The login with claude.ai, hence the finding where nothing else is there to log in with."""
    login = {
        "accessToken": "sk-ant-oat01-mine",
        "refreshToken": "sk-ant-ort01-mine",
        "expiresAt": 4_102_444_800_000,
        "scopes": ["user:inference"],
        "subscriptionType": "max",
    }
    credentials = tmp_path / "home" / ".claude" / ".credentials.json"
    credentials.parent.mkdir(parents=True)
    credentials.write_text(json.dumps({"claudeAiOauth": login}))
    sources = {"shell": {"env": {"ANTHROPIC_BASE_URL": address("shell")}}}
    said = json.loads(typed(loopback, tmp_path, sources, program(tmp_path)))
    assert f"Nothing to log in with at {address('shell')}" in [
        one["symptom"] for one in said["findings"]
    ]
    loopback.logs["shell"].write_text("")
    typed(loopback, tmp_path, sources, [str(conftest.installed_client()), "-p", "hello"])
    requests = map(json.loads, loopback.logs["shell"].read_text().splitlines())
    assert {one["headers"]["authorization"] for one in requests} == {"Bearer sk-ant-oat01-mine"}


def program(folder: Path) -> list[str]:
    """homeport-explain, where a deploy puts it."""
    path = folder / "home" / ".homeport" / "lib" / "explain.py"
    path.parent.mkdir(parents=True)
    shutil.copy(explain.__file__, path)
    return [sys.executable, str(path), "--json"]


def typed(loopback: Loopback, folder: Path, sources: dict[str, Any], words: list[str]) -> str:
    """What `words` print in the project of a home with these sources, the managed ones in /etc."""
    for source in sources.keys() & FILES.keys():
        path, content = folder / FILES[source], sources[source]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    home, etc = folder / "home", folder / "etc"
    project = home / "code" / "project"
    for place in (etc, project, home / "code" / ".git"):
        place.mkdir(parents=True, exist_ok=True)
    for name in ("passwd", "group", "hosts", "nsswitch.conf", "ld.so.cache"):
        if Path("/etc", name).exists():
            shutil.copy(Path("/etc", name), etc)
    variables = {
        "HOME": str(home),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "0",
        **sources.get("shell", {}).get("env", {}),
        **({"HOMEPORT_ROUTE": "claude-glm"} if "--settings" in sources else {}),
    }
    mounted = 'mount --bind "$1" /etc && cd "$2" && shift 2 && exec "$@"'
    private = ["unshare", "--mount", "sh", "-c", mounted, "sh", str(etc), str(project)]
    done = subprocess.run(
        [*loopback.enter, *private, *words],
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.stdout or done.stderr
