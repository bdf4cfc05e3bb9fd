"""A run over many hosts: who goes first, and what it came to."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

from pyinfra.api import Host, Inventory, State

from . import report
from .settings import CANARY


def in_order(inventory: Inventory) -> list[Host]:
    """The hosts that are at work: the mirror, from which the others pull, then canaries, then as
    the inventory has them; pyinfra's own order is that of a set."""
    active = inventory.state.active_hosts
    return sorted(
        (host for host in inventory if host in active),
        key=lambda host: (not _is_mirror(host), not _is_canary(host)),
    )


def held_back(state: State, host: Host) -> str | None:
    """Why nothing is to be done on `host`: a canary was not reached, or failed. Without --serial
    all are at work at the same time, and nobody goes first."""
    if not one_by_one() or _is_canary(host) or _is_mirror(host):
        return None
    for one in state.inventory:
        if not _is_canary(one) or not state.is_host_in_limit(one):
            continue
        if one not in state.activated_hosts or one in state.failed_hosts:
            what = "failed" if one in state.activated_hosts else "was not reached"
            return f"{one.name}, which goes first (group {CANARY}), {what}; nothing was done here"
    return None


def one_by_one() -> bool:
    """Whether a host is done with before the next one begins."""
    return "--serial" in sys.argv


def summary(state: State, together: Mapping[str, Iterable[str]]) -> list[str]:
    """What became of the hosts of a run over several, and what to type for those that are left;
    `together` has, for a host, all that can only be deployed with it."""
    hosts = [host for host in state.inventory if state.is_host_in_limit(host)]
    at_work = state.activated_hosts - state.failed_hosts
    if len(hosts) < 2 or (at_work and not state.is_executing):
        return []
    left = [host for host in hosts if not report.complete(state, host)]
    lines = [f"{len(hosts) - len(left)} of {len(hosts)} hosts are as they should be"]
    away = [host.name for host in left if host not in state.activated_hosts]
    there = [host.name for host in left if host in state.activated_hosts]
    if there:
        lines.append(f"not finished, their lines are above: {', '.join(there)}")
    if away:
        lines.append(f"not reached, asleep or away: {', '.join(away)}")
    if left:
        names = [one for name in (*there, *away) for one in (name, *together.get(name, ()))]
        again = " ".join(f"--limit {name}" for name in dict.fromkeys(names))
        lines.append(f"these alone, when they are back or mended: the same command with {again}")
    return lines


def _is_mirror(host: Host) -> bool:
    return "mirror" in host.groups


def _is_canary(host: Host) -> bool:
    return CANARY in host.groups
