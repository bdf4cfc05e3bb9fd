"""A Linux host that is a Mac to whoever comes by SSH; README.md says how far that goes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal

from .. import engine, homebrew
from ..calls import DARWIN, Call, calls, refusals
from . import tools

__all__ = ["DARWIN", "Call", "Chip", "calls", "log_in", "power", "prepare", "refusals", "sysctl"]

HERE = Path(__file__).resolve().parent

#: Name, uid and login shell of the people; `staff` is everybody's group, as on a Mac.
USERS = {"anna": (501, "/bin/zsh"), "ops": (502, "/bin/zsh")}
STAFF = 20

PATH = "/usr/bin:/bin:/usr/sbin:/sbin"

Chip = Literal["arm64", "x86_64"]

#: What sysctl, uname and sw_vers answer on macOS 15.6.
_SYSCTL = {
    "kern.ostype": "Darwin",
    "kern.osrelease": "24.6.0",
    "kern.osversion": "24G84",
    "kern.osproductversion": "15.6",
    "kern.boottime": "{ sec = 1767225600, usec = 0 } Thu Jan  1 00:00:00 2026",
    "vm.swapusage": "total = 0.00M  used = 0.00M  free = 0.00M  (encrypted)",
}
_KERNEL = "Darwin Kernel Version 24.6.0: Mon Jul 14 11:30:40 PDT 2025; root:xnu-11417.140.69~1/"

#: A MacBook Pro of 2024 and one of 2019. What is missing in one is an unknown oid there.
_CHIPS: dict[Chip, dict[str, str]] = {
    "arm64": {
        "kern.version": f"{_KERNEL}RELEASE_ARM64_T6041",
        "hw.machine": "arm64",
        "hw.model": "Mac16,8",
        "hw.ncpu": "12",
        "hw.physicalcpu": "12",
        "hw.logicalcpu": "12",
        "hw.pagesize": "16384",
        "hw.optional.arm64": "1",
        "iogpu.wired_limit_mb": "0",
        "machdep.cpu.brand_string": "Apple M4 Pro",
        "sysctl.proc_translated": "0",
    },
    "x86_64": {
        "kern.version": f"{_KERNEL}RELEASE_X86_64",
        "hw.machine": "x86_64",
        "hw.model": "MacBookPro16,1",
        "hw.ncpu": "16",
        "hw.physicalcpu": "8",
        "hw.logicalcpu": "16",
        "hw.pagesize": "4096",
        "machdep.cpu.brand_string": "Intel(R) Core(TM) i9-9880H CPU @ 2.30GHz",
    },
}

#: What `pmset -g batt` says: a laptop at the wall, one on the move, and a Mac without a battery.
_POWER = {
    "wall": "Now drawing from 'AC Power'\n"
    " -InternalBattery-0 (id=24576099)\t100%; charged; 0:00 remaining present: true\n",
    "battery": "Now drawing from 'Battery Power'\n"
    " -InternalBattery-0 (id=24576099)\t72%; discharging; 3:12 remaining present: true\n",
    "no battery": "Now drawing from 'AC Power'\n",
}


def sysctl(chip: Chip = "arm64", memory: int = 16 * 1024**3) -> dict[str, str]:
    """What sysctl(8) knows on a Mac with `memory` bytes."""
    return {**_SYSCTL, **_CHIPS[chip], "hw.memsize": str(memory)}


def power(root: Path, source: Literal["wall", "battery", "no battery"]) -> None:
    """Plug the Mac at `root` in, or out."""
    _write(root / DARWIN / "state/power", _POWER[source])


def log_in(root: Path, *uids: int) -> None:
    """Have just these users logged in at the screen; launchd sees it within a moment."""
    file = root / DARWIN / "state/gui-sessions"
    new = file.with_suffix(".new")  # an empty file in between would log everybody out
    _write(new, "".join(f"{uid}\n" for uid in uids))
    new.rename(file)


def prepare(
    root: Path,
    chip: Chip = "arm64",
    memory: int = 16 * 1024**3,
    brew_owner: str | None = "anna",
) -> None:
    """Make the Debian at `root`, which is not booted, a Mac for those who come by SSH: with
    `memory` bytes, and with Homebrew as `brew_owner`'s, or without where that is None."""
    _programs(root)
    _openmp(root)
    _state(root, chip, memory)
    _people(root)
    if brew_owner:
        arm = chip == "arm64"
        # Homebrew makes no packages for Intel any more.
        bottle = "arm64_sequoia" if arm else None
        homebrew.install(root, homebrew.OPT if arm else homebrew.LOCAL, brew_owner, bottle)
    _sessions(root)
    homebrew.compiled(root, DARWIN)


