"""A lab: hosts on a bridge, made for one test module and gone with it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..running import Run, Running, copy_project
from . import base, darwin, engine, homebrew, network, packages
from .host import Host, cgroup_trees, end

#: Every lab of this machine has a folder here, named after its process: PID-STARTTIME.
FOLDERS = Path("/var/tmp/homeport-lab")

PROGRAMS = ("mmdebstrap", "systemd-nspawn", "ip", "nsenter", "zstd", "ssh-keygen")


def obstacle() -> str | None:
    """Why there can be no lab on this machine, in words; None where there can."""
    if not Path("/proc/self/ns/net").exists() or not base.sources():
        return "lab hosts need Debian or Ubuntu"
    if os.geteuid() != 0:
        return "lab hosts need root: sudo make test TESTS=tests/lab"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return (
            f"lab hosts need {', '.join(missing)}. Type: apt install "
            "mmdebstrap systemd-container iproute2 util-linux zstd openssh-client"
        )
    return None


class Lab:
    """Hosts that reach each other, the controller, and nothing else."""

    def __init__(self) -> None:
        self.folder = FOLDERS / f"{os.getpid()}-{_start_time(os.getpid())}"
        self.network = network.Network(f"homeport-lab-{os.getpid()}")
        self.hosts: dict[str, Host] = {}
        self.binds: list[Path] = []  # folders of this machine that hosts see as well
        self.registries = packages.of_this_machine()
        self.project = self.folder / "project"
        self._runs = 0
        self._proxy: packages.Proxy | None = None

    def open(self) -> None:
        remove_leftovers()
        _allow_many_hosts()
        base.unpack(self.folder / "base")
        self.network.create()
        self._proxy = packages.Proxy(self.network, self.registries.hosts)
        key = self.folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        (self.folder / "ssh_config").write_text(
            f"IdentityFile {key}\nUserKnownHostsFile {self.folder}/known_hosts\n"
            "StrictHostKeyChecking yes\nLogLevel ERROR\n"
        )
        copy_project(self.project)
        (self.folder / "home").mkdir()

    def close(self) -> None:
        if self._proxy:
            self._proxy.close()
        _remove(self.folder, self.network.name)

    def host(self, name: str, disk: str = "4G", brew_owner: str | None = None) -> Host:
        """The host called `name`: the one there is, or a new one that has just booted. With a
        `brew_owner` it has Homebrew, as that user's (homebrew/README.md)."""
        if name not in self.hosts:
            host = self._create(name, disk)
            if brew_owner:
                homebrew.install_on_linux(host.root, brew_owner)
            self._boot(host, homebrew=bool(brew_owner))
        return self.hosts[name]

    def mac(
        self,
        name: str,
        chip: darwin.Chip = "arm64",
        memory: int = 16 * 1024**3,
        brew_owner: str | None = "anna",
    ) -> Host:
        """The same, and a Mac to whoever comes by SSH (darwin/README.md), with `memory` bytes;
        without a `brew_owner` it has no Homebrew."""
        if name not in self.hosts:
            host = self._create(name, "4G")
            darwin.prepare(host.root, chip, memory, brew_owner)
            self._boot(host, homebrew=bool(brew_owner))
        return self.hosts[name]

    def boot(self, *names: str) -> list[Host]:
        """Several hosts, booted side by side."""
        new = [self._create(name, "4G") for name in names if name not in self.hosts]
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._boot, new))
        return [self.hosts[name] for name in names]

    def inventory(
        self, groups: dict[str, list[Host]], user: str = "anna", name: str = "fleet", **data: Any
    ) -> Path:
        """An inventory file with these hosts, each with `data` and entered as `user`."""
        text = "".join(
            f"{group} = {[(one.name, {**self.ssh_data(one, user), **data}) for one in hosts]!r}\n"
            for group, hosts in groups.items()
        )
        path = self.folder / "inventories" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    @contextlib.contextmanager
    def using(self, module: str, **constants: int) -> Iterator[None]:
        """The project's copy has other values for these constants meanwhile, as for a wait that
        takes a minute."""
        path = self.project / "homeport" / module
        before = text = path.read_text()
        for name, value in constants.items():
            text, count = re.subn(rf"^{name} = \d+$", f"{name} = {value}", text, flags=re.M)
            assert count == 1, name
        path.write_text(text)
        yield
        path.write_text(before)

    def deploy(self, inventory: str | Path, *options: str, script: str = "deploy.py") -> Run:
        """`pyinfra INVENTORY deploy.py`, typed in the project's folder, until it ends."""
        return self.start(inventory, *options, script=script).wait()

    def remove(self, inventory: str | Path, *options: str) -> Run:
        return self.deploy(inventory, *options, script="remove.py")

    def start(
        self,
        inventory: str | Path,
        *options: str,
        script: str = "deploy.py",
        terminal: bool = False,
    ) -> Running:
        """The same, while it still runs; with a `terminal` it asks before it changes anything."""
        self._runs += 1
        pyinfra = str(Path(sys.executable).parent / "pyinfra")
        words = [*self.network.words(), pyinfra, str(inventory), script, *options]
        return Running(
            words if terminal else [*words, "--yes"],
            self.project,
            {
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder / "home"),
                "LANG": "C.UTF-8",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            self.folder / f"run-{self._runs}.log",
            terminal,
        )

    def ssh_data(self, host: Host, user: str) -> dict[str, Any]:
        """What an inventory says of `host`, so that pyinfra comes in as `user`."""
        return {
            "claude_code": None,  # no lab host reaches where it comes from
            "ssh_hostname": host.address,
            "ssh_user": user,
            "ssh_key": str(self.folder / "key"),
            "ssh_known_hosts_file": str(self.folder / "known_hosts"),
        }

    def ssh(self, host: Host, user: str) -> list[str]:
        """The words of a command that logs in, as a person would type it."""
        config = str(self.folder / "ssh_config")
        return [*self.network.words(), "ssh", "-F", config, f"{user}@{host.name}"]

    def login(self, host: Host, user: str, command: str) -> str:
        """What `command` prints, typed by `user` who came in by SSH."""
        done = subprocess.run(
            [*self.ssh(host, user), command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=400,
        )
        return done.stdout.strip()

    def _create(self, name: str, disk: str) -> Host:
        number = len(self.hosts) + 1
        host = Host(name, self.folder / "hosts" / name, self.network, number)
        host.create(self.folder / "base", disk)
        etc = host.root / "etc"
        shutil.copy(self.folder / "key.pub", etc / "ssh/lab_keys")
        packages.configure(host.root, self.registries)
        public = (etc / "ssh/ssh_host_ed25519_key.pub").read_text().rsplit(" ", 1)[0]
        with (self.folder / "known_hosts").open("a") as known:
            known.write(f"{name},{host.address} {public}\n")
        with (self.folder / "ssh_config").open("a") as config:
            config.write(f"Host {name}\n  HostName {host.address}\n")
        self.hosts[name] = host
        names = "".join(f"{one.address} {one.name}\n" for one in self.hosts.values())
        for one in self.hosts.values():
            own = f"127.0.0.1 localhost\n::1 localhost\n{names}"
            (one.root / "etc/hosts").write_text(own)
        return host

    def _boot(self, host: Host, homebrew: bool = False) -> None:
        what_brew_installs = [engine.packages()] if homebrew else []
        host.boot([*self.registries.folders, *self.binds, *what_brew_installs])


@contextlib.contextmanager
def opened() -> Iterator[Lab]:
    """A lab that is gone afterwards, whatever happens."""
    lab = Lab()
    try:
        lab.open()
        yield lab
    finally:
        lab.close()


def remove_leftovers() -> None:
    """Remove the labs whose process has ended without doing so."""
    FOLDERS.mkdir(parents=True, exist_ok=True)
    with base.only_one(FOLDERS / "removing"):
        for folder in FOLDERS.glob("*-*"):
            pid, started = folder.name.split("-")
            if _start_time(int(pid)) != started:
                _remove(folder, f"homeport-lab-{pid}")


def _remove(folder: Path, name: str) -> None:
    end([tree / name for tree in cgroup_trees()])
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if Path(mount).is_relative_to(folder)]):
        subprocess.run(["umount", "--lazy", mount], check=True)
    network.delete(name)
    shutil.rmtree(folder, ignore_errors=True)


def _start_time(pid: int) -> str:
    """When a process started, so that its number alone is not taken for it; "" without one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _allow_many_hosts() -> None:
    """At the kernel's default of 128 the twentieth host stalls while it boots, and says nothing."""
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    if int(limit.read_text()) < 1024:
        limit.write_text("1024")
