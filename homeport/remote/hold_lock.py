"""Hold a directory's lock for one run of homeport, so that two runs do not mix.

usage: hold_lock.py DIRECTORY LABEL WAIT LEASE. Prints a line each time its state changes:
    waiting WHO     another run has the lock; WHO is its LABEL, where that can be found out
    taken WHO       it still has it after WAIT seconds, and this program ends
    held            the lock is ours until standard input ends, or is silent for LEASE seconds
                    (0: it may be); then our SSH session is ended too, since a run whose network
                    was away must not start another command beside the next one

The lock is flock(2) on the directory itself: it leaves no file, and ends with this process. Where
a directory cannot be locked, as on NFS, it is that of the whole machine.
"""

import fcntl
import os
import select
import signal
import subprocess
import sys
import time


def locked(path: str, wait: float) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    deadline = time.monotonic() + wait
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            pass
        except OSError:
            if path == "/":
                raise
            return locked("/", wait)
        late = time.monotonic() > deadline
        if late or not told:
            print("taken" if late else "waiting", holder(descriptor), flush=True)
            told = True
        if late:
            return False
        time.sleep(0.2)


def holder(descriptor: int) -> str:
    """The LABEL of the process that has the lock, "" where that cannot be seen."""
    file = os.fstat(descriptor)
    place = "%02x:%02x:%d" % (os.major(file.st_dev), os.minor(file.st_dev), file.st_ino)
    try:
        with open("/proc/locks") as locks:
            rows = [line.split() for line in locks if "FLOCK" in line and "->" not in line]
        _, flag, source, _, label = command_line(next(row[4] for row in rows if row[5] == place))[
            :5
        ]
        return label if [flag, source] == command_line("self")[1:3] else ""
    except (OSError, StopIteration, ValueError):
        return ""


def command_line(pid: str) -> "list[str]":
    with open("/proc/%s/cmdline" % pid, "rb") as file:
        return file.read().decode(errors="replace").split("\0")


def session() -> "int | None":
    """The process of the SSH session that this program is in."""
    pid = os.getppid()
    while pid > 1:
        name, parent = process(pid)
        if name.startswith("sshd"):
            return pid
        pid = parent
    return None


def process(pid: int) -> "tuple[str, int]":
    """A process's name and its parent."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            name, _, rest = file.read().partition("(")[2].rpartition(")")
        return name, int(rest.split()[1])
    except OSError:  # no Linux
        ps = ["ps", "-o", "ppid=", "-o", "comm=", "-p", str(pid)]
        parent, _, name = subprocess.check_output(ps).decode().strip().partition(" ")
        return os.path.basename(name.strip()), int(parent)


def main() -> None:
    directory, _, wait, lease = sys.argv[1:]
    try:
        if not locked(directory, float(wait)):
            sys.exit(1)
    except OSError as error:
        sys.exit("%s: %s" % (error.filename or directory, error.strerror))
    ours = session() if float(lease) else None
    print("held", flush=True)
    while select.select([0], [], [], float(lease) or None)[0]:
        if not os.read(0, 4096):
            return
    if ours:
        os.kill(ours, signal.SIGTERM)


if __name__ == "__main__":
    main()
