"""The GPUs of a machine that serves on them, by nvidia-smi and the kernel's log."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable, Optional, TypeVar, Union

from .commands import Said, ask, path_of, under
from .table import Context, Subject, Unknown

T = TypeVar("T")

#: What nvidia-smi ends with where its driver does not know a field or a query, or the GPU has no
#: such thing (nvidia-smi(1), RETURN VALUE).
_REFUSED, _NOT_THERE = 2, 3

_FIELDS = (
    "index",
    "temperature.gpu",
    "ecc.errors.uncorrected.volatile.total",
    "retired_pages.pending",
)
_REASONS = ("hw_thermal_slowdown", "sw_thermal_slowdown", "hw_power_brake_slowdown")

#: Old drivers call them by the first name, new ones by both (`nvidia-smi --help-query-gpu`).
_REASONS_ARE = ("clocks_throttle_reasons", "clocks_event_reasons")

#: What stands in place of a GPU's values where it does not give them (nvmlReturn_t in words).
_TROUBLE = ("[gpu is lost]", "[gpu requires reset]", "[unknown error]")

_XID = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9A-Fa-f:.]+)\): (\d+),? ?(.*)")


@dataclass(frozen=True)
class Gpu:
    """`trouble` is what nvidia-smi says of it in place of values. `errors` are those of its memory
    that were not corrected since the driver was loaded; `retiring`: pages of it wait for a reset to
    be taken out of use. `hot`, `braked`: its temperature, or its power supply, slows it down."""

    index: str
    trouble: str
    temperature: str
    errors: int
    retiring: bool
    hot: bool
    braked: bool


@dataclass(frozen=True)
class Remapped:
    """Rows of a GPU's memory that are to be replaced at the next reset, or cannot be."""

    bus: str
    pending: bool
    failed: bool


@dataclass(frozen=True)
class Process:
    """A process on a GPU; `memory` in MiB, `own` where it is of one of our services."""

    pid: int
    name: str
    memory: str
    gpu: str
    own: bool


@dataclass(frozen=True)
class Xid:
    """A line of the driver's in the kernel's log; `at` is None where the log does not say when."""

    bus: str
    number: int
    said: str
    at: Optional[float]


@dataclass(frozen=True)
class Gpus:
    """`wanted` is how many GPUs the services here are split over, `on_bus` how many NVIDIA GPUs the
    PCI bus has. `smi`: there is an nvidia-smi; `error` is what it says instead of their list."""

    wanted: int
    on_bus: int
    smi: bool
    error: str
    now: float
    gpus: Union[tuple[Gpu, ...], Unknown]
    fabric: Union[tuple[str, ...], Unknown]
    remapped: Union[tuple[Remapped, ...], Unknown]
    processes: Union[tuple[Process, ...], Unknown]
    xids: Union[tuple[Xid, ...], Unknown]


def look(context: Context) -> Iterator[Subject[Gpus]]:
    wanted = sum(service.gpus for service in context.wanted.services)
    if not wanted:
        return
    with ThreadPoolExecutor(6) as pool:
        xids = pool.submit(_xids, context)
        found, error = _gpus(context)
        if isinstance(found, Unknown):
            fabric = remapped = processes = None
        else:
            # Drivers before 530 do not know a fabric.
            fabric = pool.submit(_rows, ("gpu", "fabric.state,fabric.status"), context, ", ".join)
            fields = "gpu_bus_id,remapped_rows.pending,remapped_rows.failure"
            remapped = pool.submit(_rows, ("remapped-rows", fields), context, _remapped)
            processes = pool.submit(_processes, context)
    failed = found if isinstance(found, Unknown) else Unknown("")
    yield Subject(
        "",
        Gpus(
            wanted=wanted,
            on_bus=_on_bus(context),
            smi=path_of("nvidia-smi", context) is not None,
            error=error,
            now=time.time(),
            gpus=found,
            fabric=fabric.result() if fabric else failed,
            remapped=remapped.result() if remapped else failed,
            processes=processes.result() if processes else failed,
            xids=xids.result(),
        ),
    )