def _programs(root: Path) -> None:
    """The folders that cover /usr/bin and /usr/sbin, and what is in them."""
    lib, programs = root / DARWIN / "lib", root / DARWIN / "usr/bin"
    for name in ("standins", "launchd"):
        shutil.copytree(HERE / name, lib / name, ignore=shutil.ignore_patterns("__pycache__"))
    _write(lib / "enter", (HERE / "files/enter").read_text(), 0o755)
    homebrew.write_runner(root, DARWIN)
    (lib / "refused").symlink_to("run")
    for folder in ("usr/bin", "usr/sbin", "linux/bin", "linux/sbin", "linux/proc"):
        (root / DARWIN / folder).mkdir(parents=True, exist_ok=True)
    for name in tools.PLAIN:
        # Past /etc/alternatives, which leads back into a folder that is covered.
        target = _followed(root, root / "usr/bin" / name).name
        (programs / name).symlink_to(f"/{DARWIN}/linux/bin/{target}")
    for tool in tools.CHECKED:
        _write(programs / tool.name, tool.script((HERE / "files/filter").read_text()), 0o755)
    _write(programs / "find", (HERE / "files/find").read_text(), 0o755)
    for name in tools.STAND_INS:
        (programs / name).symlink_to(f"/{DARWIN}/lib/run")
    for name in tools.STAND_INS_SBIN:
        (root / DARWIN / "usr/sbin" / name).symlink_to(f"/{DARWIN}/lib/run")
    (root / DARWIN / "usr/sbin/sshd").symlink_to(f"/{DARWIN}/linux/sbin/sshd")
    # Python finds its library from where its own file is, so it is a copy and no link.
    python = _followed(root, root / "usr/bin/python3").name
    shutil.copy2(root / "usr/bin" / python, programs / python)
    (programs / "python3").symlink_to(python)


def _openmp(root: Path) -> None:
    """The engine's wheel for Linux links to libgomp, and a Mac's to nothing."""
    library = engine.openmp()
    shutil.copy(library, root / library.relative_to("/"))


def _state(root: Path, chip: Chip, memory: int) -> None:
    lines = [f"{key}: {value}\n" for key, value in sysctl(chip, memory).items()]
    _write(root / DARWIN / "state/sysctl", "".join(lines))
    power(root, "wall")
    (root / "var/db").mkdir(mode=0o755)
    log_in(root, USERS["anna"][0])


def _people(root: Path) -> None:
    """Accounts and homes as on a Mac: no start-up files, and a Library without LaunchAgents."""
    etc = root / "etc"
    for name, (uid, shell) in USERS.items():
        home = root / "Users" / name
        home.parent.mkdir(exist_ok=True)
        shutil.move(root / "home" / name, home)
        for skeleton in (etc / "skel").iterdir():
            (home / skeleton.name).unlink(missing_ok=True)
        (home / "Library").mkdir(mode=0o700)
        home.chmod(0o750)
        for path in (home, *home.rglob("*")):
            os.chown(path, uid, STAFF, follow_symlinks=False)
        _edit(etc / "passwd", name, f"{name}:x:{uid}:{STAFF}:{name.title()}:/Users/{name}:{shell}")
        _edit(etc / "group", name, None)
        _edit(etc / "gshadow", name, None)
    for old, new, gid in (("staff", "_staff", 50), ("dialout", "staff", STAFF)):
        _edit(etc / "group", old, f"{new}:x:{gid}:")
        _edit(etc / "gshadow", old, f"{new}:*::")
    # Without PAM sshd takes an account with no password for a locked one.
    shadow = (etc / "shadow").read_text()
    _write(etc / "shadow", shadow.replace(":!:", ":*:"), 0o640)
    # A Mac's sudo keeps the PATH.
    _write(etc / "sudoers.d/darwin", "Defaults !secure_path\n", 0o440)


def _sessions(root: Path) -> None:
    """sshd and launchd, in a view of the file system of their own."""
    units = root / "etc/systemd/system"
    _write(units / "darwin-launchd.service", (HERE / "files/launchd.service").read_text())
    (units / "multi-user.target.wants/darwin-launchd.service").symlink_to(
        "../darwin-launchd.service"
    )
    _write(units / "ssh.service.d/darwin.conf", (HERE / "files/ssh.conf").read_text())
    with (root / "etc/fstab").open("a") as file:
        file.write(f"proc /{DARWIN}/linux/proc proc defaults 0 0\n")
    # No PAM: it would make a session of logind's, with a runtime directory and a bus.
    _write(root / "etc/ssh/sshd_config.d/darwin.conf", f"UsePAM no\nSetEnv PATH={PATH}\n")
    # What path_helper(8) makes of it in a login shell, and nothing else.
    login = f'PATH="/usr/local/bin:{PATH}"\nexport PATH\n'
    _write(root / "etc/profile", login)
    _write(root / "etc/zsh/zprofile", login)


def _followed(root: Path, path: Path) -> Path:
    """The file that a link in the host leads to."""
    while path.is_symlink():
        target = path.readlink()
        path = root / target.relative_to("/") if target.is_absolute() else path.parent / target
    return path


def _edit(path: Path, name: str, line: str | None) -> None:
    """Replace the line of an account, or take it out."""
    lines = [line if old.split(":")[0] == name else old for old in path.read_text().splitlines()]
    path.write_text("".join(f"{kept}\n" for kept in lines if kept is not None))


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
