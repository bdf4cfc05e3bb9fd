"""Run a command that holds the lock of a directory, after whoever holds it now.

usage: run_locked.py DIRECTORY COMMAND [ARGUMENT...]. A long command may go on when the run that
started it was killed or lost its network; the next run's waits for it here, since the lock is
flock(2) on the directory and ends with the last process of the command. Without the directory
there is nothing to wait for.
"""

import fcntl
import os
import sys

directory, command = sys.argv[1], sys.argv[2:]
if os.path.isdir(directory):
    descriptor = os.open(directory, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.set_inheritable(descriptor, True)
os.execvp(command[0], command)  # noqa: S606