def _gpus(context: Context) -> tuple[Union[tuple[Gpu, ...], Unknown], str]:
    """The GPUs; or that they are not known, and what nvidia-smi says."""
    for name in _REASONS_ARE:
        fields = ",".join([*_FIELDS, *("%s.%s" % (name, reason) for reason in _REASONS)])
        said = _smi("gpu", fields, context)
        if isinstance(said, Unknown):
            return said, said.why
        if not said.status:
            rows = _table(said.output, len(_FIELDS) + len(_REASONS))
            return tuple(_gpu(row) for row in rows), ""
        words = " ".join((said.output + said.errors).split()) or "status %d" % said.status
        if said.status != _REFUSED:
            break
    return Unknown("nvidia-smi fails: %s" % words[:200]), words


def _gpu(row: list[str]) -> Gpu:
    index, temperature, errors, retiring, *reasons = row
    trouble = next((cell for cell in row if cell.lower() in _TROUBLE), "")
    hot, warm, braked = [reason == "Active" for reason in reasons]
    return Gpu(index, trouble, temperature, _count(errors), _yes(retiring), hot or warm, braked)


def _remapped(row: list[str]) -> Remapped:
    bus, pending, failed = row
    return Remapped(bus, _yes(pending), _yes(failed))


def _rows(
    query: tuple[str, str], context: Context, make: Callable[[list[str]], T]
) -> Union[tuple[T, ...], Unknown]:
    """What a query has of each GPU; nothing where the driver does not know of such a thing."""
    said = _smi(*query, context)
    if isinstance(said, Unknown):
        return said
    if said.status in (_REFUSED, _NOT_THERE):
        return ()
    if said.status:
        return Unknown("nvidia-smi fails: %s" % said.output.strip()[:200])
    return tuple(make(row) for row in _table(said.output, query[1].count(",") + 1))


def _processes(context: Context) -> Union[tuple[Process, ...], Unknown]:
    units = ["/%s.service" % service.name for service in context.wanted.services]

    def process(row: list[str]) -> Optional[Process]:
        number, name, memory, gpu = row
        groups = _groups(_count(number), context)
        own = any(unit in groups for unit in units)
        return Process(_count(number), name, memory, gpu, own) if groups else None

    query = ("compute-apps", "pid,process_name,used_memory,gpu_uuid")
    found = _rows(query, context, process)
    if isinstance(found, Unknown):
        return found
    return tuple(one for one in found if one)


def _groups(pid: int, context: Context) -> str:
    """The control groups of a process, "" where it has ended."""
    try:
        return under(context, "/proc/%d/cgroup" % pid).read_text()
    except OSError:
        return ""


def _smi(what: str, fields: str, context: Context) -> Union[Said, Unknown]:
    words = ("nvidia-smi", "--query-%s=%s" % (what, fields), "--format=csv,noheader,nounits")
    return ask(words, context)


def _table(text: str, width: int) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return [row for row in rows if len(row) == width]


def _count(cell: str) -> int:
    """A number; what a GPU does not count ("[N/A]") has not happened."""
    return int(cell) if cell.isdigit() else 0


def _yes(cell: str) -> bool:
    return cell.lower() == "yes" or _count(cell) > 0


def _on_bus(context: Context) -> int:
    """The NVIDIA GPUs of the PCI bus: 3D and VGA controllers of vendor 10de."""
    found = 0
    devices = under(context, "/sys/bus/pci/devices")
    for device in devices.iterdir() if devices.is_dir() else ():
        try:
            vendor = (device / "vendor").read_text().strip()
            kind = (device / "class").read_text().strip()
        except OSError:
            continue
        found += vendor == "0x10de" and kind.startswith(("0x0302", "0x0300"))
    return found


def _xids(context: Context) -> Union[tuple[Xid, ...], Unknown]:
    """What the driver wrote into the kernel's log since boot."""
    words = ("journalctl", "-k", "-b", "--no-pager", "-o", "short-unix", "-g", "NVRM: Xid")
    journal = ask(words, context)
    # Without a match the status is 1 as well; where something is hidden it says so.
    if isinstance(journal, Said) and journal.status in (0, 1) and not journal.errors.strip():
        return _found(journal.output)
    ring = ask(("dmesg",), context)
    if isinstance(ring, Said) and not ring.status:
        return _found(ring.output)
    return Unknown("the kernel's log cannot be read by this user: journalctl -k, dmesg")


def _found(log: str) -> tuple[Xid, ...]:
    found = []
    for line in log.splitlines():
        if one := _XID.search(line):
            at = re.match(r"(\d{9,}\.\d+) ", line)
            bus, number, said = one.groups()
            found.append(Xid(bus, int(number), said, float(at[1]) if at else None))
    return tuple(found)
