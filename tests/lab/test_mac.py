"""A laptop that is a Mac, from its first deploy to its removal: in this order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from ..running import Run, wait_until
from . import darwin
from .host import Host
from .lab import Lab
from .routes import SMALL

LABEL = "homeport.claude-fable5"
PLIST = f"/Users/anna/Library/LaunchAgents/{LABEL}.plist"
ANSWERS = "claude-fable5 (SmolLM2 135M (try-out), 8,192 tokens) answers at http://127.0.0.1:"


class Mac:
    """The host, as it was before, and its first run."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.host = lab, lab.mac("mac")
        self.inventory = self.on(18080)
        self.before = self.host.tree()
        self.first = self.deploy()
        self.after = self.host.tree()

    def on(self, port: int) -> str:
        routes = {"claude-fable5": {**SMALL["claude-fable5"], "port": port}}
        groups = {"laptops": [self.host], "workstations": [self.host]}
        return str(self.lab.inventory(groups, name=f"with-{port}", routes=routes))

    def deploy(self) -> Run:
        return self.lab.deploy(self.inventory)

    def sh(self, command: str) -> str:
        """What anna sees, who came in by SSH."""
        return self.lab.login(self.host, "anna", command)

    @property
    def pid(self) -> int | None:
        found = re.search(r"\tpid = (\d+)", self.sh(f"launchctl print gui/501/{LABEL}"))
        return int(found[1]) if found else None

    def drift(self) -> set[str]:
        """What is not as the first run left it, logs aside."""
        return {path for path in self.host.difference(self.after) if "/log/" not in path}

    def calls(self, *words: str) -> list[darwin.Call]:
        """The calls so far of a stand-in with these first words."""
        return [
            call
            for call in darwin.calls(self.host.root)
            if (call.program, *call.argv)[: len(words)] == words
        ]


@pytest.fixture(scope="module")
def mac(lab: Lab) -> Mac:
    return Mac(lab)


def test_it_is_a_mac_to_whoever_comes_in(mac: Mac) -> None:
    assert mac.sh("uname -sm; sw_vers -productName; echo $PATH").splitlines() == [
        "Darwin arm64",
        "macOS",
        "/usr/bin:/bin:/usr/sbin:/sbin",
    ]
    for program in ("systemctl", "sha256sum", "setfacl", "brew"):
        assert "not found" in mac.sh(f"command -v {program} || echo not found")
    assert mac.sh("ls /opt/homebrew/bin") == "brew\nllama-server"


def test_the_first_run_ends_with_an_answer(mac: Mac) -> None:
    assert mac.first.status == 0, mac.first.output
    assert mac.first.of("mac")[1].startswith(ANSWERS)
    assert "state = running" in mac.sh(f"launchctl print gui/501/{LABEL}")
    assert mac.sh(f"plutil -lint {PLIST}").endswith("OK")
    assert "homeport" not in mac.sh("launchctl print-disabled gui/501"), "a record for ever"


def test_a_new_terminal_finds_the_script(mac: Mac) -> None:
    assert (
        mac.sh("zsh -i -c 'command -v use-fable5.sh'") == "/Users/anna/.homeport/bin/use-fable5.sh"
    )


def test_a_second_run_changes_nothing_and_restarts_nothing(mac: Mac) -> None:
    pid, before = mac.pid, len(mac.calls("launchctl", "bootstrap"))
    run = mac.deploy()
    assert run.status == 0
    assert run.of("mac")[0] == "no changes"
    assert mac.pid == pid
    assert len(mac.calls("launchctl", "bootstrap")) == before
    assert mac.drift() == set()


def plist_deleted(mac: Mac) -> None:
    mac.sh(f"rm {PLIST}")


def plist_edited(mac: Mac) -> None:
    mac.sh(f"plutil -convert binary1 {PLIST}")


def disabled(mac: Mac) -> None:
    mac.sh(f"launchctl disable gui/501/{LABEL}")


def program_deleted(mac: Mac) -> None:
    mac.sh("rm .homeport/lib/serve_llama.py")


def booted_out(mac: Mac) -> None:
    mac.sh(f"launchctl bootout gui/501/{LABEL}")


def disabled_and_booted_out(mac: Mac) -> None:
    mac.sh(f"launchctl disable gui/501/{LABEL}; launchctl bootout gui/501/{LABEL}")


