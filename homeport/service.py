"""A supervised program, as each of the three service managers wants it described. Pure.

A service carries the digest of everything it was started from in its environment, so that
"does what runs differ from what should?" is answered by the running process itself.
"""

from __future__ import annotations

import hashlib
import json
import plistlib
import shlex
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import PurePosixPath

from .layout import Layout

#: The environment variable in which a running service shows its `Service.identity`.
IDENTITY_VARIABLE = "HOMEPORT_SERVICE"

#: What runs supervisord, after a Python. Its script would not survive a $ in the path.
SUPERVISORD = "-m supervisor.supervisord -c"


#: Where the units of the machine's own services stand.
SYSTEM_UNITS = "/etc/systemd/system"

#: systemctl --user and loginctl need it, and a session without a login lacks it.
RUNTIME_DIR = 'export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"; '

#: How much a laptop's server steps back for what its user does. On a Mac it is no "Background"
#: process: that has the slow cores only, and 11 tokens/s instead of 87 (measured by others on an
#: M4 Max, dryvist/nix-ai issue 916).
_NICE = 5

#: Seconds after which a service that is `once` and failed is started again.
RETRY_AFTER = 60


class Manager(StrEnum):
    """What starts a service and starts it again when it ends."""

    LAUNCHD = "launchd"
    SYSTEMD = "systemd"  # systemd --user
    SUPERVISORD = "supervisord"  # where there is no service manager, such as in a container
    SYSTEM = "systemd (system)"  # of the machine, where homeport is deployed as root


@dataclass(frozen=True)
class Service:
    """`name` is unique to the user, `owner` to the deployment on this machine (`Layout.owner`);
    `inputs` are digests of what the command line only points at (the program's version, the
    weights), so that a change of theirs is a change of the service.

    One that is `once` ends when its work is done: it is started again only after a failure (a
    status of 2 is final), and at the next boot. `credential` is the path of a file with secrets;
    systemd hands it over under its own name (systemd.exec(5), LoadCredential). A `wrapper` is the
    start of a command that replaces itself by `command`.

    The rest is for services of the machine only: the `user` that they run as, their `environment`,
    a file with more of it that is secret, what they may write to, `cache`, a directory under
    /var/cache that is theirs, and what root runs `before` them, whether that works or not.
    """

    name: str
    owner: str
    description: str
    command: tuple[str, ...]
    log: str
    inputs: tuple[str, ...] = ()
    once: bool = False
    credential: str | None = None
    wrapper: tuple[str, ...] = ()
    user: str | None = None
    environment: tuple[tuple[str, str], ...] = ()
    secrets: str | None = None
    writable: tuple[str, ...] = ()
    cache: str | None = None
    before: tuple[tuple[str, ...], ...] = ()

    @property
    def digest(self) -> str:
        parts: list[object] = [self.launched, self.inputs, self.log]
        if self.user:
            parts += [self.user, self.environment]
        return digest(json.dumps(parts))

    @property
    def launched(self) -> tuple[str, ...]:
        """What its manager starts."""
        return (*self.wrapper, *self.command)

    @property
    def identity(self) -> str:
        """Its owner, name and digest, as its process has them in `IDENTITY_VARIABLE`."""
        return f"{identity_start(self.owner, self.name)}{self.digest}"

    @property
    def credential_name(self) -> str:
        return PurePosixPath(self.credential or "").name

    @property
    def unit(self) -> str:
        """The name of its systemd unit."""
        return f"{self.name}.service"

    def plist(self) -> bytes:
        """Its launchd agent."""
        return plistlib.dumps(
            {
                "Label": self.name,
                "ProgramArguments": list(self.launched),
                "EnvironmentVariables": {IDENTITY_VARIABLE: self.identity},
                "RunAtLoad": True,
                "KeepAlive": {"SuccessfulExit": False} if self.once else True,
                "ThrottleInterval": RETRY_AFTER if self.once else 10,
                **({"ProcessType": "Background"} if self.once else {"Nice": _NICE}),
                "StandardOutPath": self.log,
                "StandardErrorPath": self.log,
            }
        )


def start_command(name: str, manager: Manager, definition: str, python: str) -> str:
    """What a person types to have the service `name` run; `python` is the one with supervisord."""
    match manager:
        case Manager.LAUNCHD:
            return f"launchctl kickstart -k gui/$(id -u)/{name}"
        case Manager.SYSTEMD | Manager.SYSTEM:
            return f"{systemctl(manager, by_hand=True)} restart {name}.service"
        case Manager.SUPERVISORD:
            return f"{shlex.quote(python)} {SUPERVISORD} {shlex.quote(definition)}"


def definition_path(name: str, manager: Manager, layout: Layout) -> str:
    """Where the definition of the service `name` stands."""
    match manager:
        case Manager.LAUNCHD:
            return str(PurePosixPath(layout.home, "Library/LaunchAgents", f"{name}.plist"))
        case Manager.SYSTEMD:
            return str(PurePosixPath(layout.home, ".config/systemd/user", f"{name}.service"))
        case Manager.SUPERVISORD:
            return layout.path("service", f"{name}.conf")
        case Manager.SYSTEM:
            return str(PurePosixPath(SYSTEM_UNITS, f"{name}.service"))


def systemctl(manager: Manager, by_hand: bool = False) -> str:
    """The start of a command to the systemd that is `manager`; `by_hand` as a person types it."""
    if manager is Manager.SYSTEM:
        return "sudo systemctl" if by_hand else "systemctl"
    return "systemctl --user" if by_hand else f"{RUNTIME_DIR}systemctl --user"


def journalctl(manager: Manager) -> str:
    """The same of its journal."""
    return "journalctl" if manager is Manager.SYSTEM else f"{RUNTIME_DIR}journalctl --user"


def wanted_by(manager: Manager) -> str:
    """The target with which that systemd starts services."""
    return "multi-user.target" if manager is Manager.SYSTEM else "default.target"


def identity_start(owner: str, name: str) -> str:
    """What the identity of the service `name` starts with, whatever it was started from."""
    return f"{owner}/{name}:"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def sealed(secret: str) -> str:
    """The digest of a secret, for places that others can read: so slow to make that one which
    somebody thought up is not found by trying."""
    made = hashlib.pbkdf2_hmac("sha256", secret.encode(), b"homeport", 200_000)
    return made.hex()[:16]


def systemd_quote(argument: str) -> str:
    """One word of an `ExecStart=:` line, where the colon says that $ is no variable
    (systemd.service(5), "Command lines")."""
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def supervisor_quote(argument: str) -> str:
    """One word of a command= line: split as a shell would, after %-expansion (supervisord.org)."""
    return shlex.quote(argument).replace("%", "%%")
