"""The last lines of a run: what each host serves and uses, and that it answered."""

from __future__ import annotations

from collections import defaultdict

from pyinfra.api import Host, State

_sentences: dict[str, list[str]] = defaultdict(list)


def say(host: Host, sentence: str) -> None:
    """Keep `sentence` for the end of the run."""
    _sentences[host.name].append(sentence)


def lines(state: State, host: Host) -> list[str]:
    """The sentences kept for `host`, after one that says whether anything changed there."""
    if not state.is_executing:
        return []
    operations = [data.operation_meta for data in state.ops[host].values()]
    changed = sum(meta.is_complete() and meta.did_change() for meta in operations)
    if host in state.failed_hosts:
        outcome = "failed, see above; the next run takes it from there"
    elif changed:
        outcome = f"{changed} change{'s' if changed > 1 else ''} made"
    else:
        outcome = "no changes"
    return [f"{host.print_prefix}{line}" for line in (outcome, *_sentences[host.name])]
