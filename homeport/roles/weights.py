"""Weights from the Hub, for whichever role serves them."""

from __future__ import annotations

from pyinfra.api import deploy

from ..facts.host import OLDEST_PYTHON, python_version
from ..model import Route
from ..operations import file, hub, mirror
from ..remote.pull import gigabytes
from ..target import Target, install_python
from ..weights import HubWeights, together


def of(routes: tuple[Route, ...]) -> list[HubWeights]:
    """The weights of `routes` that come from the Hub, one for each repository."""
    return together(r.model.weights for r in routes if isinstance(r.model.weights, HubWeights))


def problems(target: Target, also: int = 0) -> list[str]:
    """What stands in the way of a pull on this host, a sentence each; `also` are bytes that others
    are about to take."""
    machine, served = target.machine, target.settings
    missing = [
        (one, found)
        for one in of((*served.serves, *served.mirrors))
        if not (found := hub.status(one, target)).complete
    ]
    if not missing and machine.free >= also:
        return []
    if machine.python_version < OLDEST_PYTHON or not (machine.venv or target.settings.gpu):
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return [
            f"{machine.python} is Python {python_version(machine)}"
            f"{'' if machine.venv else ' without ensurepip'}, and weights are pulled with {oldest} "
            f"or newer. Type: {install_python(machine)}"
        ]
    needed = sum(max(one.pinned.size - found.on_disk, 0) for one, found in missing)
    if machine.free >= needed + also:
        return []
    coming = [f"{gigabytes(needed)} of {', '.join(one.repo for one, _ in missing)}"]
    coming = [*(coming if missing else []), *([f"{gigabytes(also)} of the engine"] if also else [])]
    return [
        f"the disk of {target.layout.directory} has {gigabytes(machine.free)} free, and "
        f"{' and '.join(coming)} are still to come. See what takes the room with: "
        f"du -xhd1 '{machine.home}', or set homeport_dir to a larger disk"
    ]


@deploy("Weights")
def awaited(target: Target) -> None:
    """Wait for the mirror, which some host of the same run may be; each host comes by here."""
    mirror.reachable(name="Wait for the mirror", weights=of(target.settings.serves), target=target)


@deploy("Weights")
def apply(target: Target, routes: tuple[Route, ...]) -> None:
    wanted = of(routes)
    hub.only_pulls(name="End pulls of what is wanted no more", weights=wanted, target=target)
    if wanted:
        file.write(
            name="Write the program that pulls weights",
            path=hub.program_path(target),
            content=hub.PROGRAM.read_bytes(),
        )
    for weights in wanted:
        hub.snapshot(name=f"Pull {weights.repo}", weights=weights, target=target)


@deploy("Weights")
def unneeded(target: Target, routes: tuple[Route, ...]) -> None:
    """Name the weights that no longer serve anything here, now that `routes` are served."""
    hub.unneeded(name="Look for weights that nothing needs", weights=of(routes), target=target)
