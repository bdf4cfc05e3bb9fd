"""The doctor: on a host for who sits there, and asked by whoever looks after all of them."""

from __future__ import annotations

import shlex

from pyinfra import host
from pyinfra.api import deploy

from .. import doctoring, fleet_doctor, report
from ..operations import doctor, file
from ..preflight import DEEP
from ..target import Target


@deploy("Doctor")
def apply(target: Target) -> None:
    """The last role, as it notes what the others have done."""
    layout = target.layout
    path = layout.path("lib", doctoring.PROGRAM)
    if not target.settings.of_machine:
        file.private_directories(name=f"Directory {layout.bin}", paths=[layout.bin])
    file.write(name=f"Write {doctoring.PROGRAM}", path=path, content=doctoring.program())
    file.write(
        name=f"Write {doctoring.COMMAND}",
        path=f"{layout.bin}/{doctoring.COMMAND}",
        content=f'#!/bin/sh\nexec {shlex.join([target.python, path])} "$@"\n'.encode(),
        mode="755",
    )
    doctor.told(name=report.NOTE, target=target)


def examine(target: Target) -> None:
    """Look at the host; the run ends with what was found on all of them. Changes nothing."""
    fleet_doctor.examine(host, target, host.data.get(DEEP) in (True, "yes"))
