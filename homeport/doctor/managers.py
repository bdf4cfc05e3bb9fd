"""What the manager of a service says of it: systemd, launchd or supervisord; and its log.

The commands' words are those of systemctl(1), journalctl(1) and launchctl(1), and of supervisord
4.3's log, which it is asked by as it listens to nobody.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Optional, Union

from . import commands
from .commands import Said
from .table import Unknown
from .wanted import LAUNCHD, SUPERVISORD, SYSTEM, Service

#: What becomes of a service, as `State.phase` has it. It restarts while its manager waits to start
#: it again, and is unloaded where its manager does not know a definition that is there.
MISSING, MASKED, UNLOADED, STOPPED, FAILED, RESTARTING, RUNNING = (
    *("missing", "masked", "unloaded", "stopped"),
    *("failed", "restarting", "running"),
)

#: Lines of the journal that are looked at, and bytes of the end of a log file.
_LINES, _TAIL = 200, 64_000

#: Seconds in which a service ends when the kernel killed a process of it.
_SOON = 30

_STARTED_AGAIN = re.compile(r"Scheduled restart job|INFO exited: ")
_ENDED = re.compile(r"Main process exited|Failed with result")
_KILLED_FOR_MEMORY = re.compile(r"killed by the OOM killer|Out of memory: Killed process")


@dataclass(frozen=True)
class State:
    """`failure` is how it ended, in the manager's words; `limited` where its manager starts it no
    more; `at_boot` whether it is started with the machine, or its user's session, and `lingers`
    whether that session outlives the login."""

    phase: str
    pid: Optional[int] = None
    failure: str = ""
    limited: bool = False
    at_boot: bool = True
    lingers: bool = True


@dataclass(frozen=True)
class Line:
    """Of a log; `at` in seconds since 1970, where that is known, `own` where the service itself
    said it, and not its manager or the kernel."""

    text: str
    at: Optional[float] = None
    own: bool = True


Log = Union[tuple[Line, ...], Unknown]


def state(service: Service, manager: str) -> Union[State, Unknown]:
    """What `manager` says of `service`."""
    try:
        if manager == LAUNCHD:
            return _launchd(service)
        if manager == SUPERVISORD:
            return _supervisord(service)
        return _systemd(service, manager)
    except (OSError, subprocess.SubprocessError) as error:
        return Unknown("its manager cannot be asked: %s" % error)


def log(service: Service, manager: str) -> Log:
    """The last that the service said, and its manager of it."""
    try:
        if manager in (LAUNCHD, SUPERVISORD):
            lines = [Line(text) for text in _tail(Path(service.log))]
            if manager == SUPERVISORD:
                lines += supervisors(_tail(Path(service.log + ".supervisord")))
            return tuple(lines)
        said = _run(["journalctl", *_of(manager), "-u", service.name, "-n", str(_LINES),
                     "-o", "short-unix", "--no-pager"])  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return Unknown("its log cannot be read: %s" % error)
    lines = list(journal(said.output))
    if not lines and ("insufficient permissions" in said.errors or "Hint:" in said.errors):
        return Unknown("its journal is not for this user to read: %s" % service.logs)
    return tuple(lines)


def killed_by_kernel() -> list[Line]:
    """What the kernel says of processes that it killed for memory, as far as that may be read."""
    try:
        said = _run(["journalctl", "-k", "-n", "2000", "-o", "short-unix", "--no-pager", "-q"])
    except (OSError, subprocess.SubprocessError):
        return []
    lines = journal(said.output)
    return [Line(one.text, one.at, False) for one in lines if _KILLED_FOR_MEMORY.search(one.text)]


def those_of(log: Iterable[Line], kernels: Iterable[Line]) -> list[Line]:
    """Those lines of the kernel's that are of when the service ended, and not another program."""
    ends = [line.at for line in log if line.at and _ENDED.search(line.text) and not line.own]
    return [one for one in kernels if any(abs((one.at or 0) - end) < _SOON for end in ends)]


def restarts(lines: Iterable[Line], now: float, seconds: float) -> int:
    """How often a manager started it again in the last `seconds`."""
    return sum(
        1
        for line in lines
        if not line.own and line.at and now - line.at < seconds and _STARTED_AGAIN.search(line.text)
    )


def out_of_memory(lines: Iterable[Line]) -> Optional[str]:
    """The line that says that it was killed for memory."""
    said = [line.text for line in lines if not line.own and _KILLED_FOR_MEMORY.search(line.text)]
    return said[-1] if said else None


# systemd


def _of(manager: str) -> list[str]:
    return [] if manager == SYSTEM else ["--user"]


