"""Homebrew on a host of the lab, of a Mac or of Linux, and what it offers; README.md says more.

brew itself is one of the stand-ins in darwin/standins, and what it installs as llama-server is
`llama/`, which answers with the real engine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .. import engine
from ..calls import LINUXBREW, home

HERE = Path(__file__).resolve().parent
STANDINS = HERE.parent / "darwin" / "standins"

#: The prefixes that Homebrew has by itself: Apple silicon, Intel, Linux.
OPT, LOCAL, LINUX = Path("opt/homebrew"), Path("usr/local"), Path("home/linuxbrew/.linuxbrew")


@dataclass(frozen=True)
class Build:
    """A llama.cpp: `version` is the formula's, and `number` says which options its server has
    (llama/options.py) and which models it knows."""

    version: str
    number: int


#: From b10621 on the formula's version is llama.cpp's own, and no longer the build's number.
TOO_OLD, OLD, NEW = Build("8000", 8000), Build("9800", 9800), Build("0.6.0", 11549)


def offer(root: Path, build: Build = NEW) -> None:
    """Have `brew install llama.cpp`, and `brew upgrade`, come with that build from now on."""
    folder = _home(root)
    formula = folder / "formulae/llama.cpp"
    lib = Path("/", folder.relative_to(root), "lib")
    shutil.rmtree(formula, ignore_errors=True)
    _write(formula / "version", f"{build.version}\n")
    _write(formula / "depends", "ggml openssl@3\n")
    for name, needs in (("ggml", ""), ("openssl@3", "ca-certificates"), ("ca-certificates", "")):
        _write(folder / "formulae" / name / "version", "1\n")
        _write(folder / "formulae" / name / "depends", f"{needs}\n")
        (folder / "formulae" / name / "bin").mkdir(exist_ok=True)
    _write(
        formula / "bin/llama-server",
        "#!/usr/bin/python3 -IS\n"
        "import sys\n\n"
        f'sys.path.insert(0, "{lib}")\n'
        "from llama.server import main  # noqa: E402\n\n"
        f'main({build.number}, "{build.version}", "{engine.packages()}")\n',
        0o755,
    )


def offer_haproxy(root: Path) -> None:
    """Have `brew install haproxy`, too."""
    formula = _home(root) / "formulae/haproxy"
    _write(formula / "version", "3.2.4\n")
    _write(formula / "depends", "openssl@3\n")
    _write(formula / "bin/haproxy", (HERE / "haproxy.py").read_text(), 0o755)


def offer_client(root: Path, version: str, cask: str = "claude-code@latest") -> None:
    """Have the cask of Claude Code, which only says its version, come with that one."""
    folder = _home(root) / "casks" / cask
    _write(folder / "version", f"{version}\n")
    _write(folder / "bin/claude", f"#!/bin/sh\necho '{version} (Claude Code)'\n", 0o755)


def install(root: Path, prefix: Path, owner: str, bottle: str | None) -> None:
    """Put Homebrew at `prefix` of a host that has the stand-ins, as `owner`'s; `bottle` is the
    platform's name in the names of its packages, None where everything is built from source."""
    folder, top = _home(root), root / prefix
    lib = Path("/", folder.relative_to(root), "lib")
    _write(folder / "homebrew.json", json.dumps({"prefix": f"/{prefix}", "bottle": bottle}))
    shutil.copytree(HERE / "llama", folder / "lib/llama", ignore=_NO_CACHES)
    shutil.copy(engine.openmp(), folder / "lib")
    for name in ("bin", "Cellar", "Caskroom", "etc", "lib", "opt", "share", "var/homebrew"):
        (top / name).mkdir(parents=True, exist_ok=True)
    # Where it is not alone in its prefix, its own files are in a folder of their own.
    repository = top if prefix == OPT else top / "Homebrew"
    (repository / "Library/Taps").mkdir(parents=True)
    (repository / "bin").mkdir(exist_ok=True)
    (repository / "bin/brew").symlink_to(lib / "run")
    if repository != top:
        (top / "bin/brew").symlink_to("../Homebrew/bin/brew")
    own(root, owner)
    _python(root, folder)
    offer(root)


def install_on_linux(root: Path, owner: str) -> None:
    """Homebrew on a host that is no Mac, at its usual place there."""
    folder = root / LINUXBREW
    shutil.copytree(STANDINS, folder / "lib/standins", ignore=_NO_CACHES)
    write_runner(root, LINUXBREW)
    (folder / "linux").mkdir()
    install(root, LINUX, owner, "x86_64_linux")
    compiled(root, LINUXBREW)


def write_runner(root: Path, place: Path) -> None:
    """What runs a stand-in by the name it was called by, and the log: at `place` in the host."""
    text = (HERE.parent / "darwin/files/run").read_text()
    _write(root / place / "lib/run", text.replace("/opt/darwin", f"/{place}"), 0o755)
    _write(root / place / "state/calls.jsonl", "", 0o666)


def compiled(root: Path, place: Path) -> None:
    """Compile the stand-ins, whose users cannot write beside them."""
    program = ["/usr/bin/python3", "-m", "compileall", "-q", f"/{place}/lib"]
    subprocess.run(["chroot", str(root), *program], check=True)


def own(root: Path, owner: str) -> None:
    """Have a user own Homebrew; it need not be the one who works there."""
    top = root / json.loads((_home(root) / "homebrew.json").read_text())["prefix"].lstrip("/")
    uid, gid = _ids(root, owner)
    # /usr/local itself stays root's.
    for path in (*(() if top == root / LOCAL else (top,)), *top.rglob("*")):
        os.chown(path, uid, gid, follow_symlinks=False)


def _home(root: Path) -> Path:
    folder = home(root)
    if folder is None:
        raise RuntimeError(f"the host at {root} has no Homebrew, and no other stand-in")
    return folder


def _python(root: Path, folder: Path) -> None:
    """A formula beside llama.cpp: the host's own Python."""
    path = root / "usr/bin/python3"
    python = path.readlink().name
    keg = folder / "formulae" / python.replace("python", "python@")
    _write(keg / "version", f"{python.removeprefix('python')}.0\n")
    (keg / "bin").mkdir()
    (keg / "bin" / python).symlink_to(f"/usr/bin/{python}")


def _ids(root: Path, user: str) -> tuple[int, int]:
    for line in (root / "etc/passwd").read_text().splitlines():
        name, _, uid, gid, *_ = line.split(":")
        if name == user:
            return int(uid), int(gid)
    raise RuntimeError(f"the host has no user {user}")


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


_NO_CACHES = shutil.ignore_patterns("__pycache__")
