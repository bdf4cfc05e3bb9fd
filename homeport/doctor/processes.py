"""The processes of this machine, and what they listen on: by /proc, or by ps and lsof on a Mac."""

from __future__ import annotations

import ipaddress
import os
import platform
import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from .commands import ended
from .limits import LARGE_UNIFIED, LARGE_UNIFIED_SHARE, RAM_SHARE, UNIFIED_SHARE


@dataclass(frozen=True)
class Process:
    """`words` are its command line, empty where that may not be seen; `age` in seconds; `swapped`
    the bytes of it that are not in memory, None where that is not told; `halted` by a signal."""

    pid: int
    parent: int
    words: tuple[str, ...]
    age: float
    user: int
    swapped: Optional[int] = None
    halted: bool = False

    @property
    def program(self) -> str:
        """Its name alone: a command line may have a key in it."""
        words = " ".join(self.words).split()
        return Path(words[0]).name if words else "a program"


@dataclass(frozen=True)
class Listener:
    """A TCP port that somebody listens on; `pid` is None where the process may not be seen."""

    address: str
    port: int
    user: int
    pid: Optional[int] = None

    @property
    def is_loopback(self) -> bool:
        return ipaddress.ip_address(self.address).is_loopback


@dataclass(frozen=True)
class Processes:
    """All of them, at one time."""

    processes: tuple[Process, ...]
    listeners: tuple[Listener, ...]

    def get(self, pid: Optional[int]) -> Optional[Process]:
        return next((one for one in self.processes if one.pid == pid), None)

    def below(self, pid: Optional[int]) -> list[Process]:
        """The process and all that it started, and they."""
        found = [one for one in self.processes if one.pid == pid]
        for one in found:  # grows meanwhile
            found += [child for child in self.processes if child.parent == one.pid]
        return found

    def owns(self, listener: Listener, tree: Iterable[Process]) -> bool:
        """Whether one of `tree` listens there; by its user where the process may not be seen."""
        if listener.pid is None:
            return listener.user in [one.user for one in tree]
        return listener.pid in [one.pid for one in tree]

    def who(self, listener: Listener) -> str:
        """Whose it is, in words."""
        process = self.get(listener.pid)
        if process:
            return "%s (process %d)" % (process.program, process.pid)
        return "a process of %s" % _user(listener.user)


def look() -> Processes:
    if Path("/proc/net/tcp").exists():
        return Processes(tuple(_linux()), tuple(_linux_listeners()))
    listed = _run(["ps", "-axwwo", "pid=,ppid=,uid=,stat=,etime=,command="])
    return Processes(
        tuple(by_ps(listed)),
        tuple(by_lsof(_run(["lsof", "-nP", "-iTCP", "-sTCP:LISTEN", "-Fpun"]))),
    )


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 2] + " …"


def options(words: Iterable[str]) -> dict[str, str]:
    """The long options of a command line, "" for those without a value."""
    given = list(words)
    found = {}
    for index, word in enumerate(given):
        if word.startswith("--"):
            name, mark, value = word.partition("=")
            following = given[index + 1] if index + 1 < len(given) else "--"
            if not mark and not following.startswith("--"):
                value = following
            found[name.replace("_", "-")] = value
    return found


# Linux


def _linux() -> Iterator[Process]:
    ticks, up = os.sysconf("SC_CLK_TCK"), float(Path("/proc/uptime").read_text().split()[0])
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            status = (folder / "status").read_text(errors="replace")
            user = folder.stat().st_uid
        except OSError:  # it has ended
            continue
        swapped = re.search(r"^VmSwap:\s+(\d+) kB", status, re.MULTILINE)
        yield Process(
            pid=int(folder.name),
            parent=int(stat[1]),
            words=tuple(words),
            age=up - int(stat[19]) / ticks,
            user=user,
            swapped=int(swapped[1]) * 1024 if swapped else None,
            halted=stat[0] in "Tt",
        )


