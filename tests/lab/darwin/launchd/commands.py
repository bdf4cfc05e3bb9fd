"""launchctl's subcommands, on the state of all domains.

Messages and exit statuses are those that people met on macOS 13 to 15, and those of the open
re-implementation ProcursusTeam/launchctl; README.md lists the sources.
"""

from __future__ import annotations

import json
import pwd
import signal
from collections.abc import Callable
from pathlib import Path

from . import keys, text
from .job import Job

ESRCH, EIO, EPERM, EALREADY, EINPROGRESS = 3, 5, 1, 37, 36
NO_SERVICE, DISABLED, SESSION, NO_DOMAIN = 113, 119, 134, 125
MESSAGES = {
    ESRCH: "No such process",
    EIO: "Input/output error",
    EPERM: "Operation not permitted",
    EALREADY: "Operation already in progress",
    EINPROGRESS: "Operation now in progress",
    DISABLED: "Service is disabled",
    SESSION: "Service cannot load in requested session",
    NO_DOMAIN: "Domain does not support specified action",
}
RICHER = "Try re-running the command as root for richer errors."
USAGE = "Usage: launchctl <subcommand> ... | help [subcommand]"
TARGET = (
    "Unrecognized target specifier. <service-target> takes a form of <domain-target>/<service-id>."
)


class Answer(Exception):
    """The end of a subcommand that has something to say on stderr; `refused` is for the log."""

    def __init__(self, status: int, error: str = "", refused: str = "") -> None:
        super().__init__(error)
        self.status, self.error, self.refused = status, error, refused


def _refuse(why: str, error: str = USAGE, status: int = 64) -> Answer:
    return Answer(status, error, why)


def agents_of(uid: int) -> Path:
    """What is loaded when a user logs in at the screen."""
    return Path(pwd.getpwuid(uid).pw_dir, "Library/LaunchAgents")


