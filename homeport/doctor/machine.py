"""The machine itself: its power, memory, disk and clock, and the certificates that it trusts."""

from __future__ import annotations

import base64
import calendar
import os
import platform
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from .commands import answer, path_of, under
from .table import Context, Subject, Unknown
from .wanted import LLAMA_CPP, SGLANG, VLLM, Route, Wanted

#: Files that say low-power mode, the word by which they do so, and what they say without it.
_LOW_POWER = (
    ("/sys/firmware/acpi/platform_profile", "low-power", "balanced"),
    (
        "/sys/devices/system/cpu/*/cpufreq/energy_performance_preference",
        "power",
        "balance_performance",
    ),
)

#: What a pod or another container is known by that has no mark of its own in /run: in the control
#: groups of its first process, and in that one's environment.
_GROUPS = ("kubepods", "docker", "containerd", "libpod", "/lxc")
_VARIABLES = ("KUBERNETES_SERVICE_HOST=", "container=")

#: Seconds between the two looks at what is swapped.
_BETWEEN = 0.6


@dataclass(frozen=True)
class Power:
    """`battery`: that is what drives the machine, and `left` are its percent, None where there is
    none; `saving` is what ends low-power mode when it is typed, "" where that is off."""

    battery: bool
    left: Optional[int]
    saving: str


@dataclass(frozen=True)
class Memory:
    """Bytes: all, what a program can still have, and what is swapped in a second."""

    size: int
    available: int
    swapped: float


@dataclass(frozen=True)
class Disk:
    """Of homeport's directory: bytes that are `free`, and the `files` that it can still hold, None
    where it does not count them."""

    directory: str
    free: int
    files: Optional[int]
    read_only: bool


@dataclass(frozen=True)
class Clock:
    """`ahead` are seconds by which it is before the asking machine's, None where none asks; it
    counts what the question took as well. `kept`: something sets it by others; None where it is not
    this machine's own, or where the system always does."""

    ahead: Optional[float]
    kept: Union[Optional[bool], Unknown]


@dataclass(frozen=True)
class Trusted:
    """The certificates by which the server of `alias` is trusted: the file, and when the last of
    them expires, in seconds since 1970."""

    alias: str
    file: str
    expires: Union[float, Unknown]


@dataclass(frozen=True)
class Machine:
    """`computes`: a model runs on it, on its own processor where it is a `laptop`; `on_battery`:
    one that does so on battery as well. `room` are the bytes that the next deploy may need,
    `darwin` whether it is a Mac."""

    darwin: bool
    computes: bool
    laptop: bool
    on_battery: bool
    room: int
    now: float
    power: Union[Power, Unknown]
    memory: Union[Memory, Unknown]
    disk: Union[Disk, Unknown]
    clock: Clock
    trusted: tuple[Trusted, ...]


#: Bytes that a new version takes beside the old one: of Claude Code (381 MB, 2.1.330) and the
#: laptop's engine; and of vLLM while pip unpacks it (homeport/gpu_serving.py).
_ROOM, _ROOM_ON_GPUS = 1_000_000_000, 25_000_000_000


def look(context: Context) -> Iterator[Subject[Machine]]:
    wanted, now = context.wanted, time.time()
    local = [service for service in wanted.services if service.engine == LLAMA_CPP]
    darwin = platform.system() == "Darwin"
    # A Mac always sets its clock, and only root may ask it whether.
    with ThreadPoolExecutor(3) as pool:
        memory = pool.submit(_memory_of_mac if darwin else _memory, context)
        power = pool.submit(_power_of_mac if darwin else _power, context)
        kept = None if darwin else pool.submit(_kept, context)
    ahead = None if context.asked_at is None else now - context.asked_at
    yield Subject(
        "",
        Machine(
            darwin=darwin,
            computes=_computes(wanted),
            laptop=bool(local),
            on_battery=any(service.on_battery for service in local),
            room=_ROOM_ON_GPUS if any(one.gpus for one in wanted.services) else _ROOM,
            now=now,
            power=power.result(),
            memory=memory.result(),
            disk=_disk(context),
            clock=Clock(ahead, kept.result() if kept else None),
            trusted=tuple(_trusted(route, context) for route in wanted.routes if route.ca),
        ),
    )


def _computes(wanted: Wanted) -> bool:
    """A router, or a mirror, only passes on what others compute or wrote."""
    return any(service.engine in (LLAMA_CPP, VLLM, SGLANG) for service in wanted.services)


