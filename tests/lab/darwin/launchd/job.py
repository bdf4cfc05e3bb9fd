"""One service: its process, and when it is started again."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import time

from .keys import Definition

PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
EX_CONFIG = 78  # what launchd shows for a program that it cannot start, sysexits(3)

#: Seconds between SIGTERM and SIGKILL: `exit timeout = 5` in what launchctl prints of agents.
EXIT_TIMEOUT = 5

#: Seconds for which a label stays taken after its process ended. People measured none to 5 s
#: (headroom issue 1289, darkbloom issue 1102, snx-rs issue 241).
SETTLES = 1.5


class Job:
    """A bootstrapped service. `uid` is whom it runs as, `domain` is gui/UID, user/UID or system."""

    def __init__(self, definition: Definition, domain: str, uid: int) -> None:
        self.definition, self.domain, self.uid = definition, domain, uid
        self.pid: int | None = None
        self.runs = 0
        self.exited: int | None = None  # the last exit status
        self.signalled: int | None = None  # or the signal that ended it
        self.booted_out = False
        self.gone_at: float | None = None  # since when it is booted out and has no process
        self._wanted = False
        self._started = -1e9
        self._kill_at: float | None = None

    @property
    def label(self) -> str:
        return self.definition.label

    @property
    def throttle(self) -> int:
        return int(self.definition.values.get("ThrottleInterval", 10))

    @property
    def exit_timeout(self) -> int:
        return int(self.definition.values.get("ExitTimeOut", EXIT_TIMEOUT))

    @property
    def state(self) -> str:
        if self.pid is not None:
            return "SIGTERMed" if self._kill_at is not None else "running"
        return "spawn scheduled" if self._wanted else "not running"

    @property
    def released(self) -> bool:
        """Whether the label is free again."""
        return self.gone_at is not None and time.monotonic() - self.gone_at > SETTLES

    def load(self) -> None:
        """What happens at bootstrap."""
        values = self.definition.values
        self._wanted = bool(values.get("RunAtLoad") or values.get("KeepAlive"))
        self.look()

    def look(self) -> None:
        """Reap, kill and start, as is due now."""
        if self.pid is not None:
            self._reap()
        now = time.monotonic()
        if self.pid is not None and self._kill_at is not None and now > self._kill_at:
            self.signal(signal.SIGKILL)
        if self.booted_out:
            if self.pid is None and self.gone_at is None:
                self.gone_at = now
        elif self.pid is None and self._wanted and now - self._started >= self.throttle:
            self.start()

    def start(self) -> int:
        """Start it now, throttled or not: its pid."""
        self._wanted, self._started = False, time.monotonic()
        self.runs += 1
        self._kill_at = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._become()
            except BaseException:
                os._exit(EX_CONFIG)
        return self.pid

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when the time for it is over."""
        if self.pid is not None and self._kill_at is None:
            self._kill_at = time.monotonic() + self.exit_timeout
            self.signal(signal.SIGTERM)

    def boot_out(self) -> None:
        self.booted_out, self._wanted = True, False
        self.stop()
        self.look()

    def signal(self, number: int) -> None:
        if self.pid is not None:
            os.kill(self.pid, number)

    def kill_and_wait(self) -> None:
        """What `kickstart -k` does first: SIGKILL (KiroCrew issue 1562)."""
        if self.pid is not None:
            self.signal(signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
            self._ended(status)

    def _reap(self) -> None:
        assert self.pid is not None
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self._ended(status)

    def _ended(self, status: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid or 0, signal.SIGKILL)  # AbandonProcessGroup is false
        code = os.waitstatus_to_exitcode(status)
        self.exited, self.signalled = (code, None) if code >= 0 else (None, -code)
        self.pid = self._kill_at = None
        self._wanted = not self.booted_out and self.definition.restarts(self.exited)

    def environment(self) -> dict[str, str]:
        """launchd's own, without anything that a login sets."""
        user = pwd.getpwuid(self.uid)
        return {
            "HOME": user.pw_dir,
            "LOGNAME": user.pw_name,
            "PATH": PATH,
            "SHELL": user.pw_shell,
            "TMPDIR": "/tmp/",
            "USER": user.pw_name,
            "XPC_FLAGS": "0x0",
            "XPC_SERVICE_NAME": self.label,
            "__CF_USER_TEXT_ENCODING": f"0x{self.uid:X}:0:0",
            **self.definition.values.get("EnvironmentVariables", {}),
        }

    def _become(self) -> None:
        """In the child: be the program."""
        values, user = self.definition.values, pwd.getpwuid(self.uid)
        os.setsid()
        environment = self.environment()
        mask = values.get("Umask", 0o22)
        os.umask(int(mask, 0) if isinstance(mask, str) else mask)
        os.setpriority(os.PRIO_PROCESS, 0, int(values.get("Nice", 0)))
        if os.getuid() != self.uid:
            os.initgroups(user.pw_name, user.pw_gid)
            os.setgid(user.pw_gid)
            os.setuid(self.uid)
        os.chdir(values.get("WorkingDirectory", "/"))
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        wanted = (
            (values.get("StandardInPath", os.devnull), os.O_RDONLY),
            (values.get("StandardOutPath", os.devnull), append),
            (values.get("StandardErrorPath", os.devnull), append),
        )
        for number, (path, flags) in enumerate(wanted):
            os.dup2(os.open(path, flags, 0o644), number)
        for number in range(1, signal.NSIG):
            if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
                signal.signal(number, signal.SIG_DFL)
        os.closerange(3, 256)
        program = self.definition.program
        if "/" in program:
            os.execve(program, self.definition.arguments, environment)
        for folder in PATH.split(":"):
            with contextlib.suppress(FileNotFoundError):
                os.execve(f"{folder}/{program}", self.definition.arguments, environment)
        os._exit(EX_CONFIG)
