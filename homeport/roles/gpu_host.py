"""A GPU host: a machine that serves a large model to everybody."""

from __future__ import annotations

import time

from pyinfra import host
from pyinfra.api import deploy

from .. import gpu_checks, gpu_serving
from ..facts.file import FileStateFact
from ..facts.gpu import GpuHostFact
from ..facts.host import python_version
from ..gpu_serving import settings_of
from ..operations import account, apt, engine, file, python_env, service
from ..target import Target
from . import ports, weights

#: The oldest Python that both engines take (their Requires-Python).
OLDEST_PYTHON = (3, 11)

#: What homeport makes here, and who may look into it: the server's user has to reach its programs.
DIRECTORIES = {
    "": "755",
    "bin": "755",
    "state": "700",
    "env": "755",
    "lib": "755",
    "log": "755",
    "service": "711",
    "weights": "750",
}


def problems(target: Target) -> list[str]:
    """What stands in the way on this host, a sentence each, found without changing anything."""
    gpu = settings_of(target)
    endpoint = gpu.route.endpoint
    found = gpu_checks.problems(
        gpu,
        host.get_fact(
            GpuHostFact,
            names=(endpoint.host,),
            unit=target.layout.services,
            account=account.name(target.layout),
        ),
        account.name(target.layout),
        account.made(target.layout),
        time.time(),
    )
    machine = target.machine
    if machine.python_version < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        found.append(
            f"{machine.python} is Python {python_version(machine)}, and the engine needs {oldest} "
            "or newer, as Debian 12 and Ubuntu 24.04 have it"
        )
    built = host.get_fact(FileStateFact, path=gpu_serving.environment(target).mark)
    found += weights.problems(target, also=0 if built else gpu_serving.room(target))
    taken = ports.problem(endpoint.port, gpu.route.alias, target) if gpu.head else None
    return [*found, taken] if taken else found


def services(target: Target) -> list[str]:
    """The definitions of the services that this role has on the host."""
    return [gpu_serving.files(target).definition]


@deploy("GPU host")
def apply(target: Target, keep: list[str]) -> None:
    """`keep` are the definitions of all services that any role has on this host."""
    layout, gpu = target.layout, settings_of(target)
    alias = gpu.route.alias

    file.modes_of(
        name=f"Directories in {layout.directory}",
        modes={layout.path(part): mode for part, mode in DIRECTORIES.items()},
    )
    apt.present(
        name="Have the packages that it needs",
        packages=gpu_serving.packages(target),
        layout=layout,
    )
    account.present(name="Have the server's own user", layout=layout)
    account.owns(name="Let it own the weights", layout=layout, path=layout.path("weights"))

    weights.apply(target=target, routes=target.settings.serves)
    python_env.present(
        name=f"Install {gpu.engine.NAME} {gpu.version}",
        environment=gpu_serving.environment(target),
        python=target.python,
    )

    if gpu.place.nodes > 1:
        file.write(
            name="Write the program by which its hosts serve together",
            path=gpu_serving.together(target),
            content=gpu_serving.TOGETHER.read_bytes(),
        )
    engine.tried(name=f"Try the settings of {alias}", target=target)
    engine.stopped(name=f"Stop {alias} on all its hosts", target=target)
    # Now that nothing stands in the way of the new one.
    service.only(name="Remove what is served no more", target=target, keep=keep)
    engine.started(name=f"Have the other hosts of {alias} ready", target=target, head=False)
    engine.started(name=f"Have {alias} served", target=target, head=True)
    engine.remembered(name=f"See what {alias} could go back to", target=target)
    engine.proven(name=f"Prove that {alias} answers", target=target)
    engine.noted(name=f"Note that {alias} answers", target=target)
    engine.taken_back(name=f"Go back where {alias} does not", target=target)
    engine.concluded(name=f"Say what {alias} came to", target=target)
    engine.only_needed(name="Remove older environments", target=target)
    weights.unneeded(target=target, routes=target.settings.serves)
