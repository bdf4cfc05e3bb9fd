"""The lab itself: what its hosts are, and that nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from homeport import ROOT

from ..running import wait_until
from . import host as hosts
from . import lab as labs
from .base import PASSWORD
from .lab import Lab


def login(lab: Lab, user: str, command: str) -> str:
    return lab.login(lab.host("gpu"), user, command)


def test_systemd_is_up_and_well(lab: Lab) -> None:
    gpu = lab.host("gpu")
    assert gpu.run("cat /proc/1/comm").strip() == "systemd"
    wait_until(lambda: gpu.run("systemctl is-system-running", check=False).strip() == "running")
    assert gpu.run("systemctl --failed --no-legend") == ""


def test_three_people_can_log_in(lab: Lab) -> None:
    assert login(lab, "root", "id -u") == "0"
    assert login(lab, "ops", "sudo -n id -u") == "0"
    assert "password is required" in login(lab, "anna", "sudo -n id -u")
    assert login(lab, "anna", f"echo {PASSWORD} | sudo -S -p '' id -u") == "0"
    assert login(lab, "anna", "systemctl --user is-system-running --wait") == "running"


def test_nothing_but_the_bridge_can_be_reached(lab: Lab) -> None:
    routes = login(lab, "anna", "/usr/sbin/ip route").splitlines()
    assert [route.split()[0] for route in routes] == ["10.77.0.0/24"]
    lab.host("other")
    assert login(lab, "anna", "getent hosts other && ssh-keyscan -T 2 other 2>/dev/null | wc -l")
    outside = next(iter(lab.registries.hosts))
    assert "esolve host" in login(lab, "anna", f"curl --silent --show-error http://{outside}")
    refused = login(
        lab, "anna", "curl -s -o /dev/null -w %{http_code} -x 10.77.0.1:3128 http://x.y"
    )
    assert refused == "403", "the proxy is for packages only"


def test_packages_can_be_installed(lab: Lab) -> None:
    said = login(lab, "ops", "sudo apt-get update -qq && sudo apt-get install -qq hello && hello")
    assert said.endswith("Hello, world!")
    install = "python3 -m venv /tmp/v && /tmp/v/bin/pip install --quiet iniconfig && echo done"
    assert login(lab, "anna", install).endswith("done")


def test_a_host_can_be_cut_off_healed_killed_and_rebooted(lab: Lab) -> None:
    gpu = lab.host("gpu")
    gpu.file("/home/anna/note").write_text("kept")
    gpu.cut()
    assert lab.network.banner(gpu.address) == b""
    assert gpu.run("cat /home/anna/note") == "kept", "without a network it can be looked at"
    gpu.heal()
    assert login(lab, "anna", "echo here") == "here"
    first = gpu.service("ssh.service").pid
    gpu.reboot()
    gpu.kill()
    gpu.boot_again()
    assert login(lab, "anna", "cat note") == "kept"
    assert first and gpu.service("ssh.service").active == "active"
    gpu.file("/home/anna/note").unlink()


def test_two_looks_at_an_idle_host_see_the_same(lab: Lab) -> None:
    before = lab.host("gpu").tree()
    assert len(before) > 10_000
    login(lab, "anna", "true")
    assert lab.host("gpu").tree() == before


def test_a_lab_that_was_killed_is_removed_by_the_next(lab: Lab) -> None:
    """`lab` is only here to skip this where there can be none."""
    script = (
        "from tests.lab import lab\n"
        "with lab.opened() as one:\n"
        "    one.host('orphan'); print(one.folder, flush=True); input()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    folder = Path(process.stdout.readline().strip())
    assert traces(process.pid, folder) == {"folder", "mounts", "namespaces", "cgroups"}
    process.send_signal(signal.SIGKILL)
    process.communicate()
    labs.remove_leftovers()
    assert traces(process.pid, folder) == set()
    lab.host("gpu").wait_until_up()  # a living lab was not taken along


def traces(pid: int, folder: Path) -> set[str]:
    """What there is of the lab of process `pid`."""
    name = f"homeport-lab-{pid}"
    found = {
        "folder": folder.exists(),
        "mounts": str(folder) in Path("/proc/self/mounts").read_text(),
        "namespaces": any(Path("/run/netns").glob(f"{name}*")),
        "cgroups": any((tree / name).exists() for tree in hosts.cgroup_trees()),
    }
    return {kind for kind, there in found.items() if there}


def test_without_root_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "need root: sudo make test TESTS=tests/lab" in (labs.obstacle() or "")
