"""Where homeport's files are on a host. Pure.

Everything is under one directory of the user's; the three exceptions (Claude Code's settings, one
line in the shell's start-up files, the service's definition) are recorded under `state` so that
they can be taken away again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath

from .model import Route

PARTS = (
    *("bin", "client", "env", "fish", "lib", "log", "mirror", "routes", "service", "state"),
    "weights",
)


@dataclass(frozen=True)
class Layout:
    """The paths of one deployment: `home` is the user's, `directory` homeport's own."""

    home: str
    directory: str

    @classmethod
    def under(cls, home: str, directory: str) -> Layout:
        """`directory` may start with ~/ for `home`."""
        return cls(home, expand(directory, home))

    def path(self, *parts: str) -> str:
        return str(PurePosixPath(self.directory, *parts))

    @property
    def name(self) -> str:
        """What this deployment is called by in other people's files: "homeport" for ~/.homeport."""
        return PurePosixPath(self.directory).name.lstrip(".")

    @property
    def services(self) -> str:
        """What the names of this deployment's services start with, and no other of this user's."""
        return f"{self.name}."

    @property
    def owner(self) -> str:
        """What tells this deployment from any other on the machine, of whatever user."""
        return hashlib.sha256(self.directory.encode()).hexdigest()[:12]

    @property
    def parts(self) -> list[str]:
        """Every directory that homeport makes under its own."""
        return [self.path(name) for name in PARTS]

    @property
    def bin(self) -> str:
        return self.path("bin")

    @property
    def fish(self) -> str:
        return self.path("fish")

    @property
    def state(self) -> str:
        return self.path("state")

    @property
    def created_directories(self) -> str:
        """The list of the directories outside this one that homeport made."""
        return self.path("state", "created-directories")

    @property
    def created_files(self) -> str:
        """The list of the shell's start-up files that homeport made."""
        return self.path("state", "created-files")

    @property
    def claude_settings(self) -> str:
        return str(PurePosixPath(self.home, ".claude", "settings.json"))

    def script(self, route: Route) -> str:
        return self.path("bin", route.script)

    def function(self, route: Route) -> str:
        return self.path("fish", f"{route.command}.fish")

    def route_settings(self, route: Route) -> str:
        return self.path("routes", f"{route.name}.json")

    def token(self, route: Route) -> str:
        return self.path("routes", f"{route.name}.token")

    def ca(self, route: Route) -> str | None:
        """The certificates that the endpoint's is signed by; None where every machine has them."""
        return self.path("routes", f"{route.alias}.pem") if route.endpoint.ca else None

    def server_token(self, route: Route) -> str:
        return self.path("service", f"{route.alias}.token")

    def log(self, route: Route) -> str:
        return self.path("log", f"{route.alias}.log")

    def service_files(self, name: str) -> tuple[str, str]:
        """What the service `name`, where it is a pull, is told, and its tokens."""
        return self.path("service", f"{name}.json"), self.path("service", f"{name}.tokens")

    def proven(self, alias: str) -> str:
        """The file that says which server of `alias` was proven."""
        return self.path("state", f"{alias}.proven")

    def left_by(self, name: str) -> list[str]:
        """All that the service `name`, a pull or a server, is told and leaves."""
        token = self.path("service", f"{name}.token")
        configuration = self.path("service", f"{name}.cfg")
        return [self.proven(name), token, configuration, *reversed(self.service_files(name))]

    @property
    def installed_packages(self) -> str:
        """The list of the system's packages that homeport installed, and of what they made."""
        return self.path("state", "installed-packages")

    def weights(self, repo: str) -> str:
        """Where the files of a repository on the Hub are; remote/pull.py says how."""
        return self.path("weights", repo)


def expand(path: str, home: str) -> str:
    return str(PurePosixPath(home, path[2:])) if path.startswith("~/") else path