def _linux_listeners() -> Iterator[Listener]:
    found: dict[str, tuple[str, int, int]] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            found.update(listening_in(Path(table).read_text()))
        except OSError:
            continue
    owners = _owners(found)
    for inode, (address, port, user) in found.items():
        yield Listener(address, port, user, owners.get(inode))


def listening_in(table: str) -> Iterator[tuple[str, tuple[str, int, int]]]:
    """Of /proc/net/tcp or tcp6, by socket: address, port and user of each that listens."""
    for line in table.splitlines()[1:]:
        row = line.split()
        if row[3] == "0A":
            address, _, port = row[1].partition(":")
            yield row[9], (_address(address), int(port, 16), int(row[7]))


def _address(text: str) -> str:
    """Words of four bytes, each with its last byte first."""
    raw = b"".join(bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8))
    if len(raw) == 4:
        return socket.inet_ntop(socket.AF_INET, raw)
    mapped = ipaddress.IPv6Address(raw).ipv4_mapped
    return str(mapped or ipaddress.IPv6Address(raw))


def _owners(sockets: Iterable[str]) -> dict[str, int]:
    wanted = {"socket:[%s]" % inode: inode for inode in sockets}
    found = {}
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            links = [str(link.readlink()) for link in folder.iterdir()]
        except OSError:
            continue
        found.update({wanted[link]: int(folder.parent.name) for link in links if link in wanted})
    return found


# A Mac


def by_ps(text: str) -> Iterator[Process]:
    """`ps -axwwo pid=,ppid=,uid=,stat=,etime=,command=`; blanks inside a word are lost."""
    for line in text.splitlines():
        pid, parent, user, state, age, *words = line.split()
        yield Process(int(pid), int(parent), tuple(words), _seconds(age), int(user), None,
                      state.startswith("T"))  # fmt: skip


def by_lsof(text: str) -> Iterator[Listener]:
    """`lsof -nP -iTCP -sTCP:LISTEN -Fpun`: lines of p(id), u(ser) and n(ame), one name a socket."""
    pid, user = 0, 0
    for line in text.splitlines():
        kind, value = line[:1], line[1:]
        if kind == "p":
            pid = int(value)
        elif kind == "u":
            user = int(value)
        elif kind == "n":
            host, _, port = value.rpartition(":")
            address = {"*": "0.0.0.0", "localhost": "127.0.0.1"}.get(host, host.strip("[]"))  # noqa: S104 - what lsof says
            if port.isdigit():
                yield Listener(address, int(port), user, pid)


def _seconds(age: str) -> float:
    """[[days-]hours:]minutes:seconds"""
    days, _, rest = age.rpartition("-")
    found = 0
    for part in rest.split(":"):
        found = found * 60 + int(part)
    return float(found + int(days or 0) * 86_400)


def _run(words: list[str]) -> str:
    return ended(words, {**os.environ, "LC_ALL": "C"}).output


def _user(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return "user %d" % number


def for_models() -> int:
    """The bytes of this machine's memory that models may take; 0 where a graphics card may have
    memory of its own for them."""
    if Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists():
        return 0
    is_unified = platform.system() == "Darwin" and platform.machine() == "arm64"
    return share_for_models(_memory(), is_unified)


def share_for_models(memory: int, is_unified: bool) -> int:
    """Of a memory as sold, in whole GiB: kernel and firmware keep some of it."""
    installed = -(-memory // 2**30) * 2**30
    if not is_unified:
        return int(installed * RAM_SHARE)
    large = installed >= LARGE_UNIFIED
    return int(installed * (LARGE_UNIFIED_SHARE if large else UNIFIED_SHARE))


def _memory() -> int:
    if Path("/proc/meminfo").exists():
        found = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        return int(found[1]) * 1024 if found else 0
    return int(_run(["sysctl", "-n", "hw.memsize"]))