# Power


def _power(context: Context) -> Power:
    """As the kernel has it (Documentation/ABI/testing/sysfs-class-power): a battery that is a
    mouse's has the scope of a device."""
    battery, plugged, left = False, False, None
    supplies = under(context, "/sys/class/power_supply")
    for supply in sorted(supplies.iterdir()) if supplies.is_dir() else ():
        kind = _text(supply / "type")
        if kind in ("Mains", "USB"):
            plugged = plugged or _text(supply / "online") == "1"
        elif kind == "Battery" and _text(supply / "scope") != "Device":
            battery = battery or _text(supply / "status") == "Discharging"
            share = _text(supply / "capacity")
            left = int(share) if share.isdigit() else left
    return Power(battery and not plugged, left, _saving(context))


def _saving(context: Context) -> str:
    """The kernel has it in two places, and whoever manages power sets either or both. TLP, where it
    is, lets nothing else do so."""
    found = [
        "echo %s | sudo tee %s" % (normal, file)
        for file, low, normal in _LOW_POWER
        if _text(under(context, file.replace("*", "cpu0"))) == low
    ]
    if not found:
        return ""
    for words in ("sudo tlp ac", "powerprofilesctl set balanced"):
        name = words.replace("sudo ", "").split()[0]
        if path_of(name, context):
            return words
    return "; ".join(found)


def _power_of_mac(context: Context) -> Union[Power, Unknown]:
    drawn, settings = answer(("pmset", "-g", "batt"), context), answer(("pmset", "-g"), context)
    if isinstance(drawn, Unknown) or isinstance(settings, Unknown):
        return drawn if isinstance(drawn, Unknown) else Unknown(str(settings))
    return power_of_mac(drawn, settings)


def power_of_mac(drawn: str, settings: str) -> Power:
    """What `pmset -g batt` and `pmset -g` say; macOS 15 calls low-power mode "powermode 1"."""
    left = re.search(r"(\d+)%", drawn)
    saving = re.search(r"^\s*((?:low)?powermode)\s+1\b", settings, re.MULTILINE)
    return Power(
        battery="'Battery Power'" in drawn,
        left=int(left[1]) if left else None,
        saving="sudo pmset -a %s 0" % saving[1] if saving else "",
    )


# Memory


def _memory(context: Context) -> Union[Memory, Unknown]:
    try:
        found = dict(_sizes(under(context, "/proc/meminfo").read_text()))
        swapped = 0.0
        # Without a swap there is nothing to wait for, nor where no model is slowed down.
        if found.get("SwapTotal") and _computes(context.wanted):
            before = _swapped(context)
            time.sleep(_BETWEEN)
            swapped = (_swapped(context) - before) / _BETWEEN
        return Memory(found["MemTotal"], found["MemAvailable"], swapped)
    except (OSError, KeyError, ValueError) as error:
        return Unknown("/proc/meminfo or /proc/vmstat cannot be read: %s" % error)


