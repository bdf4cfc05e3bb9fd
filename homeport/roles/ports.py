"""Whether a port is free for a service of ours."""

from __future__ import annotations

from pyinfra import host

from ..facts.host import PortOwnerFact
from ..facts.service import RunningServiceFact
from ..serving import deployed
from ..target import Target


def problem(port: int, what: str, target: Target) -> str | None:
    """The sentence that says who else has `port`, which is to be that of `what`."""
    owner = host.get_fact(PortOwnerFact, python=target.machine.python, port=port)
    if owner is None:
        return None
    if (owner["value"] or "").startswith(f"{target.layout.owner}/"):
        return None  # ours, even where whatever supervised it was killed
    for known in deployed(target):
        running = host.get_fact(
            RunningServiceFact,
            service=known.name,
            manager=known.manager,
            definition=known.definition,
        )
        if owner["pid"] is not None and owner["pid"] == running.pid:
            return None
    who = f"{owner['command']} (process {owner['pid']})" if owner["pid"] else owner["command"]
    return f"port {port} of {what} is in use by {who}. End that, or give {what} another port"
