"""Who runs and who listens: ps, lsof."""

# pathlib doubles the start-up
# ruff: noqa: PTH115, PTH116, PTH123, PTH208

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Callable

from .runtime import LINUX, Failed, Refused, options

PROC = f"{LINUX}/proc"


class Process:
    """One of /proc; raises OSError when it is gone."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        with open(f"{PROC}/{pid}/stat") as file:
            text = file.read()
        self.name = text[text.index("(") + 1 : text.rindex(")")]
        fields = text[text.rindex(")") + 2 :].split()
        self.state, self.parent, self.group = fields[0], int(fields[1]), int(fields[2])
        self.size, self.resident = int(fields[20]) // 1024, int(fields[21]) * 4
        self.uid = os.stat(f"{PROC}/{pid}").st_uid
        with open(f"{PROC}/{pid}/cmdline", "rb") as raw:
            words = raw.read().decode(errors="surrogateescape").split("\0")[:-1]
        self.command = " ".join(words) or f"({self.name})"
        self.program = words[0] if words else self.name

    @property
    def user(self) -> str:
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


def processes() -> list[Process]:
    found = []
    for name in os.listdir(PROC):
        if name.isdigit():
            try:
                found.append(Process(int(name)))
            except OSError:
                continue
    return sorted(found, key=lambda process: process.pid)


def ps(argv: list[str]) -> int:
    usage = "usage: ps [-AaCcEefhjlMmrSTvwXx] [-O fmt | -o fmt] [-G gid[,gid...]]\n"
    usage += "          [-g grp[,grp...]] [-u [uid,uid...]] [-p pid[,pid...]] [-t tty[,tty...]]"
    usage += " [-U user[,user...]]\n       ps [-L]"
    # The old BSD form without a dash, as in `ps ax`.
    words = [f"-{argv[0]}", *argv[1:]] if argv and argv[0][:1].isalpha() else argv
    found, rest = options("ps", words, "Aaexwo:p:U:u:", usage)
    if rest:
        raise Refused("ps takes no operand", f"ps: illegal argument: {rest[0]}\n{usage}")
    given = dict(found)
    columns = [part for letter, value in found if letter == "o" for part in value.split(",")]
    if not columns:
        raise Refused("ps is modelled with -o", usage)
    wanted = processes()
    if "p" in given:
        pids = given["p"].split(",")
        wanted = [process for process in wanted if str(process.pid) in pids]
    elif users := given.get("U") or given.get("u"):
        names = users.split(",")
        wanted = [one for one in wanted if one.user in names or str(one.uid) in names]
    elif not {"A", "a", "e", "x"} & set(given):
        wanted = [process for process in wanted if process.uid == os.getuid()]
    _table(columns, wanted)
    return 0 if wanted else 1


def _table(columns: list[str], found: list[Process]) -> None:
    shown: dict[str, tuple[str, Callable[[Process], str]]] = {
        "pid": ("PID", lambda one: str(one.pid)),
        "ppid": ("PPID", lambda one: str(one.parent)),
        "pgid": ("PGID", lambda one: str(one.group)),
        "uid": ("UID", lambda one: str(one.uid)),
        "user": ("USER", lambda one: one.user),
        "stat": ("STAT", lambda one: one.state),
        "state": ("STAT", lambda one: one.state),
        "rss": ("RSS", lambda one: str(one.resident)),
        "vsz": ("VSZ", lambda one: str(one.size)),
        "command": ("COMMAND", lambda one: one.command),
        "args": ("ARGS", lambda one: one.command),
        "comm": ("COMM", lambda one: one.program),
    }
    titles, cells = [], []
    for column in columns:
        key, mark, title = column.partition("=")
        if key not in shown:
            raise Refused(f"ps -o {key} is not modelled", f"ps: {key}: keyword not found")
        titles.append(title if mark else shown[key][0])
        cells.append([shown[key][1](process) for process in found])
    widths = [
        max([len(title), *map(len, column)]) for title, column in zip(titles, cells, strict=True)
    ]
    widths[-1] = 0
    rows = [titles] if any(titles) else []
    for row in [*rows, *zip(*cells, strict=True)]:
        print(" ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)))


def lsof(argv: list[str]) -> int:
    """Listening TCP sockets: of all processes for root, else of the caller's own."""
    found, rest = options("lsof", argv, "ani:Ps:t", "lsof: usage: [-?abhlnNoOPRtUvVX]")
    given = dict(found)
    address = given.get("i", "")
    if rest or not address.startswith("TCP") or given.get("s") != "TCP:LISTEN":
        raise Refused("lsof is modelled with -iTCP[:PORT] -sTCP:LISTEN only")
    port = address[3:].removeprefix(":")
    if port and not port.isdigit():
        raise Failed(f"lsof: unacceptable port specification in: -i {address}")
    listening = _listening(port)
    rows = []
    for process in processes():
        if os.getuid() not in (0, process.uid):
            continue
        folder = f"{PROC}/{process.pid}/fd"
        try:
            links = {fd: os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)}
        except OSError:
            continue
        rows += [(process, fd, listening[link]) for fd, link in links.items() if link in listening]
    if "t" in given:
        for pid in sorted({process.pid for process, _, _ in rows}):
            print(pid)
    elif rows:
        print("COMMAND     PID USER   FD   TYPE             DEVICE SIZE/OFF NODE NAME")
        for one, fd, (name, kind) in rows:
            print(
                f"{one.name[:9]:<9} {one.pid:>5} {one.user:>4} {fd:>4}u  {kind:<4} "
                f"0x0000000000000000      0t0  TCP {name} (LISTEN)"
            )
    sys.stdout.flush()
    return 0 if rows else 1


def _listening(port: str) -> dict[str, tuple[str, str]]:
    found = {}
    for kind, table in (("IPv4", "tcp"), ("IPv6", "tcp6")):
        with open(f"{PROC}/net/{table}") as lines:
            rows = [line.split() for line in lines][1:]
        for row in rows:
            host, number = row[1].rsplit(":", 1)
            if row[3] == "0A" and port in ("", str(int(number, 16))):
                name = "*" if not host.strip("0") else "127.0.0.1" if kind == "IPv4" else "[::1]"
                found[f"socket:[{row[9]}]"] = (f"{name}:{int(number, 16)}", kind)
    return found
