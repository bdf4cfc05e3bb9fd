"""What stands in the way of a GPU host: its facts against what its model and engine need. Pure.

Nothing in here has seen a machine with eight GPUs; tests/ has a strict stand-in for nvidia-smi.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from .doctor.limits import CLOCKS_DIFFER
from .gpu_settings import GpuSettings

#: The oldest driver that runs programs of a CUDA version (CUDA Toolkit release notes, "CUDA minor
#: version compatibility": 13.x and 12.x).
_DRIVERS = {13: (580,), 12: (525, 60, 13)}

#: Bytes of main memory for each GPU's process, and for the server's own: our estimate, the
#: processes themselves map the weights from the page cache.
_MEMORY_PER_GPU = 8_000_000_000
_MEMORY = 4_000_000_000

#: Bytes of /dev/shm by which several GPUs' processes talk (vLLM's manual, "Using Docker", asks for
#: as much).
_SHM = 10_000_000_000

#: GPUs that people ask about, and their memory in bytes.
_KNOWN = (("H100 (80 GB)", 80e9), ("H200 (141 GB)", 141e9), ("B200 (180 GB)", 180e9))


@dataclass(frozen=True)
class Gpu:
    """`memory` is in bytes, `driver` the version of it that drives the GPU."""

    name: str
    memory: int
    driver: str


@dataclass(frozen=True)
class Process:
    """A process on the GPUs that is none of the service's; `memory` in bytes."""

    pid: int
    name: str
    memory: int


@dataclass(frozen=True)
class GpuHost:
    """A host, as facts/gpu.py finds it. `memory` and `shm` (the size of /dev/shm) are in
    bytes, `time` is the host's clock, `resolves` the addresses that it finds for a name.
    `on_bus` is how many NVIDIA GPUs the PCI bus has; `smi_error` what nvidia-smi says instead of
    their list, None where it does not fail or is not there (`smi`). `fabric` is state and status of
    NVSwitch per GPU. `account` is the number of the user of that name, None where there is none."""

    os: str
    arch: str
    root: bool
    systemd: bool
    memory: int
    shm: int
    time: int
    resolves: dict[str, tuple[str, ...]]
    account: int | None
    on_bus: int
    smi: bool
    smi_error: str | None
    gpus: tuple[Gpu, ...]
    fabric: tuple[str, ...]
    processes: tuple[Process, ...]


def problems(
    settings: GpuSettings, found: GpuHost, account: str, made: bool, now: float
) -> list[str]:
    """A sentence for each; `account` is the server's user, `made` whether homeport made that, `now`
    this machine's clock."""
    if not found.root:
        return [
            "a GPU host is set up as root, for its packages, its own user and the units of the "
            "machine. Set _sudo = True in group_data/gpu_hosts.py, or log in as root"
        ]
    machine = [*_machine(settings, found), *_account(found, account, made), *_clock(found, now)]
    if settings.version.on_gpus:
        machine += [*_driver(settings, found), *_gpus(settings, found)]
    return [*machine, *_name(settings, found)]


def _machine(settings: GpuSettings, found: GpuHost) -> Iterator[str]:
    if not found.os.startswith(("debian", "ubuntu")):
        yield f"it runs {found.os or 'an unknown system'}, and a GPU host is Debian or Ubuntu"
    if found.arch != "x86_64":
        yield (
            f"its processor is {found.arch or 'unknown'}, and the engine's lock file is for x86_64."
            " Write one for it, and name it as engine_lock"
        )
    if not found.systemd:
        yield "systemd is not at work on it, as in a container. A GPU host's server is its service"
    gpus = settings.gpus if settings.version.on_gpus else 0
    needed = _MEMORY + gpus * _MEMORY_PER_GPU
    if found.memory < needed:
        yield (
            f"it has {_gb(found.memory)} of memory, and the server of {settings.route.alias} "
            f"needs {_gb(needed)}"
        )
    if gpus > 1 and found.shm < _SHM:
        yield (
            f"its /dev/shm has {_gb(found.shm)}, and {gpus} GPUs talk through "
            f"{_gb(_SHM)} of it. Type: mount -o remount,size=16G /dev/shm, and write that "
            "into /etc/fstab"
        )


def _account(found: GpuHost, account: str, made: bool) -> Iterator[str]:
    if found.account is not None and not made:
        yield (
            f"the user {account} is there already (number {found.account}), and the server is to "
            "run as one of its own of this name. Choose another name of homeport_dir"
        )


def _clock(found: GpuHost, now: float) -> Iterator[str]:
    off = found.time - now
    if abs(off) > CLOCKS_DIFFER:
        yield (
            f"its clock is {abs(off):.0f} s {'ahead' if off > 0 else 'behind'}. "
            "Type: timedatectl set-ntp true"
        )


