"""What the doctor on a host is told, at the end of a deploy."""

from __future__ import annotations

import json

from pyinfra import host
from pyinfra.api import operation

from .. import doctoring
from ..preflight import host_data
from ..target import Target
from . import file
from .file import Commands


@operation()
def told(target: Target) -> Commands:
    """Note what the host should be, and the state of each file that this run has seen to. The last
    of its operations, since all of them add to that."""
    path, notes = doctoring.state(target), f"{target.layout.state}/"
    files = {
        one: [state.mode, state.sha256]
        for one, state in sorted(file.written().items())
        if not one.startswith(notes)  # homeport's own, which come and go
    }
    noted = {"wanted": doctoring.wanted(target, host_data(host).values).document(), "files": files}
    content = f"{json.dumps(noted, indent=1)}\n".encode()
    yield from file.write._inner(path=path, content=content, mode="600")
