"""The base that all lab hosts share: this machine's Debian or Ubuntu with systemd, sshd and Python.

Built once by mmdebstrap, from this machine's own package sources, and kept as an archive in the
cache of the user; a changed recipe, source or certificate makes another one.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: A bare server, and polkit, which a desktop has: it lets a user's services outlive the login.
PACKAGES = (
    "ca-certificates",
    "curl",
    "dbus",
    "dbus-user-session",
    "iproute2",
    "libpam-systemd",
    "openssh-server",
    "polkitd",
    "procps",
    "python3",
    "python3-venv",
    "sudo",
    "systemd",
    "systemd-sysv",
    "zsh",
)

#: Who can log in, besides root, by the lab's key. The first needs no password for sudo.
USERS = ("ops", "anna")
PASSWORD = "open-sesame"  # anna's, for sudo

#: Run in the new root, after the packages.
_SET_UP = f"""
set -eu
for user in {" ".join(USERS)}; do useradd --create-home --shell /bin/bash "$user"; done
echo 'anna:{PASSWORD}' | chpasswd
echo 'ops ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/ops
echo 'anna ALL=(ALL) ALL' > /etc/sudoers.d/anna
cat > /etc/ssh/sshd_config.d/lab.conf <<END
AuthorizedKeysFile /etc/ssh/lab_keys
PasswordAuthentication no
PermitRootLogin prohibit-password
UseDNS no
END
rm -f /etc/ssh/ssh_host_*_key* /etc/machine-id /var/lib/dbus/machine-id
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
touch /etc/machine-id
update-ca-certificates >/dev/null
# What works on a schedule would come between two looks at the same host.
for timer in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all fstrim \\
  systemd-tmpfiles-clean; do
  systemctl --quiet mask "$timer.timer"
done
systemctl --quiet mask systemd-resolved systemd-timesyncd systemd-networkd e2scrub_reap \\
  getty-static console-getty 2>/dev/null || true
"""

#: Seconds after which an archive that no lab wanted is removed: a week.
_KEEP_UNUSED = 7 * 24 * 3600

_CERTIFICATES = Path("/usr/local/share/ca-certificates")


def cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root, "homeport-lab")


def unpack(target: Path) -> None:
    """The base, as files in memory under `target`; on a disk it takes many times as long.

    Builds its archive where there is none for this recipe, which takes half a minute.
    """
    path = cache() / f"base-{_recipe()}.tar.zst"
    path.parent.mkdir(parents=True, exist_ok=True)
    with only_one(path.parent / "building"):
        if not path.exists():
            _build(path)
        path.touch()
        for old in path.parent.glob("base-*"):  # other branches may have other recipes
            if time.time() - old.stat().st_mtime > _KEEP_UNUSED:
                old.unlink()
        target.mkdir(parents=True)
        run("mount", "-t", "tmpfs", "-o", "size=1G,mode=755", "lab", target)
        run("tar", "--extract", "--zstd", "--file", path, "--numeric-owner", "-C", target)


def sources() -> list[Path]:
    """This machine's sources of its own distribution's packages."""
    apt = Path("/etc/apt")
    names = ("sources.list.d/debian.sources", "sources.list.d/ubuntu.sources", "sources.list")
    return [apt / name for name in names if (apt / name).is_file()][:1]


def _recipe() -> str:
    """What another base would have another of."""
    recipe = [repr(PACKAGES), _SET_UP, inspect.getsource(_build)]
    files = [Path("/etc/os-release"), *sources(), *_certificates()]
    parts = [*map(str.encode, recipe), *(file.read_bytes() for file in files)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _certificates() -> list[Path]:
    return sorted(_CERTIFICATES.glob("*.crt"))


def _build(path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="homeport-lab-", dir="/var/tmp") as folder:
        root, new = Path(folder, "root"), path.with_suffix(".new")
        run(
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            "--mode=root",
            f"--include={','.join(PACKAGES)}",
            # Machines with a clock of their own, or a mirror that is a snapshot.
            "--aptopt=Acquire::Check-Valid-Until false",
            "--aptopt=Acquire::Check-Date false",
            f'--customize-hook=mkdir -p "$1{_CERTIFICATES}"',
            *(f'--customize-hook=cp "{file}" "$1{file}"' for file in _certificates()),
            f'--customize-hook=chroot "$1" sh -c {shlex.quote(_SET_UP)}',
            _codename(),
            root,
            *sources(),
        )
        run("tar", "--create", "--zstd", "--file", new, "--numeric-owner", "-C", root, ".")
        new.rename(path)


def _codename() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return values["VERSION_CODENAME"].strip('"')


def run(*command: str | Path) -> None:
    """Run a command; raises with what it printed where it fails."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-3000:]}")


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Whoever else comes by `path` waits meanwhile."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
