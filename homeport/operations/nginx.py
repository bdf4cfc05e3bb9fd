"""nginx, installed where it is not there."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import operation

from ..facts.nginx import PACKAGE, UNIT, NginxFact
from ..layout import Layout
from . import apt
from .file import Commands

#: What a person types who has the right to.
BY_HAND = f"sudo apt install {PACKAGE} && sudo systemctl disable --now nginx"

#: What Debian's packages make and do not take away again.
_MADE = "/var/www/html/index.nginx-debian.html /var/www/html /var/www"


@operation()
def present(layout: Layout) -> Commands:
    """Have nginx on the host; where it is there it is left as it is."""
    found = host.get_fact(NginxFact)
    if found.program:
        host.noop(f"{found.program} is there")
        return
    yield apt.install([PACKAGE], layout, BY_HAND, made=_MADE, unit=UNIT)
