"""Say which process listens on a TCP port of this machine: one JSON object, or null.

usage: port_owner.py PORT VARIABLE. Prints {"pid": number or null, "command": text, "value": the
VARIABLE of its environment, or of the nearest process above it that has one, or null}; the pid is
null where the process belongs to another user. Reads /proc where there is one, else asks lsof.
"""

import json
import os
import socket
import subprocess
import sys
from glob import glob

LISTEN = "0A"

OF_ANOTHER_USER: "dict[str, object]" = {
    "pid": None,
    "command": "a process of another user",
    "value": None,
}


def free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def sockets(port: int) -> "set[str]":
    """The inodes of the listening sockets on `port`."""
    found: "set[str]" = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as lines:
                rows = [line.split() for line in lines][1:]
        except OSError:
            continue
        found |= {r[9] for r in rows if r[3] == LISTEN and int(r[1].rsplit(":", 1)[1], 16) == port}
    return found


def owner(inodes: "set[str]") -> "int | None":
    wanted = {"socket:[%s]" % inode for inode in inodes}
    for link in glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(link) in wanted:
                return int(link.split("/")[2])
        except OSError:
            continue
    return None


def command(pid: int) -> str:
    out = subprocess.run(
        ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return out.stdout.strip()


def variable(pid: int, name: str) -> "str | None":
    """nginx overwrites its own environment by the title it gives itself, hence those above it."""
    while pid > 1:
        try:
            with open("/proc/%d/environ" % pid, "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
            with open("/proc/%d/stat" % pid) as stat:
                pid = int(stat.read().rpartition(")")[2].split()[1])
        except OSError:  # another user's
            return None
        for word in words:
            if word.startswith(name + "="):
                return word[len(name) + 1 :]
    return None


def linux(port: int, name: str) -> "dict[str, object] | None":
    inodes = sockets(port)
    if not inodes:
        return None
    pid = owner(inodes)
    if pid is None:
        return OF_ANOTHER_USER
    with open("/proc/%d/cmdline" % pid, "rb") as file:
        words = file.read().decode(errors="replace").split("\0")
    return {"pid": pid, "command": " ".join(words).strip(), "value": variable(pid, name)}


def lsof(port: int) -> "dict[str, object] | None":
    out = subprocess.run(
        ["lsof", "-nP", "-iTCP:%d" % port, "-sTCP:LISTEN", "-t"],
        capture_output=True,
        text=True,
        check=False,
    )
    pids = out.stdout.split()
    if not pids:
        # Without root lsof shows one's own processes only.
        return None if free(port) else OF_ANOTHER_USER
    return {"pid": int(pids[0]), "command": command(int(pids[0])), "value": None}


if __name__ == "__main__":
    port, name = int(sys.argv[1]), sys.argv[2]
    print(json.dumps(linux(port, name) if os.path.isdir("/proc/net") else lsof(port)))
