"""A Linux host that is a Mac to whoever comes by SSH; README.md says how far that goes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import tools

HERE = Path(__file__).resolve().parent
DARWIN = Path("opt/darwin")

#: Name, uid and login shell of the people; `staff` is everybody's group, as on a Mac.
USERS = {"anna": (501, "/bin/zsh"), "ops": (502, "/bin/zsh")}
STAFF = 20

PATH = "/usr/bin:/bin:/usr/sbin:/sbin"

#: What sysctl, uname and sw_vers answer: a MacBook Pro with 16 GB and macOS 15.6.
SYSCTL = {
    "kern.ostype": "Darwin",
    "kern.osrelease": "24.6.0",
    "kern.osversion": "24G84",
    "kern.osproductversion": "15.6",
    "kern.version": "Darwin Kernel Version 24.6.0: Mon Jul 14 11:30:40 PDT 2025; "
    "root:xnu-11417.140.69~1/RELEASE_ARM64_T6041",
    "kern.boottime": "{ sec = 1767225600, usec = 0 } Thu Jan  1 00:00:00 2026",
    "hw.machine": "arm64",
    "hw.model": "Mac16,8",
    "hw.memsize": str(16 * 1024**3),
    "hw.ncpu": "12",
    "hw.physicalcpu": "12",
    "hw.logicalcpu": "12",
    "hw.pagesize": "16384",
    "hw.optional.arm64": "1",
    "machdep.cpu.brand_string": "Apple M4 Pro",
    "vm.swapusage": "total = 0.00M  used = 0.00M  free = 0.00M  (encrypted)",
}

#: The version of the formula llama.cpp; whoever wants another formula adds a folder in the host.
LLAMA_CPP = "11549"


@dataclass(frozen=True)
class Call:
    """A stand-in that was run; `refused` says what is wrong with its arguments, or is empty."""

    time: float
    pid: int
    uid: int
    program: str
    argv: tuple[str, ...]
    status: int
    refused: str


def calls(root: Path) -> list[Call]:
    """All runs of stand-ins in the host at `root`, oldest first. Programs that are Linux's own
    behind a check of their options are in it only when they refused."""
    lines = (root / DARWIN / "state/calls.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [Call(**{**one, "argv": tuple(one["argv"])}) for one in found]


def refusals(root: Path) -> list[str]:
    """What a Mac would not have understood, or no stand-in models: a line each."""
    return [
        f"{' '.join([call.program, *call.argv])}: {call.refused}"
        for call in calls(root)
        if call.refused
    ]


def log_in(root: Path, *uids: int) -> None:
    """Have just these users logged in at the screen; launchd sees it within a moment."""
    file = root / DARWIN / "state/gui-sessions"
    new = file.with_suffix(".new")  # an empty file in between would log everybody out
    _write(new, "".join(f"{uid}\n" for uid in uids))
    new.rename(file)


def prepare(root: Path) -> None:
    """Make the Debian at `root`, which is not booted, a Mac for those who come by SSH."""
    _programs(root)
    _openmp(root)
    _state(root)
    _people(root)
    _homebrew(root)
    _sessions(root)
    subprocess.run(
        ["chroot", root, "/usr/bin/python3", "-m", "compileall", "-q", f"/{DARWIN}/lib"], check=True
    )


def _programs(root: Path) -> None:
    """The folders that cover /usr/bin and /usr/sbin, and what is in them."""
    lib, programs = root / DARWIN / "lib", root / DARWIN / "usr/bin"
    for name in ("standins", "launchd"):
        shutil.copytree(HERE / name, lib / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("run", "enter"):
        _write(lib / name, (HERE / "files" / name).read_text(), 0o755)
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
    """The engine's wheel for Linux links to libgomp, and a Mac's to nothing: this machine's own,
    which is of the same distribution."""
    library = next(Path("/usr/lib").glob("*-linux-gnu/libgomp.so.1"), None)
    if library is None:
        raise RuntimeError("a Mac of the lab needs this machine's libgomp: apt install libgomp1")
    shutil.copy(library, root / library.relative_to("/"))


def _state(root: Path) -> None:
    state = root / DARWIN / "state"
    _write(state / "calls.jsonl", "", 0o666)
    _write(state / "sysctl", "".join(f"{key}: {value}\n" for key, value in SYSCTL.items()))
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


def _homebrew(root: Path) -> None:
    """Installed, the first user's own, and not on the PATH of a session over SSH."""
    prefix = root / "opt/homebrew"
    for folder in ("bin", "Cellar", "Caskroom", "opt", "Library/Taps"):
        (prefix / folder).mkdir(parents=True)
    (prefix / "bin/brew").symlink_to(f"/{DARWIN}/lib/run")
    for path in (prefix, *prefix.rglob("*")):
        os.chown(path, USERS["anna"][0], STAFF, follow_symlinks=False)
    formulae, python = root / DARWIN / "formulae", _followed(root, root / "usr/bin/python3").name
    keg = formulae / python.replace("python", "python@")
    _write(keg / "version", f"{python.removeprefix('python')}.0\n")
    (keg / "bin").mkdir()
    (keg / "bin" / python).symlink_to(f"/usr/bin/{python}")
    server = (HERE / "files/llama-server").read_text()
    _write(formulae / "llama.cpp/version", f"{LLAMA_CPP}\n")
    _write(formulae / "llama.cpp/bin/llama-server", server, 0o755)


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
