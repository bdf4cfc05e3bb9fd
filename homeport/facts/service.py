"""What a supervised service is doing, asked of its manager and of the process itself."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from pyinfra.api import FactBase, QuoteString, StringCommand

from ..service import IDENTITY_VARIABLE, Manager, Service, journalctl, systemctl
from .file import Lines

# Prints identity=... and command=... (base64) of the running process $pid.
_PROCESS = (
    "tr '\\0' '\\n' < /proc/$pid/environ 2>/dev/null "
    f"| sed -n 's/^{IDENTITY_VARIABLE}=/identity=/p'; "
    'echo "command=$(base64 < /proc/$pid/cmdline 2>/dev/null | tr -d "\\n")"'
)

# Sets $daemon to the pid of the supervisord that runs the configuration $conf, or to nothing.
FIND_SUPERVISORD = """
daemon=$(cat "$conf.pid" 2>/dev/null)
[ -n "$daemon" ] && tr '\\0' '\\n' < "/proc/$daemon/cmdline" 2>/dev/null | grep -qxF -- "$conf" \
  || daemon=
"""


@dataclass(frozen=True)
class RunningService:
    """`pid`, `identity` (see `Service.identity`) and command line of the running process, None and
    empty where it does not run; `current` where the manager has read the definition that is on disk
    and starts it at the next boot (launchd: where it is not disabled); `restarts` is how often
    systemd started it again by itself."""

    pid: int | None = None
    identity: str | None = None
    command: tuple[str, ...] = ()
    current: bool = False
    restarts: int = 0

    def is_right(self, service: Service) -> bool:
        """Whether it was started as `service` is to be: from the same things, in the same words.

        The program's own path may differ: a wrapper script replaces it by what it starts.
        """
        arguments = service.command[1:]
        same_words = self.command[-len(arguments) :] == arguments
        return self.pid is not None and self.identity == service.identity and same_words


class RunningServiceFact(FactBase[RunningService]):
    """The `RunningService` called `service` under `manager`, with its definition at that path."""

    def command(self, service: str, manager: Manager, definition: str) -> StringCommand:
        match manager:
            case Manager.SYSTEMD | Manager.SYSTEM:
                ask = systemctl(manager)
                return StringCommand(
                    f'u={service}.service; {ask} show "$u" '
                    "-p MainPID -p LoadState -p UnitFileState -p NeedDaemonReload -p NRestarts; "
                    f'pid=$({ask} show "$u" -p MainPID --value); '
                    f'[ "${{pid:-0}}" = 0 ] || {{ {_PROCESS}; }}; true'
                )
            case Manager.LAUNCHD:
                return StringCommand(
                    f'launchctl print "gui/$(id -u)/{service}" 2>/dev/null; '
                    # macOS 12 and older say "true" for it.
                    'launchctl print-disabled "gui/$(id -u)" 2>/dev/null '
                    f"| grep -qE '\"{service}\" => (disabled|true)' "
                    "&& echo disabled=yes || echo disabled=no"
                )
            case Manager.SUPERVISORD:
                return StringCommand(
                    "conf=", QuoteString(definition), "; ",
                    FIND_SUPERVISORD,
                    'if [ -n "$daemon" ]; then for stat in /proc/[0-9]*/stat; do '
                    "  parent=$(sed 's/.*) [A-Z] \\([0-9]*\\) .*/\\1/' \"$stat\" 2>/dev/null); "
                    '  [ "$parent" = "$daemon" ] || continue; '
                    "  pid=${stat#/proc/}; pid=${pid%/stat}; "
                    f'  echo "MainPID=$pid"; {_PROCESS}; '
                    "done; echo UnitFileState=enabled; fi; true",
                    _separator="",
                )  # fmt: skip

    def process(self, output: list[str]) -> RunningService:
        if output[-1].startswith("disabled="):
            return _launchd(output)
        found = dict(line.split("=", 1) for line in output if "=" in line)
        return RunningService(
            pid=int(found.get("MainPID") or 0) or None,
            identity=found.get("identity"),
            command=tuple(
                base64.b64decode(found.get("command", "")).decode(errors="replace").split("\0")[:-1]
            ),
            current=found.get("UnitFileState") == "enabled"
            and found.get("LoadState", "loaded") == "loaded"
            and found.get("NeedDaemonReload", "no") == "no",
            restarts=int(found.get("NRestarts") or 0),
        )

    @staticmethod
    def default() -> RunningService:
        return RunningService()


def _launchd(output: list[str]) -> RunningService:
    text = "\n".join(output)
    pid = re.search(r"^\s*pid = (\d+)$", text, re.MULTILINE)
    identity = re.search(rf"^\s*{IDENTITY_VARIABLE} => (\S+)$", text, re.MULTILINE)
    arguments = re.search(r"^\targuments = \{\n(.*?)\n\t\}$", text, re.MULTILINE | re.DOTALL)
    return RunningService(
        pid=int(pid[1]) if pid else None,
        identity=identity[1] if identity else None,
        command=tuple(line.strip() for line in arguments[1].splitlines()) if arguments else (),
        current="disabled=yes" not in output,
    )


class LaunchdLabelsFact(FactBase[list[str]]):
    """The labels of the user's launchd services, definition or not."""

    def command(self) -> StringCommand:
        return StringCommand("launchctl list 2>/dev/null || true")

    def process(self, output: list[str]) -> list[str]:
        return [line.split("\t")[2] for line in output if line.count("\t") == 2]

    @staticmethod
    def default() -> list[str]:
        return []


class LastLogLines(Lines):
    """The last `count` lines that the service wrote."""

    def command(self, service: Service, manager: Manager, count: int) -> StringCommand:
        if manager in (Manager.SYSTEMD, Manager.SYSTEM):
            return StringCommand(
                f"{journalctl(manager)} -u {service.unit} -n {count} -o cat 2>/dev/null || true"
            )
        return StringCommand("tail -n", str(count), QuoteString(service.log), "2>/dev/null || true")
