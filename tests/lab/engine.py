"""llama.cpp as a Python package: what the lab's llama-server runs. Hosts see the folder read-only.

The extension is built for the stable ABI, so that any Python of a host imports it.
"""

from __future__ import annotations

from pathlib import Path

from ..serving import llama


def packages() -> Path:
    """The folder with the package."""
    return next((llama.installation() / "lib").glob("python3.*")) / "site-packages"


def openmp() -> Path:
    """This machine's libgomp, which the package links to; of the hosts' own distribution."""
    library = next(Path("/usr/lib").glob("*-linux-gnu/libgomp.so.1"), None)
    if library is None:
        raise RuntimeError(
            "a lab with llama-server needs this machine's libgomp: apt install libgomp1"
        )
    return library
