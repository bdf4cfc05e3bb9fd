"""llama.cpp as a Python package, installed once on this machine: what the lab's llama-server runs.

Hosts see the folder read-only. The extension is built for the stable ABI, so that any Python of a
host imports it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from homeport import ROOT

from ..conftest import missing
from ..serving.stack import FOLDER

LOCK = ROOT / "requirements-engine.txt"


@cache
def packages() -> Path:
    """The folder with the package; installed where there is none for this lock."""
    if os.geteuid() != 0:
        missing("the engine is installed for hosts of the lab, which need root")
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    environment = FOLDER / f"llama-{digest}"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "building").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (environment / "complete").exists():
            _build(environment)
    return next((environment / "lib").glob("python3.*")) / "site-packages"


def openmp() -> Path:
    """This machine's libgomp, which the package links to; of the hosts' own distribution."""
    library = next(Path("/usr/lib").glob("*-linux-gnu/libgomp.so.1"), None)
    if library is None:
        raise RuntimeError(
            "a lab with llama-server needs this machine's libgomp: apt install libgomp1"
        )
    return library


def _build(environment: Path) -> None:
    subprocess.run(["rm", "-rf", environment], check=True)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [str(environment / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install"]
    done = subprocess.run(
        [*pip, "--quiet", "--no-cache-dir", "--no-deps", "--require-hashes", "-r", str(LOCK)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        errors = [line for line in done.stdout.splitlines() if line.startswith("ERROR")]
        missing(f"pip could not install {LOCK.name}: {' '.join(errors)[-500:]}")
    (environment / "complete").touch()
