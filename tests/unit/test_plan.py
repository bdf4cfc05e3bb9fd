"""The commands and files that a deploy would send to a host, on pyinfra's @fake connector."""

from __future__ import annotations

import base64
import json
import plistlib
import re
import shlex
from dataclasses import dataclass, field
from typing import Any

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.command import FileUploadCommand, StringCommand
from pyinfra.api.connect import connect_all
from pyinfra.api.deploy import add_deploy
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state

from homeport import pins, target
from homeport.catalog import MODELS
from homeport.pins import Pin
from homeport.remote.pull import File
from homeport.roles import laptop, workstation
from homeport.weights import HubWeights

MAC = [
    "home=/Users/anna b",
    "kernel=Darwin",
    "arch=arm64",
    "memory=17179869184",
    "user=anna",
    "manager=launchd",
    "at_screen=yes",
    "brew=/opt/homebrew/bin/brew",
    "brew_is_ours=yes",
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


def plan(machine: list[str], answers: dict[str, Any] | None = None, **data: Any) -> Plan:
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
            keep = laptop.services(box)
        add_deploy(state, laptop.apply, target=box, keep=keep)
        add_deploy(state, workstation.apply, target=box)
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


LAPTOP_MODEL = MODELS["gemma-4-12b-coder"]
assert LAPTOP_MODEL.laptop and isinstance(LAPTOP_MODEL.weights, HubWeights)
QUANTS, GEMMA = LAPTOP_MODEL.laptop.quants, LAPTOP_MODEL.weights.repo
ROUTE = {"model": "smollm2-135m", "host": "localhost", "port": 18080}


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setenv("SMALL_TOKEN", "geheimes-token")
    routes = {"claude-fable5": {**ROUTE, "token_env": "SMALL_TOKEN"}}
    return plan(MAC, routes=routes, serve=["claude-fable5"])


def test_a_mac_gets_a_launch_agent(mac: Plan) -> None:
    agent = plistlib.loads(mac.upload(r"LaunchAgents/homeport\.claude-fable5\.plist"))
    assert agent["KeepAlive"] is True
    assert agent["ProgramArguments"][:5] == [
        "/bin/sh",
        "/Users/anna b/.homeport/lib/serve.sh",
        "always",
        "/Users/anna b/.homeport/log/claude-fable5.log",
        "/opt/homebrew/bin/llama-server",
    ]
    assert agent["Nice"] == 5 and "ProcessType" not in agent, "Background has the slow cores only"
    (start,) = [command for command in mac.commands if "launchctl bootstrap" in command]
    assert 'launchctl bootout "gui/$(id -u)/homeport.claude-fable5"' in start
    assert "'/Users/anna b/Library/LaunchAgents/homeport.claude-fable5.plist'" in start
    assert not any("systemctl" in command or "supervisord" in command for command in mac.commands)


def test_homebrew_is_called_by_its_path(mac: Plan) -> None:
    (install,) = [command for command in mac.commands if '"$brew" install' in command]
    assert install.startswith("brew=/opt/homebrew/bin/brew\n")
    assert 'PATH="${brew%/brew}:/usr/bin:' in install
    assert not any("pip install" in command for command in mac.commands if "llm" not in command)


def test_a_mac_gets_its_shells_start_up_files(mac: Plan) -> None:
    outside = {name for name in mac.uploads if "/.homeport/" not in name}
    names = {final(name).removeprefix("/Users/anna b/") for name in outside}
    assert names == {
        ".bashrc",
        ".zshrc",
        ".bash_profile",
        ".claude/settings.json",
        "Library/LaunchAgents/homeport.claude-fable5.plist",
    }


def test_fish_gets_functions_where_it_is_used(mac: Plan) -> None:
    folder = "/Users/anna b/.config/fish"
    there = {f"for f in '{folder}'": f"700 {folder}"}
    found = plan(MAC, there, routes={"claude-fable5": ROUTE}, serve=["claude-fable5"])
    names = {final(name).removeprefix("/Users/anna b/") for name in found.uploads}
    functions = {".homeport/fish/use-fable5.fish", ".homeport/fish/use-anthropic.fish"}
    assert {name for name in names if "fish" in name} == {".config/fish/config.fish", *functions}
    assert ".homeport/fish' $fish_function_path" in found.upload("config.fish").decode()
    assert not [name for name in mac.uploads if "fish" in name], "nobody uses it there"


def test_a_token_is_in_no_command(mac: Plan) -> None:
    assert not [command for command in mac.commands if "geheim" in command]
    holders = {name for name, content in mac.uploads.items() if b"geheim" in content}
    assert {re.sub(r".*/\.homeport/", "", final(name)) for name in holders} == {
        "service/claude-fable5.token",
        "routes/claude-fable5.token",
        "routes/claude-fable5.json",
    }


def test_files_with_a_token_are_private_before_they_are_filled(mac: Plan) -> None:
    for name, content in mac.uploads.items():
        if b"geheim" in content:
            (created,) = [c for c in mac.commands if "umask 077 " in c and name in c]
            (moved,) = [c for c in mac.commands if "chmod 600 " in c and name in c]
            assert mac.commands.index(created) < mac.commands.index(moved)


def final(name: str) -> str:
    """The path that a new file will have."""
    return name.partition(".homeport-new-")[0]


OF_LINUX = {"home=": "home=/home/jörg x", "kernel=": "kernel=Linux", "user=": "user=jörg"}
LINUX = [
    OF_LINUX.get(f"{line.partition('=')[0]}=", line) for line in MAC if not line.startswith("brew")
]
LINUX += ["lingering=off"]
LINUX = [line.replace("launchd", "systemd") for line in LINUX]


def test_a_linux_laptop_gets_a_unit_that_outlives_the_login() -> None:
    found = plan(LINUX, routes={"claude-fable5": ROUTE}, serve=["claude-fable5"])
    unit = found.upload(r"systemd/user/homeport\.claude-fable5\.service").decode()
    assert 'ExecStart=:"/home/jörg x/.homeport/env/' in unit
    starts = [c for c in found.commands if "systemctl --user" in c]
    assert ["daemon-reload" in starts[0], "enable homeport.claude-fable5" in starts[0]] == [
        True
    ] * 2
    assert starts[1].endswith("systemctl --user restart homeport.claude-fable5.service")
    (linger,) = [c for c in found.commands if "enable-linger" in c]
    assert linger.index("touch") < linger.index("enable-linger"), "noted before it is done"


def test_a_running_unit_is_left_alone() -> None:
    """What the process says of itself decides: identity and command line."""
    first = plan(LINUX, routes={"claude-fable5": ROUTE}, serve=["claude-fable5"])
    unit = first.upload(r"homeport\.claude-fable5\.service").decode()
    (identity,) = re.findall(r"HOMEPORT_SERVICE=(.*)", unit)
    (line,) = re.findall(r"ExecStart=:(.*)", unit)
    command = "\0".join([*shlex.split(line), ""]).encode()
    answer = [
        "MainPID=7",
        "NeedDaemonReload=no",
        "UnitFileState=enabled",
        f"identity={identity}",
        f"command={base64.b64encode(command).decode()}",
    ]
    running = {"systemctl --user show": answer}
    again = plan(LINUX, running, routes={"claude-fable5": ROUTE}, serve=["claude-fable5"])
    assert not [c for c in again.commands if "restart" in c or "daemon-reload" in c]
    drifted = {"systemctl --user show": [*answer[:4], f"command={answer[4][8:-8]}"]}
    healed = plan(LINUX, drifted, routes={"claude-fable5": ROUTE}, serve=["claude-fable5"])
    assert [c for c in healed.commands if "restart" in c]


@pytest.mark.parametrize(
    ("flags", "there", "absent"),
    [
        ("  --no-mmap\n  --cache-ram N\n", "--no-mmap", "--load-mode"),
        ("  -lm, --load-mode MODE\n", "--load-mode", "--no-mmap"),
    ],
)
def test_a_llama_server_that_is_there_is_used_as_it_is(flags: str, there: str, absent: str) -> None:
    found = plan(
        MAC,
        {
            "--help": flags,
            "--version": ["version: 0.3.0 (build 10621, commit c1d0e7a00)", "status=0"],
            "size and time": "7380000000 bytes of 1790000000",
        },
        routes={
            "claude-fable5": {
                "model": "gemma-4-12b-coder",
                "host": "localhost",
                "port": 18080,
                "weights": "~/models/gemma.gguf",
            }
        },
        serve=["claude-fable5"],
        engine="~/bin/llama-server",
        guardrails={},
    )
    agent = plistlib.loads(found.upload(r"LaunchAgents/homeport\.claude-fable5\.plist"))
    program, *arguments = agent["ProgramArguments"][4:]
    assert program == "/Users/anna b/bin/llama-server"
    assert arguments[:2] == ["--model", "/Users/anna b/models/gemma.gguf"]
    assert there in arguments and absent not in arguments
    assert not any("pip install" in command for command in found.commands)


@pytest.mark.parametrize(
    ("devices", "quant", "layers"),
    [
        ("  CUDA0: NVIDIA GeForce RTX 4070 (12282 MiB, 11820 MiB free)", "Q6_K", "99"),
        ("  Vulkan0: Intel(R) Iris(R) Xe Graphics (11909 MiB, 10000 MiB free)", "Q4_K_M", "0"),
        ("  BLAS: OpenBLAS (0 MiB, 0 MiB free)", "Q4_K_M", "0"),
        ("  (none)", "Q4_K_M", "0"),
    ],
)
def test_a_program_that_the_user_names_may_use_a_card(
    devices: str, quant: str, layers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tuple(File(f"x-{one.name}.gguf", 1, "sha256", "a" * 64) for one in QUANTS)
    monkeypatch.setattr(pins, "read", lambda: {GEMMA: Pin(GEMMA, "a" * 40, files)})
    found = plan(
        LINUX,
        {
            "--version": ["version: 9800 (abcdef012)", "status=0"],
            "--list-devices": f"Available devices:\n{devices}",
            "--help": "--load-mode --cache-ram",
        },
        routes={"claude-fable5": {**ROUTE, "model": "gemma-4-12b-coder"}},
        serve=["claude-fable5"],
        engine="/opt/llama/bin/llama-server",
        guardrails={"permissions": {"ask": ["Bash"]}},
    )
    rules = json.loads(found.upload(r"routes/claude-fable5\.json"))["permissions"]
    assert rules["ask"] == ["Bash"]
    assert "Read(//home/jörg x/.homeport/routes/**)" in rules["deny"]
    unit = found.upload(r"systemd/user/homeport\.claude-fable5\.service").decode()
    assert (
        f'"/opt/llama/bin/llama-server" "--model" "/home/jörg x/.homeport/weights/{GEMMA}@{quant}/'
        in unit
    )
    assert f'/x-{quant}.gguf"' in unit
    assert f'"--n-gpu-layers" "{layers}"' in unit
    assert ('"--device" "none"' in unit) == (layers == "0")


def test_a_file_of_the_users_own_has_to_fit_as_well() -> None:
    with pytest.raises(AssertionError, match=r"g\.gguf does not fit 17\.18 GB"):
        plan(
            MAC,
            {"size and time": "12700000000 bytes of 1790000000"},
            routes={
                "claude-fable5": {**ROUTE, "model": "gemma-4-12b-coder", "weights": "~/g.gguf"}
            },
            serve=["claude-fable5"],
            guardrails={},
        )


def test_nothing_asks_for_root(mac: Plan) -> None:
    assert not [command for command in mac.commands if re.search(r"\bsudo\b", command)]
