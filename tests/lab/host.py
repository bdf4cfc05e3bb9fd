"""One lab host: a Debian that boots its own systemd, in a container with a disk of its own."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from ..running import described
from .base import run
from .network import Network

#: The control group trees that systemd wants to find itself in; the names differ between machines.
_HIERARCHIES = ("unified", "systemd", "")

_CGROUPS = Path("/sys/fs/cgroup")

#: systemd-nspawn ends with this status when the host asks to be started again.
_REBOOT = 133

#: Seconds until users have to be let in; it takes less than one where nothing else is at work.
_BOOT_TIMEOUT = 180

#: What changes on any host that runs, and says nothing of what was done to it.
_VOLATILE = (
    "etc/.updated",
    "opt/darwin/state",
    "opt/linuxbrew/state",
    "var/.updated",
    "var/cache/ldconfig",
    "var/db/com.apple.xpc.launchd",
    "var/lib/dbus",
    "var/lib/private",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/timers",
    "var/log",
    "var/tmp",
)


@dataclass(frozen=True)
class ServiceState:
    """A systemd unit: its main process, None where it does not run, and systemd's words for it."""

    pid: int | None
    active: str
    enabled: str


class Host:
    """A host of a `Lab`; `number` is its place on the bridge."""

    def __init__(self, name: str, folder: Path, network: Network, number: int) -> None:
        self.name, self.folder, self.network, self.number = name, folder, network, number
        self.address = network.attach(name, number)
        self._cgroups = [Path(tree, network.name, name) for tree in cgroup_trees()]
        self._spawned: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> Path:
        """Its root file system, as it lies on this machine."""
        return self.folder / "root"

    def create(self, base: Path, disk: str) -> None:
        """Give it a disk of `disk` bytes ("4G") over the files in `base`."""
        disk_folder = self.folder / "disk"
        for path in (disk_folder, self.root):
            path.mkdir(parents=True)
        run("mount", "-t", "tmpfs", "-o", f"size={disk},mode=755", "lab", disk_folder)
        for name in ("upper", "work"):
            (disk_folder / name).mkdir()
        layers = f"lowerdir={base},upperdir={disk_folder}/upper,workdir={disk_folder}/work"
        run("mount", "-t", "overlay", "-o", layers, "lab", self.root)
        (self.root / "etc/hostname").write_text(f"{self.name}\n")

    def boot(self, binds: list[Path]) -> None:
        """Start it, with read-only views of `binds`, and wait until SSH answers."""
        for cgroup in self._cgroups:
            for path in (cgroup / "loop", cgroup / "host"):
                path.mkdir(parents=True, exist_ok=True)
        nspawn = [
            "systemd-nspawn",
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            f"--directory={self.root}",
            f"--network-namespace-path=/run/netns/{self.network.space_of(self.name)}",
            f"--machine={self.name}",
            "--console=pipe",
            *(f"--bind-ro={path}" for path in binds),
        ]
        # In a control group of its own from its first moment; two hosts in one would collide.
        once = f"( {self._enter('host')} exec {shlex.join(nspawn)} )"
        script = f"{self._enter('loop')} while :; do {once}; [ $? = {_REBOOT} ] || exit; done"
        with (self.folder / "console.log").open("ab") as console:
            self._spawned = subprocess.Popen(
                ["sh", "-c", script],
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.binds = binds
        self.wait_until_up()

    def _enter(self, group: str) -> str:
        """Shell that moves itself into one of the host's control groups."""
        files = [path / group / "cgroup.procs" for path in self._cgroups]
        return "".join(f"echo $$ > {shlex.quote(str(file))}; " for file in files)

    def wait_until_up(self) -> None:
        """Wait until SSH lets users in: it answers before, while the host still boots."""
        deadline = time.monotonic() + _BOOT_TIMEOUT
        while not self._lets_in():
            ended = self._spawned is None or self._spawned.poll() is not None
            if ended or time.monotonic() > deadline:
                log = (self.folder / "console.log").read_text(errors="replace")
                raise RuntimeError(f"{self.name} did not boot:\n{log[-3000:]}")
            time.sleep(0.05)

    def _lets_in(self) -> bool:
        answers = self.network.banner(self.address).startswith(b"SSH-")
        return answers and not Path(f"/proc/{self._init()}/root/run/nologin").exists()

    # Faults

    def cut(self) -> None:
        """Pull its network cable."""
        self.network.cable(self.number, "down")

    def heal(self) -> None:
        """Plug it in again, and wait until it is reached: the kernel takes a moment."""
        self.network.cable(self.number, "up")
        self.wait_until_up()

    def kill(self) -> None:
        """Take its power away; `boot_again` gives it back."""
        end(self._cgroups)
        if self._spawned:
            self._spawned.wait()

    def boot_again(self) -> None:
        self.boot(self.binds)

    def reboot(self) -> None:
        """Start it anew, in good order, and wait until it is up again."""
        before = self._init()
        self.run("systemctl --no-block reboot", check=False)
        deadline = time.monotonic() + _BOOT_TIMEOUT
        while self._init() in (before, None):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not come back")
            time.sleep(0.05)
        self.wait_until_up()

    def fill_disk(self, leave: int = 0) -> None:
        """Use up all of its disk but `leave` bytes; `free_disk` undoes it."""
        with (self.folder / "disk" / "ballast").open("wb", buffering=0) as ballast:
            with contextlib.suppress(OSError):
                while True:
                    ballast.write(bytes(1 << 20))
            ballast.truncate(max(ballast.tell() - leave, 0))

    def free_disk(self) -> None:
        (self.folder / "disk" / "ballast").unlink()

    # What is there, seen with plain tools

    def run(self, command: str, user: str = "root", check: bool = True) -> str:
        """What `command` prints, run in the host by a shell of `user`; needs no network."""
        script = f"cd; export XDG_RUNTIME_DIR=/run/user/$(id -u); {command}"
        done = subprocess.run(
            ["nsenter", f"--target={self._init()}", "--mount", "--uts", "--ipc", "--net", "--pid",
             "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
             "runuser", "-l", user, "-c", script],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=400,
        )  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(
                f"{self.name}: {command} ended with {done.returncode}: {done.stdout}"
            )
        return done.stdout

    def file(self, path: str) -> Path:
        """A file of the host, for reading and writing from here; its links are not followed."""
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str, user: str) -> None:
        """Give the host a file as `user` would write it, in a new folder if need be."""
        self.run(f"mkdir -p {shlex.quote(str(Path(path).parent))}", user)
        self.file(path).write_text(text)
        self.run(f"chown {user}: {shlex.quote(path)}")

    def service(self, unit: str, user: str | None = None) -> ServiceState:
        """A unit of the host's systemd, or of a user's own."""
        command = "systemctl --user" if user else "systemctl"
        shown = self.run(
            f"{command} show {shlex.quote(unit)} -p MainPID -p ActiveState -p UnitFileState",
            user=user or "root",
        )
        found = dict(line.split("=", 1) for line in shown.splitlines())
        pid = int(found["MainPID"]) or None
        return ServiceState(pid, found["ActiveState"], found["UnitFileState"])

    def difference(self, before: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
        """What is not as it was when `tree` gave `before`: each path, then and now."""
        now = self.tree()
        paths = sorted(before.keys() | now.keys())
        return {p: (before.get(p), now.get(p)) for p in paths if before.get(p) != now.get(p)}

    def tree(self) -> dict[str, str]:
        """Every path on its disk, with owner, mode and a hash of the content.

        SSH answers before the host has booted: logind then still makes its directory.
        """
        self.run("systemctl is-system-running --wait", check=False)
        found = {}
        for folder, names, files in os.walk(self.root):
            inside = os.path.relpath(folder, self.root)
            names[:] = [n for n in names if os.path.normpath(f"{inside}/{n}") not in _VOLATILE]
            for name in (*names, *files):
                path = os.path.normpath(f"{inside}/{name}")
                if path not in _VOLATILE:
                    with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                        found[path] = described(Path(folder, name))
        return found

    def _init(self) -> int | None:
        """The process that is PID 1 inside."""
        below = [self._spawned.pid] if self._spawned else []
        for pid in below:  # grows meanwhile
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                if re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE):
                    return pid
                below += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return None


def cgroup_trees() -> list[Path]:
    """The roots of this machine's control group trees that a host needs a place in."""
    paths = [_CGROUPS / name for name in _HIERARCHIES]
    return [path for path in paths if (path / "cgroup.procs").exists()]


def end(cgroups: list[Path]) -> None:
    """Kill every process in the groups, and remove them with all below."""
    for group in cgroups:
        if (group / "cgroup.kill").exists():
            (group / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + 60
    while left := [group for group in cgroups if group.is_dir()]:
        for group in left:
            with contextlib.suppress(OSError):  # groups that go meanwhile
                for file in group.rglob("cgroup.procs"):
                    for pid in file.read_text().split():
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(int(pid), signal.SIGKILL)
                for folder in sorted((p for p in group.rglob("*") if p.is_dir()), reverse=True):
                    with contextlib.suppress(OSError):
                        folder.rmdir()
            with contextlib.suppress(OSError):
                group.rmdir()
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes stay in {left}")
        time.sleep(0.02)
