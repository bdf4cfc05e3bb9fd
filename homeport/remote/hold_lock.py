"""Hold a directory's lock for one run of homeport, so that two runs do not mix.

usage: hold_lock.py DIRECTORY LABEL WAIT LEASE. Prints a line each time its state changes:
    waiting WHO     another run has the lock; WHO is its LABEL, where that can be found out
    taken WHO       it still has it after WAIT seconds, and this program ends
    held            the lock is ours until standard input ends, or is silent for LEASE seconds
                    (0: it may be); then our SSH session is ended too, since a run whose network
                    was away must not go on beside the next one

The lock is flock(2) on the directory itself: it leaves no file, and ends with this process.
"""

import fcntl
import os
import select
import signal
import sys
import time


def first(paths: "list[str]", wait: float) -> bool:
    """Lock the first of `paths` that can be: on NFS, for one, a directory cannot."""
    for path in paths:
        try:
            return locked(os.open(path, os.O_RDONLY), wait)
        except OSError as error:
            problem = error
    sys.exit(str(problem))


def locked(descriptor: int, wait: float) -> bool:
    deadline = time.monotonic() + wait
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            pass
        late = time.monotonic() > deadline
        if late or not told:
            print("taken" if late else "waiting", holder(descriptor), flush=True)
            told = True
        if late:
            return False
        time.sleep(0.2)


def holder(descriptor: int) -> str:
    """The LABEL of the process that has the lock, "" where that cannot be seen."""
    inode = os.fstat(descriptor).st_ino
    try:
        with open("/proc/locks") as locks:
            rows = [line.split() for line in locks if "FLOCK" in line and "->" not in line]
        pid = next(row[4] for row in rows if row[5].split(":")[2] == str(inode))
        with open("/proc/%s/cmdline" % pid, "rb") as file:
            return file.read().decode(errors="replace").split("\0")[-4]
    except (OSError, StopIteration, IndexError):
        return ""


def main() -> None:
    directory, _, wait, lease = sys.argv[1:]
    if not first([directory, "/"], float(wait)):
        sys.exit(1)
    print("held", flush=True)
    while select.select([0], [], [], float(lease) or None)[0]:
        if not os.read(0, 4096):
            return
    os.kill(os.getppid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
