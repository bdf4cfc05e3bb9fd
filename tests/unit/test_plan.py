"""The commands and files that a deploy would send to a host, on pyinfra's @fake connector."""

from __future__ import annotations

import plistlib
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.command import FileUploadCommand, StringCommand
from pyinfra.api.connect import connect_all
from pyinfra.api.deploy import add_deploy
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state

from homeport import target
from homeport.roles import laptop, workstation

MAC = [
    "home=/Users/anna b",
    "kernel=Darwin",
    "machine=arm64",
    "user=anna",
    "manager=launchd",
    "python=/opt/homebrew/bin/python3 3.13.1",
    "venv=yes",
    "openmp=yes",
    "free_kib=200000000",
]


@dataclass
class Plan:
    commands: list[str] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)

    def upload(self, pattern: str) -> bytes:
        (name,) = [name for name in self.uploads if re.search(pattern, name)]
        return self.uploads[name]


def plan(machine: list[str], answers: dict[str, str] | None = None, **data: Any) -> Plan:
    """Everything that deploy.py would do on a bare machine of this kind; `answers` are what it
    prints for commands with these words in them."""
    responses = {"fake_responses": {"homeport: machine": machine, **(answers or {})}}
    delays = {"fake_delay": 0, "fake_delay_jitter": 0}
    names: tuple[list[str], dict[str, Any]] = (["@fake/box"], {})
    inventory = Inventory(
        names, override_data={**responses, **delays, **data}, laptops=names, workstations=names
    )
    state = State(inventory, Config())
    found = Plan()
    with ctx_state.use(state), ctx_inventory.use(inventory), ctx_config.use(state.config):
        connect_all(state)
        (host,) = inventory
        with ctx_host.use(host):
            box = target.current()
            assert box is not None
            assert laptop.problems(box) + workstation.problems(box) == []
        for role in (laptop, workstation):
            add_deploy(state, role.apply, target=box)
        with ctx_host.use(host):
            for name in state.get_op_order():
                for command in state.ops[host][name].command_generator():
                    if isinstance(command, FileUploadCommand):
                        source = command.src
                        content = b"" if isinstance(source, str) else source.read()
                        found.uploads[command.dest] = content
                    elif isinstance(command, StringCommand):
                        found.commands.append(command.get_raw_value())
    return found


ROUTE = {"model": "smollm2-135m", "host": "localhost", "port": 18080}


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setenv("SMALL_TOKEN", "geheimes-token")
    routes = {"claude-fable5": {**ROUTE, "token_env": "SMALL_TOKEN"}}
    return plan(MAC, routes=routes, serve=["claude-fable5"])


def test_a_mac_gets_a_launch_agent(mac: Plan) -> None:
    agent = plistlib.loads(mac.upload(r"LaunchAgents/homeport\.claude-fable5\.plist"))
    assert agent["KeepAlive"] is True
    assert agent["ProgramArguments"][0].startswith("/Users/anna b/.homeport/env/")
    (start,) = [command for command in mac.commands if "launchctl bootstrap" in command]
    assert 'launchctl bootout "gui/$(id -u)/homeport.claude-fable5"' in start
    assert "'/Users/anna b/Library/LaunchAgents/homeport.claude-fable5.plist'" in start
    assert not any("systemctl" in command or "supervisord" in command for command in mac.commands)


def test_a_mac_gets_its_shells_start_up_files(mac: Plan) -> None:
    outside = {name for name in mac.uploads if "/.homeport/" not in name}
    names = {name.removeprefix("/Users/anna b/").removesuffix(".homeport-new") for name in outside}
    assert names == {
        ".bashrc",
        ".zshrc",
        ".bash_profile",
        ".claude/settings.json",
        "Library/LaunchAgents/homeport.claude-fable5.plist",
    }


def test_a_token_is_in_no_command(mac: Plan) -> None:
    assert not [command for command in mac.commands if "geheim" in command]
    holders = {name for name, content in mac.uploads.items() if b"geheim" in content}
    assert {re.sub(r".*/\.homeport/", "", name) for name in holders} == {
        "service/claude-fable5.token.homeport-new",
        "routes/claude-fable5.token.homeport-new",
        "routes/claude-fable5.json.homeport-new",
    }


def test_files_with_a_token_are_private_before_they_are_filled(mac: Plan) -> None:
    for name, content in mac.uploads.items():
        if b"geheim" in content:
            final = name.removesuffix(".homeport-new")
            created = [c for c in mac.commands if "umask 077" in c and name in c]
            moved = [c for c in mac.commands if c.startswith("chmod 600 ") and final in c]
            assert len(created) == 1 and len(moved) == 1


@pytest.mark.parametrize(
    ("flags", "there", "absent"),
    [
        ("  --no-mmap\n  --cache-ram N\n", "--no-mmap", "--load-mode"),
        ("  -lm, --load-mode MODE\n", "--load-mode", "--no-mmap"),
    ],
)
def test_a_llama_server_that_is_there_is_used_as_it_is(flags: str, there: str, absent: str) -> None:
    found = plan(
        [*MAC, "llama_server=/opt/homebrew/bin/llama-server"],
        {"--help": flags, "size and time": "7380000000 bytes of 1790000000"},
        routes={
            "claude-fable5": {
                "model": "gemma-4-12b-coder",
                "host": "localhost",
                "port": 18080,
                "weights": "~/models/gemma.gguf",
            }
        },
        serve=["claude-fable5"],
        engine="llama-server",
    )
    agent = plistlib.loads(found.upload(r"LaunchAgents/homeport\.claude-fable5\.plist"))
    program, *arguments = agent["ProgramArguments"]
    assert program == "/opt/homebrew/bin/llama-server"
    assert arguments[:2] == ["--model", "/Users/anna b/models/gemma.gguf"]
    assert there in arguments and absent not in arguments
    assert not any("pip install" in command for command in found.commands)


def test_nothing_asks_for_root(mac: Plan) -> None:
    assert not [command for command in mac.commands if re.search(r"\bsudo\b", command)]
