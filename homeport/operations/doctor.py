"""What the doctor on a host is told, at the end of a deploy."""

from __future__ import annotations

import json

from pyinfra import host
from pyinfra.api import operation

from .. import doctoring
from ..facts.engine import TextFact
from ..facts.file import PresentFact
from ..preflight import host_data
from ..target import Target
from . import file
from .file import Commands


@operation()
def told(target: Target) -> Commands:
    """Note what the host should be, and the state of each file that deploys have written. The last
    of a run's operations, since all of them add to that."""
    path, notes = doctoring.state(target), f"{target.layout.state}/"
    before = host.get_fact(TextFact, path=path)
    if before and target.settings.gpu and not target.settings.gpu.may_restart:
        host.noop("what is new is not served yet, so what was noted stays")
        return
    made = _noted(before)  # this run may have had no need to look
    made |= {one: [state.mode, state.sha256] for one, state in file.written().items()}
    # What a pull was told is gone when it is over.
    left = host.get_fact(PresentFact, paths=tuple(made))
    # Those under state/ are homeport's own notes, which come and go.
    files = {one: made[one] for one in sorted(left) if not one.startswith(notes)}
    wanted = doctoring.wanted(target, host_data(host).values)
    content = f"{json.dumps({'wanted': wanted.document(), 'files': files}, indent=1)}\n"
    yield from file.write._inner(path=path, content=content.encode(), mode="600")


def _noted(text: str) -> dict[str, list[str]]:
    """The files of the runs before."""
    try:
        found = json.loads(text)["files"]
    except (ValueError, KeyError, TypeError):  # none, or a power cut
        return {}
    return found if isinstance(found, dict) else {}