def plist_deleted_and_booted_out(mac: Mac) -> None:
    mac.sh(f"rm {PLIST}; launchctl bootout gui/501/{LABEL}")


@pytest.mark.parametrize(
    ("drift", "restarts"),
    [
        (plist_deleted, False),
        (plist_edited, False),
        (disabled, False),
        (program_deleted, False),
        (booted_out, True),
        (disabled_and_booted_out, True),
        (plist_deleted_and_booted_out, True),
    ],
)
def test_drift_is_repaired(mac: Mac, drift: Callable[[Mac], None], restarts: bool) -> None:
    pid = mac.pid
    drift(mac)
    run = mac.deploy()
    assert run.status == 0, run.output
    assert run.of("mac")[0].endswith("made")
    assert run.of("mac")[1].startswith(ANSWERS)
    assert (mac.pid != pid) == restarts
    assert f'"{LABEL}" => disabled' not in mac.sh("launchctl print-disabled gui/501")
    assert mac.drift() == set()


def test_a_killed_server_comes_back_by_itself(mac: Mac) -> None:
    pid = mac.pid
    mac.sh(f"kill -9 {pid}")
    wait_until(lambda: mac.pid not in (None, pid))
    assert mac.deploy().of("mac")[0] == "no changes"


def test_another_port_is_a_restart_through_launchds_refusals(mac: Mac) -> None:
    """Right after a bootout launchd answers 5 for a while; that is waited for."""
    first, refused = mac.inventory, refusals(mac)
    for _ in range(3):  # a busy machine may come too late for it
        mac.inventory = mac.on(18090)
        assert mac.deploy().of("mac")[1].startswith(f"{ANSWERS}18090")
        mac.inventory = first
        assert mac.deploy().of("mac")[1].startswith(f"{ANSWERS}18080")
        if refusals(mac) > refused:
            break
    assert {call.status for call in mac.calls("launchctl", "bootstrap")} <= {0, 5}
    assert refusals(mac) > refused, "the stand-in has this trap"


def refusals(mac: Mac) -> int:
    return sum(call.status != 0 for call in mac.calls("launchctl", "bootstrap"))


def test_it_serves_after_a_reboot(mac: Mac) -> None:
    mac.host.reboot()
    wait_until(lambda: mac.pid)
    assert mac.deploy().of("mac")[0] == "no changes"


def test_removal_leaves_no_trace(mac: Mac) -> None:
    run = mac.lab.remove(mac.inventory)
    assert run.status == 0, run.output
    assert mac.host.difference(mac.before) == {}
    assert "homeport" not in mac.sh("launchctl list")
    assert mac.sh("ps -axo command= | grep '[s]erve_llama'") == ""
    assert mac.lab.remove(mac.inventory).of("mac")[0] == "no changes"


def test_removal_finds_an_agent_whose_definition_is_gone(mac: Mac) -> None:
    assert mac.deploy().status == 0
    plist_deleted(mac)
    assert mac.lab.remove(mac.inventory).status == 0
    assert "homeport" not in mac.sh("launchctl list")
    assert mac.host.difference(mac.before) == {}


@pytest.fixture
def nobody_at_the_screen(mac: Mac) -> Iterator[Host]:
    darwin.log_in(mac.host.root)
    wait_until(lambda: mac.sh("launchctl print gui/501 >/dev/null 2>&1 || echo none") == "none")
    yield mac.host
    darwin.log_in(mac.host.root, 501)


def test_nobody_is_logged_in_at_the_screen(mac: Mac, nobody_at_the_screen: Host) -> None:
    run = mac.deploy()
    assert run.status == 1
    assert (
        "logged in at the screen, and anna is not. Log in there, and run this again" in run.output
    )
    assert nobody_at_the_screen.difference(mac.before) == {}


def test_a_folder_that_an_installer_took_from_the_user(mac: Mac) -> None:
    agents = PLIST.rpartition("/")[0]
    mac.host.run(f"mkdir {agents}")
    run = mac.deploy()
    assert run.status == 1
    assert f"{agents} is not yours to write in. Type: sudo chown anna '{agents}'" in run.output
    mac.host.run(f"rmdir {agents}")
    assert mac.host.difference(mac.before) == {}
