"""Run a command that holds the lock of a directory, after whoever holds it now.

usage: run_locked.py DIRECTORY COMMAND [ARGUMENT...]. A long command may go on when the run that
started it was killed or lost its network; the next run's waits for it here, since the lock is
flock(2) on the directory and ends with the last process of the command. Where there is no such
directory, or it cannot be locked, as on NFS, it does not wait.
"""

import fcntl
import os
import sys

directory, command = sys.argv[1], sys.argv[2:]
try:
    descriptor = os.open(directory, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("homeport: waits for what an earlier run started in", directory, flush=True)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
except OSError:
    pass
os.execvp(command[0], command)  # noqa: S606
