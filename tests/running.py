"""Commands that a test runs as a person would, and what they leave behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pty
import re
import shutil
import signal
import stat
import subprocess
import termios
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from homeport import ROOT


@dataclass
class Run:
    """A command that ended: its status, all that it printed, and the seconds it took."""

    status: int
    output: str
    seconds: float

    @property
    def last_lines(self) -> list[str]:
        """What is printed for each host at the end, without the host's name."""
        return [line.split("] ", 1)[1].strip() for line in self._tail if "] " in line]

    def of(self, host: str) -> list[str]:
        """The last lines of one host, without its name."""
        start = f"[{host}] "
        return [line.split(start, 1)[1].strip() for line in self._tail if start in line]

    @property
    def _tail(self) -> list[str]:
        return self.output.rpartition("--> Disconnecting from hosts...")[2].splitlines()


class Running:
    """A command that still runs; what it prints goes into a file."""

    def __init__(
        self,
        command: list[str],
        cwd: Path,
        environment: dict[str, str],
        log: Path,
        terminal: bool = False,
    ) -> None:
        """`terminal`: somebody sits there, sees what is shown, and can `type`."""
        self.log = log
        self._started = time.monotonic()
        self._terminal: int | None = None
        with log.open("wb") as output:
            screen, end = pty.openpty() if terminal else (None, None)
            if end is not None:
                termios.tcsetwinsize(end, (50, 200))
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment,
                stdin=end or subprocess.DEVNULL,
                stdout=end or output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if screen is not None and end is not None:
            os.close(end)
            self._terminal = screen
            self._reader = threading.Thread(target=self._read, args=(screen,), daemon=True)
            self._reader.start()

    def _read(self, screen: int) -> None:
        with self.log.open("ab", buffering=0) as log, contextlib.suppress(OSError):
            while shown := os.read(screen, 4096):
                log.write(shown)

    def type(self, text: str) -> None:
        """Press these keys."""
        assert self._terminal is not None
        os.write(self._terminal, text.encode())

    @property
    def output(self) -> str:
        """What it has printed, without colours."""
        text = self.log.read_text(errors="replace").replace("\r\n", "\n")
        return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)

    def wait_for(self, text: str, seconds: float = 400) -> None:
        """Wait until it has printed `text`."""
        wait_until(lambda: text in self.output or self.process.poll() is not None, seconds)
        assert text in self.output, self.output

    def kill(self) -> None:
        """End it and all that it started here, without a chance to clean up."""
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait(self, seconds: float = 600) -> Run:
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it hangs; it printed:\n{self.output}") from None
        if self._terminal is not None:
            self._reader.join(30)
        return Run(status, self.output, time.monotonic() - self._started)


def wait_until(condition: Callable[[], object], seconds: float = 180) -> None:
    """Wait for `condition`; the limit is for what hangs, not for what a busy machine delays."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


def copy_project(target: Path) -> Path:
    """The project as a fresh clone would have it, with what is not committed yet."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def described(path: Path) -> str:
    """Owner and mode of what is at `path`, and where a link leads or a hash of the content."""
    found = path.lstat()
    what = f"{found.st_uid}:{found.st_gid} {stat.filemode(found.st_mode)}"
    if stat.S_ISLNK(found.st_mode):
        return f"{what} -> {path.readlink()}"
    if stat.S_ISREG(found.st_mode):
        return f"{what} {_hash(path, found)}"
    return what


#: The hashes of files by path, each with what it was read at: most of a lab host never changes.
_hashes: dict[Path, tuple[tuple[int, ...], str]] = {}


def _hash(path: Path, found: os.stat_result) -> str:
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    known = _hashes.get(path)
    if known and known[0] == state:
        return known[1]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    # Nobody can set the time of change; but two changes within one tick of the clock have the same.
    if time.time() - found.st_ctime > 2:
        _hashes[path] = (state, digest)
    return digest
