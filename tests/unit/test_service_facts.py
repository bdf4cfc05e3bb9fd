"""What the three service managers say is read right."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from homeport.facts.host import MachineFact
from homeport.facts.service import RunningService, RunningServiceFact
from homeport.service import Manager, Service

COMMAND = base64.b64encode(b"/bin/python\0--port\x001\0").decode()
SYSTEMD = [
    "MainPID=4711",
    "NeedDaemonReload=no",
    "UnitFileState=enabled",
    "identity=a:abc123",
    f"command={COMMAND}",
]
WORDS = ("/bin/python", "--port", "1")

# As `launchctl print gui/501/homeport.claude-fable5` puts it on macOS 14, shortened.
LAUNCHD = """gui/501/homeport.claude-fable5 = {
	active count = 1
	path = /Users/anna/Library/LaunchAgents/homeport.claude-fable5.plist
	type = LaunchAgent
	state = running

	program = /Users/anna/.homeport/env/1/bin/python
	arguments = {
		/Users/anna b/.homeport/env/1/bin/python
		--alias
		claude-fable5
	}

	inherited environment = {
		SSH_AUTH_SOCK => /private/tmp/com.apple.launchd.x/Listeners
	}

	environment = {
		HOMEPORT_SERVICE => homeport.claude-fable5:0123456789abcdef
		XPC_SERVICE_NAME => homeport.claude-fable5
	}

	runs = 1
	pid = 4711
	last exit code = (never exited)
}
disabled=no""".splitlines()
MAC_IDENTITY = "homeport.claude-fable5:0123456789abcdef"
MAC_WORDS = ("/Users/anna b/.homeport/env/1/bin/python", "--alias", "claude-fable5")


@pytest.mark.parametrize(
    ("output", "running"),
    [
        (SYSTEMD, RunningService(4711, "a:abc123", WORDS, True)),
        (
            ["MainPID=0", "NeedDaemonReload=no", "UnitFileState=enabled"],
            RunningService(current=True),
        ),
        (
            [*SYSTEMD[:1], "NeedDaemonReload=yes", *SYSTEMD[2:]],
            RunningService(4711, "a:abc123", WORDS),
        ),
        (["MainPID=0", "NeedDaemonReload=no", "UnitFileState="], RunningService()),
        ([*SYSTEMD, "LoadState=error"], RunningService(4711, "a:abc123", WORDS)),
        (["MainPID=5", "identity=x", "UnitFileState=enabled"], RunningService(5, "x", (), True)),
        (["UnitFileState=enabled"], RunningService(current=True)),
        (LAUNCHD, RunningService(4711, MAC_IDENTITY, MAC_WORDS, True)),
        ([*LAUNCHD[:-1], "disabled=yes"], RunningService(4711, MAC_IDENTITY, MAC_WORDS, False)),
        (["disabled=no"], RunningService(current=True)),
        (
            [line for line in LAUNCHD if "pid =" not in line],
            RunningService(None, MAC_IDENTITY, MAC_WORDS, True),
        ),
    ],
)
def test_running_service(output: list[str], running: RunningService) -> None:
    assert RunningServiceFact().process(output) == running


def test_a_process_is_right_when_identity_and_words_are() -> None:
    service = Service("a", "owner", "", ("/bin/python", "--port", "1"), "")
    running = RunningService(4711, service.identity, WORDS, True)
    assert running.is_right(service)
    assert replace(running, command=("/bin/wrapped", "--x", *WORDS[1:])).is_right(service)
    assert not replace(running, command=("/bin/python", "--port", "2")).is_right(service)
    assert not replace(running, identity="a:other").is_right(service)
    assert not replace(running, pid=None).is_right(service)


def test_nothing_is_known_of_the_service() -> None:
    assert RunningServiceFact.default() == RunningService()


def test_machine() -> None:
    machine = MachineFact().process(
        [
            "home=/Users/anna b",
            "kernel=Darwin",
            "arch=arm64",
            "memory=17179869184",
            "brew=/opt/homebrew/bin/brew",
            "user=anna",
            "manager=launchd",
            "python=/usr/bin/python3 3.9.6",
            "venv=yes",
            "python=/opt/homebrew/bin/python3.13 3.13.1",
            "venv=no",
            "free_kib=1000",
            "claude=/opt/homebrew/bin/claude",
        ]
    )
    assert machine.manager is Manager.LAUNCHD
    assert (machine.python, machine.python_version) == ("/opt/homebrew/bin/python3.13", (3, 13, 1))
    assert not machine.venv
    assert machine.free == 1_024_000
    assert machine.memory == 16 * 2**30
    assert (machine.brew, machine.brew_is_ours) == ("/opt/homebrew/bin/brew", False)
