"""The laptops' model of the catalog as small as can be: its quants are a model of 1.5 MB each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from homeport.catalog import MODELS

from ..hub import Hub
from ..serving import tiny_gguf
from .lab import Lab
from .routes import CLUSTER
from .weights import hub_on, pin

REPO = "team/coder-gguf"

#: Served by the laptop itself, beside a cluster that other hosts have.
ROUTES: dict[str, Any] = {
    **CLUSTER,
    "claude-fable5": {"model": "coder", "host": "localhost", "port": 18080},
}

#: The catalog's own entry, with what it says of memory and builds, at another place on the Hub.
_MODEL = f"""
from dataclasses import replace as _replace
_gemma = MODELS["gemma-4-12b-coder"]
MODELS["coder"] = _replace(_gemma, weights=_replace(_gemma.weights, repo={REPO!r}))
for name in [name for name in MODELS if name not in ("coder", "glm-5.2-fp8", "smollm2-135m")]:
    del MODELS[name]
"""


def files(template: str = tiny_gguf.TEMPLATE) -> dict[str, bytes]:
    """What the repository holds: a file for each quant, each a byte longer than the one before."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.gguf")
        tiny_gguf.write(path, template)
        content = path.read_bytes()
    laptop = MODELS["gemma-4-12b-coder"].laptop
    assert laptop
    return {
        f"coder-{quant.name}.gguf": content + b"\0" * number
        for number, quant in enumerate(laptop.quants)
    }


@contextmanager
def coder_on(lab: Lab) -> Iterator[Hub]:
    """A Hub with that model, which the project of `lab` has pinned."""
    with hub_on(lab, _MODEL) as hub:
        hub.commit(REPO, files())
        repin(lab)
        yield hub


def know(project: Path) -> None:
    """Have the catalog of a copy of the project know that model."""
    catalog = project / "homeport" / "catalog.py"
    catalog.write_text(catalog.read_text() + _MODEL)


def repin(lab: Lab) -> None:
    run = pin(lab, "coder")
    assert run.status == 0, run.output
