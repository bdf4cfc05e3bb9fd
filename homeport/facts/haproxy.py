"""Whether a host has HAProxy, or can be given it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pyinfra.api import FactBase, StringCommand

from .host import EXTRA_PATH
from .packages import AS_ROOT

#: What homeport installs, with apt or Homebrew.
PACKAGE = "haproxy"

#: The oldest that has `wait-for-body`, `json_query` and "@system-ca" (its documentation).
OLDEST = (2, 6)

#: The unit of the distribution's own server, which is to serve nothing that nobody asked for.
UNIT = "/etc/systemd/system/haproxy.service"


@dataclass(frozen=True)
class Haproxy:
    """`program` is its path, None where it is not there, `version` its own, and `made` changes with
    the program. `installable` is whether apt is there and the user may be root without a
    password, and `to_be_had` the version that apt then has, as far as that is known."""

    program: str | None = None
    version: tuple[int, ...] = ()
    made: str = ""
    installable: bool = False
    to_be_had: tuple[int, ...] = OLDEST


class HaproxyFact(FactBase[Haproxy]):
    """The `Haproxy` of a host; sudo is asked only where there is none."""

    def command(self) -> StringCommand:
        return StringCommand(
            f': homeport: haproxy; PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:{EXTRA_PATH}"; '
            f"{AS_ROOT}"
            'if haproxy=$(command -v haproxy); then echo "program=$haproxy"; '
            'echo "made=$(cksum < "$haproxy")"; "$haproxy" -v 2>&1; '
            "elif command -v apt-get >/dev/null && root true 2>/dev/null; "
            f"then echo installable=yes; apt-cache policy {PACKAGE} 2>/dev/null | "
            "sed -n 's/^  Candidate: /candidate=/p'; fi; true"
        )

    def process(self, output: list[str]) -> Haproxy:
        found = dict(line.split("=", 1) for line in output if re.match("[a-z]+=", line))
        version = re.search(r"version (\d+)\.(\d+)", "\n".join(output))
        candidate = re.match(r"(?:\d+:)?(\d+)\.(\d+)", found.get("candidate", ""))
        return Haproxy(
            program=found.get("program"),
            version=tuple(map(int, version.groups())) if version else (),
            made=found.get("made", ""),
            installable=found.get("installable") == "yes",
            to_be_had=tuple(map(int, candidate.groups())) if candidate else OLDEST,
        )

    @staticmethod
    def default() -> Haproxy:
        return Haproxy()
