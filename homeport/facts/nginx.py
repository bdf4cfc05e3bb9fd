"""Whether a host has nginx, or can be given it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pyinfra.api import FactBase, StringCommand

from .packages import AS_ROOT

#: What homeport installs, and where nginx is, which a user's PATH may lack.
PACKAGE = "nginx-light"
_PATH = 'PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"'

#: The unit of the distribution's own server, which is to serve nothing that nobody asked for.
UNIT = "/etc/systemd/system/nginx.service"


@dataclass(frozen=True)
class Nginx:
    """`program` is its path, None where it is not there; `version` changes with the program;
    `without` are the modules it was built without. `installable` is whether apt is there and the
    user may be root without a password; `ipv6` whether the machine has it."""

    program: str | None = None
    version: str = ""
    without: tuple[str, ...] = ()
    installable: bool = False
    ipv6: bool = False


class NginxFact(FactBase[Nginx]):
    """The `Nginx` of a host; sudo is asked only where there is none."""

    def command(self) -> StringCommand:
        return StringCommand(
            f": homeport: nginx; {_PATH}; {AS_ROOT}"
            "[ ! -s /proc/net/if_inet6 ] || echo ipv6=yes; "
            'if nginx=$(command -v nginx); then echo "program=$nginx"; '
            'stat -L -c "version=%s bytes of %Y" "$nginx"; "$nginx" -V 2>&1; '
            "elif command -v apt-get >/dev/null && root true 2>/dev/null; "
            "then echo installable=yes; fi; true"
        )

    def process(self, output: list[str]) -> Nginx:
        found = dict(line.split("=", 1) for line in output if re.match("[a-z0-9]+=", line))
        return Nginx(
            program=found.get("program"),
            version=found.get("version", ""),
            without=tuple(re.findall(r"--without-http_(\w+?)_module", "\n".join(output))),
            installable=found.get("installable") == "yes",
            ipv6=found.get("ipv6") == "yes",
        )

    @staticmethod
    def default() -> Nginx:
        return Nginx()
