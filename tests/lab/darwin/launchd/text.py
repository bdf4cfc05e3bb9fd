"""What `launchctl print` and `list` show, after outputs of macOS 14 and 15 that are public."""

from __future__ import annotations

import signal
from typing import Any

from .job import EX_CONFIG, PATH, Job


def service(job: Job) -> str:
    """`launchctl print DOMAIN/LABEL`."""
    values = job.definition.values
    ended = [f"last exit code = {_exit(job)}"]
    if job.signalled is not None:
        ended = [f"last terminating signal = {_signal(job.signalled)}"]
    properties = ["keepalive"] if values.get("KeepAlive") else []
    properties += ["runatload"] if values.get("RunAtLoad") else []
    properties += [] if "Program" in values else ["inferred program"]
    kind = "LaunchDaemon" if job.domain == "system" else "LaunchAgent"
    domain = job.domain if job.domain == "system" else f"{job.domain} [100003]"
    active = 1 if job.pid else 0
    environment = {**values.get("EnvironmentVariables", {}), "XPC_SERVICE_NAME": job.label}
    running = [
        f"pid = {job.pid}",
        "immediate reason = speculative",
        "forks = 0",
        "execs = 1",
        "initialized = 1",
        "trampolined = 1",
        "started suspended = 0",
        "proxy started suspended = 0",
        "checked allocations = 0 (queried = 1)",
        "checked allocations reason = no host",
        "checked allocations flags = 0x0",
    ]
    lines = [
        f"active count = {active}",
        f"path = {job.definition.path}",
        f"type = {kind}",
        f"state = {job.state}",
        "",
        f"program = {job.definition.program}",
        *_block("arguments", job.definition.arguments),
        "",
        *_of(values, "WorkingDirectory", "working directory = {}", ""),
        *_of(values, "StandardOutPath", "stdout path = {}"),
        *_of(values, "StandardErrorPath", "stderr path = {}"),
        *_block(
            "inherited environment", ["SSH_AUTH_SOCK => /private/tmp/com.apple.launchd/Listeners"]
        ),
        "",
        *_block("default environment", [f"PATH => {PATH}"]),
        "",
        *_block("environment", [f"{key} => {value}" for key, value in environment.items()]),
        "",
        f"domain = {domain}",
        *(["asid = 100003"] * (job.domain != "system")),
        f"minimum runtime = {job.throttle}",
        f"exit timeout = {job.exit_timeout}",
        f"runs = {job.runs}",
        *(running if job.pid else []),
        *ended,
        "",
        *_coalition("resource", 501, job),
        "",
        *_coalition("jetsam", 502, job),
        "",
        "spawn type = daemon (3)",
        "jetsam priority = 40",
        "jetsam memory limit (active) = (unlimited)",
        "jetsam memory limit (inactive) = (unlimited)",
        "jetsamproperties category = daemon",
        "jetsam thread limit = 32",
        "cpumon = default",
        "",
        f"properties = {' | '.join(properties)}",
    ]
    body = "\n".join(f"\t{line}" if line else "" for line in lines)
    return f"{job.domain}/{job.label} = {{\n{body}\n}}\n"


def domain(name: str, jobs: list[Job]) -> str:
    """`launchctl print DOMAIN`, in short."""
    rows = [f"\t\t{job.pid or 0:>8} {_status(job):>7} \t{job.label}" for job in jobs]
    kind = {"gui": "login", "user": "user"}.get(name.partition("/")[0], "system")
    return "\n".join([f"{name} = {{", f"\ttype = {kind}", "\tservices = {", *rows, "\t}", "}", ""])


def listing(jobs: list[Job]) -> str:
    """`launchctl list`."""
    rows = [f"{job.pid or '-'}\t{_status(job)}\t{job.label}" for job in jobs]
    return "\n".join(["PID\tStatus\tLabel", *rows, ""])


def listed(job: Job) -> str:
    """`launchctl list LABEL`."""
    values = job.definition.values
    lines = [
        *_of(values, "StandardOutPath", '"StandardOutPath" = "{}";'),
        f'"LimitLoadToSessionType" = "{job.definition.sessions[0]}";',
        *_of(values, "StandardErrorPath", '"StandardErrorPath" = "{}";'),
        f'"Label" = "{job.label}";',
        f'"OnDemand" = {str(not values.get("KeepAlive")).lower()};',
        # The raw wait(2) status: 9 is SIGKILL, 256 is exit status 1.
        f'"LastExitStatus" = {job.signalled or (job.exited or 0) << 8};',
        *([f'"PID" = {job.pid};'] if job.pid else []),
        f'"Program" = "{job.definition.program}";',
        '"ProgramArguments" = (',
        *(f'\t"{word}";' for word in job.definition.arguments),
        ");",
    ]
    return "\n".join(["{", *(f"\t{line}" for line in lines), "};", ""])


def disabled(labels: dict[str, bool]) -> str:
    """`launchctl print-disabled DOMAIN`."""
    rows = [f'\t\t"{name}" => {"disabled" if off else "enabled"}' for name, off in labels.items()]
    return "\n".join(["\n\tdisabled services = {", *rows, "\t}", ""])


def _block(name: str, lines: list[str]) -> list[str]:
    return [f"{name} = {{", *(f"\t{line}" for line in lines), "}"]


def _of(values: dict[str, Any], key: str, *lines: str) -> list[str]:
    """Lines that show a value, none where it is not set."""
    return [line.format(values[key]) for line in lines] if key in values else []


def _coalition(kind: str, number: int, job: Job) -> list[str]:
    state = "active" if job.pid else "inactive"
    lines = [f"ID = {number}", f"type = {kind}", f"state = {state}"]
    return _block(f"{kind} coalition", [*lines, "active count = 1", f"name = {job.label}"])


def _exit(job: Job) -> str:
    if job.exited is None:
        return "(never exited)"
    return f"{job.exited}: EX_CONFIG" if job.exited == EX_CONFIG else str(job.exited)


def _signal(number: int) -> str:
    return f"{signal.strsignal(number)}: {number}"


def _status(job: Job) -> str:
    return f"-{job.signalled}" if job.signalled else str(job.exited or 0)
