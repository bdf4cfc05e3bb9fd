"""launchd's stand-in has the traps of the real one: statuses, messages and delays, as README.md has
them from public sources. It starts real processes here, without a host."""

from __future__ import annotations

import os
import plistlib
import pwd
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.facts.service import RunningServiceFact
from homeport.service import IDENTITY_VARIABLE

from .launchd import job as jobs
from .launchd.commands import Answer, Launchd

#: A user who is not root, since launchctl tells root more.
USER = os.getuid() or pwd.getpwnam("nobody").pw_uid
GUI = f"gui/{USER}"
AGENT = f"{GUI}/homeport.a"


class Session:
    """launchd, and a user who is logged in at the screen."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.agents = folder, folder / "LaunchAgents"
        self.agents.mkdir()
        self.log_in(USER)
        self.launchd = Launchd(folder, folder / "kept", lambda uid: self.agents)
        self.launchd.look()

    def log_in(self, *uids: int) -> None:
        (self.folder / "gui-sessions").write_text(" ".join(map(str, uids)))

    def plist(self, script: str = "sleep 60", mode: int = 0o644, **keys: Any) -> str:
        path = self.agents / "homeport.a.plist"
        values = {
            "Label": "homeport.a",
            "ProgramArguments": ["/bin/sh", "-c", script],
            "EnvironmentVariables": {IDENTITY_VARIABLE: "us/homeport.a:1"},
            "KeepAlive": True,
            "StandardOutPath": str(self.folder / "log"),
            **keys,
        }
        path.write_bytes(plistlib.dumps(values))
        path.chmod(mode)
        return str(path)

    def launchctl(self, *argv: str, uid: int = USER) -> tuple[int, str]:
        """Exit status and text."""
        try:
            return 0, self.launchd.run(uid, list(argv), "/", False)
        except Answer as answer:
            return answer.status, answer.error

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def running(self) -> bool:
        return "\tstate = running\n" in self.launchctl("print", AGENT)[1]

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "it does not happen"
            time.sleep(0.02)
            self.launchd.look()


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setattr(jobs, "SETTLES", 0.3)
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
        Path(folder).chmod(0o777)
        session = Session(Path(folder))
        yield session
        for job in session.launchd.jobs.values():
            job.kill_and_wait()


EIO = (5, "Bootstrap failed: 5: Input/output error\n"
          "Try re-running the command as root for richer errors.")  # fmt: skip


def test_an_agent_runs_and_is_printed_as_homeport_reads_it(session: Session) -> None:
    assert session.launchctl("bootstrap", GUI, session.plist()) == (0, "")
    status, text = session.launchctl("print", AGENT)
    fact = RunningServiceFact().process([*text.splitlines(), "disabled=no"])
    assert (status, fact.identity) == (0, "us/homeport.a:1")
    assert fact.command == ("/bin/sh", "-c", "sleep 60")
    assert fact.pid == session.launchd.jobs[GUI, "homeport.a"].pid


def test_an_agent_has_nothing_of_a_logins_environment(session: Session) -> None:
    session.launchctl("bootstrap", GUI, session.plist("exec env"))
    session.until(lambda: "XPC_SERVICE_NAME=homeport.a" in session.log())
    assert "PATH=/usr/bin:/bin:/usr/sbin:/sbin" in session.log().splitlines()
    assert "PYTEST_CURRENT_TEST" not in session.log()


def test_a_label_is_taken_until_a_while_after_the_process_ended(session: Session) -> None:
    path = session.plist("trap 'sleep 0.3; exit' TERM; echo up; while :; do sleep 0.1; done")
    session.launchctl("bootstrap", GUI, path)
    assert session.launchctl("bootstrap", GUI, path) == EIO
    session.until(lambda: session.log() == "up\n")
    assert session.launchctl("bootout", AGENT)[0] == 0
    assert "state = SIGTERMed" in session.launchctl("print", AGENT)[1]
    assert session.launchctl("bootout", AGENT)[0] == 36
    session.until(lambda: session.launchctl("print", AGENT)[0] == 113)
    assert session.launchctl("bootout", AGENT) == (3, "Boot-out failed: 3: No such process")
    assert session.launchctl("bootstrap", GUI, path) == EIO
    session.until(lambda: session.launchctl("bootstrap", GUI, path)[0] == 0)


def test_an_unknown_service(session: Session) -> None:
    unknown = f'Could not find service "homeport.a" in domain for user gui: {USER}'
    assert session.launchctl("print", AGENT) == (113, f"Bad request.\n{unknown}")
    assert session.launchctl("kickstart", "-k", AGENT) == (113, unknown)
    assert session.launchctl("kill", "TERM", AGENT) == (113, unknown)


def test_without_a_login_at_the_screen_there_is_no_gui_domain(session: Session) -> None:
    session.launchctl("bootstrap", GUI, session.plist())
    session.log_in()
    session.until(lambda: not session.launchd.jobs)
    text = "125: Domain does not support specified action"
    status, error = session.launchctl("bootstrap", GUI, session.plist())
    assert (status, error) == (125, f"Bootstrap failed: {text}")
    session.log_in(USER)
    session.until(session.running)  # as every login loads what is in ~/Library/LaunchAgents


def test_a_disabled_service_stays_so(session: Session) -> None:
    assert session.launchctl("disable", AGENT) == (0, "")
    assert session.launchctl("bootstrap", GUI, session.plist()) == EIO
    as_root = session.launchctl("bootstrap", GUI, session.plist(), uid=0)
    assert as_root == (119, "Bootstrap failed: 119: Service is disabled")
    session.log_in()
    session.launchd.look()
    session.log_in(USER)
    session.launchd.look()
    assert not session.launchd.jobs
    assert '"homeport.a" => disabled' in session.launchctl("print-disabled", GUI)[1]


def test_what_ends_soon_is_started_again_only_after_the_throttle_interval(session: Session) -> None:
    session.launchctl("bootstrap", GUI, session.plist("exit 3", ThrottleInterval=1))
    session.until(lambda: "last exit code = 3" in session.launchctl("print", AGENT)[1])
    assert "\tstate = spawn scheduled\n" in session.launchctl("print", AGENT)[1]
    assert "\truns = 1\n" in session.launchctl("print", AGENT)[1]
    session.until(lambda: "\truns = 2\n" in session.launchctl("print", AGENT)[1])


def test_kickstart(session: Session) -> None:
    session.launchctl("bootstrap", GUI, session.plist())
    assert session.launchctl("kickstart", AGENT) == (37, "")  # it runs, and nothing is said
    assert session.launchctl("kickstart", "-k", AGENT) == (0, "")
    assert "last terminating signal = Killed: 9" in session.launchctl("print", AGENT)[1]


def test_a_program_that_is_not_there(session: Session) -> None:
    assert session.launchctl("bootstrap", GUI, session.plist(Program="/none"))[0] == 0
    session.until(lambda: "last exit code = 78: EX_CONFIG" in session.launchctl("print", AGENT)[1])


@pytest.mark.parametrize(
    ("keys", "refused"),
    [
        ({"KeepAlives": True}, "KeepAlives is no key of launchd.plist(5)"),
        ({"RunAtLoad": "yes"}, "RunAtLoad is str, not bool"),
        (
            {"WorkingDirectory": "~/x"},
            "a path is relative: launchd expands neither ~ nor variables",
        ),
        ({"mode": 0o664}, ""),  # a mistake of the host's, maybe, which launchd refuses as well
    ],
)
def test_an_unfit_plist_is_not_loaded(session: Session, keys: dict[str, Any], refused: str) -> None:
    path = session.plist(**keys)
    with pytest.raises(Answer) as raised:
        session.launchd.run(USER, ["bootstrap", GUI, path], "/", False)
    assert (raised.value.status, raised.value.error) == EIO
    assert raised.value.refused == refused


@pytest.mark.parametrize("words", ["frobnicate", "bootout gui/501", "kickstart -x gui/501/a"])
def test_an_unknown_call_of_launchctl_is_refused(session: Session, words: str) -> None:
    with pytest.raises(Answer) as raised:
        session.launchd.run(USER, words.split(), "/", False)
    assert raised.value.refused