class Launchd:
    """All jobs; `state` is the folder with the lab's file gui-sessions, `kept` survives reboots."""

    def __init__(self, state: Path, kept: Path, agents: Callable[[int], Path] = agents_of) -> None:
        self.jobs: dict[tuple[str, str], Job] = {}
        self._sessions, self._kept, self._agents = state / "gui-sessions", kept, agents
        self._logged_in: set[int] = set()

    # What happens by itself

    def look(self) -> None:
        """Follow logins at the screen, and let every job do what is due."""
        now = {int(word) for word in self._sessions.read_text().split()}
        for uid in now - self._logged_in:
            self._log_in(uid)
        for uid in self._logged_in - now:
            for job in self._of(f"gui/{uid}"):
                job.boot_out()
        self._logged_in = now
        for name, job in list(self.jobs.items()):
            job.look()
            if job.released:
                del self.jobs[name]

    def _log_in(self, uid: int) -> None:
        for path in sorted(self._agents(uid).glob("*.plist")):
            try:
                definition = keys.read(str(path), uid)
            except keys.Unfit:
                continue
            off = self._disabled(uid).get(
                definition.label, bool(definition.values.get("Disabled", False))
            )
            if not off and "Aqua" in definition.sessions:
                self._add(definition, f"gui/{uid}", uid)

    def _add(self, definition: keys.Definition, domain: str, uid: int) -> None:
        job = self.jobs[domain, definition.label] = Job(definition, domain, uid)
        job.load()

    # Subcommands: each returns what it prints, or raises Answer

    def run(self, caller: int, argv: list[str], cwd: str, tty: bool) -> str:
        command, words = argv[0] if argv else "", argv[1:]
        match command:
            case "bootstrap" if len(words) >= 2:
                return self._bootstrap(caller, words[0], words[1:], cwd)
            case "bootout" if words:
                return self._bootout(caller, words[0], words[1:], cwd)
            case "kickstart" if words:
                return self._kickstart(caller, words, tty)
            case "enable" | "disable" if len(words) == 1:
                return self._enable(caller, words[0], command)
            case "kill" if len(words) == 2:
                return self._kill(caller, *words)
            case "print" if len(words) == 1:
                return self._print(words[0])
            case "print-disabled" if len(words) == 1:
                return text.disabled(self._disabled(self._domain(words[0])[1]))
            case "list" if not words:
                return text.listing(self._callers(caller))
            case "list" | "start" | "stop" if len(words) == 1:
                return self._legacy(caller, command, words[0])
            case "managername" if not words:
                return "Background\n"  # a session over SSH, whoever is at the screen
            case "manageruid" if not words:
                return f"{caller}\n"
            case "version" if not words:
                return "Darwin Bootstrapper Version 7.0.0: Thu Jul 10 18:19:18 PDT 2025\n"
        raise _refuse(
            f"launchctl {' '.join(argv)} is no call of launchctl's, or not modelled",
            f"Unrecognized subcommand: {command}\n{USAGE}" if command else USAGE,
            1 if command else 64,
        )

    def _bootstrap(self, caller: int, target: str, paths: list[str], cwd: str) -> str:
        domain, uid = self._domain(target)
        try:
            self._privileged(caller, uid)
            self._there(domain)
            for path in paths:
                self._load(domain, uid, str(Path(cwd, path)))
        except keys.Unfit as error:
            if caller == 0 or error.code in (NO_DOMAIN, EPERM):
                raise Answer(
                    error.code, f"Bootstrap failed: {error.code}: {error.text}", error.mistake
                ) from None
            raise Answer(
                EIO, f"Bootstrap failed: {EIO}: {MESSAGES[EIO]}\n{RICHER}", error.mistake
            ) from None
        return ""

    def _load(self, domain: str, uid: int, path: str) -> None:
        definition = keys.read(path, uid)
        if (domain, definition.label) in self.jobs:  # there, or on its way out
            raise _unfit(EALREADY)
        if self._disabled(uid).get(definition.label, bool(definition.values.get("Disabled"))):
            raise _unfit(DISABLED)
        session = {"gui": "Aqua", "user": "Background"}.get(domain.partition("/")[0])
        if session and session not in definition.sessions:
            raise _unfit(SESSION)
        self._add(definition, domain, uid)

    def _bootout(self, caller: int, target: str, paths: list[str], cwd: str) -> str:
        try:
            if paths:
                domain, uid = self._domain(target)
                labels = [keys.read(str(Path(cwd, path)), uid).label for path in paths]
            else:
                domain, uid, label = self._service(target)
                labels = [label]
            self._privileged(caller, uid)
            self._there(domain)
            jobs = [self.jobs.get((domain, label)) for label in labels]
            if any(job is None or job.gone_at is not None for job in jobs):
                raise _unfit(ESRCH)
        except keys.Unfit as error:
            raise Answer(error.code, f"Boot-out failed: {error.code}: {error.text}") from None
        for job in filter(None, jobs):
            again = job.booted_out
            job.boot_out()
            if again:
                raise Answer(EINPROGRESS, f"Boot-out failed: 36: {MESSAGES[EINPROGRESS]}")
        return ""

    def _kickstart(self, caller: int, words: list[str], tty: bool) -> str:
        flags = [letter for word in words[:-1] for letter in word.removeprefix("-")]
        if set(flags) - set("kp") or any(not word.startswith("-") for word in words[:-1]):
            raise _refuse(f"kickstart {words[:-1]} is not modelled")
        job = self._job(caller, words[-1], "kickstart")
        if "k" in flags:
            job.kill_and_wait()
        if job.pid is not None:
            raise Answer(EALREADY)  # it says nothing
        pid = job.start()
        return (
            "" if "p" not in flags else f"service spawned with pid: {pid}\n" if tty else f"{pid}\n"
        )

    def _enable(self, caller: int, target: str, command: str) -> str:
        domain, uid, label = self._service(target)
        try:
            self._privileged(caller, uid)
            self._there(domain)
        except keys.Unfit as error:
            raise Answer(
                error.code, f"Could not {command} service: {error.code}: {error.text}"
            ) from None
        labels = {**self._disabled(uid), label: command == "disable"}
        self._kept.mkdir(parents=True, exist_ok=True)
        (self._kept / f"disabled.{uid}.json").write_text(json.dumps(labels))
        return ""

    def _kill(self, caller: int, name: str, target: str) -> str:
        try:
            plain = name.lstrip("-").upper().removeprefix("SIG")
            number = int(plain) if plain.isdigit() else signal.Signals[f"SIG{plain}"].value
        except KeyError:
            raise _refuse(f"{name} is no signal", "Invalid signal.") from None
        job = self._job(caller, target, "signal")
        if job.pid is None:
            raise Answer(ESRCH, "No process to signal.")
        job.signal(number)
        return ""

    def _print(self, target: str) -> str:
        if target == "system" or (target.count("/") == 1 and not target.startswith("system/")):
            domain, _ = self._domain(target)
            try:
                self._there(domain)
            except keys.Unfit as error:
                raise Answer(
                    error.code, f"Could not print domain: {error.code}: {error.text}"
                ) from None
            return text.domain(domain, self._of(domain))
        return text.service(self._job(0, target, "print", "Bad request.\n"))

    def _legacy(self, caller: int, command: str, label: str) -> str:
        job = next((job for job in self._callers(caller) if job.label == label), None)
        if job is None:
            if command == "list":
                raise Answer(NO_SERVICE, f'Could not find service "{label}" in domain for port')
            raise Answer(ESRCH)  # start and stop say nothing
        if command == "list":
            return text.listed(job)
        if command == "stop":
            job.stop()
        elif job.pid is None:
            job.start()
        return ""

    # What they share

    def _of(self, domain: str) -> list[Job]:
        return [job for (where, _), job in self.jobs.items() if where == domain and not job.gone_at]

    def _callers(self, caller: int) -> list[Job]:
        domains = ["system"] if caller == 0 else [f"gui/{caller}", f"user/{caller}"]
        return [job for domain in domains for job in self._of(domain)]

    def _domain(self, target: str) -> tuple[str, int]:
        kind, _, number = target.partition("/")
        if target == "system":
            return target, 0
        if kind not in ("gui", "user") or not number.isdigit():
            raise _refuse(f"{target} is no domain, or not modelled", TARGET)
        return target, int(number)

    def _service(self, target: str) -> tuple[str, int, str]:
        domain, _, label = target.rpartition("/")
        if not domain or not label:
            raise _refuse(f"{target} is no service target", TARGET)
        return *self._domain(domain), label

    def _privileged(self, caller: int, uid: int) -> None:
        if caller not in (0, uid):
            raise _unfit(EPERM)

    def _there(self, domain: str) -> None:
        kind, _, uid = domain.partition("/")
        if kind == "gui" and int(uid) not in self._logged_in:
            raise _unfit(NO_DOMAIN)

    def _job(self, caller: int, target: str, verb: str, before: str = "") -> Job:
        domain, uid, label = self._service(target)
        try:
            self._privileged(caller, uid)
            self._there(domain)
        except keys.Unfit as error:
            about = f'Could not {verb} service "{label}"'
            raise Answer(error.code, f"{about}: {error.code}: {error.text}") from None
        job = self.jobs.get((domain, label))
        if job is None or job.gone_at is not None:
            kind, _, number = domain.partition("/")
            where = {"gui": f"user gui: {number}", "user": f"uid: {number}"}.get(kind, "system")
            about = f'Could not find service "{label}" in domain for {where}'
            raise Answer(NO_SERVICE, f"{before}{about}")
        return job

    def _disabled(self, uid: int) -> dict[str, bool]:
        path = self._kept / f"disabled.{uid}.json"
        labels: dict[str, bool] = json.loads(path.read_text()) if path.exists() else {}
        return labels


def _unfit(code: int) -> keys.Unfit:
    return keys.Unfit(code, MESSAGES[code])