def _systemd(service: Service, manager: str) -> Union[State, Unknown]:
    wanted = "LoadState,ActiveState,SubState,Result,UnitFileState,MainPID,ExecMainStatus"
    said = _run(["systemctl", *_of(manager), "show", service.name + ".service", "-p", wanted])
    if said.status:
        why = (said.errors.strip().splitlines() or ["status %d" % said.status])[0]
        return Unknown("systemd cannot be asked: %s" % why)
    return systemds(said.output, manager == SYSTEM or _lingers())


def systemds(text: str, lingers: bool) -> State:
    """What `systemctl show` prints of a unit."""
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    load, active = found.get("LoadState", ""), found.get("ActiveState", "")
    phase = {"failed": FAILED, "inactive": STOPPED, "deactivating": STOPPED}.get(active, RUNNING)
    if found.get("SubState") == "auto-restart":
        phase = RESTARTING
    pid = int(found.get("MainPID") or 0) or None
    if load == "masked":
        phase = MASKED
    elif load == "not-found" and not pid:
        phase = MISSING
    result = found.get("Result", "")
    failure = "" if result == "success" else result
    if result == "exit-code":
        failure = "it ended with status %s" % found.get("ExecMainStatus")
    return State(
        phase=phase,
        pid=pid,
        failure=failure,
        limited=result == "start-limit-hit",
        at_boot=found.get("UnitFileState", "").startswith("enabled"),
        lingers=lingers,
    )


def _lingers() -> bool:
    import pwd

    return Path("/var/lib/systemd/linger", pwd.getpwuid(os.getuid()).pw_name).exists()


def journal(text: str) -> Iterable[Line]:
    """Lines of `journalctl -o short-unix`; what continues one stands below it, with blanks."""
    at: Optional[float] = None
    own = True
    for line in text.splitlines():
        found = re.match(r"(\d+\.\d+) \S+ ([^:\[]+)(?:\[\d+\])?: (.*)", line)
        if found:
            at, own = float(found[1]), found[2] not in ("systemd", "kernel")
        elif line.startswith("-- "):
            continue
        yield Line(found[3] if found else line.strip(), at, own)


# launchd


def _launchd(service: Service) -> State:
    place = "gui/%d" % os.getuid()
    said = _run(["launchctl", "print", "%s/%s" % (place, service.name)])
    if said.status:
        return State(UNLOADED if Path(service.definition).exists() else MISSING)
    return launchds(said.output, _run(["launchctl", "print-disabled", place]).output, service.name)


def launchds(text: str, disabled: str, name: str) -> State:
    """What `launchctl print` and `print-disabled` print; macOS 12 says true for disabled."""
    pid = re.search(r"^\s*pid = (\d+)$", text, re.MULTILINE)
    status = re.search(r"^\s*last exit code = (\d+)", text, re.MULTILINE)
    signal = re.search(r"^\s*last terminating signal = (.+)$", text, re.MULTILINE)
    failure = "it ended with status %s" % status[1] if status and status[1] != "0" else ""
    if signal:
        failure = "it was ended by %s" % signal[1]
    return State(
        phase=RUNNING if pid else RESTARTING if failure else STOPPED,
        pid=int(pid[1]) if pid else None,
        failure=failure,
        at_boot=not re.search(r'"%s" => (disabled|true)' % re.escape(name), disabled),
    )


# supervisord


def _supervisord(service: Service) -> State:
    if not Path(service.definition).exists():
        return State(MISSING)
    try:
        daemon = int(Path(service.definition + ".pid").read_text())
        words = Path("/proc/%d/cmdline" % daemon).read_bytes().decode(errors="replace").split("\0")
    except (OSError, ValueError):
        return State(STOPPED)
    if service.definition not in words:
        return State(STOPPED)  # a number that another process has by now
    children = Path("/proc/%d/task/%d/children" % (daemon, daemon)).read_text().split()
    if children:
        return State(RUNNING, int(children[0]))
    said = [line.text for line in supervisors(_tail(Path(service.log + ".supervisord")))]
    gave_up = bool(said) and "gave up" in said[-1]
    ends = [text for text in said if "exited: " in text]
    failure = re.search(r"\((.*?);", ends[-1]) if ends else None
    return State(
        FAILED if gave_up else RESTARTING, failure=failure[1] if failure else "", limited=gave_up
    )


def supervisors(lines: Iterable[str]) -> list[Line]:
    """Lines of supervisord's own log: "2026-11-20 10:00:00,123 INFO exited: ..."."""
    found = []
    for line in lines:
        try:
            at = datetime.strptime(line[:19], "%Y-%m-%d %H:%M:%S").timestamp()
        except ValueError:
            continue
        found.append(Line(line[24:], at, own=False))
    return found


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _TAIL, 0))
            return file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _run(words: list[str]) -> Said:
    return commands.ended(words, environment(os.environ))


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """What a command is run with: English, and where `systemctl --user` finds its manager."""
    runtime = "/run/user/%d" % os.getuid()
    return {"XDG_RUNTIME_DIR": runtime, **variables, "LC_ALL": "C"}
