"""A host's first step in every role: to wait for its turn, so that two runs do not mix."""

from __future__ import annotations

from pyinfra.api import deploy

from ..operations import lock
from ..target import Target


@deploy("Turn")
def apply(target: Target) -> None:
    lock.held(name="One run at a time", directory=target.machine.home, python=target.python)