def _driver(settings: GpuSettings, found: GpuHost) -> Iterator[str]:
    if not found.smi:
        yield (
            "there is no nvidia-smi on it. Install the driver and reboot, on Ubuntu: "
            "sudo apt install nvidia-driver-580-server nvidia-fabricmanager-580"
        )
        return
    if found.smi_error is not None:
        if "Driver/library version mismatch" in found.smi_error:
            yield "its NVIDIA driver was upgraded and the old one still runs. Type: sudo reboot"
        elif "GPU is lost" in found.smi_error or "device handle" in found.smi_error:
            yield (
                f"a GPU is lost: nvidia-smi says {found.smi_error!r}. Reboot it; where that does "
                "not help: journalctl -k | grep -i xid"
            )
        else:
            yield f"nvidia-smi fails: {found.smi_error!r}. Type: nvidia-smi"
        return
    needed = _DRIVERS.get(settings.cuda) if settings.cuda else None
    for driver in sorted({gpu.driver for gpu in found.gpus}):
        numbers = tuple(int(part) for part in driver.split(".") if part.isdigit())
        if needed and numbers < needed:
            oldest = ".".join(map(str, needed))
            yield (
                f"its NVIDIA driver is {driver}, and {settings.engine.NAME} {settings.version} is "
                f"built for CUDA {settings.cuda}, which needs {oldest} or newer. On Ubuntu: "
                f"sudo apt install nvidia-driver-{needed[0]}-server, then reboot"
            )


def _gpus(settings: GpuSettings, found: GpuHost) -> Iterator[str]:
    if not found.smi or found.smi_error is not None:
        return
    recipe, count, wanted = settings.recipe, len(found.gpus), settings.gpus
    if found.on_bus > count:
        yield (
            f"the PCI bus has {found.on_bus} GPUs and the driver {count}: one is lost. Reboot it; "
            "where that does not help: journalctl -k | grep -i xid"
        )
    names = {gpu.name for gpu in found.gpus}
    if len(names) > 1:
        yield f"its GPUs are not alike ({', '.join(sorted(names))}), and the slowest sets the pace"
    if count < wanted or count % wanted:
        fits = [n for n in (1, 2, 4, 8, 16) if n <= count and not count % n]
        yield (
            f"the model is split over {wanted} of its GPUs (tensor_parallel_size "
            f"{recipe.tensor_parallel_size}), and it has {count}. "
            f"Set tensor_parallel_size in `serving`, to one of {', '.join(map(str, fits)) or 0}"
        )
    elif sentence := _memory(settings, found):
        yield sentence
    for state in found.fabric:
        if not state.replace(" ", "").startswith(("Completed,Success", "[N/A]", "N/A")):
            yield (
                f"NVSwitch is not ready ({state}), and without it the GPUs do not reach each other."
                " Type: sudo systemctl enable --now nvidia-fabricmanager (its version has to be "
                "the driver's)"
            )
            break
    # Where the model takes some of the GPUs only, nobody knows which.
    for process in found.processes if count == wanted else ():
        yield (
            f"process {process.pid} ({process.name}) has {_gb(process.memory)} on its GPUs. "
            "End that"
        )


def _memory(settings: GpuSettings, found: GpuHost) -> str | None:
    """Why the model does not fit, with what would."""
    recipe, model = settings.recipe, settings.route.model
    needed = recipe.needed(model.context)
    memory = min(gpu.memory for gpu in found.gpus)
    usable = int(memory * recipe.gpu_memory_utilization) * recipe.gpus
    if usable >= needed:
        return None
    name = found.gpus[0].name
    said = (
        f"{model.label} with {model.context:,} tokens needs {_gb(needed)} of GPU memory, and "
        f"{recipe.gpus} x {name} give {_gb(usable)} ({recipe.gpu_memory_utilization:.0%} of "
        f"{_gb(memory)} each)"
    )
    if usable >= recipe.gpu_memory and recipe.kv_per_token:
        room = (usable - recipe.gpu_memory) // (recipe.kv_per_token * recipe.gpus)
        return f"{said}. A context of {recipe.context + room:,} fits"
    per_host = settings.gpus
    hosts = math.ceil(needed / (memory * recipe.gpu_memory_utilization) / per_host)
    others = [
        f"{recipe.gpus} x {other}"
        for other, size in _KNOWN
        if size * recipe.gpu_memory_utilization * recipe.gpus >= needed
    ]
    fits = [f"{hosts} hosts like this together (nodes = {hosts})", *others[:1]]
    return f"{said}. What fits: {', or '.join(fits)}"


def _name(settings: GpuSettings, found: GpuHost) -> Iterator[str]:
    """Clients are told this name, and it has to lead here; what it leads to elsewhere, such as a
    balancer before several hosts, nobody here can tell."""
    endpoint = settings.route.endpoint
    if endpoint.loopback or not settings.head:
        return
    if not found.resolves.get(endpoint.host):
        yield (
            f"{endpoint.host}, by which clients are to reach {settings.route.alias}, has no "
            "address here. Add it to your DNS, or to /etc/hosts on each machine"
        )


def _gb(size: float) -> str:
    return f"{size / 1e9:,.1f} GB"