def _sizes(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            yield name, int(value[:-3]) * 1024


def _swapped(context: Context) -> int:
    """Bytes that were swapped in and out since the machine was started."""
    text = under(context, "/proc/vmstat").read_text()
    counts = dict(line.split() for line in text.splitlines())
    return (int(counts["pswpin"]) + int(counts["pswpout"])) * os.sysconf("SC_PAGE_SIZE")


def _memory_of_mac(context: Context) -> Union[Memory, Unknown]:
    levels = answer(("sysctl", "-n", "hw.memsize", "kern.memorystatus_level"), context)
    before = answer(("vm_stat",), context)
    if _computes(context.wanted):
        time.sleep(_BETWEEN)
    after = answer(("vm_stat",), context)
    for one in (levels, before, after):
        if isinstance(one, Unknown):
            return one
    try:
        return memory_of_mac(str(levels), str(before), str(after), _BETWEEN)
    except (ValueError, TypeError) as error:
        return Unknown("sysctl or vm_stat say something unexpected: %s" % error)


def memory_of_mac(levels: str, before: str, after: str, seconds: float) -> Memory:
    """`levels` are bytes, and the percentage of them that memory_pressure(1) calls free; the others
    what vm_stat(1) said at both ends of `seconds`."""
    size, share = (int(word) for word in levels.split())
    swapped = _swapped_of_mac(after) - _swapped_of_mac(before)
    return Memory(size, size * share // 100, swapped / seconds)


def _swapped_of_mac(said: str) -> int:
    page = re.search(r"page size of (\d+) bytes", said)
    counts = re.findall(r"^Swap(?:ins|outs):\s+(\d+)", said, re.MULTILINE)
    if page is None or len(counts) != 2:
        raise ValueError(said[:80])
    return sum(map(int, counts)) * int(page[1])


# Disk and clock


def _disk(context: Context) -> Union[Disk, Unknown]:
    directory = context.wanted.directory
    try:
        found = os.statvfs(under(context, directory))
    except OSError as error:
        return Unknown("%s cannot be looked at: %s" % (directory, error.strerror))
    files = found.f_favail if found.f_files else None
    read_only = bool(found.f_flag & os.ST_RDONLY)
    return Disk(directory, found.f_bavail * found.f_frsize, files, read_only)


def _kept(context: Context) -> Union[Optional[bool], Unknown]:
    """Whether anything sets the clock. A container has that of the machine that it runs on."""
    kernel = _text(under(context, "/proc/sys/kernel/osrelease"))
    if _is_container(context) or "microsoft" in kernel.lower():
        return None
    said = answer(("timedatectl", "show", "-p", "NTP", "-p", "NTPSynchronized"), context)
    if isinstance(said, Unknown):
        return said
    found = dict(line.split("=", 1) for line in said.split() if "=" in line)
    if not {"NTP", "NTPSynchronized"} <= set(found):
        return Unknown("timedatectl does not say whether the clock is set")
    # One of the two may be chrony's or a hypervisor's work; both "no" is nobody's.
    return "yes" in found.values()


def _is_container(context: Context) -> bool:
    """Docker and systemd leave a mark. Kubernetes leaves the files and variables of a pod, of which
    an SSH session has not the latter, and another user's not those of the first process."""
    marks = ("/run/systemd/container", "/.dockerenv", "/run/.containerenv")
    pods = ("/var/run/secrets/kubernetes.io", "/run/secrets/kubernetes.io")
    if any(under(context, mark).exists() for mark in (*marks, *pods)):
        return True
    first = _text(under(context, "/proc/1/environ")).split("\0")
    return (
        "KUBERNETES_SERVICE_HOST" in context.variables
        or any(variable.startswith(_VARIABLES) for variable in first)
        or any(group in _text(under(context, "/proc/1/cgroup")) for group in _GROUPS)
        or "# Kubernetes-managed hosts file" in _text(under(context, "/etc/hosts"))
    )


# Certificates


def _trusted(route: Route, context: Context) -> Trusted:
    file = str(route.ca)
    try:
        expires: Union[float, Unknown] = last_to_expire(under(context, file).read_text())
    except OSError as error:
        expires = Unknown("%s cannot be read: %s" % (file, error.strerror))
    except (ValueError, IndexError):
        expires = Unknown("%s has no certificate in it that can be read" % file)
    return Trusted(route.alias, file, expires)


def last_to_expire(pem: str) -> float:
    """When the last certificate of a file expires; of an old and a new one, the new one counts."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    found = [part.partition(end)[0] for part in pem.split(begin)[1:]]
    return max(_expires(base64.b64decode(text)) for text in found)


def _expires(certificate: bytes) -> float:
    """The end of a certificate's validity, the second time in the fifth field of what is signed
    (RFC 5280, 4.1), before which there may be a version. Python itself reads those of authorities
    only (`SSLContext.get_ca_certs`), and any that stands in the file is trusted."""
    signed = _fields(_fields(certificate)[0][1])[0][1]
    fields = [one for one in _fields(signed) if one[0] != 0xA0]
    kind, text = _fields(fields[3][1])[1]
    year = "%Y" if kind == 0x18 else "%y"
    return calendar.timegm(time.strptime(text.decode(), year + "%m%d%H%M%SZ"))


def _fields(der: bytes) -> list[tuple[int, bytes]]:
    """The tag and content of each element."""
    found, at = [], 0
    while at < len(der):
        tag, size, at = der[at], der[at + 1], at + 2
        if size >= 0x80:
            width = size - 0x80
            size, at = int.from_bytes(der[at : at + width], "big"), at + width
        found.append((tag, der[at : at + size]))
        at += size
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
