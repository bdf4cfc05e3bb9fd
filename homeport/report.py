"""The last lines of a run: what each host serves and uses, and that it answered."""

from __future__ import annotations

from collections import defaultdict

from pyinfra.api import Host, State

from . import transport

#: The operation that notes what a run did, which is itself no change of what was asked for.
NOTE = "Note what the doctor should find"

_sentences: dict[str, list[str]] = defaultdict(list)


def say(host: Host, sentence: str) -> None:
    """Keep `sentence` for the end of the run."""
    _sentences[host.name].append(sentence)


def said(host: Host) -> list[str]:
    """The sentences kept for `host`."""
    return list(_sentences[host.name])


def lines(state: State, host: Host) -> list[str]:
    """The sentences kept for `host`; first, one that says whether anything changed there."""
    kept = said(host)
    if host in state.activated_hosts:
        kept = [_outcome(state, host), *kept] if state.is_executing else []
    return [f"{host.print_prefix}{line}" for line in kept]


def complete(state: State, host: Host) -> bool:
    """Whether all that was planned for `host` was done."""
    if host not in state.activated_hosts or host in state.failed_hosts:
        return False
    return all(data.operation_meta.is_complete() for data in state.ops[host].values())


def _outcome(state: State, host: Host) -> str:
    planned = [
        data.operation_meta
        for key, data in state.ops[host].items()
        if not any(name.endswith(NOTE) for name in state.op_meta[key].names)
    ]
    finished = [meta for meta in planned if meta.is_complete()]
    changed = sum(meta.did_change() for meta in finished)
    failed = host in state.failed_hosts
    # The first operation only waits for its turn.
    end = "nothing was changed" if len(finished) < 2 else "the next run takes it from there"
    if not complete(state, host) and transport.lost(host):
        return f"the connection was lost; {end}"
    if failed:
        return end if len(finished) < 2 else f"failed, see above; {end}"
    if not complete(state, host):
        return f"interrupted; {end}"
    if changed:
        return f"{changed} change{'s' if changed > 1 else ''} made"
    return "no changes"
