"""Homebrew's stand-in and what it installs, on each kind of host, over SSH."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

import pytest

from ..running import wait_until
from . import darwin, homebrew
from .host import Host
from .lab import Lab
from .weights import gguf

QUIET = "HOMEBREW_NO_AUTO_UPDATE=1 HOMEBREW_NO_ASK=1"
BODY = {
    "model": "claude-fable5",
    "max_tokens": 16,
    "messages": [{"role": "user", "content": "Name the capital of France."}],
}
NEW_FLAGS = "--load-mode none --cors-origins http://127.0.0.1 --cache-ram 256"


@dataclass
class Machine:
    lab: Lab
    host: Host
    prefix: str
    port: int
    devices: str

    @property
    def brew(self) -> str:
        return f"{QUIET} {self.prefix}/bin/brew"

    @property
    def server(self) -> str:
        return f"{self.prefix}/bin/llama-server"

    def sh(self, command: str) -> str:
        return self.lab.login(self.host, "anna", command)


def _arm(lab: Lab) -> Machine:
    devices = "  MTL0: Apple M4 Pro (18186 MiB, 18185 MiB free)\n"
    devices += "  BLAS: Accelerate (0 MiB, 0 MiB free)"
    host = lab.mac("arm", memory=24 * 1024**3)
    return Machine(lab, host, "/opt/homebrew", 18081, devices)


def _intel(lab: Lab) -> Machine:
    devices = "  BLAS: Accelerate (0 MiB, 0 MiB free)"
    return Machine(lab, lab.mac("intel", chip="x86_64"), "/usr/local", 18082, devices)


def _linux(lab: Lab) -> Machine:
    devices = "  BLAS: OpenBLAS (0 MiB, 0 MiB free)"
    host = lab.host("linux", brew_owner="anna")
    return Machine(lab, host, "/home/linuxbrew/.linuxbrew", 18083, devices)


@pytest.fixture(scope="module", params=[_arm, _intel, _linux], ids=["arm", "intel", "linux"])
def machine(lab: Lab, request: pytest.FixtureRequest) -> Machine:
    machine: Machine = request.param(lab)
    homebrew.offer(machine.host.root, homebrew.OLD)
    return machine


def test_what_brew_installs_is_off_the_path(machine: Machine) -> None:
    assert "not found" in machine.sh("command -v brew || echo not found")
    assert machine.sh(f"{machine.brew} --prefix") == machine.prefix
    assert machine.sh(f"{machine.brew} list --versions llama.cpp || echo none") == "none"
    printed = machine.sh(f"env -i HOME=$HOME {machine.brew} install llama.cpp 2>&1 || echo failed")
    assert f"{machine.prefix}/Cellar/llama.cpp/9800: 1 files" in printed
    assert machine.sh(f"{machine.brew} list --versions llama.cpp") == "llama.cpp 9800"
    owner = machine.sh(f"ls -l {machine.server}")
    assert " anna " in owner
    assert owner.endswith("../Cellar/llama.cpp/9800/bin/llama-server")


def test_an_old_server_and_after_an_upgrade_a_new_one(machine: Machine) -> None:
    old = machine.sh(f"{machine.server} --help")
    assert "--no-mmap" in old
    assert "--load-mode" not in old
    assert machine.sh(f"{machine.server} --version").startswith("version: 9800 (")
    homebrew.offer(machine.host.root, homebrew.NEW)
    assert "9800 -> 0.6.0" in machine.sh(f"{machine.brew} upgrade llama.cpp")
    assert machine.sh(f"{machine.brew} list --versions llama.cpp") == "llama.cpp 0.6.0"
    assert "--no-mmap" not in machine.sh(f"{machine.server} --help")
    assert "version: 0.6.0 (build 11549, commit " in machine.sh(f"{machine.server} --version")
    refused = machine.sh(f"{machine.server} --no-mmap; echo $?")
    assert refused == "error: invalid argument: --no-mmap\n1"
    listed = machine.sh(f"{machine.server} --list-devices")
    assert listed == f"Available devices:\n{machine.devices}"


def test_it_answers_for_real(machine: Machine) -> None:
    home = machine.sh("echo $HOME")
    machine.host.file(f"{home}/model.gguf").write_bytes(gguf())
    machine.host.write(f"{home}/token", "open-sesame\n", "anna")
    words = (
        f"{machine.server} --model {home}/model.gguf --alias claude-fable5 --host 127.0.0.1 "
        f"--port {machine.port} --ctx-size 8192 --parallel 1 --n-gpu-layers 99 "
        f"--cache-type-k q8_0 --cache-type-v q8_0 --flash-attn on {NEW_FLAGS} --jinja --metrics "
        f"--temp 0 --top-p 1 --top-k 1 --api-key-file {home}/token"
    )
    pid = machine.sh(f"nohup {words} >log 2>&1 </dev/null & echo $!")
    ask = f"curl --silent --show-error http://127.0.0.1:{machine.port}"
    ready = f"until {ask}/health --fail 2>/dev/null; do kill -0 {pid} || exit; sleep 0.2; done"
    assert machine.sh(ready).endswith('{"status":"ok"}'), machine.sh("cat log")
    assert "Invalid API Key" in machine.sh(f"{ask}/v1/messages -d {shlex.quote(json.dumps(BODY))}")
    key = "-H 'x-api-key: open-sesame'"
    answer = machine.sh(f"{ask}/v1/messages {key} -d {shlex.quote(json.dumps(BODY))}")
    assert "Paris" in answer
    assert machine.sh(f"ps -o command= -p {pid}").endswith(words)
    machine.sh(f"kill {pid}")
    wait_until(lambda: machine.sh(f"ps -o pid= -p {pid}") == "")


def test_a_server_that_is_too_old_for_the_model(machine: Machine) -> None:
    homebrew.offer(machine.host.root, homebrew.TOO_OLD)
    machine.sh(f"{machine.brew} upgrade llama.cpp")
    said = machine.sh(f"{machine.server} --model model.gguf; echo $?").splitlines()
    assert said[0].endswith("unknown model architecture: 'gemma4'")
    assert said[-2:] == ["main: exiting due to model loading error", "1"]
    assert "Uninstalling" in machine.sh(f"{machine.brew} uninstall llama.cpp")
    assert (
        machine.sh(f"ls {machine.server} {machine.prefix}/Cellar 2>&1").count("No such file") == 1
    )


def test_brew_of_another_user(machine: Machine) -> None:
    homebrew.own(machine.host.root, "ops")
    printed = machine.sh(f"{machine.brew} install llama.cpp; echo $?")
    assert "directories are not writable by your user:" in printed
    assert printed.endswith("\n1")
    assert machine.sh(f"{machine.brew} list --versions llama.cpp || echo none") == "none"


def test_root_is_refused(machine: Machine) -> None:
    printed = machine.lab.login(machine.host, "root", f"{machine.brew} install llama.cpp")
    assert "Running Homebrew as root is extremely dangerous" in printed


def test_what_the_macs_are(lab: Lab) -> None:
    asked = "uname -m; sysctl -n hw.memsize hw.machine; sysctl -n hw.optional.arm64"
    arm, intel = _arm(lab).host, _intel(lab).host
    assert lab.login(arm, "anna", asked).splitlines() == ["arm64", "25769803776", "arm64", "1"]
    assert lab.login(intel, "anna", asked).splitlines() == [
        "x86_64",
        "17179869184",
        "x86_64",
        "sysctl: unknown oid 'hw.optional.arm64'",
    ]
    darwin.power(arm.root, "battery")
    assert lab.login(arm, "anna", "pmset -g batt").startswith("Now drawing from 'Battery Power'")


def test_a_mac_without_homebrew(lab: Lab) -> None:
    bare = lab.mac("bare", brew_owner=None)
    looked = lab.login(bare, "anna", "ls -d /opt/homebrew /usr/local/bin/brew /usr/local/Cellar")
    assert looked.count("No such file or directory") == 3
